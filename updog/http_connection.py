"""Connections that can be cut off from another thread, and bodies that arrive without copies.

The HTTP library has neither: while a proxy's answer, TLS or a response's headers trickle in, nobody
can stop it (each single byte resets its time limit), and a body comes as one new bytes object for
each read. Both are had by standing in for the connection class of its pools; requests and
responses stay theirs.

    call = Call()
    with call.active():                       # this thread's next connection belongs to `call`
        response = session.get(url, stream=True)
    call.body.receive(view)                   # one recv, straight into the caller's buffer
    call.abort()                              # from any thread: whatever waits fails at once
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import re
import socket
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import PoolManager
    from urllib3.response import HTTPResponse

_active: ContextVar[Call | None] = ContextVar("call", default=None)

# RFC 9112 section 7.1: hexadecimal digits, and extensions that nobody needs; trailers likewise.
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_MAX_FRAMING_BYTES: Final = 16 << 10
_INTERIM: Final = frozenset(range(100, 200)) - {http.HTTPStatus.SWITCHING_PROTOCOLS}


class Body(http.client.HTTPResponse):
    """A response whose body is received into the caller's memory.

    Attributes:
        framing_seconds: The most that the lines between two chunks may take together.
    """

    framing_seconds = 60.0
    _has_leftovers = True

    def receive(self, view: memoryview) -> int:
        """Receive what one system call gives, at most `view`; 0 at the end of the body.

        The end of a body with a known length that ends early looks the same: `length` is then
        still positive. A chunked one raises `http.client.IncompleteRead`.
        """
        if self.isclosed():
            return 0
        if self.chunked:
            return self._receive_chunked(view)
        if self.length is not None:
            view = view[: self.length]
        if self._has_leftovers or len(view) <= io.DEFAULT_BUFFER_SIZE:
            # What came along with the headers lies in the reader's buffer. `readinto1` would give
            # it out only together with bytes that are still to come, or lose it if none do.
            wanted = min(len(view), io.DEFAULT_BUFFER_SIZE)
            received = _put(self.fp.read1(wanted), view)
            # One read of the buffer's own size takes all that lies in it.
            self._has_leftovers = received == wanted < io.DEFAULT_BUFFER_SIZE
        else:
            received = self.fp.readinto1(view)
        if self.length is not None:
            self.length -= received
        return received

    def _receive_chunked(self, view: memoryview) -> int:
        """Receive from the current chunk, or go on to the next one.

        The library's own reader takes negative sizes, and trailers without end.
        """
        if not self.chunk_left:
            self.chunk_left = self._next_chunk(is_first=self.chunk_left is None)
            if not self.chunk_left:
                self.close()
                return 0
        received = _put(self.fp.read1(min(len(view), self.chunk_left)), view)
        if not received:
            raise http.client.IncompleteRead(b"")
        self.chunk_left -= received
        return received

    def _next_chunk(self, *, is_first: bool) -> int:
        """Read the lines up to the next chunk; return its size, or 0 after the last trailer."""
        lines = self._lines(time.monotonic() + self.framing_seconds)
        size = None if not is_first and next(lines) else _CHUNK_SIZE.fullmatch(next(lines))
        if size is None:
            raise OSError(errno.EPROTO, "its chunks make no sense")
        length = int(size[1], 16)
        while not length and next(lines):
            pass
        return length

    def _lines(self, deadline: float) -> Iterator[bytes]:
        """Lines without their ends; each byte is waited for alone, since readline has no limit."""
        line = bytearray()
        for _ in range(_MAX_FRAMING_BYTES):
            byte = self.fp.read1(1)
            if not byte:
                raise http.client.IncompleteRead(b"")
            if time.monotonic() > deadline:
                raise OSError(errno.EPROTO, "its chunks trickle in")
            line += byte
            if byte == b"\n":
                yield bytes(line.rstrip(b"\r\n"))
                line.clear()
        raise OSError(errno.EPROTO, "too much between its chunks")

    def _read_status(self) -> tuple[str, int, str]:
        """Take any interim answer for `100 Continue`, which the library reads past.

        RFC 9110 section 15.2; it knows that one alone, and would take 103 for the answer itself.
        """
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = status in _INTERIM
        return version, http.HTTPStatus.CONTINUE if is_interim else status, reason


def _put(data: bytes, view: memoryview) -> int:
    view[: len(data)] = data
    return len(data)


class Call:
    """The requests for one file, as far as cutting them off goes.

    Attributes:
        body: Of the latest response.
        stopped: Set by `abort`, for good.
        out_of_time: The latest connection, or its response's headers, took too long.
        header_timeout_seconds: How long each of them may take, and what lies between chunks.
    """

    def __init__(self, header_timeout_seconds: float) -> None:
        self.body: Body | None = None
        self.stopped = threading.Event()
        self.out_of_time = False
        self.header_timeout_seconds = header_timeout_seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make connections that this thread uses meanwhile belong to this call."""
        self.body, self.out_of_time = None, False
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def abort(self) -> None:
        """Cut the connection off, now and whenever there is one again. From any thread."""
        self.stopped.set()
        self._cut()

    def attach(self, connected: socket.socket) -> None:
        """Remember the socket to cut off."""
        with self._lock:
            self._socket = connected
        if self.stopped.is_set():
            raise ConnectionAbortedError(errno.ECONNABORTED, "stopped before the answer")

    def detach(self) -> None:
        """Forget the socket: it goes back to the pool, and the next user must not be cut off."""
        with self._lock:
            self._socket = None

    @contextlib.contextmanager
    def deadline(self) -> Iterator[None]:
        """Cut the connection off if the block takes longer than headers may."""

        def expire() -> None:
            self.out_of_time = True
            self._cut()

        timer = threading.Timer(self.header_timeout_seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # The plain socket's own, on a TLS socket too: that class's would take its
                    # state away from under the thread that reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Watched(HTTPConnection):
    """Tells the active call about its socket and its body."""

    def response_class(self, sock: socket.socket, **options: Any) -> Body:  # type: ignore[override]  # noqa: ANN401
        body = Body(sock, **options)
        call = _active.get()
        if call is not None:
            call.body = body
            body.framing_seconds = call.header_timeout_seconds
        return body

    def connect(self) -> None:
        """Set up the connection; a proxy's answer and TLS together have as long as headers have."""
        with contextlib.ExitStack() as self._setting_up:
            super().connect()

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        call = _active.get()
        if call is not None:
            # TLS takes the socket's descriptor away from it; this one is for cutting off alone.
            twin = self._setting_up.enter_context(connected.dup())
            self._setting_up.callback(call.detach)
            try:
                call.attach(twin)
            except OSError:
                connected.close()
                raise
            self._setting_up.enter_context(call.deadline())
        return connected

    def _tunnel(self) -> None:
        super()._tunnel()
        call = _active.get()
        if call is not None and (call.out_of_time or call.stopped.is_set()):
            # Headers that were cut off look whole to the library, and it would go on with TLS.
            raise ConnectionAbortedError(errno.ECONNABORTED, "stopped before the answer")

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        call = _active.get()
        if call is None:
            return super().getresponse()
        call.attach(self.sock)
        with call.deadline():
            try:
                return super().getresponse()
            except BaseException:
                if call.body is not None:
                    call.body.close()
                raise


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


def watch(manager: PoolManager) -> None:
    """Make all connections that `manager` will set up the ones above."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
