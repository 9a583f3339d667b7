"""A large file on its way into a store: written in pieces, through the kernel.

It lies in a staging directory and has no meaning there; whoever gives it its final name flushes it
first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from repo_tools.errors import StoreFailed

if TYPE_CHECKING:
    from pathlib import Path

    from partition.kernel import Kernel

Write = Callable[[bytes], None]


@contextmanager
def staged_file(path: Path, kernel: Kernel) -> Iterator[Write]:
    """Make a file, and give the function that appends to it.

    Raises:
        StoreFailed: No room, or no permission.
    """
    try:
        fd = kernel.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as exc:
        raise _failed(path, exc) from exc

    def write(data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[kernel.write(fd, rest) :]
        except OSError as exc:
            raise _failed(path, exc) from exc

    try:
        yield write
    finally:
        kernel.close(fd)


def _failed(path: Path, exc: OSError) -> StoreFailed:
    return StoreFailed("write", str(path), exc.strerror or str(exc))
