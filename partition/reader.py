"""Read a region from the device itself, not from the page cache.

Decided here: how a read gets past the kernel's copy in memory. With O_DIRECT where the file system
or device allows it: the kernel then fetches every block from the device. Elsewhere the pages are
dropped first with ``posix_fadvise(DONTNEED)``, which drops pages that are clean, so what was
written must have been flushed before. Neither reaches behind the device's own cache, nor behind the
page cache of the file under a loop device (`partition.loop` does); on tmpfs the page cache *is* the
device.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING, Final, Self

from partition.errors import DeviceNotFound, ReadFailed, reason
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from partition.region import Region

ALIGNMENT: Final = 4096
"""What O_DIRECT may ask of offsets, lengths and memory: the largest logical block size in use."""

_BUFFER_SIZE: Final = 1 << 20


class RegionReader:
    """An open region; every read comes from the device, as far as the kernel allows.

    Args:
        region: What to read.
        kernel: The system calls.

    Raises:
        DeviceNotFound: There is nothing at the region's path.
        ReadFailed: It cannot be opened.
    """

    def __init__(self, region: Region, *, kernel: Kernel = KERNEL) -> None:
        self.region = region
        self._kernel = kernel
        self._view = memoryview(mmap.mmap(-1, _BUFFER_SIZE))  # page-aligned, for O_DIRECT
        self._direct = region.offset_bytes % ALIGNMENT == 0
        try:
            self.fd = self._open()
        except FileNotFoundError as error:
            raise DeviceNotFound(region.label, reason(error)) from error
        except OSError as error:
            raise ReadFailed(region.label, reason(error)) from error

    def _open(self) -> int:
        path = self.region.path
        if self._direct:
            try:
                fd = self._kernel.open(path, os.O_RDONLY | os.O_DIRECT)
                # Some file systems refuse only the read, or only this alignment.
                self._kernel.preadv(fd, [self._view[:ALIGNMENT]], self.region.offset_bytes)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = False
            else:
                return fd
        return self._kernel.open(path, os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the device. May be called twice."""
        if self.fd >= 0:
            self._kernel.close(self.fd)
            self.fd = -1

    def forget_cached(self, start: int, stop: int) -> None:
        """Make sure that the next read of this range of the region asks the device.

        What was written there must have been flushed; with O_DIRECT there is nothing to do.
        """
        if not self._direct:
            self._kernel.drop_cache(self.fd, self.region.offset_bytes + start, stop - start)

    def chunks(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes of a range of the region, in order, at most 1 MiB at a time.

        A chunk is valid until the next one is asked for.

        Raises:
            ReadFailed: The device refuses, or ends before `stop`.
        """
        self.forget_cached(start, stop)
        position = start
        while position < stop:
            # O_DIRECT wants whole blocks: read a little more on both sides and cut it off.
            aligned = position - position % ALIGNMENT
            wanted = min(_BUFFER_SIZE, -(-(stop - aligned) // ALIGNMENT) * ALIGNMENT)
            try:
                count = self._kernel.preadv(
                    self.fd, [self._view[:wanted]], self.region.offset_bytes + aligned
                )
            except OSError as error:
                raise ReadFailed(self.region.label, reason(error)) from error
            usable = min(count, stop - aligned)
            if aligned + usable <= position:
                raise ReadFailed(self.region.label, f"it ends at byte {aligned + count}")
            yield self._view[position - aligned : usable]
            position = aligned + usable

    def read(self, start: int, stop: int) -> bytes:
        """Return a range of the region; for small ones, it is held in memory."""
        return b"".join(bytes(chunk) for chunk in self.chunks(start, stop))
