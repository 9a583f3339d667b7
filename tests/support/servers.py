"""Web servers for tests: a real one (nginx), and one whose answers a test decides.

Ports are the kernel's choice. nginx gets its socket handed over already bound, so that there is no
moment in which somebody else could take the port.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.repository import Repository

LOOPBACK = "127.0.0.1"

_NGINX = """
daemon off;
worker_processes 1;
user root;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 64; }}
http {{
    log_format connections '$connection $request';
    access_log {work}/access.log connections;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    sendfile on;
    keepalive_timeout 5s;
    default_type application/octet-stream;
    server {{
        listen {address}:{port};
        root "{root}";
        {extra}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx.

    Attributes:
        url: Of the directory, without a slash at the end.
        access_log: For each request that was answered, the number of its connection, and itself.
    """

    url: str
    access_log: Path


@contextmanager
def nginx(directory: Path, *, extra: str = "") -> Iterator[Nginx]:
    """Serve a directory with nginx.

    Args:
        directory: What is below it can be fetched.
        extra: Directives for the server block.
    """
    with socket.socket() as listening, tempfile.TemporaryDirectory(prefix="nginx-") as name:
        work = Path(name)
        listening.bind((LOOPBACK, 0))
        listening.listen(64)
        port = listening.getsockname()[1]
        listening.set_inheritable(True)
        config = work / "nginx.conf"
        config.write_text(
            _NGINX.format(work=work, root=directory, address=LOOPBACK, port=port, extra=extra)
        )
        descriptor = listening.fileno()
        process = subprocess.Popen(
            ["nginx", "-p", str(work), "-e", str(work / "error.log"), "-c", str(config)],
            env={**os.environ, "NGINX": f"{descriptor};"},
            pass_fds=[descriptor],
            stderr=subprocess.DEVNULL,
        )
        # Its own copy only: connections must not wait in ours once it is gone.
        listening.close()
        try:
            _await(work / "nginx.pid", process, work / "error.log")
            yield Nginx(f"http://{LOOPBACK}:{port}", work / "access.log")
        finally:
            process.terminate()
            process.wait()


def _await(pid_file: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text().strip()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else ''}")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for. `path` has the query; header names are in lower case."""

    path: str
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]


class Handler(BaseHTTPRequestHandler):
    """Notes the request and lets the server's `answer` deal with it."""

    server: AnsweringServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        request = Request(self.path, {key.lower(): value for key, value in self.headers.items()})
        self.server.requests.append(request)
        try:
            self.server.answer(self, request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send_body(self, data: bytes, *, status: int = 200, **headers: str) -> None:
        """Send a whole answer; underscores in header names become hyphens."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class AnsweringServer(ThreadingHTTPServer):
    """Lets a function answer each request.

    Attributes:
        requests: In order of arrival.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[Handler, Request], None]) -> None:
        super().__init__((LOOPBACK, 0), Handler)
        self.answer = answer
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def answering(answer: Callable[[Handler, Request], None]) -> Iterator[AnsweringServer]:
    """Run a server whose answers are up to the test."""
    server = AnsweringServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class ServedRepository:
    """A `Repository` on the web.

    Attributes:
        metadata: Names of metadata files that were asked for.
        targets: Paths of targets that were asked for, as they were on the wire.
        unquote: Look for files under decoded names, as web servers do; metadata names of the
            simulator are encoded.
    """

    repository: Repository
    url: str = ""
    metadata: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    unquote: bool = False

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/metadata/"

    @property
    def targets_url(self) -> str:
        return f"{self.url}/targets/"

    def answer(self, handler: Handler, request: Request) -> None:
        kind, _, name = request.name.removeprefix("/").partition("/")
        asked, files = {
            "metadata": (self.metadata, self.repository.files),
            "targets": (self.targets, self.repository.target_files),
        }[kind]
        asked.append(name)
        name = unquote(name) if self.unquote and kind == "targets" else name
        if name in files:
            handler.send_body(files[name])
        else:
            handler.send_body(b"no such file", status=404)


@contextmanager
def serving(repository: Repository) -> Iterator[ServedRepository]:
    """Serve a repository in memory; what a test publishes meanwhile is served at once."""
    served = ServedRepository(repository)
    with answering(served.answer) as server:
        served.url = server.url
        yield served
