"""A repository in a directory: `file://` addresses, and the layout that a web server would serve.

Names come from metadata; whatever they hold, nothing outside the directory is opened: a name is
decoded once, as a URL's path is, and the file that it leads to, links followed, must lie below the
base.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from typing import TYPE_CHECKING
from urllib.parse import unquote

from partition.errors import reason
from updog.errors import CannotResume, DownloadFailed, NotFound
from updog.targets import name_problem
from updog.transport import Fetched

if TYPE_CHECKING:
    from pathlib import Path

    from updog.targets import Target


class LocalBase:
    """A directory below which a repository's files lie."""

    def __init__(self, directory: Path) -> None:
        self.label = f"file://{directory}/"
        self._directory = directory

    def fetch(self, file_name: str, max_bytes: int, validator: str | None) -> Fetched:
        """See `updog.transport.Transport.fetch_metadata`; `validator` is not needed."""
        del validator
        return Fetched(self._open(unquote(file_name)).read_all(max_bytes), None)

    def open(self, target: Target, start_bytes: int, validator: str | None) -> LocalSource:
        """See `updog.transport.Transport.open_target`."""
        source = self._open(target.relative_path())
        return source.starting_at(start_bytes, target.length_bytes, validator)

    def close(self) -> None:
        """Nothing is kept open."""

    def _open(self, name: str) -> LocalSource:
        shown = f"{self.label}{name}"
        if name_problem(name) is not None:
            raise NotFound(shown, "no such file")
        try:
            base = self._directory.resolve(strict=True)
            path = (base / name).resolve(strict=True)
            # O_NONBLOCK: a FIFO there must not stop us for ever.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(path, flags) if path.is_relative_to(base) else None
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(shown, "no such file") from error
        except OSError as error:
            raise DownloadFailed(shown, reason(error)) from error
        if fd is None:
            raise DownloadFailed(shown, "it leads out of the repository")
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise DownloadFailed(shown, "it is not a regular file")
        identity = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
        return LocalSource(fd, shown, 0, status.st_size, identity)


class LocalSource:
    """A range of an open file; see `updog.transport.Source`. Owns the descriptor.

    Args:
        fd: Open for reading.
        shown: Its name for messages.
        offset_bytes: Where in the open file it starts.
        length_bytes: How long it is.
        validator: See `updog.transport.Source`.
    """

    def __init__(
        self, fd: int, shown: str, offset_bytes: int, length_bytes: int, validator: str | None
    ) -> None:
        self.shown = shown
        self.length_bytes = length_bytes
        self.validator = validator
        self._fd = fd
        self._offset_bytes = offset_bytes
        self._position = 0
        # Closing in another thread must not leave a read with somebody else's descriptor.
        self._lock = threading.Lock()

    def starting_at(
        self, start_bytes: int, length_bytes: int, validator: str | None
    ) -> LocalSource:
        """Go on from a position of the target; closes the source if that makes no sense.

        Raises:
            DownloadFailed: It has another length.
            CannotResume: It is another file than `validator` names.
        """
        problem = None
        if self.length_bytes != length_bytes:
            told = f"it has {self.length_bytes} bytes, expected {length_bytes}"
            problem = DownloadFailed(self.shown, told)
        elif start_bytes and validator not in {None, self.validator}:
            problem = CannotResume(self.shown, "there is another file there by now")
        if problem is not None:
            self.close()
            raise problem
        self._position = start_bytes
        return self

    def read_all(self, max_bytes: int) -> bytes:
        """Return everything, and close the source.

        Raises:
            DownloadFailed: It is longer than `max_bytes`, or cannot be read.
        """
        with contextlib.closing(self):
            if self.length_bytes > max_bytes:
                raise DownloadFailed(self.shown, f"longer than {max_bytes} bytes")
            data = bytearray(self.length_bytes)
            position = 0
            while received := self.readinto(memoryview(data)[position:]):
                position += received
            return bytes(data)

    def readinto(self, buffer: memoryview) -> int:
        """See `updog.transport.Source.readinto`."""
        view = buffer[: self.length_bytes - self._position]
        if not view:
            return 0
        try:
            with self._lock:
                received = os.preadv(self._fd, [view], self._offset_bytes + self._position)
        except OSError as error:
            raise DownloadFailed(self.shown, reason(error)) from error
        if received == 0:
            told = f"it ends after {self._position} of {self.length_bytes} bytes"
            raise DownloadFailed(self.shown, told)
        self._position += received
        return received

    def close(self) -> None:
        """See `updog.transport.Source.close`."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
