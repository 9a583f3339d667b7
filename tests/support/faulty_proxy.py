"""A bad network in front of a real server: each request is fetched from it, then spoiled.

    with faulty(server.url) as proxy:
        proxy.faults = [reset(after=1000), status(503)]    # for the next two requests, in order
        proxy.always = slow(4096, pause_seconds=0.01)      # for all others

A fault only ever sees one answer. What a server that lacks a feature would do (no ranges, no
validators, no lengths) is a fault too.
"""

from __future__ import annotations

import gzip
import http.client
import socket
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from tests.support.servers import Handler, Request, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "host"}


@dataclass(frozen=True)
class Answer:
    """What the real server answered. Header names are as it wrote them."""

    request: Request
    status: int
    headers: Mapping[str, str]
    body: bytes
    fetch: Callable[[Request], Answer] = field(repr=False)

    def with_headers(self, **changes: str | None) -> Answer:
        """Set or remove headers; underscores in names become hyphens."""
        headers = dict(self.headers)
        for name, value in changes.items():
            plain = name.replace("_", "-")
            headers = {key: old for key, old in headers.items() if key.lower() != plain.lower()}
            if value is not None:
                headers[plain] = value
        return replace(self, headers=headers)


Fault: TypeAlias = "Callable[[Handler, Answer], None]"


def passed_on(handler: Handler, answer: Answer) -> None:
    """No fault."""
    send_head(handler, answer)
    handler.wfile.write(answer.body)


