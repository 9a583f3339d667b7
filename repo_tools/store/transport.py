"""A store as a client sees it: updog's `Transport`, for rehearsals, checks and mirrors.

With an overlay it shows the repository as it will be after some writes, before they are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from updog.errors import CannotResume, DownloadFailed, NotFound
from updog.transport import Fetched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from repo_tools.store.base import ReadableStore
    from updog.targets import Target


class StoreTransport:
    """See `updog.transport.Transport`.

    Args:
        store: Where the files are.
        prefix: Directory of the metadata in the store.
        overlay: Contents of metadata files that differ from the store, by path in the store.
    """

    def __init__(
        self, store: ReadableStore, prefix: str, overlay: Mapping[str, bytes] | None = None
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._overlay = overlay or {}

    @property
    def label(self) -> str:
        """The repository, for messages."""
        return f"{self._store.where}/{self._prefix}"

    def fetch_metadata(
        self, file_name: str, max_bytes: int, *, validator: str | None = None
    ) -> Fetched:
        """Read a metadata file; `validator` is of no use here."""
        del validator
        path = f"{self._prefix}/{file_name}"
        data = self._overlay.get(path)
        if data is None:
            data = self._store.read(path, max_bytes)
        if data is None:
            raise NotFound(f"{self.label}/{file_name}", "no such file")
        return Fetched(data, None)

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> _StreamSource:
        """Start reading a target."""
        del validator
        path = f"targets/{target.relative_path()}"
        if start_bytes:
            raise CannotResume(path, "reading starts at the beginning here")
        pieces = self._store.stream(path)
        if pieces is None:
            raise NotFound(f"{self._store.where}/{path}", "no such file")
        return _StreamSource(pieces, f"{self._store.where}/{path}", target.length_bytes)

    def announce(self, *, target: str | None = None, migrations: Sequence[str] = ()) -> None:
        """Nobody listens here."""

    def close(self) -> None:
        """Nothing is held open."""


class _StreamSource:
    """See `updog.transport.Source`."""

    validator = None

    def __init__(self, pieces: Iterator[bytes], shown: str, length_bytes: int) -> None:
        self._pieces = pieces
        self._shown = shown
        self._left = length_bytes
        self._piece = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """Copy the next bytes."""
        if not self._left:
            return 0
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._piece), self._left)
        if not count:
            raise DownloadFailed(self._shown, f"it ends {self._left} bytes too early")
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        self._left -= count
        return count

    def close(self) -> None:
        """Forget the rest."""
        self._pieces = iter(())
