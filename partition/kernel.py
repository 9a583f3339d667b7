"""The one door through which the project changes what is on disk.

Each method is one system call, without policy. Everything that writes takes a `kernel` argument, so
that a test can record the calls, replay any prefix of them, or lose the ones that were not flushed.
Reading calls are here where the order of reads and writes matters; looking at names and attributes
(`stat`, `readlink`, directory listings) needs no door.
"""

# ruff: noqa: PTH101, PTH102, PTH105, PTH106, PTH108, PTH211
# System calls, not paths, are what is wrapped here.

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

StrPath: TypeAlias = "str | os.PathLike[str]"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Kernel:
    """System calls, one to one. All raise OSError as the system does."""

    def open(
        self, path: StrPath, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        """Open; never inherited by child processes."""
        return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        """Close."""
        os.close(fd)

    def pread(self, fd: int, length_bytes: int, offset_bytes: int) -> bytes:
        """Read at an offset; short at the end of the file."""
        return os.pread(fd, length_bytes, offset_bytes)

    def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
        """Read at an offset into buffers; returns the bytes read."""
        return os.preadv(fd, buffers, offset_bytes)

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        """Write at an offset; may write less than asked."""
        return os.pwrite(fd, data, offset_bytes)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
        """Write buffers at an offset; may write less than asked."""
        return os.pwritev(fd, buffers, offset_bytes)

    def write(self, fd: int, data: Buffer) -> int:
        """Write at the file position; may write less than asked."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Flush data and metadata to the medium."""
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        """Flush data, and the metadata needed to read it back."""
        os.fdatasync(fd)

    def syncfs(self, fd: int) -> None:
        """Flush all of the file system that `fd` lies on: every file, directory and name."""
        import ctypes  # noqa: PLC0415  only the datastore needs it, and it is slow to import

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def drop_cache(self, fd: int, offset_bytes: int, length_bytes: int) -> None:
        """Forget clean cached pages, so that the next read asks the device."""
        os.posix_fadvise(fd, offset_bytes, length_bytes, os.POSIX_FADV_DONTNEED)

    def ftruncate(self, fd: int, length_bytes: int) -> None:
        """Set a file's length."""
        os.ftruncate(fd, length_bytes)

    def replace(self, source: StrPath, target: StrPath) -> None:
        """Rename atomically, replacing what is at `target`."""
        os.replace(source, target)

    def exchange(self, one: StrPath, other: StrPath) -> None:
        """Swap two names atomically (renameat2 with RENAME_EXCHANGE)."""
        import ctypes  # noqa: PLC0415  only directories need it, and it is slow to import

        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(one), None, os.fspath(other))

    def link(self, source: StrPath, target: StrPath) -> None:
        """Make a hard link, not following a symlink at `source`."""
        os.link(source, target, follow_symlinks=False)

    def symlink(self, points_to: StrPath, path: StrPath) -> None:
        """Make a symbolic link at `path`."""
        os.symlink(points_to, path)

    def unlink(self, path: StrPath) -> None:
        """Remove a name that is not a directory."""
        os.unlink(path)

    def mkdir(self, path: StrPath, mode: int = 0o700) -> None:
        """Make one directory."""
        os.mkdir(path, mode)

    def rmdir(self, path: StrPath) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def chmod(self, path: StrPath, mode: int) -> None:
        """Set permissions."""
        os.chmod(path, mode)

    def fchmod(self, fd: int, mode: int) -> None:
        """Set permissions of an open file."""
        os.fchmod(fd, mode)

    def flock(self, fd: int, operation: int) -> None:
        """Take or release an advisory lock; `operation` as in fcntl.flock."""
        fcntl.flock(fd, operation)


KERNEL = Kernel()
