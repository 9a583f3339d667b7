"""Descriptors 0, 1 and 2 of a command: never a file of ours.

Who is started without them (`2>&-`, some supervisors) gets their numbers for the next files that it
opens; then whatever a library or a child process says on stderr is written into a disk or a state
file.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OUTPUTS = {1: "stdout", 2: "stderr"}


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have all three open for the time of a command, on /dev/null where there is nothing.

    Where stderr cannot be written to, the command's own exit code stands; Python would make it 120.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It gets the least number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, name in _OUTPUTS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
    try:
        yield
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
