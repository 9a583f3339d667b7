"""Loop devices whose file is written and read past the page cache, for a while.

Decided here: what to do where a partition lies on a loop device. Written with O_DIRECT, such a
device still only fills the page cache of the file below it, and what is read back comes from there
too, unless the device itself was told to use direct I/O. It is told so while an update is written
and read back, and told again what it was told before. A device that cannot (its file is on a file
system without direct I/O, or of larger blocks) stays as it is: it works, and is read back from the
page cache.

Source: linux/loop.h; Documentation/ABI/testing/sysfs-block-loop.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from partition.blockdev import DeviceNumber, Devices
from partition.errors import DeviceNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LOOP_SET_DIRECT_IO: Final = 0x4C08


@contextmanager
def direct(paths: Iterable[Path], devices: Devices | None = None) -> Iterator[None]:
    """Have the loop devices among some device nodes and files use direct I/O meanwhile.

    Partitions of a loop device count as the device. Whatever else is given stays untouched.
    """
    devices = devices or Devices()
    with ExitStack() as stack:
        for path in dict.fromkeys(filter(None, (_buffered_loop(path, devices) for path in paths))):
            stack.enter_context(_direct(path))
        yield


@contextmanager
def _direct(node: Path) -> Iterator[None]:
    is_told = _tell(node, direct=1)
    try:
        yield
    finally:
        if is_told:
            _tell(node, direct=0)


def _tell(node: Path, direct: int) -> bool:
    with suppress(OSError):
        fd = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _LOOP_SET_DIRECT_IO, direct)
        finally:
            os.close(fd)
        return True
    return False


def _buffered_loop(path: Path, devices: Devices) -> Path | None:
    """The loop device that something lies on, if it goes through its file's page cache."""
    with suppress(OSError, DeviceNotFound):
        status = path.stat()
        if stat.S_ISBLK(status.st_mode):
            disk = devices.disk_of(DeviceNumber.of(status.st_rdev))
            if devices.loop_uses_direct_io(disk) is False:
                return devices.node(disk)
    return None
