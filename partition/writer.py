"""Write an image onto a partition: exclusively, within its size, and with little left to flush.

Decided here: how the partition is opened (never created), that not a byte goes past its end, and
how the page cache is kept out of the way. Not here: what is written, and when it is flushed.

Where the file system or device allows it, writes go straight to the device (O_DIRECT): nothing is
copied into the page cache and the flush at the end has nothing to wait for. That needs positions,
lengths and memory in whole blocks of 4096 bytes; the odd end of an image, and anything on a file
system without O_DIRECT such as older tmpfs, goes through the page cache, and its write-back is
started at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Self

from partition.errors import DeviceBusy, DeviceNotFound, DeviceTooSmall, WriteFailed, reason
from partition.kernel import KERNEL, Kernel
from partition.reader import ALIGNMENT

if TYPE_CHECKING:
    from types import TracebackType

    from partition.region import Region


def require_room(region: Region, length_bytes: int) -> None:
    """Refuse, before anything is written, an image of this length that cannot fit.

    Raises:
        DeviceTooSmall: The region is smaller.
    """
    if length_bytes > region.length_bytes:
        raise DeviceTooSmall(
            region.label, capacity_bytes=region.length_bytes, needed_bytes=length_bytes
        )


class RegionWriter:
    """One partition, open for writing from a given byte on.

    A block device is claimed (O_EXCL): while this object is open nobody can mount it, and it cannot
    be opened while it is mounted. Used by one thread at a time.

    Args:
        region: Where to write. Must exist; a mistyped path never becomes a file.
        start: First byte of the region to write; what lies before it stays.
        kernel: The system calls.

    Attributes:
        position: Where the next write goes, in bytes from the region's start.

    Raises:
        DeviceBusy: Mounted, or claimed by somebody else.
        DeviceNotFound: There is nothing at the region's path.
        WriteFailed: It cannot be opened for writing.
    """

    def __init__(self, region: Region, *, start: int = 0, kernel: Kernel = KERNEL) -> None:
        self.region = region
        self.position = start
        self._kernel = kernel
        self._can_direct = region.offset_bytes % ALIGNMENT == 0
        self._is_direct = self._can_direct
        try:
            self._fd = self._open()
        except FileNotFoundError as error:
            raise DeviceNotFound(region.label, reason(error)) from error
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise DeviceBusy(region.label) from error
            raise WriteFailed(region.label, reason(error)) from error

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_EXCL
        if self._can_direct:
            try:
                return self._kernel.open(self.region.path, flags | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._can_direct = self._is_direct = False
        return self._kernel.open(self.region.path, flags)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, data: memoryview) -> None:
        """Write at `position` and move it on.

        Args:
            data: Fast where it lies on a 4096-byte boundary in memory and `position` does on disk.

        Raises:
            DeviceTooSmall: It would pass the end of the region; none of `data` is written.
            WriteFailed: The kernel refused.
        """
        require_room(self.region, self.position + len(data))
        whole = len(data) - len(data) % ALIGNMENT if self.position % ALIGNMENT == 0 else 0
        try:
            self._write(data[:whole], direct=self._can_direct)
            self._write(data[whole:], direct=False)
        except OSError as error:
            raise WriteFailed(self.region.label, reason(error)) from error

    def _write(self, data: memoryview, *, direct: bool) -> None:
        if not data:
            return
        self._set_direct(direct)
        start = self.position
        while data:
            at = self.region.offset_bytes + self.position
            try:
                count = self._kernel.pwrite(self._fd, data, at)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                # Memory or device ask for another alignment: the page cache takes anything.
                self._can_direct = False
                self._set_direct(False)
                continue
            self.position += count
            data = data[count:]
        if not self._is_direct:
            # On dirty pages this starts their write-back, without waiting for it.
            self._kernel.drop_cache(
                self._fd, self.region.offset_bytes + start, self.position - start
            )

    def _set_direct(self, direct: bool) -> None:  # noqa: FBT001 (a setter)
        if direct != self._is_direct:
            flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
            flags = flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)
            self._is_direct = direct

    def flush(self) -> None:
        """Return when everything written so far is on the medium.

        Raises:
            WriteFailed: The device reports that something was lost.
        """
        try:
            # Not fsync: in a disk image it would also wait for the file's time of change.
            self._kernel.fdatasync(self._fd)
        except OSError as error:
            raise WriteFailed(self.region.label, reason(error)) from error

    def close(self) -> None:
        """Close without flushing. May be called twice."""
        if self._fd >= 0:
            self._kernel.close(self._fd)
            self._fd = -1
