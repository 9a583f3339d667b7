"""How fast an update is, against the same work done in a shell: `python -m benchmarks.pipeline`.

Builds the work (once), serves it with nginx, and runs the yardstick and the project's pipeline in
turn, so that a machine that changes its speed does so for both. Prints medians, ratios and peak
memory; no figure is judged here, and absolute times mean little.

    --quick             a small image and few runs: does it work?
    --profile           one run, and where its time went
    --places loop       onto loop devices instead of files (needs root)
    --link 100          also over a link of so many Mbit/s, against curl alone
    --growth            also with a half and a quarter of the root image
    --without-sha       hide the processor's SHA instructions from OpenSSL, for all contenders
    --write FILE        put the report between the markers in FILE
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import machine, yardstick
from benchmarks.ours import peak_kib
from benchmarks.places import places
from benchmarks.serving import Server, loopback, shaped
from benchmarks.work import Work, make_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MARKERS = "<!-- measured -->", "<!-- /measured -->"
# Of OpenSSL's capability words: bit 29 of the third, CPUID leaf 7's EBX, is the SHA extension.
_WITHOUT_SHA = {"OPENSSL_ia32cap": ":~0x20000000"}


@dataclass
class Samples:
    """What runs of one contender took.

    Attributes:
        wall: Seconds, the process's start and imports included.
        memory: KiB above the imports.
    """

    wall: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median wall time."""
        return statistics.median(self.wall)


@dataclass(frozen=True)
class Setting:
    """Everything that a run needs to know."""

    work: Work
    server: Server
    places: Mapping[str, str]
    scratch: Path
    environment: Mapping[str, str]

    def run(self, command: Sequence[str]) -> tuple[float, str]:
        """Run a command where the server can be seen; return seconds and its output."""
        os.sync()
        started = time.perf_counter()
        output = subprocess.run(
            [*self.server.prefix, *command],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        ).stdout
        return time.perf_counter() - started, output

    def yardstick(self) -> float:
        """Run Y2."""
        script = yardstick.update(self.work, self.server, dict(self.places), str(self.scratch))
        return self.run(["bash", "-c", script])[0]

    def yardstick_read_back(self) -> float:
        """Run what Y2 lacks of a read-back."""
        script = yardstick.read_back(self.work, dict(self.places))
        return self.run(["bash", "-c", script])[0]

    def transfer(self) -> float:
        """Fetch the bytes and do nothing with them."""
        command = ["curl", "-sf"]
        for image in self.work.images.values():
            command += ["-o", "/dev/null", self.server.url + image.url_path]
        return self.run(command)[0]

    def ours(self, *options: str) -> tuple[float, dict[str, Any]]:
        """Run the project's pipeline in a process of its own."""
        description = self.scratch / "description.json"
        description.write_text(
            json.dumps(
                {
                    "url": self.server.url,
                    "places": dict(self.places),
                    "bare_interpreter_kib": bare_interpreter_kib(),
                    "images": {
                        name: {
                            "stream_length_bytes": image.stream_length_bytes,
                            "sha256": image.sha256,
                        }
                        for name, image in self.work.images.items()
                    },
                }
            )
        )
        command = [sys.executable, "-m", "benchmarks.ours", str(description), *options]
        wall, output = self.run(command)
        result: dict[str, Any] = json.loads(output)
        return wall, result

    def add_ours(self, samples: Samples, *options: str) -> None:
        """Run the project's pipeline, and note what it took."""
        wall, result = self.ours(*options)
        samples.wall.append(wall)
        samples.memory.append(result["memory_kib"])
        samples.cpu.append(result["cpu_seconds"])

    def expect_images(self) -> None:
        """Whatever was measured must have been done."""
        for name, image in self.work.images.items():
            command = ["cmp", "-n", str(image.length_bytes), image.path, self.places[name]]
            subprocess.run(command, check=True)


@cache
def bare_interpreter_kib() -> int:
    """What a helper process weighs before it does anything: the interpreter and its libraries."""
    code = "import hashlib, mmap, queue, subprocess, threading, sys; sys.stdin.read()"
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        time.sleep(0.3)
        return peak_kib(str(process.pid))


def compare(setting: Setting, runs: int) -> list[str]:
    """Y2 against ours, and Y2 with what it lacks against ours with its read-back."""
    y2, y2_checked, bare, checked = Samples(), Samples(), Samples(), Samples()
    setting.ours()  # once for the caches, uncounted
    setting.expect_images()
    for _ in range(runs):
        y2.wall.append(setting.yardstick())
        y2_checked.wall.append(y2.wall[-1] + setting.yardstick_read_back())
        setting.add_ours(bare, "--no-read-back")
        setting.add_ours(checked)
    setting.expect_images()
    return [
        "| what | wall s | ratio | peak MiB over imports |",
        "|---|---|---|---|",
        f"| Y2: curl, openssl, lz4, dd | {y2.median:.2f} | 1.00 | - |",
        _row("ours without read-back", bare, y2),
        f"| Y2, then veritysetup verify and cmp | {y2_checked.median:.2f} | 1.00 | - |",
        _row("ours, everything read back from the device", checked, y2_checked),
    ]


