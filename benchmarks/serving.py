"""nginx, on loopback or at the other end of a link that is shaped to a given rate."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """
daemon off;
worker_processes 1;
user root;
pid {run}/pid;
error_log {run}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    server {{ listen {address}:{port}; root "{root}"; {extra} }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: Of the directory, with a slash at its end.
        prefix: What to put in front of a command so that it sees this server.
        link: What lies between, for the report.
    """

    url: str
    prefix: tuple[str, ...]
    link: str


@contextmanager
def loopback(directory: str) -> Iterator[Server]:
    """Serve on loopback, as fast as it goes."""
    with _nginx(directory, "127.0.0.1", "") as port:
        yield Server(f"http://127.0.0.1:{port}/", (), "loopback")


@contextmanager
def shaped(directory: str, mbit: int) -> Iterator[Server]:
    """Serve over a shaped link: two network namespaces and a token bucket, if we may make them.

    Where that needs rights that we lack, nginx limits its own rate, which is less exact.
    """
    with ExitStack() as stack:
        try:
            address, prefix = stack.enter_context(_namespace(mbit))
        except (OSError, subprocess.CalledProcessError):
            extra = f"limit_rate {mbit * 125_000};"
            port = stack.enter_context(_nginx(directory, "127.0.0.1", extra))
            yield Server(f"http://127.0.0.1:{port}/", (), f"nginx limited to {mbit} Mbit/s")
            return
        port = stack.enter_context(_nginx(directory, address, ""))
        yield Server(f"http://{address}:{port}/", prefix, f"token bucket of {mbit} Mbit/s")


@contextmanager
def _namespace(mbit: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A namespace for the client; the link to it is shaped on the server's side."""
    name, ours, theirs = "updog-bench", "updog-bench0", "updog-bench1"
    network = "198.51.100"  # RFC 5737: documentation, so in nobody's use
    commands = (
        f"ip netns add {name}",
        f"ip link add {ours} type veth peer name {theirs} netns {name}",
        f"ip addr add {network}.1/30 dev {ours}",
        f"ip link set {ours} up",
        f"ip -n {name} addr add {network}.2/30 dev {theirs}",
        f"ip -n {name} link set {theirs} up",
        f"tc qdisc add dev {ours} root tbf rate {mbit}mbit burst 64kb latency 50ms",
    )
    try:
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        yield f"{network}.1", ("ip", "netns", "exec", name)
    finally:
        _try("ip", "link", "del", ours)
        _try("ip", "netns", "del", name)


def _try(*command: str) -> None:
    try:
        subprocess.run(command, check=False, capture_output=True)
    except OSError:
        return


@contextmanager
def _nginx(directory: str, address: str, extra: str) -> Iterator[int]:
    with socket.socket() as chosen:
        chosen.bind((address, 0))
        port = chosen.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as run:
        config = Path(run) / "nginx.conf"
        config.write_text(
            _CONFIG.format(run=run, address=address, port=port, root=directory, extra=extra)
        )
        process = subprocess.Popen(
            ["nginx", "-p", run, "-e", f"{run}/error.log", "-c", str(config)],
            stderr=subprocess.DEVNULL,
        )
        try:
            _await(address, port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _await(address: str, port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nginx ended with {process.returncode}")
