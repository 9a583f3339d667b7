"""Real processes, killed for real: `updog update` from nginx, SIGKILL at random moments.

What must hold after each kill, whatever the moment: the loader chooses a whole system; no set is
marked valid that is not whole; the next update goes on; and when it arrives after a kill, the
server has sent it less than an update that starts from nothing. A few kills are part of every test
run, `UPDOG_KILLS=300` makes it hundreds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.support import bootloader
from tests.support.examiner import marked_valid
from tests.support.host import Bricked, Host, chosen, content, publish, release
from tests.support.repository import Repository
from tests.support.servers import nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLS = int(os.environ.get("UPDOG_KILLS", "15"))
ROOT_MIB = 64
VERSION = "1.1.0"
# Slow enough that there is a middle to be killed in; the journal is written every 16 MiB.
RATE = "30m"
PYTHON = (sys.executable, "-P", "-c", "from updog.__main__ import main; main()")
ROOT = Path(__file__).parents[2]


@dataclass
class Site:
    """A repository on a web server, and how many bytes of images it has sent."""

    repository: Repository
    url: str
    log: Path
    tree: Path

    @contextmanager
    def slowly(self) -> Iterator[Site]:
        """The same files from a server that nobody gets done with in the time of a test."""
        with nginx(self.tree, extra="limit_rate 500k;") as server:
            yield replace(self, url=server.url)

    def image_bytes(self, run: int) -> int:
        """Bytes of image bodies sent to one run: its number is the seed that requests carry.

        A connection that was cut is logged when the server notices, which may be during a later
        run; so requests have to be told apart by themselves, not by when they are logged.
        """
        target = r"/targets/\w+\.demo-[\d.]+-\w+\.lz4"
        pattern = rf'"GET {target}\?(?:\S*&)?seed={run}(?:&\S*)? HTTP/1.1" 20[06] (\d+)'
        return sum(map(int, re.findall(pattern, self.log.read_text())))


@pytest.fixture
def site(place: Path) -> Iterator[Site]:
    repository = Repository(now=datetime.now(UTC))
    publish("1.0.0", VERSION, repository=repository, root_mib=ROOT_MIB)
    tree, log = place / "tree", place / "bytes.log"
    repository.write(tree)
    log.touch()
    extra = f"access_log {log} combined; limit_rate {RATE}; output_buffers 1 64k;"
    with nginx(tree, extra=extra) as server:
        yield Site(repository, server.url, log, tree)


def install(directory: Path, site: Site) -> Host:
    """A fresh host that trusts this site."""
    return Host.install(
        directory, "1.0.0", shipped_root=site.repository.shipped_root, root_mib=ROOT_MIB
    )


@contextmanager
def updating(host: Host, site: Site, run: int = 1) -> Iterator[subprocess.Popen[str]]:
    """`updog update` in a process of its own; killed at the end if it still runs."""
    (host.paths.root / "etc/updog.toml").write_text(
        f'metadata_base_url = "{site.url}/metadata"\ntargets_base_url = "{site.url}/targets"\n'
        f"seed = {run}\n"
    )
    paths = ["--root", str(host.paths.root), "--os-disk", str(host.disk)]
    process = subprocess.Popen(
        [*PYTHON, *paths, "--active-set", host.slot, "update", "--progress", "none"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def examine(host: Host) -> tuple[str, bool]:
    """Return the version that would boot, and whether the other set is marked valid.

    Raises:
        Bricked: A promise is broken.
    """
    disk = bootloader.Image(host.disk)
    valid = marked_valid(disk)
    for slot in valid:
        if content(disk, slot, ROOT_MIB) is None:
            raise Bricked(f"set {slot} is marked valid and not whole")
    return chosen(disk, ROOT_MIB)[1], "B" in valid


def received_before(host: Host) -> int:
    """What the journal says has arrived, of all images."""
    try:
        images = json.loads(host.paths.journal.read_text())["images"].values()
    except FileNotFoundError:
        return 0
    return sum(image["received_bytes"] for image in images)


def test_killed_at_random_moments(
    place: Path, site: Site, record_property: Callable[[str, object], None]
) -> None:
    packed = release(VERSION, ROOT_MIB).packed
    fresh = sum(map(len, packed.values()))
    random = Random(7)  # noqa: S311

    host = install(place / "first", site)
    began = time.monotonic()
    with updating(host, site) as process:
        out, err = process.communicate()
    lasts = time.monotonic() - began
    assert (process.returncode, out) == (0, f"Update applied: demo {VERSION}\n"), err
    assert examine(host) == (VERSION, True)
    assert site.image_bytes(1) == fresh

    kills = resumed = 0
    run = 1
    for number in count():
        if kills >= KILLS:
            break
        host = install(place / f"{number}", site)
        had = 0
        for _ in range(4):
            had, run = received_before(host), run + 1
            with updating(host, site, run) as process:
                try:
                    process.wait(random.uniform(0.1, 1.1) * lasts)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                else:
                    assert process.returncode == 0
            if examine(host)[0] == VERSION:
                break
        else:
            had, run = received_before(host), run + 1
            with updating(host, site, run) as process:
                assert process.wait() == 0
        if had:
            # The last run went on from what the one before had left.
            resumed += 1
            assert site.image_bytes(run) <= fresh - had
        assert host.boot() == VERSION
        assert not host.paths.journal.exists()
        host.disk.unlink()
    assert resumed >= KILLS // 30
    record_property("killed", f"{kills} kills, {resumed} resumed, one lasts {lasts:.1f} s")


def test_killed_once_much_has_arrived(place: Path, site: Site) -> None:
    """What was flushed and noted is not asked for again."""
    fresh = sum(map(len, release(VERSION, ROOT_MIB).packed.values()))
    host = install(place / "host", site)
    with updating(host, site, 1) as process:
        wait_for(lambda: received_before(host) > fresh // 4)
        process.kill()
        process.wait()
    assert examine(host) == ("1.0.0", False)
    had = received_before(host)
    with updating(host, site, 2) as process:
        assert process.wait() == 0
    assert 0 < site.image_bytes(2) <= fresh - had < fresh
    assert host.boot() == VERSION


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_asked_to_stop(number: signal.Signals, place: Path, site: Site) -> None:
    """One line, exit code 1, nothing marked valid; and the next update completes."""
    host = install(place / "host", site)
    with site.slowly() as slow, updating(host, slow) as process:
        # The images come next.
        wait_for(host.paths.metadata_cache.exists)
        time.sleep(0.3)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == f"Starting update to {VERSION}"
    assert [line for line in lines[1:] if not line.startswith("hint: ")] == [lines[1]]
    assert lines[1].startswith("updog: interrupted while ")
    assert examine(host) == ("1.0.0", False)
    with updating(host, site) as process:
        assert process.wait() == 0
    assert host.boot() == VERSION