def _row(name: str, ours: Samples, theirs: Samples) -> str:
    ratios = [their / our for our, their in zip(ours.wall, theirs.wall, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    memory = max(ours.memory) / 1024
    ratio = statistics.median(ratios)
    return f"| {name} | {ours.median:.2f} | **{ratio:.2f}** ({spread}) | {memory:.0f} |"


def over_a_link(setting: Setting, runs: int) -> list[str]:
    """The bytes alone against the whole update, when the network is what takes time."""
    transfer, ours = Samples(), Samples()
    for _ in range(runs):
        transfer.wall.append(setting.transfer())
        setting.add_ours(ours)
    more = statistics.median(
        our / their - 1 for our, their in zip(ours.wall, transfer.wall, strict=True)
    )
    memory = max(ours.memory) / 1024
    return [
        "| over a link | wall s | more | peak MiB over imports |",
        "|---|---|---|---|",
        f"| curl alone, {setting.server.link} | {transfer.median:.2f} | | - |",
        f"| ours, read-back included | {ours.median:.2f} | +{more:.1%} | {memory:.0f} |",
    ]


def profile(setting: Setting, *options: str) -> list[str]:
    """One run, stage by stage."""
    wall, result = setting.ours("--profile", *options)
    inside, cpu = result["wall_seconds"], result["cpu_seconds"]
    lines = [
        f"{wall:.2f} s in all, {inside:.2f} s without start-up; {cpu:.2f} s of CPU, helpers too",
        "",
        "| stage | computing s | waiting for stages s | waiting for socket, disk or processor s |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['stage']} | {row['computing']:.2f} | {row['waiting for stages']:.2f} | "
        f"{row['other']:.2f} |"
        for row in result["profile"]
    ]
    return lines


def growth(arguments: argparse.Namespace, size: Size, runs: int) -> list[str]:
    """Time and memory for a quarter, a half and all of the work."""
    lines = ["| root image MiB | wall s | s per GiB | peak MiB over imports |", "|---|---|---|---|"]
    for share in (4, 2, 1):
        part = Size(size.root_mib // share, size.boot_mib // share)
        with _prepared(arguments, part) as setting:
            ours = Samples()
            setting.ours()
            for _ in range(runs):
                setting.add_ours(ours)
        per_gib = ours.median * 1024 / part.root_mib
        memory = max(ours.memory) / 1024
        lines.append(f"| {part.root_mib} | {ours.median:.2f} | {per_gib:.2f} | {memory:.0f} |")
    return lines


@dataclass(frozen=True)
class Size:
    """How much work."""

    root_mib: int
    boot_mib: int


@contextmanager
def _prepared(
    arguments: argparse.Namespace, size: Size, link_mbit: int | None = None
) -> Iterator[Setting]:
    """Images made, places made, and a server running."""
    base = Path(arguments.work).resolve()
    work = make_work(base / f"{size.root_mib}", root_mib=size.root_mib, boot_mib=size.boot_mib)
    environment = {**os.environ, **(_WITHOUT_SHA if arguments.without_sha else {})}
    serving = loopback(work.directory) if link_mbit is None else shaped(work.directory, link_mbit)
    with (
        tempfile.TemporaryDirectory() as scratch,
        places(arguments.places, base / f"{size.root_mib}-places", work) as found,
        serving as server,
    ):
        yield Setting(work, server, found, Path(scratch), environment)


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    size = Size(96, 16) if arguments.quick else Size(1024, 64)
    runs = arguments.runs or (2 if arguments.quick else 7)
    with _prepared(arguments, size) as setting:
        report = [f"- {line}" for line in machine.description(Path(arguments.work))]
        if arguments.without_sha:
            report.append("- the SHA instructions hidden from OpenSSL, for all contenders alike")
        report += [f"- {_describe(setting.work)}", f"- onto a {arguments.places} for each image"]
        if arguments.profile:
            report += ["", *profile(setting)]
        else:
            report += [f"- medians of {runs} interleaved runs", "", *compare(setting, runs)]
    if arguments.growth:
        report += ["", *growth(arguments, size, min(runs, 3))]
    if arguments.link:
        with _prepared(arguments, size, arguments.link) as setting:
            report += ["", *over_a_link(setting, min(runs, 3))]
    text = "\n".join(report)
    print(text)
    if arguments.write:
        write(Path(arguments.write), text)


def _describe(work: Work) -> str:
    sizes = [
        f"{name} {image.length_bytes / (1 << 20):.0f} MiB "
        f"({image.stream_length_bytes / (1 << 20):.0f} as LZ4)"
        for name, image in work.images.items()
    ]
    return "ext4 of this machine's programs: " + ", ".join(sizes)


def write(file: Path, report: str) -> None:
    """Put the report between the markers in a file, in place of the last one."""
    before, begin, rest = file.read_text().partition(_MARKERS[0])
    _, end, after = rest.partition(_MARKERS[1])
    if not begin or not end:
        raise SystemExit(f"{file} lacks {' or '.join(_MARKERS)}")
    file.write_text(f"{before}{begin}\n{report}\n{end}{after}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--work", default=".cache/benchmarks", help="where images are kept")
    parser.add_argument("--places", choices=("file", "loop"), default="file")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--link", type=int, metavar="MBIT")
    parser.add_argument("--without-sha", action="store_true")
    parser.add_argument("--write", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
