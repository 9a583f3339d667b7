"""What is sent to whom: parameters, credentials, proxies, certificates."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import socket
import ssl
import threading
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.servers import LOOPBACK, AnsweringServer, Handler, Request, answering
from updog.config import Config
from updog.connect import connect, make_transport
from updog.errors import DownloadFailed, Interrupted
from updog.proxies import Proxies
from updog.release import Release
from updog.retries import Limits
from updog.targets import Target
from updog.versions import parse_version
from updog.waves import Seed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from updog.transport import RepositoryTransport

QUICK = Limits(max_retries=0, connect_timeout_seconds=2, stall_timeout_seconds=2)
FILE = Target("image", 2, {"sha256": "ab" * 32})


def ok(handler: Handler, request: Request) -> None:
    del request
    handler.send_body(b"{}")


def to(url: str, **options: object) -> RepositoryTransport:
    return connect(f"{url}/metadata", f"{url}/targets", limits=QUICK, **options)  # type: ignore[arg-type]


def fetch(transport: RepositoryTransport) -> None:
    with closing(transport):
        assert transport.fetch_metadata("timestamp.json", 100).data == b"{}"


def configured(url: str, **more: object) -> Config:
    return Config(
        metadata_base_url=f"{url}/metadata",
        targets_base_url=f"{url}/targets",
        seed=Seed(1234),
        max_retries=0,
        **more,  # type: ignore[arg-type]
    )


RELEASE = Release("demo", parse_version("1.2.3+build.4"), "x86_64")


def test_every_request_says_who_asks_and_later_where_to() -> None:
    """As Bottlerocket's updog does: sorted by name, migrations with commas between."""
    with (
        answering(ok) as server,
        closing(make_transport(configured(server.url), RELEASE, {})) as transport,
    ):
        transport.fetch_metadata("1.root.json", 100)
        transport.announce(target="1.3.0")
        transport.fetch_metadata("timestamp.json", 100)
        transport.announce(migrations=["migrate_v1.3.0_a b.lz4", "manifest.json"])
        transport.open_target(FILE).close()
    assert [request.path for request in server.requests] == [
        "/metadata/1.root.json?seed=1234&version=1.2.3%2Bbuild.4",
        "/metadata/timestamp.json?seed=1234&target=1.3.0&version=1.2.3%2Bbuild.4",
        (
            f"/targets/{'ab' * 32}.image?migrations=migrate_v1.3.0_a+b.lz4%2Cmanifest.json"
            "&seed=1234&target=1.3.0&version=1.2.3%2Bbuild.4"
        ),
    ]


def test_bodies_are_asked_for_as_they_are() -> None:
    with answering(ok) as server:
        fetch(to(server.url))
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_cookies_are_not_kept() -> None:
    def bake(handler: Handler, request: Request) -> None:
        del request
        handler.send_body(b"{}", Set_Cookie="id=1; Path=/")

    with answering(bake) as server, closing(to(server.url)) as transport:
        for _ in range(2):
            transport.fetch_metadata("timestamp.json", 100)
    assert "cookie" not in server.requests[1].headers


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_credentials_are_sent_to_their_own_server_only() -> None:
    with answering(ok) as other:

        def move(handler: Handler, request: Request) -> None:
            if "moved" in request.path:
                handler.send_body(b"", status=302, Location=f"{other.url}/x")
            else:
                handler.send_body(b"", status=307, Location="/moved")

        with answering(move) as server:
            fetch(to(server.url.replace("://", "://user:p%40ss@")))
    assert [request.headers.get("authorization") for request in server.requests] == [
        basic("user", "p@ss")
    ] * 2
    assert "authorization" not in other.requests[0].headers


def test_who_redirects_does_not_choose_as_whom_we_ask() -> None:
    with answering(ok) as other:

        def move(handler: Handler, request: Request) -> None:
            del request
            there = other.url.replace("://", "://evil:pw@")
            handler.send_body(b"", status=302, Location=f"{there}/x")

        with answering(move) as server:
            fetch(to(server.url))
    assert "authorization" not in other.requests[0].headers


