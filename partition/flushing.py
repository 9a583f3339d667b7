"""Bytes and names on the medium: the steps that every durable write is made of."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from partition.errors import WriteFailed, reason
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 1 << 20


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of an error of the system that it kept us from writing `path` (WriteFailed)."""
    try:
        yield
    except OSError as error:
        why = reason(error)
        if error.errno == errno.EINVAL and error.filename2 is not None:
            why = "its file system cannot exchange two directories atomically"
        raise WriteFailed(path, why) from error


def fill(fd: int, content: bytes | Path, mode: int, kernel: Kernel) -> None:
    """Write all of `content` (a Path: its bytes) to an open file, set its permissions, flush it."""
    if isinstance(content, Path):
        with content.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                _write_all(fd, chunk, kernel)
    else:
        _write_all(fd, content, kernel)
    kernel.fchmod(fd, mode)
    kernel.fsync(fd)


def _write_all(fd: int, data: bytes, kernel: Kernel) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[kernel.write(fd, rest) :]


def sync_directory(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Flush the names in a directory.

    Raises:
        WriteFailed: The system refused.
    """
    with writing(path):
        fd = kernel.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            kernel.fsync(fd)
        finally:
            kernel.close(fd)


def sync_tree(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Flush every file and directory below `path`, and `path` itself, leaves first.

    Raises:
        WriteFailed: The system refused.
    """
    with writing(path):
        for directory, _, names in os.walk(path, topdown=False):
            for name in sorted(names):
                file = Path(directory, name)
                if file.is_symlink():
                    continue
                fd = kernel.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    kernel.fsync(fd)
                finally:
                    kernel.close(fd)
            sync_directory(Path(directory), kernel=kernel)
