"""What every command of signpost gets: which disk, which active set, where the system shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from signpost.cli_support import warn
from signpost.device import LOCK_WAIT_SECONDS, BootDisk, find_disk, locate

if TYPE_CHECKING:
    from signpost.layout import Slot


class Environment(NamedTuple):
    """What the options say, and where the system shows the rest.

    Attributes:
        os_disk: The disk, if it was named.
        active: The active set, if it was named.
        root: See `locate`; the next three too.
        lock_wait_seconds: How long to wait for another process that changes the disk.
    """

    os_disk: Path | None
    active: Slot | None
    root: Path = Path("/")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    lock_wait_seconds: float = LOCK_WAIT_SECONDS

    def open(self, *, writable: bool) -> BootDisk:
        """The disk with its active set."""
        location = locate(
            self.os_disk,
            self.active,
            root=self.root,
            sysfs=self.sysfs,
            dev=self.dev,
            proc=self.proc,
        )
        disk = BootDisk.open(
            location,
            writable=writable,
            wait_seconds=self.lock_wait_seconds,
            sysfs=self.sysfs,
            dev=self.dev,
        )
        return _with_warnings(disk)

    def open_at_boot(self, *, writable: bool) -> BootDisk:
        """The disk alone: no set needs to be active."""
        os_disk = find_disk(
            self.os_disk, root=self.root, sysfs=self.sysfs, dev=self.dev, proc=self.proc
        )
        disk = BootDisk.open_at_boot(
            os_disk,
            writable=writable,
            wait_seconds=self.lock_wait_seconds,
            sysfs=self.sysfs,
            dev=self.dev,
        )
        return _with_warnings(disk)


def _with_warnings(disk: BootDisk) -> BootDisk:
    for problem in disk.problems:
        warn(f"partition table of {disk.os_disk}: {problem}")
    return disk
