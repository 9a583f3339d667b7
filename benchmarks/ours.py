"""One update by the project's own pipeline, in a process of its own; prints what it took, as JSON.

    python -m benchmarks.ours DESCRIPTION [--no-read-back] [--profile]

DESCRIPTION is a JSON object: `url`, `images` (name, stream length, digest) and `places`. The
process does what `updog update` does between reading the metadata and marking the set valid,
through the same transport and the same pipeline, with a journal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partition.region import Region
from signpost.layout import Part
from updog.connect import connect
from updog.journal import Journal
from updog.pipeline import ImageJob, install_images
from updog.plans import PLANS, HashPlan, ImagePlan, RootPlan
from updog.progress import NoProgress
from updog.targets import Target

if TYPE_CHECKING:
    from updog.journal import Span
    from updog.readback import Checker


class Unchecked:
    """Reads nothing back: for the figure that other tools can be compared with."""

    def check(self, span: Span) -> None:
        """Nothing."""

    def catch_up(self) -> None:
        """Nothing."""

    def finish(self, length_bytes: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class UncheckedBoot(ImagePlan):
    """Boot image, as in the project but for the read-back."""

    wants_digests = False

    def open_checker(self) -> Checker:
        """Check nothing."""
        return Unchecked()


class UncheckedHash(HashPlan, UncheckedBoot):
    """Hash image; its own levels are checked still."""


class UncheckedRoot(RootPlan):
    """Root image; still refused if it cannot fit."""

    def open_checker(self) -> Checker:
        """Check nothing."""
        return Unchecked()


UNCHECKED = {Part.HASH: UncheckedHash, Part.BOOT: UncheckedBoot, Part.ROOT: UncheckedRoot}


def main() -> None:
    """Run one update."""
    parser = argparse.ArgumentParser()
    parser.add_argument("description")
    parser.add_argument("--no-read-back", action="store_true")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    description = json.loads(Path(arguments.description).read_text())
    plans = UNCHECKED if arguments.no_read_back else PLANS
    profile = None
    if arguments.profile:
        from benchmarks.profile import Profile  # noqa: PLC0415

        profile = Profile()
    helpers_memory = Helpers(description["bare_interpreter_kib"])
    before_kib = peak_kib()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as state:
        transport = connect(description["url"], description["url"])
        try:
            install_images(
                _jobs(description),
                transport,
                journal=Journal(Path(state) / "journal.json"),
                progress=helpers_memory,
                cancel=threading.Event(),
                plans=plans,
            )
        finally:
            transport.close()
    wall = time.perf_counter() - started
    ours, helpers = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    result = {
        "wall_seconds": wall,
        "cpu_seconds": ours.ru_utime + ours.ru_stime + helpers.ru_utime + helpers.ru_stime,
        "memory_kib": peak_kib() - before_kib + helpers_memory.peak_kib,
        "profile": profile.rows() if profile else [],
    }
    print(json.dumps(result))


def _jobs(description: dict[str, Any]) -> list[ImageJob]:
    jobs: list[ImageJob] = []
    for name, image in description["images"].items():
        target = Target(f"{name}.lz4", image["stream_length_bytes"], {"sha256": image["sha256"]})
        place = Path(description["places"][name])
        with place.open("rb") as file:
            capacity = file.seek(0, 2)
        region = Region(place, 0, capacity, len(jobs) + 1, is_node=True)
        jobs.append(ImageJob(Part(name), target, region))
    return jobs


class Helpers(NoProgress):
    """Looks at helper processes whenever progress is told.

    Attributes:
        peak_kib: The most that all of them together had above bare interpreters.
    """

    def __init__(self, bare_kib: int) -> None:
        self.peak_kib = 0
        self._bare_kib = bare_kib

    def advanced(self, _image: str, _done_bytes: int) -> None:
        """Look."""
        total = 0
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    # A child that has not run its program yet still is a copy of this process.
                    if b"blockhash" in Path(f"/proc/{child}/cmdline").read_bytes():
                        total += max(0, peak_kib(child) - self._bare_kib)
        self.peak_kib = max(self.peak_kib, total)


def peak_kib(process: str = "self") -> int:
    """The most memory that a process has had; 0 if it is just ending."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
