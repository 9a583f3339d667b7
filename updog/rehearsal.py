"""Try the migrations of an update on a copy of the settings, before the host depends on them.

The migrator does it (`migrator rehearse`), as another program: nothing here imports it, and it is
given nothing of this process's environment. It reads what was just cached for it, and verifies that
from **this** image's trusted root. At boot it will use the new image's own root; a repository
whose new image ships a root that does not lead to the cached metadata passes here and fails there.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from updog.errors import Interrupted, RehearsalFailed

if TYPE_CHECKING:
    import threading

    from updog.environment import Paths
    from updog.versions import Version

_POLL_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 5.0
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def rehearse(
    paths: Paths,
    version: Version,
    *,
    cancel: threading.Event,
    program: tuple[str, ...] = (sys.executable, "-P", "-m", "migrator"),
) -> None:
    """Run the path from the datastore's version to `version` on a copy; nothing is kept of it.

    Args:
        paths: The datastore, and what was cached for the migrator.
        version: Where to.
        cancel: Set to stop soon.
        program: The migrator.

    Raises:
        RehearsalFailed: It cannot be started, or says that a migration would fail.
        Interrupted: `cancel` was set.
    """
    command = [
        *program,
        "rehearse",
        f"--datastore-path={paths.datastore}",
        f"--migration-directory={paths.migrations}",
        f"--root-path={paths.trusted_root}",
        f"--metadata-directory={paths.metadata_cache}",
        f"--migrate-to-version={version}",
    ]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise RehearsalFailed(version, f"cannot start {program[0]}: {error.strerror}") from error
    with process:
        said = _wait(process, cancel)
    if process.returncode:
        raise RehearsalFailed(version, _last_words(said, process.returncode))


def _wait(process: subprocess.Popen[str], cancel: threading.Event) -> str:
    while True:
        try:
            return process.communicate(timeout=_POLL_SECONDS)[1]
        except subprocess.TimeoutExpired:
            if not cancel.is_set():
                continue
        process.terminate()
        try:
            process.communicate(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise Interrupted("rehearsing the migrations")


def _last_words(said: str, exit_code: int) -> str:
    """The migrator's own line; hints and log lines aside."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("migrator: ")] or lines
    if not errors:
        return f"the migrator ended with {exit_code}"
    return errors[-1].removeprefix("migrator: ")
