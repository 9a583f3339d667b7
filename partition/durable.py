"""State that must last: files and directories that are old or new after a power cut, never between.

The order is always the same: write beside the target, flush, rename, flush the directory. Files are
private to their owner unless the caller says otherwise, and what is read back must be ours: a
regular file, reached through no symlink, that nobody but us (or root) could have written. What a
file means is for the caller; one that cannot be understood is reported whole (`StateFileCorrupt`)
and never trusted in part.

    make_directory(state)
    write_json(state / "attempts.json", {"format": 1})
    read_json(state / "attempts.json", max_bytes=65536)      # None if there is none

`private=False` skips the check of owner and permissions, for trees that are published or shared.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from partition.errors import ReadFailed, StateFileCorrupt, StateFileUnsafe, reason
from partition.flushing import fill, sync_directory, sync_tree, writing
from partition.kernel import KERNEL, Kernel
from partition.locks import exclusive_lock
from partition.ownership import check_directory, check_owner
from partition.trees import make_directory, remove_tree, replace_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "check_directory",
    "exclusive_lock",
    "make_directory",
    "read_file",
    "read_json",
    "remove_file",
    "remove_tree",
    "replace_directory",
    "replace_symlink",
    "sync_directory",
    "sync_tree",
    "write_file",
    "write_json",
]

_MAX_BYTES = 1 << 20


def write_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    private: bool = True,
    kernel: Kernel = KERNEL,
) -> None:
    """Replace the file `path` by `data`, wholly and durably.

    Args:
        path: The file. Its directory must exist; a symlink there is replaced, not followed.
        data: The new content.
        mode: Permissions of the new file, whatever the umask.
        private: Refuse a directory in which others could write.
        kernel: Where the calls go.

    Raises:
        WriteFailed: No space, no permission, no directory. The old file is untouched.
        StateFileUnsafe: See `private`.
    """
    if private:
        check_directory(path.parent)
    temporary = path.with_name(f".{path.name}.new")
    with writing(path):
        fd = _open_temporary(temporary, kernel)
        try:
            with _discarded_on_failure(temporary, kernel):
                fill(fd, data, mode, kernel)
                kernel.replace(temporary, path)
        finally:
            kernel.close(fd)
        sync_directory(path.parent, kernel=kernel)


def read_file(path: Path, *, max_bytes: int = _MAX_BYTES, private: bool = True) -> bytes | None:
    """Read the file `path`, or return None if there is none.

    Raises:
        StateFileUnsafe: A symlink, not a regular file, or (if `private`) not ours alone to write.
        StateFileCorrupt: Longer than `max_bytes`.
        ReadFailed: The system refused.
    """
    try:
        # O_NONBLOCK: a FIFO left at this name must not stop us for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StateFileUnsafe(path, "it is a symbolic link") from error
        raise ReadFailed(path, reason(error)) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StateFileUnsafe(path, "it is not a regular file")
        if private:
            check_owner(path, status)
            check_directory(path.parent)
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ReadFailed(path, reason(error)) from error
    finally:
        os.close(fd)
    if len(data) > max_bytes:
        raise StateFileCorrupt(path, f"it is longer than {max_bytes} bytes")
    return data


def write_json(path: Path, value: object, *, mode: int = 0o600, kernel: Kernel = KERNEL) -> None:
    """Replace the file `path` by `value` as JSON, with keys in order; errors as `write_file`."""
    import json  # noqa: PLC0415  status of a disk needs no JSON, and starts faster without

    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_file(path, f"{text}\n".encode(), mode=mode, kernel=kernel)


def read_json(path: Path, *, max_bytes: int = _MAX_BYTES) -> object | None:
    """Read a JSON file, or return None if there is none (or it holds just `null`).

    Raises:
        StateFileCorrupt: Not JSON, a key twice in one object, or longer than `max_bytes`.
        StateFileUnsafe: As `read_file`.
        ReadFailed: As `read_file`.
    """
    import json  # noqa: PLC0415  as in write_json

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice in one object")
        return result

    def no_constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")

    data = read_file(path, max_bytes=max_bytes)
    if data is None:
        return None
    try:
        value: object = json.loads(
            data.decode(), object_pairs_hook=unique, parse_constant=no_constant
        )
    except (ValueError, RecursionError) as error:
        raise StateFileCorrupt(path, str(error)) from error
    return value


def replace_symlink(path: Path, points_to: str, *, kernel: Kernel = KERNEL) -> None:
    """Make `path` a symbolic link to `points_to`, replacing what was there but a directory.

    Raises:
        WriteFailed: The system refused; the old link is untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    with writing(path):
        with suppress(FileNotFoundError):
            kernel.unlink(temporary)
        kernel.symlink(points_to, temporary)
        with _discarded_on_failure(temporary, kernel):
            kernel.replace(temporary, path)
        sync_directory(path.parent, kernel=kernel)


def remove_file(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Remove the file `path` durably; it is no error if there is none.

    Raises:
        WriteFailed: The system refused.
    """
    with writing(path):
        try:
            kernel.unlink(path)
        except FileNotFoundError:
            return
        sync_directory(path.parent, kernel=kernel)


@contextmanager
def _discarded_on_failure(temporary: Path, kernel: Kernel) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            kernel.unlink(temporary)
        raise


def _open_temporary(path: Path, kernel: Kernel) -> int:
    """Open the one temporary name of a target, empty, for us alone.

    The name is fixed, so that a crash leaves at most one such file, which the next write takes
    over; the lock keeps two writers of one target from renaming each other's half-written file.
    """
    while True:
        fd = kernel.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            kernel.flock(fd, fcntl.LOCK_EX)
            # The previous holder has renamed the file that we opened: start over with a new one.
            if _is_still(fd, path):
                kernel.ftruncate(fd, 0)
                return fd
        except BaseException:
            kernel.close(fd)
            raise
        kernel.close(fd)


def _is_still(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False
