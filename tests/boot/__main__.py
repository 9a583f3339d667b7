"""`make test-boot`: a host in QEMU that updates itself, fails, loses power, and comes back.

Builds the test operating system and its repositories, lets the stories of `tests.boot.scenarios`
happen and cuts the power of `--cuts` updates, two machines at a time. Prints a row for each thing
that happened; serial logs are kept in build/test-boot/logs. Ends with 1 if anything was not as it
has to be.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.boot import cuts, scenarios
from tests.boot.build import PROJECT, run
from tests.boot.host import Host, copy_disk
from tests.boot.journal import Journal, table
from tests.boot.machine import kill_all
from tests.boot.world import make_world, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tests.boot.world import World

WORK = PROJECT / "build" / "test-boot"
_SERVERS: list[subprocess.Popen[str]] = []


class Run:
    """The scenarios of one run: started as soon as what they start from is there."""

    def __init__(self, world: World, url: str, options: argparse.Namespace) -> None:
        self.world = world
        self.options = options
        self.journals: list[Journal] = []
        self._pool = ThreadPoolExecutor(options.jobs)
        self._futures: list[Future[bool]] = []
        self._new_disk = world.work / "disks" / "new.img"
        world.make_disk(self._new_disk, url)

    def everything(self) -> None:
        """All of it, in the order in which it can be."""
        installed = self._start("first-boot", self._new_disk, scenarios.first_boot)
        if not installed.result():
            return
        one = self._disk_of("first-boot")
        updated = self._start("first-update", one, scenarios.first_update)
        saved = self._start("power-cuts", one, self._prepare_cuts) if self.options.cuts else None
        for story in scenarios.EARLY_STORIES:
            self._start_story(story, one)
        if updated.result():
            for story in scenarios.STORIES:
                self._start_story(story, self._disk_of("first-update"))
        if saved is not None and saved.result():
            self._start_cuts()
        wait(self._futures)
        self._pool.shutdown()

    @property
    def good(self) -> bool:
        """Whether everything went as it has to."""
        return all(future.result() for future in self._futures)

    def _disk_of(self, name: str) -> Path:
        return self.world.work / "disks" / f"{name}.img"

    def _start_story(self, story: Callable[[Host], None], origin: Path) -> None:
        name = story.__name__.replace("_", "-")
        if not self.options.only or name in self.options.only:
            self._start(name, origin, story)

    def _start(self, name: str, origin: Path, story: Callable[[Host], None]) -> Future[bool]:
        """Let a story happen on a copy of a disk, as soon as a machine is free."""
        journal = Journal(name)
        self.journals.append(journal)

        def happen() -> bool:
            host = Host(self.world, name, self._disk_of(name), journal)
            journal.begin()
            try:
                copy_disk(origin, host.disk)
                story(host)
            except Exception as error:  # noqa: BLE001  one story that fails does not end the others
                journal.step("failed", f"{type(error).__name__}: {error}", good=False)
                if not self.options.brief:
                    traceback.print_exception(error)
                return False
            return True

        future = self._pool.submit(happen)
        self._futures.append(future)
        return future

    def _prepare_cuts(self, host: Host) -> None:
        self._saved = cuts.save_machine(host)
        self._extent = cuts.measure(host, self._saved)

    def _start_cuts(self) -> None:
        rng = random.Random(self.options.seed)  # noqa: S311  moments, not secrets
        for number, moment in enumerate(cuts.moments(self.options.cuts, rng), start=1):
            fate = random.Random(rng.random())  # noqa: S311

            def story(host: Host, moment: cuts.Moment = moment, fate: random.Random = fate) -> None:
                cuts.cut(host, self._saved, self._extent, moment, fate)
                host.disk.unlink()

            self._start(f"power-cut-{number:02}", self._saved.disk, story)


def main() -> int:
    """Run everything; the exit code."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    began = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    _check_scripts()
    with _served(WORK / "repositories") as url:
        world = make_world(WORK)
        built_seconds = time.monotonic() - began
        _say(f"test operating system and repositories: {built_seconds:.0f} s")
        ran = Run(world, url, options)
        ran.everything()
    seconds = time.monotonic() - began
    steps = [step for journal in ran.journals for step in journal.steps]
    _say(f"\n{table(steps)}\n")
    lost = sum(not step.good for step in steps)
    _say(f"{len(steps)} things happened, {lost} of them not as they have to; {seconds:.0f} s")
    _say(f"seed of the power cuts: {options.seed}; serial logs: {WORK / 'logs'}")
    if options.transcript is not None:
        _write_transcript(options.transcript, ran.journals, seconds)
    return 0 if ran.good else 1


def _check_scripts() -> None:
    """No fault is found by shellcheck with what runs as a shell script on a host, or builds one."""
    named = (
        *("boot/initramfs-tools/*/*", "boot/health/required.d/*", "packaging/*.sh"),
        *("packaging/debian/*.p*", "tests/boot/os/*", "tests/boot/os/files/**/*"),
    )
    scripts = sorted(
        path
        for pattern in named
        for path in PROJECT.glob(pattern)
        if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
    )
    scripts.append(PROJECT / "boot/initramfs-tools/scripts/signpost")
    run(["shellcheck", "-x", *scripts])
    _say(f"shellcheck finds no fault with {len(scripts)} scripts")


def _stop(number: int, _: object) -> None:
    kill_all()
    for server in _SERVERS:
        server.kill()
    # Scenarios run in threads, which no exception of this one ends.
    os._exit(128 + number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.boot", description=__doc__)
    parser.add_argument("--cuts", type=int, default=20, help="how often the power is cut")
    parser.add_argument("--jobs", type=int, default=2, help="machines at a time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", nargs="*", help="names of stories, besides the first two")
    parser.add_argument("--brief", action="store_true", help="no tracebacks")
    parser.add_argument("--transcript", type=_path, help="write what happened as Markdown")
    return parser.parse_args()


def _path(text: str) -> Path:
    return PROJECT / text


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    """Serve a directory on the loopback; its address."""
    directory.mkdir(parents=True)
    log = (WORK / "server.log").open("wb")
    command = [*tool("repo_tools"), "repo", "serve", str(directory), "--port", "0"]
    with (
        log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=PROJECT, text=True
        ) as server,
    ):
        if server.stdout is None:
            raise ValueError("the server has no pipe for its output")
        _SERVERS.append(server)
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def _write_transcript(path: Path, journals: list[Journal], seconds: float) -> None:
    """What happened, for people who read rather than run."""
    qemu = run(["qemu-system-x86_64", "--version"]).splitlines()[0]
    about = (
        f"Written by the run itself: {qemu}, emulating {platform.machine()}; {seconds / 60:.0f} "
        "minutes on two cores. How it is done: [boot.md](boot.md)."
    )
    parts = [
        "# A host in QEMU: what `make test-boot` showed",
        about,
        "## What happened",
        table([step for journal in journals for step in journal.steps]),
        "## The commands, as the host's administrator saw them",
    ]
    for journal in journals:
        if journal.transcript:
            text = "\n".join(journal.transcript).strip()
            parts.append(f"### {journal.scenario}\n\n```console\n{text}\n```")
    path.write_text("\n\n".join(parts) + "\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
