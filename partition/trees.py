"""Directories that must last: made, replaced as a whole, removed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from partition.errors import StateFileUnsafe, WriteFailed
from partition.flushing import fill, sync_directory, writing
from partition.kernel import KERNEL, Kernel
from partition.ownership import check_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def make_directory(
    path: Path, mode: int = 0o700, *, private: bool = True, kernel: Kernel = KERNEL
) -> None:
    """Make the directory `path`, and its missing parents (0755), durably.

    Raises:
        StateFileUnsafe: It exists and others could write in it (if `private`).
        WriteFailed: The system refused, or it is not a directory.
    """
    missing = []
    place = path
    while not place.is_dir():
        missing.append(place)
        place = place.parent
    with writing(path):
        # Who made the directory that is there may have been killed before it was flushed.
        if os.access(place.parent, os.R_OK):
            sync_directory(place.parent, kernel=kernel)
        for directory in reversed(missing):
            # Another process may be making the same directory.
            with suppress(FileExistsError):
                kernel.mkdir(directory, mode if directory == path else 0o755)
            sync_directory(directory.parent, kernel=kernel)
    if not path.is_dir():
        raise WriteFailed(path, "something else is in its place, expected a directory")
    if private:
        check_directory(path)


def replace_directory(
    path: Path,
    files: Mapping[str, bytes | Path],
    *,
    mode: int = 0o700,
    file_mode: int = 0o600,
    private: bool = True,
    kernel: Kernel = KERNEL,
) -> None:
    """Replace the directory `path` by one that holds just `files`, in one atomic step.

    After a power cut it is the old directory or the new one, whole. Two callers at once must be
    kept apart by a lock of theirs.

    Args:
        path: The directory; need not exist yet. Its parent must.
        files: Content by plain file name; a Path is copied from there.
        mode: Permissions of the directory.
        file_mode: Permissions of each file.
        private: Refuse a parent in which others could write.
        kernel: Where the calls go.

    Raises:
        WriteFailed: No space, no permission, or a file system without RENAME_EXCHANGE. The old
            directory is untouched.
        StateFileUnsafe: `path` is a symlink, or see `private`.
    """
    for name in files:
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise ValueError(f"not a plain file name: {name!r}")
    if private:
        check_directory(path.parent)
    if path.is_symlink():
        raise StateFileUnsafe(path, "it is a symbolic link")
    new = path.with_name(f".{path.name}.new")
    with writing(path):
        # What a crash left here is either unfinished or out of date.
        remove_tree(new, kernel=kernel)
        try:
            kernel.mkdir(new, mode)
            for name, content in files.items():
                _write_new(new / name, content, file_mode, kernel)
            sync_directory(new, kernel=kernel)
            if path.exists():
                kernel.exchange(new, path)
            else:
                kernel.replace(new, path)
            sync_directory(path.parent, kernel=kernel)
        finally:
            # The old directory by now, or on failure the unfinished new one.
            with suppress(WriteFailed):
                remove_tree(new, kernel=kernel)


def remove_tree(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Remove `path` and all below it; symlinks are removed, not followed. Not flushed.

    Raises:
        WriteFailed: The system refused; part of the tree may be gone.
    """
    with writing(path):
        if not path.is_symlink() and path.is_dir():
            for child in sorted(path.iterdir()):
                remove_tree(child, kernel=kernel)
            kernel.rmdir(path)
        else:
            with suppress(FileNotFoundError):
                kernel.unlink(path)


def _write_new(path: Path, content: bytes | Path, mode: int, kernel: Kernel) -> None:
    fd = kernel.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        fill(fd, content, mode, kernel)
    finally:
        kernel.close(fd)
