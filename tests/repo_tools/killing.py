"""Runs an owner's command again and again, killed before each of its changes to the disk in turn.

    python -m tests.repo_tools.killing WORK TEMPLATE PLACE

copies TEMPLATE, an owner's directory, to PLACE/1, PLACE/2, …; in the n-th copy the command gets a
real SIGKILL before its n-th change, until it comes through. A program of its own, because it forks.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partition.kernel import Kernel
from tests.repo_tools.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = ("write", "pwrite", "replace", "unlink", "mkdir", "rmdir")


class Deadly(Kernel):
    """Kills this process before its n-th change; `number` of 0 never does."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  whatever the method is
        method = super().__getattribute__(name)
        return self._counted(method) if name in CHANGES else method

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as above
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args, **kwargs)

        return call


def main(name: str, template: Path, place: Path) -> None:
    """Kill until the command comes through."""
    from tests.repo_tools.test_interrupted import WORKS  # noqa: PLC0415  it runs this program

    work = next(work for work in WORKS if work.name == name)
    for number in itertools.count(1):
        base = place / str(number)
        shutil.copytree(template, base)
        child = os.fork()
        if not child:
            try:
                owner = Owner(base, kernel=Deadly(number))
                result = owner.run(*work.words(owner))
                os._exit(result.exit_code)
            finally:
                os._exit(70)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
