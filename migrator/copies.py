"""Making a new copy of the datastore on disk, whole and flushed, before anything points to it.

Thousands of small files are flushed by one `syncfs` after the last of them is written: it returns
when every file, directory and name on that file system is on the medium, so the copy is complete
before the first link to it is made. One fsync each would say the same at a hundred times the cost
(docs/migrations.md has figures). Where the system has no syncfs, each is fsynced.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import string
from contextlib import suppress
from typing import TYPE_CHECKING

from migrator import chain, files, values
from migrator.errors import NoSpace, StoreUnwritable
from partition import durable
from partition.errors import PartitionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from semver import Version

    from migrator.tree import State
    from partition.kernel import Kernel

    Space = Callable[[Path], os.statvfs_result]

_ALPHANUMERIC = string.ascii_letters + string.digits
# What a name takes in its directory, and what the file system needs for itself; generously.
_NAME_BYTES = 64
_SPARE_BYTES = 64 << 10
# Of a first copy; later ones have the permissions of the one before.
_MODE = 0o750


def random_suffix() -> str:
    """Return the random part of a new copy's name."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(chain.SUFFIX_LENGTH))


def write_new(
    base: Path,
    version: Version,
    state: State,
    kernel: Kernel,
    *,
    like: Path | None = None,
    suffix: Callable[[], str] = random_suffix,
    space: Space = os.statvfs,
) -> str:
    """Write a new copy beside the others and flush it; return its name.

    Args:
        base: The directory that holds links and copies.
        version: For the copy's name.
        state: What to write; checked (`migrator.tree.check`).
        kernel: Where the calls go.
        like: The copy whose permissions the new one has: who may read settings stays as it was.
        suffix: Gives 16 alphanumeric characters.
        space: How much room there is.

    Raises:
        NoSpace: It would not fit; nothing was written.
        StoreUnwritable: The system refused; what was written has been removed, if possible.
    """
    check_space(base, state, space)
    name = chain.copy_name(version, suffix())
    path = base / name
    try:
        files.write_copy(path, state, kernel)
        kernel.chmod(path, _MODE if like is None else stat.S_IMODE(like.stat().st_mode))
        flush(path, kernel)
    except OSError as error:
        with suppress(PartitionError):
            durable.remove_tree(path, kernel=kernel)
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreUnwritable("write a new copy of the settings to", str(path), reason) from error
    return name


def flush(path: Path, kernel: Kernel) -> None:
    """Flush a copy, everything in it, and its own name.

    Raises:
        OSError: The medium may not hold it all.
    """
    fd = kernel.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kernel.syncfs(fd)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EINVAL, errno.EPERM}:
            raise
        durable.sync_tree(path, kernel=kernel)
        durable.sync_directory(path.parent, kernel=kernel)
    finally:
        kernel.close(fd)


def check_space(base: Path, state: State, space: Space = os.statvfs, *, count: int = 1) -> None:
    """Check that `count` copies of `state` fit on the file system of `base`.

    Raises:
        NoSpace: It does not.
    """
    room = space(base)
    needed_bytes, needed_names = (count * each for each in _needs(state, room.f_frsize))
    free_bytes = room.f_bavail * room.f_frsize
    if needed_bytes > free_bytes:
        raise NoSpace(str(base), "bytes", needed_bytes, free_bytes)
    # Some file systems make inodes as they need them, and report none.
    if room.f_files and needed_names > room.f_favail:
        raise NoSpace(str(base), "inodes", needed_names, room.f_favail)


def _needs(state: State, block_bytes: int) -> tuple[int, int]:
    """Return the bytes and the names that a copy takes, each file rounded up to whole blocks."""
    blocks = names = 3
    for _, each in state.trees():
        directories = {""}
        for path, text in files.paths(each):
            parent = path.rpartition("/")[0]
            while parent not in directories:
                directories.add(parent)
                parent = parent.rpartition("/")[0]
            blocks += max(1, -(-values.length_bytes(text) // block_bytes))
            names += 1
        blocks += len(directories)
        names += len(directories)
    blocks += -(-values.length_bytes(state.kept or "") // block_bytes)
    return blocks * block_bytes + names * _NAME_BYTES + _SPARE_BYTES, names
