"""A kernel that logs what is written and flushed, in order, and can be made to fail or to lie.

For the order of a few calls. Power cuts over whole histories are `tests.support.power`.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from partition.kernel import Kernel

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from partition.kernel import StrPath


@dataclass
class RecordingKernel(Kernel):
    """Log entries are words: `write DISK 512 92`, `fsync DISK`; paths by their last part.

    Attributes:
        log: What was done.
        fail: Calls that raise an error with this number instead, by name.
        lost: Byte offsets whose pwrite is reported done and thrown away.
        short: At most so many bytes are written by one call.
    """

    log: list[str] = field(default_factory=list)
    fail: dict[str, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    short: int = 1 << 30

    def _did(self, call: str, *words: object) -> None:
        if call in self.fail:
            raise OSError(self.fail[call], os.strerror(self.fail[call]))
        self.log.append(" ".join([call, *map(str, words)]))

    def open(
        self, path: StrPath, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        if "open" in self.fail:
            raise OSError(self.fail["open"], os.strerror(self.fail["open"]), os.fspath(path))
        return super().open(path, flags, mode, dir_fd=dir_fd)

    def pread(self, fd: int, length_bytes: int, offset_bytes: int) -> bytes:
        if f"pread {offset_bytes}" in self.fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().pread(fd, min(length_bytes, self.short), offset_bytes)

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        view = memoryview(data)[: self.short]
        self._did("pwrite", _name(fd), offset_bytes, len(view))
        if offset_bytes in self.lost:
            return len(view)
        return super().pwrite(fd, view, offset_bytes)

    def write(self, fd: int, data: Buffer) -> int:
        view = memoryview(data)[: self.short]
        self._did("write", _name(fd), len(view))
        return super().write(fd, view)

    def fsync(self, fd: int) -> None:
        self._did("fsync", _name(fd))
        super().fsync(fd)

    def drop_cache(self, fd: int, offset_bytes: int, length_bytes: int) -> None:
        self._did("drop_cache", _name(fd), offset_bytes, length_bytes)
        super().drop_cache(fd, offset_bytes, length_bytes)

    def replace(self, source: StrPath, target: StrPath) -> None:
        self._did("replace", _last(source), _last(target))
        super().replace(source, target)

    def exchange(self, one: StrPath, other: StrPath) -> None:
        self._did("exchange", _last(one), _last(other))
        super().exchange(one, other)

    def unlink(self, path: StrPath) -> None:
        self._did("unlink", _last(path))
        super().unlink(path)


def _name(fd: int) -> str:
    return Path(f"/proc/self/fd/{fd}").readlink().name


def _last(path: StrPath) -> str:
    return Path(path).name
