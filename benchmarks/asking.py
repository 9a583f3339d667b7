"""What it costs to ask whether there is an update, in small and in large repositories.

    python -m benchmarks.asking [--runs 7]

A host asks a repository with few updates and few targets, and one with 1,000 updates and 10,000
targets: for the first time, and again when nothing is new. Counted are processor seconds of the
whole process, its start included, what comes in over the wire (headers too), and requests. Beside
them `signpost status`, and as a yardstick what an empty program pays that imports the libraries
which a TUF client over HTTP is usually made of.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    T,
    TargetFile,
    Targets,
    Timestamp,
)

from benchmarks.serving import loopback
from demo.images import make_boot, make_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_VARIANT = "benchmark"
_SMALL, _LARGE = (10, 100), (1000, 10_000)
"""Updates in the manifest, targets in the metadata."""


def make_repository(directory: Path, updates: int, targets: int) -> bytes:
    """Metadata of so many targets, a manifest among them; returns the first root.

    Images are listed and not there: nobody fetches them.
    """
    arch = platform.machine()
    metadata, files = directory / "metadata", directory / "targets"
    metadata.mkdir(parents=True)
    files.mkdir()
    names = [f"image-{number:05}.lz4" for number in range(targets - 1)]
    manifest = json.dumps(
        {
            "updates": [
                {
                    "variant": _VARIANT,
                    "arch": arch,
                    "version": f"1.{number}.0",
                    "max_version": f"1.{updates - 1}.0",
                    "waves": {"0": "2026-01-01T00:00:00Z", "1024": "2026-01-02T00:00:00Z"},
                    "images": dict(
                        zip(("boot", "root", "hash"), names[3 * number :], strict=False)
                    ),
                }
                for number in range(updates)
            ],
            "migrations": {
                f"(1.{number}.0, 1.{number + 1}.0)": [] for number in range(updates - 1)
            },
        }
    ).encode()
    listed = {
        name: TargetFile(1 << 28, {"sha256": f"{number:064x}"}, name)
        for number, name in enumerate(names)
    }
    listed["manifest.json"] = TargetFile.from_data("manifest.json", manifest, ["sha256"])
    (files / f"{listed['manifest.json'].hashes['sha256']}.manifest.json").write_bytes(manifest)

    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    signer = CryptoSigner.generate_ed25519()
    root = Root(expires=expires, consistent_snapshot=True)
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(signer.public_key, role)

    def write(name: str, document: Metadata[T]) -> MetaFile:
        document.sign(signer)
        data = document.to_bytes()
        (metadata / name).write_bytes(data)
        return MetaFile.from_data(1, data, ["sha256"])

    write("1.root.json", Metadata(root))
    of_targets = write("1.targets.json", Metadata(Targets(expires=expires, targets=listed)))
    snapshot = Snapshot(expires=expires, meta={"targets.json": of_targets})
    of_snapshot = write("1.snapshot.json", Metadata(snapshot))
    write("timestamp.json", Metadata(Timestamp(expires=expires, snapshot_meta=of_snapshot)))
    return (metadata / "1.root.json").read_bytes()


@dataclass
class Wire:
    """A relay in front of a server that counts what goes through.

    Attributes:
        received_bytes: What the server sent, headers included.
        requests: GET requests.
    """

    port: int
    received_bytes: int = 0
    requests: int = 0
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def relay(self) -> None:
        """Accept clients until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                for ends in ((client, server, self._asked), (server, client, self._answered)):
                    threading.Thread(target=_pump, args=ends, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        # Only a shutdown wakes a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def reset(self) -> None:
        """Count from nothing."""
        self.received_bytes = self.requests = 0

    def _asked(self, data: bytes) -> None:
        self.requests += data.count(b"GET /")

    def _answered(self, data: bytes) -> None:
        self.received_bytes += len(data)


def _pump(source: socket.socket, target: socket.socket, count: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            count(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[Wire]:
    """Serve a directory with nginx, behind a relay that counts."""
    with loopback(str(directory)) as server:
        wire = Wire(int(server.url.rpartition(":")[2].rstrip("/")))
        thread = threading.Thread(target=wire.relay)
        thread.start()
        try:
            yield wire
        finally:
            wire.close()
            thread.join()


def make_host(directory: Path, root: bytes, url: str, version: str) -> None:
    """The files of a host that runs `version`."""
    for name, content in {
        "usr/share/updog/root.json": root.decode(),
        "etc/os-release": f"VARIANT_ID={_VARIANT}\nVERSION_ID={version}\n",
        "etc/updog.toml": (
            f'metadata_base_url = "{url}/metadata"\ntargets_base_url = "{url}/targets"\nseed = 7\n'
        ),
        "proc/sys/kernel/random/boot_id": Path("/proc/sys/kernel/random/uuid").read_text(),
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def make_disk(directory: Path) -> Path:
    """A disk with small images on set A."""
    boot, root, disk = (directory / name for name in ("boot.img", "root.img", "disk.img"))
    make_root(root, version="1.0.0", variant=_VARIANT, filesystem="ext4", size_mib=16)
    make_boot(boot, version="1.0.0")
    program = Path(sys.executable).with_name("repo-tools")
    images = ("--boot", boot, "--root-image", root)
    subprocess.run([program, "disk", "create", disk, *images], check=True, capture_output=True)
    return disk


def cpu_seconds(command: Sequence[str | Path], expected: int = 0) -> float:
    """Processor seconds of a process, from its start to its end.

    Raises:
        SystemExit: It did not end as expected: what was measured was not what it should be.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{command}: exit code {done.returncode}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ask(directory: Path, disk: Path, size: tuple[int, int], runs: int) -> list[str]:
    """Rows for a repository of this size."""
    updates, targets = size
    place = directory / str(updates)
    root = make_repository(place, updates, targets)
    program = Path(sys.executable).with_name("updog")
    what = f"{updates:,} updates, {targets:,} targets"
    rows = []
    with served(place) as wire:
        for version, code in (("1.0.0", 0), (f"1.{updates - 1}.0", 3)):
            first, again = Samples(), Samples()
            for run in range(runs):
                host = place / f"host-{version}-{run}"
                make_host(host, root, wire.url, version)
                where = ("--root", host, "--os-disk", disk, "--active-set", "A")
                for samples in (first, again):
                    wire.reset()
                    samples.cpu.append(cpu_seconds([program, *where, "check-update"], code))
                    samples.received.append(wire.received_bytes)
                    samples.requests.append(wire.requests)
            there_is = "an update" if code == 0 else "no update"
            rows += [
                first.row(f"{what}: {there_is}, first time"),
                again.row(f"{what}: {there_is}, nothing new since"),
            ]
    return rows


@dataclass
class Samples:
    """What runs of one command took."""

    cpu: list[float] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    def row(self, what: str) -> str:
        """Medians, as a row of the table."""
        cpu = statistics.median(self.cpu)
        return f"| {what} | {cpu:.3f} | {max(self.received):,} | {max(self.requests)} |"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    lines = ["| what | CPU s | bytes received | requests |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # nginx reads in it
        disk = make_disk(directory)
        status: list[str | Path] = [
            Path(sys.executable).with_name("signpost"),
            *("--os-disk", disk, "--active-set", "A", "status"),
        ]
        imports: list[str | Path] = [sys.executable, "-c", "import click, requests, tuf.ngclient"]
        for what, command in (
            ("an empty program that imports click, requests and tuf.ngclient", imports),
            ("`signpost status`", status),
        ):
            cpu = statistics.median(cpu_seconds(command) for _ in range(runs))
            lines.append(f"| {what} | {cpu:.3f} | | |")
        for size in (_SMALL, _LARGE):
            lines += ask(directory, disk, size, runs)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
