"""Connections that can be cut off from another thread, and bodies that arrive without copies.

The HTTP library has neither: while a response's headers trickle in, nobody can stop it (each
single byte resets its time limit), and a body comes as one new bytes object for each read. Both
are had by standing in for the connection class of its pools; requests and responses stay theirs.

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
import socket
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import PoolManager
    from urllib3.response import HTTPResponse

_active: ContextVar[Call | None] = ContextVar("call", default=None)


class Body(http.client.HTTPResponse):
    """A response whose body is received into the caller's memory."""

    _has_leftovers = True

    def receive(self, view: memoryview) -> int:
        """Receive what one system call gives, at most `view`; 0 at the end of the body.

        The end of a body with a known length that ends early looks the same: `length` is then
        still positive. A chunked one raises `http.client.IncompleteRead`.
        """
        if self.isclosed():
            return 0
        if self.chunked:
            return _put(self.read1(len(view)), view)
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


def _put(data: bytes, view: memoryview) -> int:
    view[: len(data)] = data
    return len(data)


class Call:
    """The requests for one file, as far as cutting them off goes.

    Attributes:
        body: Of the latest response.
        stopped: Set by `abort`, for good.
        out_of_time: The latest response's headers took too long.
    """

    def __init__(self, header_timeout_seconds: float) -> None:
        self.body: Body | None = None
        self.stopped = threading.Event()
        self.out_of_time = False
        self._header_timeout_seconds = header_timeout_seconds
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

        timer = threading.Timer(self._header_timeout_seconds, expire)
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
        return body

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        call = _active.get()
        if call is None:
            return super().getresponse()
        call.attach(self.sock)
        with call.deadline():
            return super().getresponse()


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


def watch(manager: PoolManager) -> None:
    """Make all connections that `manager` will set up the ones above."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
