"""What a command gets from outside: the clock, the terminal, the disk.

Read once, at the start of a command, and passed on as a value; tests pass another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Environment:
    """The world, as a command sees it.

    Attributes:
        now: The time, aware, UTC; one reading for the whole command.
        secrets: Gives a passphrase or PIN; called with a key's name and the kind of secret:
            "passphrase", "new passphrase" or "pin".
        confirm: Asks whether to go ahead; called with the question. Where nobody can be asked,
            the answer is yes: what will happen has been shown and is in the log.
        kernel: The way to the disk.
    """

    now: datetime
    secrets: Callable[[str, str], str]
    confirm: Callable[[str], bool]
    kernel: Kernel = KERNEL
