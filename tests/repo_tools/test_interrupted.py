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
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from repo_tools.publish.rehearse import rehearse
from repo_tools.store.directory import DirectoryStore
from repo_tools.store.transport import StoreTransport
from tests.repo_tools.owner import PREFIX, PROGRAM, ROLES, Client, Owner, Words
from tests.support.cuts import Thoroughness, states
from tests.support.power import PowerKernel, described, materialise
from tests.support.volume import History, Kind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SAMPLED = Thoroughness(exhaustive=3, samples=2, lengths=2, scattered=1)


@dataclass
class Work:
    """Something an owner does to a repository that has 1.1.0; `where` hosts look."""

    name: str
    words: Callable[[Owner], Words]
    before: int
    after: int
    prepare: Callable[[Owner], object] = lambda _: None
    where: str = "repo"


def next_root(owner: Owner) -> None:
    """A root with other keys of every role, signed."""
    following = owner.base / "2.root.json"
    words: Words = []
    for role in ROLES[1:]:
        owner.make_keys(f"{role}2")
        words += [f"--{role}-key", owner.key(f"{role}2"), f"--remove={role}={owner.key(role)}"]
    owner.do("root", "change", owner.root, following, *words)
    owner.do("root", "sign", "-y", "--key", owner.key("root"), "--previous", owner.root, following)


def proposed(owner: Owner) -> None:
    owner.do(*owner.publishing("1.2.0", start="1.1.0"), "--propose", owner.base / "proposal")


def mirroring(owner: Owner) -> Words:
    return ["repo", "mirror", *owner.repository(keys=False), "--jobs", "1", owner.base / "mirror"]


def mirrored(owner: Owner) -> None:
    """A mirror of 1.1.0 alone."""
    owner.do(*mirroring(owner))
    owner.publish("1.2.0", start="1.1.0")


WORKS = [
    Work("publish", lambda o: o.publishing("1.2.0", start="1.1.0"), 1, 2),
    Work("refresh", lambda o: ["repo", "refresh", *o.repository(), "--within", "99 days"], 1, 1),
    Work("new waves", lambda o: ["rollout", "set-waves", *o.repository(), "--version", "1.1.0",
                                 "--waves", "slow"], 1, 1),
    Work("new root", lambda o: ["root", "publish", *o.repository(), o.base / "2.root.json"], 1, 1,
         next_root),
    Work("proposal", lambda o: ["proposal", "publish", *o.repository(), o.base / "proposal"], 1, 2,
         proposed),
    Work("mirror", mirroring, 1, 2, mirrored, "mirror"),
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


@pytest.mark.parametrize("work", WORKS[:3], ids=lambda w: w.name)
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


@pytest.mark.parametrize("work", WORKS, ids=lambda w: w.name)
def test_killed_before_each_change_to_the_disk(owner: Owner, tmp_path: Path, work: Work) -> None:
    """By a real SIGKILL; then come a host that is new and one that knows the state before."""
    owner.publish("1.1.0", start="1.0.0")
    work.prepare(owner)
    old = Client(owner.base / work.where, owner.root.read_bytes(), owner.now)
    assert len(old.updates()) == work.before
    place = tmp_path / "killed"
    program: Words = [
        sys.executable,
        "-m",
        "tests.repo_tools.killing",
        work.name,
        owner.base,
        place,
    ]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *killed, through = sorted(place.iterdir(), key=lambda path: int(path.name))
    assert len(killed) >= 4
    left = {tree(base / work.where): base for base in killed}
    seen = set()
    for base in left.values():
        repo = base / work.where
        new, known = Client(repo, owner.root.read_bytes(), owner.now), old.at(repo)
        for host in (new, known):
            assert len(host.updates()) in {work.before, work.after}
        (updogs,) = rehearse(
            StoreTransport(DirectoryStore(repo), PREFIX), [owner.root.read_bytes()], owner.now
        )
        assert updogs.failure == ""
        assert new.versions() == known.versions()
        seen.add(tuple(new.versions().values()))
        again = Owner(base, owner.now)
        again.do(*work.words(again))
        for host in (new.again(), known.again()):
            assert len(host.updates()) == work.after
        assert {path.name for path in repo.rglob(".*")} == {".lock"}
    arrived = Client(through / work.where, owner.root.read_bytes(), owner.now)
    assert len(arrived.updates()) == work.after
    assert tuple(old.versions().values()) in seen
    assert arrived.versions() != old.versions()


def tree(directory: Path) -> frozenset[tuple[str, bytes]]:
    """All files below a directory, hidden ones too, with their contents."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return frozenset((str(path.relative_to(directory)), path.read_bytes()) for path in files)


@pytest.mark.parametrize("work", ["publish", "mirror"])
def test_killed_for_real(today: Owner, tmp_path: Path, work: str) -> None:
    """Killed at several moments; after each, a new host finds the old state or the new."""
    owner = today
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
