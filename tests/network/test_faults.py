"""Every fault of a network in front of a real server: the right bytes, or one clear line.

nginx serves; a proxy of ours spoils its answers. The reader does what the pipeline does: it starts
over when it is told that it cannot go on, and compares the digest in the end.
"""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from tests.support import faulty_proxy as spoil
from tests.support.servers import LOOPBACK, Nginx, nginx
from updog.connect import connect
from updog.errors import CannotResume, DownloadFailed, Forbidden, Interrupted, NotFound
from updog.retries import Limits
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.faulty_proxy import Answer, Fault, FaultyProxy
    from updog.transport import RepositoryTransport, Source

CONTENT = random.Random(1).randbytes(300_000)  # noqa: S311  the same in every run
DIGEST = hashlib.sha256(CONTENT).hexdigest()
IMAGE = Target("image", len(CONTENT), {"sha256": DIGEST})
PATH = f"/targets/{DIGEST}.image"
QUICK = Limits(
    connect_timeout_seconds=5.0,
    stall_timeout_seconds=1.0,
    max_retries=3,
    first_wait_seconds=0.01,
    longest_wait_seconds=0.02,
    longest_retry_after_seconds=1.5,
    min_bytes_per_second=500,
    rate_window_seconds=1.0,
)
# For faults that do not go away.
ONE_RETRY = replace(QUICK, max_retries=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    directory: Path = tmp_path_factory.mktemp("www")
    (directory / "targets").mkdir()
    (directory / "metadata").mkdir()
    (directory / PATH[1:]).write_bytes(CONTENT)
    (directory / "metadata/timestamp.json").write_bytes(b'{"signed": {}}' + b" " * 5000)
    with nginx(directory) as running:
        yield running


@pytest.fixture
def proxy(server: Nginx) -> Iterator[FaultyProxy]:
    with spoil.faulty(server.url) as running:
        yield running


def to(url: str, limits: Limits = QUICK) -> RepositoryTransport:
    return connect(f"{url}/metadata", f"{url}/targets", limits=limits)


def download(transport: RepositoryTransport, target: Target = IMAGE) -> bytes:
    """Receive a target as the pipeline does."""
    for _ in range(3):
        data, buffer = bytearray(), memoryview(bytearray(50_000))
        try:
            with closing(transport.open_target(target)) as source:
                while received := source.readinto(buffer):
                    data += buffer[:received]
        except CannotResume:
            continue
        if hashlib.sha256(data).hexdigest() != target.hashes["sha256"]:
            raise AssertionError("other bytes")
        return bytes(data)
    raise AssertionError("started over three times")


def drain(source: Source, buffer: memoryview) -> None:
    while source.readinto(buffer):
        pass


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# Sizes that datetime cannot hold.
NEVER = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


def told_first(interim: bytes) -> Fault:
    """Interim answers before the real one (RFC 9110 section 15.2)."""
    head = f"{interim.decode()}HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    return spoil.raw(lambda answer: head.encode() + answer.body)


def in_parts(answer: Answer) -> bytes:
    """A multipart answer to a range (RFC 9110 section 14.6), which only several ranges may have."""
    part = b"--x\r\nContent-Range: bytes 100000-299999/300000\r\n\r\n" + answer.body + b"\r\n--x--"
    return (
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % len(part)
    ) + part


def with_trailers(answer: Answer) -> bytes:
    """In one chunk with an extension, and trailers that say nonsense."""
    return CHUNKED + b"%x ;a=b\r\n%b\r\n0\r\nDigest: sha-256=AAAA\r\nnonsense\r\n\r\n" % (
        len(answer.body),
        answer.body,
    )


@dataclass(frozen=True)
class Survived:
    """Faults in the way of one download, after which it completes.

    Attributes:
        ranges: What was asked for, in order; empty where it does not matter.
    """

    story: str
    faults: Sequence[Fault]
    always: Fault = spoil.passed_on
    ranges: Sequence[str | None] = field(default=())


BREAK = spoil.reset(after=100_000)
SURVIVED = [
    Survived("nothing", [], ranges=[None]),
    Survived("a reset", [BREAK], ranges=[None, "bytes=100000-"]),
    Survived(
        "resets that leave some progress, more of them than there are retries",
        [spoil.reset(after=25_000)] * 11,
    ),
    Survived(
        "a body that ends early",
        [spoil.truncate(after=1), spoil.truncate(after=0)],
        ranges=[None, "bytes=1-", "bytes=1-"],
    ),
    Survived("a connection closed without an answer", [spoil.refuse, spoil.refuse]),
    Survived("no answer", [spoil.silence]),
    Survived("a stall", [spoil.stall(after=150_000)], ranges=[None, "bytes=150000-"]),
    Survived("headers that trickle", [spoil.trickle_headers(pause_seconds=0.02)]),
    Survived(
        "a slow link, far slower than any limit on silence",
        [],
        spoil.slow(3000, pause_seconds=0.01),
    ),
    Survived("500, 502, 503", [spoil.status(code) for code in (500, 502, 503)]),
    Survived("429 with a moment to wait", [spoil.status(429, Retry_After="1")]),
    Survived(
        "503 in the middle",
        [BREAK, spoil.status(503, Retry_After="0")],
        ranges=[None, "bytes=100000-", "bytes=100000-"],
    ),
    Survived("a page in the middle", [BREAK, spoil.html]),
    Survived("an encoded answer in the middle", [BREAK, spoil.gzipped]),
    Survived(
        "a range that was not asked for", [BREAK, spoil.content_range("bytes 5-299999/300000")]
    ),
    Survived("a range of another file", [BREAK, spoil.content_range("bytes 100000-299999/300001")]),
    Survived("a range that is none", [BREAK, spoil.content_range("100000-299999")]),
    Survived("a partial answer without a range", [BREAK, spoil.without("Content-Range")]),
    Survived(
        "a server without ranges",
        [BREAK],
        spoil.whole,
        ranges=[None, "bytes=100000-"],
    ),
    Survived(
        "a server without ranges and validators",
        [spoil.both(lambda answer: answer.with_headers(ETag=None, Last_Modified=None), BREAK)],
        spoil.both(lambda answer: answer.with_headers(ETag=None, Last_Modified=None), spoil.whole),
    ),
    Survived(
        "another file in the middle: from the start",
        [BREAK, spoil.another_file],
        ranges=[None, "bytes=100000-", None],
    ),
    Survived(
        "416 in the middle: from the start",
        [BREAK, spoil.status(416)],
        ranges=[None, "bytes=100000-", None],
    ),
    Survived("no length told", [], spoil.chunked),
    Survived("no length told, and cut off", [spoil.chunked_cut_off(after=90_000)]),
    Survived("trailers that are wrong", [spoil.raw(with_trailers)]),
    Survived("a body that ends with the connection", [], spoil.until_closed),
    Survived(
        "early hints and 100 Continue, unasked",
        [
            told_first(
                b"HTTP/1.1 100 Continue\r\n\r\n"
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
                b"HTTP/1.1 102 Processing\r\n\r\n"
            )
        ],
        ranges=[None],
    ),
    Survived("a multipart answer to one range", [BREAK, spoil.raw(in_parts)]),
    Survived(
        "dates that nothing can hold",
        [
            spoil.both(lambda answer: answer.with_headers(ETag=None, Last_Modified=NEVER), BREAK),
            spoil.status(503, Retry_After=NEVER),
        ],
    ),
    Survived("redirects", [spoil.redirect(f"/x/..{PATH}?again"), spoil.redirect(PATH, 307)]),
]


@pytest.mark.parametrize("case", SURVIVED, ids=lambda case: case.story)
def test_survived(proxy: FaultyProxy, case: Survived) -> None:
    proxy.faults, proxy.always = list(case.faults), case.always
    with closing(to(proxy.url)) as transport:
        assert download(transport) == CONTENT
    assert not proxy.faults, "some fault never happened"
    if case.ranges:
        assert [request.headers.get("range") for request in proxy.requests] == case.ranges


@dataclass(frozen=True)
class Ended:
    """A fault that does not go away, and the line that a download ends with."""

    story: str
    fault: Fault
    line: str
    kind: type[Exception] = DownloadFailed
    limits: Limits = ONE_RETRY


ENDED = [
    Ended("403", spoil.status(403), "403 Forbidden", Forbidden),
    Ended("404", spoil.status(404), "404 Not Found", NotFound),
    Ended("410", spoil.status(410), "410 Gone"),
    Ended("401", spoil.status(401), "401 Unauthorized"),
    Ended("500", spoil.status(500), "500 Internal Server Error; gave up after 2 attempts"),
    Ended("503", spoil.status(503), "503 Service Unavailable; gave up after 2 attempts"),
    Ended("come back in an hour", spoil.status(429, Retry_After="3600"), "in 3600 s"),
    Ended("206 unasked", spoil.status(206), "206 Partial Content"),
    Ended("204", spoil.status(204, b""), "204 No Content"),
    Ended("304 unasked", spoil.status(304, b""), "304 Not Modified"),
    Ended("nothing", spoil.silence, r"no answer within 1 s; gave up after 2 attempts"),
    Ended("a stall", spoil.stall(after=10), r"nothing received for 1 s; gave up"),
    Ended(
        "headers without end", spoil.trickle_headers(pause_seconds=0.02), "only part of an answer"
    ),
    Ended("a crawl", spoil.slow(20, pause_seconds=0.05), "slower than 500 bytes per second"),
    Ended("closed at once", spoil.refuse, "closed the connection without an answer; gave up"),
    Ended("one byte at a time", spoil.reset(after=1), "gave up after 2 attempts without progress"),
    Ended("a page", spoil.html, r"the server has 26 bytes, expected 300000 \(text/html\)"),
    Ended("a byte too many", spoil.wrong_length(1), "the server has 300001 bytes, expected 300000"),
    Ended("a byte too few", spoil.wrong_length(-1), "the server has 299999 bytes, expected 300000"),
    Ended("gzip", spoil.gzipped, "sends it encoded as 'gzip'"),
    Ended("data without end", spoil.endless, "longer than 300000 bytes"),
    Ended("a circle", spoil.redirect(PATH), "redirected more than 5 times"),
    Ended("a file of this host", spoil.redirect("file:///etc/passwd"), "away from the web"),
    Ended("no address", spoil.redirect("http://[::1"), "leads to no address"),
    Ended("no name of a host", spoil.redirect("http://..invalid/"), "cannot ask for it"),
    Ended(
        "a sermon",
        spoil.raw(lambda _: b"HTTP/1.1 400 %b\r\n\r\n" % (b"Amen" * 10_000)),
        "400 (Amen){20}$",
    ),
    Ended("another protocol", spoil.redirect("ftp://example.invalid/x"), "its scheme is 'ftp'"),
    Ended("protocols switched", spoil.status(101, b""), "101 Switching Protocols"),
    Ended(
        "chunks below zero",
        spoil.raw(lambda answer: CHUNKED + b"-5\r\n" + answer.body),
        "its chunks make no sense; gave up after 2 attempts",
    ),
    Ended(
        "chunks that do not end where they say",
        spoil.raw(lambda answer: CHUNKED + b"5\r\n" + answer.body[:7] + b"\r\n0\r\n\r\n"),
        "its chunks make no sense; gave up after 2 attempts",
    ),
    Ended(
        "a chunk's size that trickles in",
        spoil.trickle(CHUNKED, b"0", pause_seconds=0.02),
        "trickle",
    ),
    Ended(
        "trailers without end",
        spoil.raw(lambda _: CHUNKED + b"0\r\n" + b"X: y\r\n" * 10_000),
        "too much between its chunks; gave up after 2 attempts",
        limits=replace(ONE_RETRY, stall_timeout_seconds=30),
    ),
    Ended(
        "trailers that trickle in",
        spoil.trickle(CHUNKED + b"0\r\n", b"X: y\r\n", pause_seconds=0.02),
        "its chunks trickle in; gave up after 2 attempts",
    ),
    Ended(
        "interim answers without end",
        spoil.trickle(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", pause_seconds=0.02),
        "only part of an answer",
    ),
    Ended(
        "two lengths",
        spoil.raw(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello"),
        "the answer is not HTTP; gave up after 2 attempts",
    ),
    Ended("corruption", spoil.corrupt(at=1234), "other bytes", AssertionError),
    Ended("reordering", spoil.reorder, "other bytes", AssertionError),
]


@pytest.mark.parametrize("case", ENDED, ids=lambda case: case.story)
def test_ended(proxy: FaultyProxy, case: Ended) -> None:
    proxy.always = case.fault
    with (
        closing(to(proxy.url, case.limits)) as transport,
        pytest.raises(case.kind, match=case.line) as caught,
    ):
        download(transport)
    line = str(caught.value)
    assert "\n" not in line
    if case.kind is not AssertionError:
        assert line.startswith(f"cannot download {proxy.url}{PATH}: ")


def test_bytes_after_the_told_length_are_not_read(proxy: FaultyProxy) -> None:
    proxy.always = spoil.surplus(b"x" * 1000)
    with closing(to(proxy.url)) as transport:
        assert download(transport) == CONTENT


def test_nobody_there() -> None:
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        url = f"http://{LOOPBACK}:{bound.getsockname()[1]}"
        with (
            closing(to(url, ONE_RETRY)) as transport,
            pytest.raises(DownloadFailed, match="Connection refused; gave up after 2 attempts"),
        ):
            download(transport)


def test_no_such_host() -> None:
    with (
        closing(to("http://host.invalid", ONE_RETRY)) as transport,
        pytest.raises(DownloadFailed, match=r"host\.invalid/.*(not known|resolution)"),
    ):
        download(transport)


def test_something_that_is_not_http() -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()
        port = listening.getsockname()[1]

        def talk() -> None:
            for _ in range(ONE_RETRY.max_retries + 1):
                client, _ = listening.accept()
                with client:
                    client.recv(10_000)
                    client.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        with (
            closing(to(f"http://{LOOPBACK}:{port}", ONE_RETRY)) as transport,
            pytest.raises(DownloadFailed, match="the answer is not HTTP"),
        ):
            download(transport)
        thread.join()


class TestResumingLater:
    """Another process goes on where an earlier one stopped."""

    START = 123_456

    def begin(self, transport: RepositoryTransport) -> str | None:
        with closing(transport.open_target(IMAGE)) as source:
            source.readinto(memoryview(bytearray(10)))
            return source.validator

    def rest(self, transport: RepositoryTransport, validator: str | None) -> bytes:
        data, buffer = bytearray(), memoryview(bytearray(7777))
        source = transport.open_target(IMAGE, start_bytes=self.START, validator=validator)
        with closing(source):
            while received := source.readinto(buffer):
                data += buffer[:received]
        return bytes(data)

    def test_only_the_rest_is_asked_for(self, proxy: FaultyProxy) -> None:
        with closing(to(proxy.url)) as transport:
            validator = self.begin(transport)
            assert validator is not None
            assert self.rest(transport, validator) == CONTENT[self.START :]
        assert proxy.requests[-1].headers["range"] == "bytes=123456-"
        assert proxy.requests[-1].headers["if-range"] == validator

    def test_without_a_validator_the_length_decides(self, proxy: FaultyProxy) -> None:
        with closing(to(proxy.url)) as transport:
            assert self.rest(transport, None) == CONTENT[self.START :]

    def test_another_file_by_now(self, proxy: FaultyProxy) -> None:
        """Nginx compares If-Range, and sends all of it; the reader must start over."""
        with closing(to(proxy.url)) as transport, pytest.raises(CannotResume):
            self.rest(transport, '"older"')

    @pytest.mark.parametrize(
        "fault",
        [
            spoil.content_range("bytes 5-299999/300000"),
            spoil.without("Content-Range"),
            spoil.raw(in_parts),
            spoil.status(416),
        ],
        ids=["another range", "no range", "multipart", "416"],
    )
    def test_a_server_that_gets_ranges_wrong(self, proxy: FaultyProxy, fault: Fault) -> None:
        """Whoever goes on here again would hear the same; so the reader must start over."""
        proxy.always = fault
        with closing(to(proxy.url)) as transport, pytest.raises(CannotResume):
            self.rest(transport, None)
        assert len(proxy.requests) == 1

    def test_a_page_in_place_of_the_rest(self, proxy: FaultyProxy) -> None:
        """Of a network that wants a login: what is here is still good when it is over."""
        proxy.always = spoil.html
        with (
            closing(to(proxy.url)) as transport,
            pytest.raises(DownloadFailed, match="the server has 26 bytes") as caught,
        ):
            self.rest(transport, None)
        assert caught.type is DownloadFailed

    def test_a_server_without_ranges(self, proxy: FaultyProxy) -> None:
        with closing(to(proxy.url)) as transport:
            validator = self.begin(transport)
            proxy.always = spoil.whole
            assert self.rest(transport, validator) == CONTENT[self.START :]

    def test_nothing_is_left(self, proxy: FaultyProxy) -> None:
        with closing(to(proxy.url)) as transport:
            source = transport.open_target(IMAGE, start_bytes=len(CONTENT))
            assert source.readinto(memoryview(bytearray(10))) == 0
            source.close()
        assert proxy.requests == []

    def test_a_file_that_became_shorter(self, proxy: FaultyProxy) -> None:
        longer = Target("image", len(CONTENT) + 10, {"sha256": DIGEST})
        with (
            closing(to(proxy.url)) as transport,
            pytest.raises(DownloadFailed, match="the server has 300000 bytes, expected 300010"),
        ):
            transport.open_target(longer, start_bytes=len(CONTENT) + 5)


class TestMetadata:
    """Small files whose length and digest are not known in advance."""

    def fetch(self, url: str) -> bytes:
        with closing(to(url)) as transport:
            data = transport.fetch_metadata("timestamp.json", 10_000).data
            assert data is not None
            return data

    @pytest.mark.parametrize(
        "faults",
        [
            [],
            [spoil.reset(after=1000)],
            [spoil.truncate(after=1000), spoil.whole],
            [spoil.truncate(after=1000), spoil.another_file],
            [spoil.chunked],
            [spoil.chunked_cut_off(after=100)],
            [spoil.status(503), spoil.silence],
        ],
    )
    def test_survived(self, proxy: FaultyProxy, faults: list[Fault]) -> None:
        proxy.faults = faults
        assert self.fetch(proxy.url) == b'{"signed": {}}' + b" " * 5000

    def test_what_nothing_identifies_is_not_pieced_together(self, proxy: FaultyProxy) -> None:
        """The rest may be another version's; all of it is fetched again."""
        bare = spoil.both(
            lambda answer: answer.with_headers(ETag=None, Last_Modified=None),
            spoil.truncate(after=1000),
        )
        proxy.faults = [bare, spoil.whole]
        assert len(self.fetch(proxy.url)) == 5014
        assert [request.headers.get("range") for request in proxy.requests] == [
            None,
            "bytes=1000-",
            None,
        ]

    @pytest.mark.parametrize(
        "fault, line",
        [
            (spoil.status(403), "403 Forbidden"),
            (spoil.endless, "longer than 10000 bytes"),
            (spoil.wrong_length(10_000), "longer than 10000 bytes"),
            (spoil.gzipped, "sends it encoded as 'gzip'"),
        ],
    )
    def test_ended(self, proxy: FaultyProxy, fault: Fault, line: str) -> None:
        proxy.always = fault
        with pytest.raises(DownloadFailed, match=line):
            self.fetch(proxy.url)

    def test_not_modified(self, proxy: FaultyProxy) -> None:
        with closing(to(proxy.url)) as transport:
            first = transport.fetch_metadata("timestamp.json", 10_000)
            assert first.validator is not None
            again = transport.fetch_metadata("timestamp.json", 10_000, validator=first.validator)
            assert (again.data, again.validator) == (None, first.validator)
            other = transport.fetch_metadata("timestamp.json", 10_000, validator='"older"')
            assert other.data == first.data
        assert proxy.requests[1].headers["if-none-match"] == first.validator

    def test_not_modified_since(self, proxy: FaultyProxy) -> None:
        """A server that knows dates only."""
        proxy.faults = [spoil.without("ETag")]
        with closing(to(proxy.url)) as transport:
            first = transport.fetch_metadata("timestamp.json", 10_000)
            again = transport.fetch_metadata("timestamp.json", 10_000, validator=first.validator)
            assert again.data is None
        assert proxy.requests[1].headers["if-modified-since"] == first.validator


class TestStopping:
    """Whatever waits, waits no longer once the transport is closed."""

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(spoil.silence, id="for an answer"),
            pytest.param(spoil.stall(after=1000), id="for bytes"),
            pytest.param(spoil.status(503, Retry_After="100"), id="before a retry"),
        ],
    )
    def test_from_another_thread(self, proxy: FaultyProxy, fault: Fault) -> None:
        """With limits that would take minutes; the test ends because the wait does."""
        proxy.always = fault
        patient = Limits(stall_timeout_seconds=300, longest_retry_after_seconds=300)
        transport = to(proxy.url, patient)
        ended: list[Exception] = []

        def read() -> None:
            try:
                download(transport)
            except Interrupted as error:
                ended.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        while not proxy.requests:
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        transport.close()
        thread.join(timeout=30)
        assert not thread.is_alive()
        assert str(ended[0]).startswith("interrupted while downloading")

    def test_one_source_alone(self, proxy: FaultyProxy) -> None:
        proxy.faults = [spoil.stall(after=1000)]
        transport = to(proxy.url, Limits(stall_timeout_seconds=300))
        source = transport.open_target(IMAGE)
        buffer = memoryview(bytearray(100_000))
        assert source.readinto(buffer) > 0
        threading.Timer(0.1, source.close).start()
        with pytest.raises(Interrupted):
            drain(source, buffer)
        assert download(transport) == CONTENT
        transport.close()

    def test_nothing_starts_afterwards(self, proxy: FaultyProxy) -> None:
        transport = to(proxy.url)
        transport.close()
        with pytest.raises(Interrupted):
            transport.open_target(IMAGE)
        assert proxy.requests == []


def test_connections_are_used_again(server: Nginx) -> None:
    """What is not there, three targets, what is not modified: one connection for all of it."""
    before = server.access_log.read_text()
    with closing(to(server.url)) as transport:
        with pytest.raises(NotFound):
            transport.fetch_metadata("2.root.json", 100)
        first = transport.fetch_metadata("timestamp.json", 10_000)
        for _ in range(3):
            assert download(transport) == CONTENT
        transport.fetch_metadata("timestamp.json", 10_000, validator=first.validator)
    lines = server.access_log.read_text().removeprefix(before).splitlines()
    assert len(lines) == 6
    assert len({line.split()[0] for line in lines}) == 1


def test_closing_one_source_leaves_others_alone(proxy: FaultyProxy) -> None:
    """The first one's connection went back to the pool and serves the second by then."""
    with closing(to(proxy.url)) as transport:
        first = transport.open_target(IMAGE)
        buffer = memoryview(bytearray(400_000))
        drain(first, buffer)
        second = transport.open_target(IMAGE)
        assert second.readinto(buffer[:1000]) > 0
        first.close()
        drain(second, buffer)
        second.close()
    assert [request.headers.get("range") for request in proxy.requests] == [None, None]