def send_head(handler: Handler, answer: Answer) -> None:
    """Send status and headers as they are, nothing added."""
    handler.send_response_only(answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in HOP_BY_HOP:
            handler.send_header(name, value)
    handler.end_headers()


def cut_off(handler: Handler) -> None:
    """End the connection with a reset."""
    handler.close_connection = True
    handler.wfile.flush()
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def status(code: int, body: bytes = b"no", **headers: str) -> Fault:
    """Answer with another status."""

    def fault(handler: Handler, answer: Answer) -> None:
        del answer
        handler.send_body(body, status=code, **headers)

    return fault


def raw(make: Callable[[Answer], bytes]) -> Fault:
    """Send these bytes in the answer's place, HTTP or not, and close the connection."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.close_connection = True
        handler.wfile.write(make(answer))

    return fault


def trickle(head: bytes, piece: bytes, *, pause_seconds: float) -> Fault:
    """Send `head`, then one small piece after the other, without end."""

    def fault(handler: Handler, answer: Answer) -> None:
        del answer
        handler.close_connection = True
        handler.wfile.write(head)
        for _ in range(1000):
            handler.wfile.write(piece)
            time.sleep(pause_seconds)

    return fault


def refuse(handler: Handler, answer: Answer) -> None:
    """Close the connection without an answer."""
    del answer
    handler.close_connection = True


def reset(*, after: int) -> Fault:
    """Reset the connection after so many bytes of the body."""

    def fault(handler: Handler, answer: Answer) -> None:
        send_head(handler, answer)
        handler.wfile.write(answer.body[:after])
        # What is on its way must arrive before the reset overtakes it.
        time.sleep(0.05)
        cut_off(handler)

    return fault


def truncate(*, after: int) -> Fault:
    """Close the connection in good order after so many bytes of the body."""

    def fault(handler: Handler, answer: Answer) -> None:
        send_head(handler, answer)
        handler.wfile.write(answer.body[:after])
        handler.close_connection = True

    return fault


def stall(*, after: int, seconds: float = 30.0) -> Fault:
    """Send so many bytes of the body, then nothing until the client goes away."""

    def fault(handler: Handler, answer: Answer) -> None:
        send_head(handler, answer)
        handler.wfile.write(answer.body[:after])
        handler.close_connection = True
        wait_for_goodbye(handler, seconds)

    return fault


def silence(handler: Handler, answer: Answer) -> None:
    """Answer nothing at all, until the client goes away."""
    del answer
    handler.close_connection = True
    wait_for_goodbye(handler, 30.0)


def trickle_headers(*, pause_seconds: float) -> Fault:
    """Send headers byte by byte, without end."""
    return trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", pause_seconds=pause_seconds)


def slow(piece_bytes: int, *, pause_seconds: float) -> Fault:
    """Send the body in pieces, with pauses between."""

    def fault(handler: Handler, answer: Answer) -> None:
        send_head(handler, answer)
        for start in range(0, len(answer.body), piece_bytes):
            handler.wfile.write(answer.body[start : start + piece_bytes])
            time.sleep(pause_seconds)

    return fault


def corrupt(*, at: int) -> Fault:
    """Change one byte of the body."""

    def fault(handler: Handler, answer: Answer) -> None:
        body = bytearray(answer.body)
        body[at % len(body)] ^= 0xFF
        passed_on(handler, replace(answer, body=bytes(body)))

    return fault


def reorder(handler: Handler, answer: Answer) -> None:
    """Send the second half of the body before the first."""
    half = len(answer.body) // 2
    passed_on(handler, replace(answer, body=answer.body[half:] + answer.body[:half]))


def surplus(extra: bytes) -> Fault:
    """Send more than the length that was told."""

    def fault(handler: Handler, answer: Answer) -> None:
        passed_on(handler, replace(answer, body=answer.body + extra))
        handler.close_connection = True

    return fault


def wrong_length(by: int) -> Fault:
    """Tell, and send, a body that is longer or shorter than the file."""

    def fault(handler: Handler, answer: Answer) -> None:
        body = answer.body + bytes(by) if by > 0 else answer.body[:by]
        told = answer.with_headers(Content_Length=str(len(body)))
        passed_on(handler, replace(told, body=body))

    return fault


def gzipped(handler: Handler, answer: Answer) -> None:
    """Compress the body, as some proxies do unasked."""
    body = gzip.compress(answer.body, compresslevel=1)
    told = answer.with_headers(Content_Length=str(len(body)), Content_Encoding="gzip")
    passed_on(handler, replace(told, body=body))


def html(handler: Handler, answer: Answer) -> None:
    """Answer with a page, as the login page of a network does."""
    del answer
    handler.send_body(b"<html>please log in</html>", Content_Type="text/html")


def redirect(location: str, code: int = 302) -> Fault:
    """Send the client elsewhere."""
    return status(code, b"", Location=location)


def chunked(handler: Handler, answer: Answer) -> None:
    """Send the body without telling its length first."""
    _begin_chunks(handler, answer)
    for start in range(0, len(answer.body), 10_000):
        _send_chunk(handler, answer.body[start : start + 10_000])
    _send_chunk(handler, b"")


def chunked_cut_off(*, after: int) -> Fault:
    """The same, and close the connection after so many bytes of the body."""

    def fault(handler: Handler, answer: Answer) -> None:
        _begin_chunks(handler, answer)
        _send_chunk(handler, answer.body[:after])
        handler.close_connection = True

    return fault


def endless(handler: Handler, answer: Answer) -> None:
    """Send the body, and then go on for ever."""
    _begin_chunks(handler, answer)
    _send_chunk(handler, answer.body)
    for _ in range(10_000):
        _send_chunk(handler, bytes(65_536))


def until_closed(handler: Handler, answer: Answer) -> None:
    """Send the body as HTTP/1.0 does: it ends where the connection ends."""
    send_head(handler, answer.with_headers(Content_Length=None))
    handler.wfile.write(answer.body)
    handler.close_connection = True


def _begin_chunks(handler: Handler, answer: Answer) -> None:
    handler.send_response_only(answer.status)
    for name, value in answer.with_headers(Content_Length=None).headers.items():
        if name.lower() not in HOP_BY_HOP:
            handler.send_header(name, value)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def _send_chunk(handler: Handler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


def without(*names: str) -> Fault:
    """Leave headers out, of whatever the real server answered."""

    def fault(handler: Handler, answer: Answer) -> None:
        passed_on(handler, answer.with_headers(**dict.fromkeys(names)))

    return fault


def whole(handler: Handler, answer: Answer) -> None:
    """Ignore ranges: always send all of it."""
    headers = {name: value for name, value in answer.request.headers.items() if "range" not in name}
    passed_on(handler, answer.fetch(replace(answer.request, headers=headers)))


def another_file(handler: Handler, answer: Answer) -> None:
    """Ignore ranges, and name another version of the file."""
    headers = {name: value for name, value in answer.request.headers.items() if "range" not in name}
    fresh = answer.fetch(replace(answer.request, headers=headers))
    passed_on(handler, fresh.with_headers(ETag='"another"'))


def content_range(text: str) -> Fault:
    """Tell another range than the one that is sent."""

    def fault(handler: Handler, answer: Answer) -> None:
        passed_on(handler, answer.with_headers(Content_Range=text))

    return fault


def both(first: Callable[[Answer], Answer], then: Fault) -> Fault:
    """Change an answer, then spoil it."""
    return lambda handler, answer: then(handler, first(answer))


def wait_for_goodbye(handler: Handler, seconds: float) -> None:
    """Return when the client has closed its side, or after so long."""
    handler.wfile.flush()
    handler.connection.settimeout(seconds)
    try:
        while handler.connection.recv(1000):
            pass
    except OSError:
        pass


class FaultyProxy:
    """Passes requests on to one server.

    Attributes:
        faults: For the next requests, one each; used up.
        always: For all others.
        requests: What clients asked for, in order of arrival.
        url: Where it listens.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self.faults: list[Fault] = []
        self.always: Fault = passed_on
        self.requests: list[Request] = []
        self.url = ""

    def answer(self, handler: Handler, request: Request) -> None:
        """Deal with one request."""
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else self.always
        fault(handler, self.fetch(request))

    def fetch(self, request: Request) -> Answer:
        """Ask the real server."""
        connection = http.client.HTTPConnection(str(self._upstream.netloc), timeout=20)
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        connection.request("GET", f"{self._upstream.path}{request.path}", headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return Answer(request, response.status, dict(response.getheaders()), body, self.fetch)


@contextmanager
def faulty(upstream: str) -> Iterator[FaultyProxy]:
    """Run a proxy in front of a server."""
    proxy = FaultyProxy(upstream)
    with answering(proxy.answer) as server:
        proxy.url = server.url
        yield proxy
