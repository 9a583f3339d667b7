"""Restart the machine, through whatever init there is."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from updog.errors import RebootFailed

# systemd's own way, and the one that every init has (shutdown(8)).
_COMMANDS: Final = (("systemctl", "reboot"), ("shutdown", "-r", "now"))


def reboot() -> None:
    """Ask for a reboot; returns when it was accepted, the machine goes down a little later.

    Raises:
        RebootFailed: No command for it, or all of them failed; names the last failure.
    """
    why = "found neither systemctl nor shutdown"
    for command in _COMMANDS:
        program = shutil.which(command[0])
        if program is None:
            continue
        done = subprocess.run(
            [program, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = f"{' '.join(command)} ended with {done.returncode}{f': {said[-1]}' if said else ''}"
    raise RebootFailed(why)