def test_secrets_are_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong: user name, password and token stay out of errors and logs."""
    troubles = [
        lambda handler, _: handler.send_body(b"", status=403),
        lambda handler, _: handler.send_body(b"", status=302, Location="ftp://u:hunter2@x/"),
        lambda handler, _: handler.wfile.write(b"garbage\r\n\r\n"),
        lambda handler, _: handler.wfile.write(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"),
        lambda handler, _: handler.send_body(b"x" * 1000),
    ]
    told = []
    with caplog.at_level(logging.DEBUG):
        for trouble in troubles:
            with answering(trouble) as server:
                url = server.url.replace("://", "://someone:hunter2@")
                transport = connect(
                    f"{url}/metadata?token=t0ken", f"{url}/targets?token=t0ken", limits=QUICK
                )
                with closing(transport), pytest.raises(DownloadFailed) as caught:
                    transport.fetch_metadata("timestamp.json", 100)
                cause: BaseException | None = caught.value
                while cause is not None:
                    told.append(f"{cause}{cause!r}")
                    cause = cause.__cause__
                told.append(transport.label)
    assert len(told) >= 2 * len(troubles)
    for text in (*told, caplog.text):
        for secret in ("someone", "hunter2", "t0ken"):
            assert secret not in text


class TestProxies:
    def test_plain_requests_go_through_it_whole(self) -> None:
        with answering(ok) as proxy:
            environ = {"http_proxy": proxy.url.replace("://", "://user:pw@")}
            transport = to("http://repo.example", proxies=Proxies.choose(environ=environ))
            fetch(transport)
        assert proxy.requests[0].path == "http://repo.example/metadata/timestamp.json"
        assert proxy.requests[0].headers["proxy-authorization"] == basic("user", "pw")

    def test_exceptions_are_asked_directly(self) -> None:
        with answering(ok) as server:
            environ = {"http_proxy": "http://proxy.invalid", "no_proxy": LOOPBACK}
            fetch(to(server.url, proxies=Proxies.choose(environ=environ)))
        assert server.requests[0].path == "/metadata/timestamp.json"

    def test_a_redirect_chooses_its_own_proxy(self) -> None:
        with answering(ok) as server:

            def move(handler: Handler, request: Request) -> None:
                del request
                handler.send_body(b"", status=302, Location=f"{server.url}/direct")

            with answering(move) as proxy:
                environ = {"http_proxy": proxy.url, "no_proxy": LOOPBACK}
                fetch(to("http://repo.example", proxies=Proxies.choose(environ=environ)))
        assert server.requests[0].path == "/direct"

    def test_a_tunnel_that_is_there_a_moment_later(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that is busy is no proxy that says no."""
        busy = [503, 504]

        class Busy(Tunnelling):
            def do_CONNECT(self) -> None:  # noqa: N802
                if busy:
                    self.send_body(b"", status=busy.pop())
                else:
                    super().do_CONNECT()

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        limits = Limits(max_retries=2, first_wait_seconds=0.01)
        with secure(certificate) as server, answering(ok) as proxy:
            proxy.RequestHandlerClass = Busy
            url = server.url.replace("http:", "https:")
            proxies = Proxies.choose(https_proxy=proxy.url, environ={})
            fetch(connect(url + "/metadata", url, limits=limits, proxies=proxies))
        assert not busy

    @pytest.mark.parametrize("status", [403, 407, 502])
    def test_a_tunnel_that_is_refused(self, status: int) -> None:
        class Refusing(Handler):
            def do_CONNECT(self) -> None:  # noqa: N802
                self.send_body(b"", status=status)

        with answering(ok) as proxy:
            proxy.RequestHandlerClass = Refusing
            url = proxy.url.replace("://", "://someone:hunter2@")
            proxies = Proxies.choose(https_proxy=url, environ={})
            with (
                closing(to("https://repo.example", proxies=proxies)) as transport,
                pytest.raises(DownloadFailed, match=f"the proxy: Tunnel .*{status}") as caught,
            ):
                transport.fetch_metadata("timestamp.json", 100)
        assert "hunter2" not in str(caught.value)

    def test_a_proxy_that_is_not_there(self) -> None:
        proxies = Proxies.choose(https_proxy="http://someone:hunter2@127.0.0.1:1", environ={})
        with (
            closing(to("https://repo.example", proxies=proxies)) as transport,
            pytest.raises(DownloadFailed, match="the proxy: Connection refused") as caught,
        ):
            transport.fetch_metadata("timestamp.json", 100)
        assert "hunter2" not in str(caught.value)

    def test_the_environment_of_this_process_is_neither_read_nor_changed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is passed in counts; child processes inherit what the parent had, no more."""
        monkeypatch.setenv("http_proxy", "http://proxy.invalid")
        before = dict(os.environ)
        with answering(ok) as server:
            config = configured(server.url, https_proxy="http://p.invalid", no_proxy=("x",))
            fetch(make_transport(config, RELEASE, {}))
            assert dict(os.environ) == before
        assert len(server.requests) == 1


@contextmanager
def secure(certificate: Path) -> Iterator[AnsweringServer]:
    """Serve with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with answering(ok) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the loopback address, signed by itself. TEST KEY."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TEST KEY")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path: Path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Tunnelling(Handler):
    """A proxy that passes on bytes, whatever they mean."""

    def do_CONNECT(self) -> None:  # noqa: N802
        host, _, port = self.path.partition(":")
        self.server.requests.append(Request(self.path, {}))
        with socket.create_connection((host, int(port))) as there:
            self.send_response_only(200)
            self.end_headers()
            copying = threading.Thread(target=copy, args=(there, self.connection))
            copying.start()
            copy(self.connection, there)
            copying.join()
        self.close_connection = True


def copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


@contextmanager
def trickling(head: bytes) -> Iterator[tuple[str, threading.Event]]:
    """Answer `head`, and then a byte every now and then; yields host and port, and when asked."""
    asked, over = threading.Event(), threading.Event()

    def talk() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as client:
            client.recv(65_536)
            asked.set()
            client.sendall(head)
            while not over.wait(0.05):
                client.sendall(b"x")

    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield f"{LOOPBACK}:{listening.getsockname()[1]}", asked
        finally:
            over.set()
            thread.join()


class TestSettingUp:
    """Somebody who keeps the line open while the connection is being made (slow retrieval)."""

    LIMITS = Limits(max_retries=0, stall_timeout_seconds=0.5)
    # The start of a record of 16 KiB (RFC 8446 section 5.1), which never comes to its end.
    RECORD = b"\x16\x03\x03\x40\x00"

    def test_tls_that_trickles_in(self) -> None:
        with (
            trickling(self.RECORD) as (place, _),
            closing(connect(f"https://{place}", f"https://{place}", limits=self.LIMITS)) as to_it,
            pytest.raises(DownloadFailed, match=r"only part of an answer in twice 0\.5 s"),
        ):
            to_it.fetch_metadata("timestamp.json", 100)

    def test_a_proxys_answer_that_trickles_in(self) -> None:
        url = "https://repo.example"
        with trickling(b"HTTP/1.1 200 OK\r\nX: ") as (place, _):
            proxies = Proxies.choose(https_proxy=place, environ={})
            with (
                closing(connect(url, url, limits=self.LIMITS, proxies=proxies)) as to_it,
                pytest.raises(DownloadFailed, match=r"only part of an answer in twice 0\.5 s"),
            ):
                to_it.fetch_metadata("timestamp.json", 100)

    def test_it_can_be_stopped(self) -> None:
        """By a signal, say, long before any limit."""
        with trickling(self.RECORD) as (place, asked):
            to_it = connect(f"https://{place}", f"https://{place}")

            def stop() -> None:
                asked.wait()
                to_it.close()

            stopping = threading.Thread(target=stop)
            stopping.start()
            with pytest.raises(Interrupted):
                to_it.fetch_metadata("timestamp.json", 100)
            stopping.join()


class TestTls:
    def test_through_a_tunnel(self, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The proxy sees where to, and nothing else."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with secure(certificate) as server, answering(ok) as proxy:
            proxy.RequestHandlerClass = Tunnelling
            proxies = Proxies.choose(https_proxy=proxy.url, environ={})
            fetch(to(server.url.replace("http:", "https:"), proxies=proxies))
        assert [request.path for request in proxy.requests] == [server.url.removeprefix("http://")]
        assert [request.path for request in server.requests] == ["/metadata/timestamp.json"]

    def test_a_stranger_is_not_believed(self, certificate: Path) -> None:
        with (
            secure(certificate) as server,
            closing(to(server.url.replace("http:", "https:"))) as transport,
            pytest.raises(DownloadFailed, match=r"certificate is not trusted: self.signed"),
        ):
            transport.fetch_metadata("timestamp.json", 100)

    def test_the_system_says_whom_to_believe(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenSSL's own variables count, as for other programs of the host."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with secure(certificate) as server:
            fetch(to(server.url.replace("http:", "https:")))
        assert len(server.requests) == 1

    def test_a_clock_that_was_never_set_is_our_business(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The library would warn of it on stderr, in its own words; `updog.clock` has one line."""
        monkeypatch.setattr("urllib3.connection.RECENT_DATE", date(9999, 1, 1))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with secure(certificate) as server:
            fetch(to(server.url.replace("http:", "https:")))

    def test_no_way_back_to_plain_http(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with answering(ok) as plain, secure(certificate) as server:
            server.answer = lambda handler, _: handler.send_body(
                b"", status=302, Location=f"{plain.url}/x"
            )
            with (
                closing(to(server.url.replace("http:", "https:"))) as transport,
                pytest.raises(DownloadFailed, match="leads from https to http"),
            ):
                transport.fetch_metadata("timestamp.json", 100)
        assert plain.requests == []
