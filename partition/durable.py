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
from pathlib import Path
from typing import TYPE_CHECKING

from partition.errors import ReadFailed, StateFileCorrupt, StateFileUnsafe, WriteFailed, reason
from partition.kernel import KERNEL, Kernel
from partition.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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

_CHUNK_BYTES = 1 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


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
    with _writing(path):
        fd = _open_temporary(temporary, kernel)
        try:
            with _discarded_on_failure(temporary, kernel):
                _fill(fd, data, mode, kernel)
                kernel.replace(temporary, path)
        finally:
            kernel.close(fd)
        sync_directory(path.parent, kernel=kernel)


def read_file(path: Path, *, max_bytes: int = _CHUNK_BYTES, private: bool = True) -> bytes | None:
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
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StateFileUnsafe(path, "it is not a regular file")
        if private:
            _check_owner(path, status)
            check_directory(path.parent)
        try:
            data = file.read(max_bytes + 1)
        except OSError as error:
            raise ReadFailed(path, reason(error)) from error
    if len(data) > max_bytes:
        raise StateFileCorrupt(path, f"it is longer than {max_bytes} bytes")
    return data


def write_json(path: Path, value: object, *, mode: int = 0o600, kernel: Kernel = KERNEL) -> None:
    """Replace the file `path` by `value` as JSON, with keys in order; errors as `write_file`."""
    import json  # noqa: PLC0415  status of a disk needs no JSON, and starts faster without

    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_file(path, f"{text}\n".encode(), mode=mode, kernel=kernel)


def read_json(path: Path, *, max_bytes: int = _CHUNK_BYTES) -> object | None:
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
    with _writing(path):
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


def replace_symlink(path: Path, points_to: str, *, kernel: Kernel = KERNEL) -> None:
    """Make `path` a symbolic link to `points_to`, replacing what was there but a directory.

    Raises:
        WriteFailed: The system refused; the old link is untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    with _writing(path):
        with suppress(FileNotFoundError):
            kernel.unlink(temporary)
        kernel.symlink(points_to, temporary)
        with _discarded_on_failure(temporary, kernel):
            kernel.replace(temporary, path)
        sync_directory(path.parent, kernel=kernel)


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
    with _writing(path):
        for directory in reversed(missing):
            # Another process may be making the same directory.
            with suppress(FileExistsError):
                kernel.mkdir(directory, mode if directory == path else 0o755)
            sync_directory(directory.parent, kernel=kernel)
    if private:
        check_directory(path)


def remove_file(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Remove the file `path` durably; it is no error if there is none.

    Raises:
        WriteFailed: The system refused.
    """
    with _writing(path):
        try:
            kernel.unlink(path)
        except FileNotFoundError:
            return
        sync_directory(path.parent, kernel=kernel)


def remove_tree(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Remove `path` and all below it; symlinks are removed, not followed. Not flushed.

    Raises:
        WriteFailed: The system refused; part of the tree may be gone.
    """
    with _writing(path):
        if not path.is_symlink() and path.is_dir():
            for child in sorted(path.iterdir()):
                remove_tree(child, kernel=kernel)
            kernel.rmdir(path)
        else:
            with suppress(FileNotFoundError):
                kernel.unlink(path)


def sync_directory(path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Flush the names in a directory.

    Raises:
        WriteFailed: The system refused.
    """
    with _writing(path):
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
    with _writing(path):
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


def check_directory(path: Path) -> None:
    """Make sure that nobody but us and root can put files into the directory `path`.

    Raises:
        StateFileUnsafe: Somebody else owns it, or group or others may write.
        ReadFailed: It is not there, or no directory.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ReadFailed(path, reason(error)) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ReadFailed(path, "it is not a directory")
    _check_owner(path, status)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise StateFileUnsafe(
            path, f"it belongs to user {status.st_uid}, expected {os.geteuid()} or root"
        )
    if status.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise StateFileUnsafe(path, f"others may write to it (mode {mode:04o})")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = reason(error)
        if error.errno == errno.EINVAL and error.filename2 is not None:
            why = "its file system cannot exchange two directories atomically"
        raise WriteFailed(path, why) from error


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


def _write_new(path: Path, content: bytes | Path, mode: int, kernel: Kernel) -> None:
    fd = kernel.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _fill(fd, content, mode, kernel)
    finally:
        kernel.close(fd)


def _fill(fd: int, content: bytes | Path, mode: int, kernel: Kernel) -> None:
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
