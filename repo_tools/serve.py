"""A small web server for a repository, for trying things out and for tests.

It serves the files below one directory as a web server should: one thread a client, `Range` (one
range), `If-Range`, strong `ETag`, `If-None-Match`, `If-Modified-Since`, `HEAD`, and HTTP/1.1
connections that stay open. Names that begin with a dot are not there, nor is anything outside the
directory. For a fleet, use a real server or an object store.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


class RepositoryServer(ThreadingHTTPServer):
    """Serves one directory; `port` 0 takes a free one."""

    daemon_threads = True

    def __init__(self, directory: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; `serve_forever` answers."""
        self.directory = directory.resolve()
        self.quiet = False
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        host, port = self.server_address[0], self.server_address[1]
        name = host.decode() if isinstance(host, bytes | bytearray) else host
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "repo-tools"
    sys_version = ""
    server: RepositoryServer

    def do_GET(self) -> None:
        """Answer with a file, or a part of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the headers that GET would send."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
        """Log a request on stderr, unless that is not wanted."""
        if not self.server.quiet:
            super().log_message(format, *args)

    def _answer(self, *, with_body: bool) -> None:
        path = self._path()
        if path is None:
            self._end(HTTPStatus.NOT_FOUND)
            return
        try:
            file = path.open("rb")
        except PermissionError:
            self._end(HTTPStatus.FORBIDDEN)
            return
        except OSError:
            self._end(HTTPStatus.NOT_FOUND)
            return
        with file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                self._end(HTTPStatus.NOT_FOUND)
                return
            self._send_file(file, status, with_body=with_body)

    def _path(self) -> Path | None:
        """The file that is asked for, if it may be."""
        parts = [part for part in unquote(urlsplit(self.path).path).split("/") if part]
        if any(part.startswith(".") or "\0" in part for part in parts):
            return None
        path = self.server.directory.joinpath(*parts)
        return path if path.resolve().is_relative_to(self.server.directory) else None

    def _send_file(self, file: BinaryIO, status: os.stat_result, *, with_body: bool) -> None:
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        validators = {
            "ETag": etag,
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if self._is_unchanged(etag, status):
            self._end(HTTPStatus.NOT_MODIFIED, validators)
            return
        first, last = 0, status.st_size - 1
        code = HTTPStatus.OK
        wanted = self._range(status.st_size, etag)
        if wanted is not None:
            first, last = wanted
            if first > last:
                validators["Content-Range"] = f"bytes */{status.st_size}"
                self._end(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, validators)
                return
            validators["Content-Range"] = f"bytes {first}-{last}/{status.st_size}"
            code = HTTPStatus.PARTIAL_CONTENT
        length = last - first + 1
        self.send_response(code)
        for name, value in validators.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if with_body and length:
            # A client that goes away in the middle is its own affair.
            with suppress(ConnectionError, TimeoutError):
                self.connection.sendfile(file, first, length)

    def _is_unchanged(self, etag: str, status: os.stat_result) -> bool:
        """RFC 9110, section 13.2.2: If-None-Match decides; without it, If-Modified-Since."""
        if "If-None-Match" in self.headers:
            tags = self.headers["If-None-Match"].split(",")
            return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in tags)
        since = self.headers.get("If-Modified-Since")
        if since is None:
            return False
        try:
            return int(status.st_mtime) <= parsedate_to_datetime(since).timestamp()
        except ValueError:
            return False

    def _range(self, size: int, etag: str) -> tuple[int, int] | None:
        """First and last byte that are asked for; first > last if there are none such."""
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if match is None or not (match[1] or match[2]):
            return None
        if self.headers.get("If-Range", etag) != etag:
            return None
        if not match[1]:
            return max(0, size - int(match[2])), size - 1
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        return (int(match[1]), last) if int(match[1]) < size else (1, 0)

    def _end(self, code: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        """Answer without a body."""
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if code != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", "0")
        self.end_headers()
