"""A publish, a refresh or a mirror that stops anywhere leaves a repository that every host can use.

Two ways of stopping: a power cut, modelled over every change that was made and not yet flushed
(`tests.support.volume`), and a real `kill -9` of a real process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from repo_tools.publish.rehearse import rehearse
from repo_tools.store.transport import StoreTransport
from tests.repo_tools.owner import PREFIX, PROGRAM, Client, Owner, Words
from tests.support.cuts import Thoroughness, states
from tests.support.power import PowerKernel, described, materialise
from tests.support.volume import History, Kind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SAMPLED = Thoroughness(exhaustive=3, samples=2, lengths=2, scattered=1)


@dataclass
class Work:
    """Something an owner does to a repository that has 1.1.0."""

    name: str
    words: Callable[[Owner], Words]
    before: int
    after: int


WORKS = [
    Work("a publish", lambda o: o.publishing("1.2.0", start="1.1.0"), 1, 2),
    Work("a refresh", lambda o: ["repo", "refresh", *o.repository(), "--within", "99 days"], 1, 1),
    Work("a pause", lambda o: ["rollout", "set-waves", *o.repository(), "--version", "1.1.0",
                               "--waves", "slow"], 1, 1),
]  # fmt: skip


class Served:
    """The files of a state that a host could ask for, as a store."""

    where = "cut"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, name: str, max_bytes: int) -> bytes | None:
        data = self._files.get(name)
        assert data is None or len(data) <= max_bytes
        return data

    def stream(self, name: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes] | None:
        del chunk_bytes
        return iter([self._files[name]]) if name in self._files else None

    def size(self, name: str) -> int | None:
        return len(self._files[name]) if name in self._files else None

    def names(self, directory: str) -> list[str]:
        raise NotImplementedError(directory)


@dataclass
class Cut:
    """What hosts find in a state that a power cut left."""

    files: dict[str, bytes]
    state: State

    def hosts_updates(self, owner: Owner) -> int:
        """How many updates a new host finds; it must find its way."""
        transport = StoreTransport(Served(self.files), PREFIX)
        (host,) = rehearse(transport, [owner.root.read_bytes()], owner.now)
        assert host.failure == ""
        return host.updates

    @property
    def timestamp_version(self) -> int:
        version: int = json.loads(self.files[f"{PREFIX}/timestamp.json"])["signed"]["version"]
        return version


def cuts(history: History) -> Iterator[Cut]:
    """Every state once, of those that differ in what hosts can see."""
    seen = set()
    for state in states(history, SAMPLED):
        files = {
            path: content
            for path, (kind, _, content) in described(history, state).items()
            if kind is Kind.FILE and not any(part.startswith(".") for part in Path(path).parts)
        }
        key = frozenset((path, hashlib.sha256(data).digest()) for path, data in files.items())
        if key not in seen:
            seen.add(key)
            yield Cut(files, state)


@pytest.mark.parametrize("work", WORKS, ids=lambda w: w.name)
def test_power_fails_at_any_moment(owner: Owner, tmp_path: Path, work: Work) -> None:
    owner.publish("1.1.0", start="1.0.0")
    (owner.repo / ".lock").unlink()
    kernel = PowerKernel(owner.repo)
    Owner(owner.base, owner.now, kernel).do(*work.words(owner))
    history = kernel.history()
    versions = []
    for number, cut in enumerate(cuts(history)):
        assert cut.hosts_updates(owner) in {work.before, work.after}
        versions.append(cut.timestamp_version)
        if number % 10 == 3:
            # python-tuf's client agrees, images and all; and running it again mends it.
            again = Owner(tmp_path / f"again{number}", owner.now)
            shutil.copytree(owner.keys, again.keys)
            shutil.copyfile(owner.root, again.root)
            materialise(history, cut.state, again.repo)
            assert len(again.client().updates()) in {work.before, work.after}
            again.do(*work.words(again))
            assert len(again.client().updates()) == work.after
            assert {path.name for path in again.repo.rglob(".*")} == {".lock"}
    assert set(versions) == {2, 3}
    assert len(versions) >= 4  # targets, snapshot, timestamp, and nothing


def test_power_fails_while_a_mirror_is_made(owner: Owner, tmp_path: Path) -> None:
    owner.publish("1.1.0", start="1.0.0")
    mirror = tmp_path / "mirror"
    words: Words = ["repo", "mirror", *owner.repository(keys=False), "--jobs", "1", mirror]
    owner.do(*words)
    owner.publish("1.2.0", start="1.1.0")
    (mirror / ".lock").unlink()
    kernel = PowerKernel(mirror)
    Owner(owner.base, owner.now, kernel).do(*words)
    assert {cut.hosts_updates(owner) for cut in cuts(kernel.history())} == {1, 2}


@pytest.mark.parametrize("work", ["publish", "mirror"])
def test_killed_for_real(owner: Owner, tmp_path: Path, work: str) -> None:
    """Killed at several moments; after each, a new host finds the old state or the new."""
    owner.publish("1.1.0", start="1.0.0")
    # Large enough that work goes on for a while.
    for path in owner.images("1.2.0"):
        path.write_bytes(os.urandom(1 << 20) * 8)
    words = owner.publishing("1.2.0", "--level", "12", start="1.1.0")
    served = owner.repo
    if work == "mirror":
        served = tmp_path / "mirror"
        words = ["repo", "mirror", *owner.repository(keys=False), served]
        owner.do(*words)
        owner.publish("1.2.0", start="1.1.0")
    outcomes = []
    for attempt in range(4):
        process = subprocess.Popen(
            [PROGRAM, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 0.25 + 0.35 * attempt
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        outcomes.append(len(Client(served, owner.root.read_bytes(), owner.now).updates()))
    assert outcomes[0] == 1
    assert outcomes == sorted(outcomes)
    owner.do(*words)
    assert len(Client(served, owner.root.read_bytes(), owner.now).updates()) == 2
    hidden = {path.name for path in served.rglob(".*")}
    assert hidden == {".lock"}
