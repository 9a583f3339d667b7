"""A repository in a directory, as a web server would serve it.

A file comes into being under a temporary name in the directory it belongs to, is flushed, renamed,
and the directory flushed, so a reader sees all of it or nothing, whenever the machine stops. All
changes go through `Kernel`. Names that begin with a dot are ours: the lock, staging directories and
temporary files; leftovers of a killed run are cleared by the next one that holds the lock.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from partition.durable import (
    exclusive_lock,
    make_directory,
    remove_tree,
    sync_directory,
    write_file,
)
from partition.flushing import fill
from partition.kernel import KERNEL, Kernel
from repo_tools.errors import AlreadyThere, PublishedMeanwhile, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repo_tools.store.base import Contents

_PARTIAL: Final = ".partial-"
_STAGING: Final = ".staging"
_LOCK: Final = ".lock"
_CHUNK_BYTES: Final = 1 << 20


class DirectoryStore:
    """Files below a directory; `kernel` is the way to the disk."""

    def __init__(self, root: Path, *, kernel: Kernel = KERNEL) -> None:
        self._root = root
        self.kernel = kernel

    @property
    def where(self) -> str:
        """The directory's path."""
        return str(self._root)

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """See `ReadableStore.read`."""
        try:
            with (self._root / name).open("rb") as file:
                data = file.read(max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._failed("read", name, exc) from exc
        if len(data) > max_bytes:
            raise StoreFailed("read", self._path(name), f"it is longer than {max_bytes} bytes")
        return data

    def stream(self, name: str, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes] | None:
        """See `ReadableStore.stream`."""
        try:
            file = (self._root / name).open("rb", buffering=0)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._failed("read", name, exc) from exc

        def chunks() -> Iterator[bytes]:
            with file:
                try:
                    while chunk := file.read(chunk_bytes):
                        yield chunk
                except OSError as exc:
                    raise self._failed("read", name, exc) from exc

        return chunks()

    def size(self, name: str) -> int | None:
        """See `ReadableStore.size`."""
        try:
            return (self._root / name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._failed("read", name, exc) from exc

    def names(self, directory: str) -> list[str]:
        """See `ReadableStore.names`."""
        try:
            with os.scandir(self._root / directory) as entries:
                return sorted(e.name for e in entries if e.is_file() and e.name[0] != ".")
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise self._failed("list", directory, exc) from exc

    def write_new(self, name: str, contents: Contents) -> bool:
        """See `Store.write_new`."""
        if self._holds(name, contents):
            return False
        # A target's name holds its digest: other bytes there are damaged, and the right ones may
        # take their place.
        if self.size(name) is not None and not name.startswith("targets/"):
            raise AlreadyThere(self._path(name))
        self._put(name, contents)
        return True

    def write_current(self, name: str, data: bytes, *, replacing: bytes | None) -> None:
        """See `Store.write_current`; callers hold the lock, so nothing can slip in between."""
        if self.read(name, _CHUNK_BYTES) != replacing:
            raise PublishedMeanwhile(self.where)
        self._put(name, data)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Store.staging`; on the repository's own file system, so that moving is a rename."""
        path = self._root / _STAGING
        remove_tree(path, kernel=self.kernel)
        make_directory(path, private=False, kernel=self.kernel)
        try:
            yield path
        finally:
            remove_tree(path, kernel=self.kernel)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Store.lock`; clears away what a killed run left behind."""
        make_directory(self._root, 0o755, private=False, kernel=self.kernel)
        with exclusive_lock(self._root / _LOCK, kernel=self.kernel):
            for leftover in sorted(self._root.glob(f"targets/**/{_PARTIAL}*")):
                self.kernel.unlink(leftover)
            yield

    def _holds(self, name: str, contents: Contents) -> bool:
        """Whether a file is there with these contents."""
        if isinstance(contents, bytes):
            return self.size(name) == len(contents) and self.read(name, len(contents)) == contents
        if self.size(name) != contents.stat().st_size:
            return False
        return _digest(self._root / name) == _digest(contents)

    def _put(self, name: str, contents: Contents) -> None:
        final = self._root / name
        make_directory(final.parent, 0o755, private=False, kernel=self.kernel)
        if isinstance(contents, bytes):
            write_file(final, contents, mode=0o644, private=False, kernel=self.kernel)
            return
        partial = final.with_name(f"{_PARTIAL}{final.name}")
        try:
            self._move(contents, partial)
            self.kernel.replace(partial, final)
        except OSError as exc:
            raise self._failed("write", name, exc) from exc
        sync_directory(final.parent, kernel=self.kernel)

    def _move(self, source: Path, partial: Path) -> None:
        """Bring a large file in, flushed: renamed where that is possible, else copied."""
        fd = self.kernel.open(source, os.O_RDONLY)
        try:
            self.kernel.fchmod(fd, 0o644)
            self.kernel.fsync(fd)
            self.kernel.replace(source, partial)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            self._copy(source, partial)
        finally:
            self.kernel.close(fd)

    def _copy(self, source: Path, partial: Path) -> None:
        fd = self.kernel.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            fill(fd, source, 0o644, self.kernel)
        finally:
            self.kernel.close(fd)

    def _path(self, name: str) -> str:
        return str(self._root / name)

    def _failed(self, doing: str, name: str, exc: OSError) -> StoreFailed:
        return StoreFailed(doing, self._path(name), exc.strerror or str(exc))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
