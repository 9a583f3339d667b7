"""A TUF client that shares no code with ours reads what repo-tools makes: tuf-js, in Node.

python-tuf is below both our client and our repository code; what only that pair agrees on would not
be noticed there. `make test-clients` installs tuf-js, as its lock says, and runs this file, which
has no name that `make test` looks for: there is no Node on a machine that only tests Python.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from repo_tools.serve import RepositoryServer
from tests.repo_tools.owner import PREFIX, Owner
from tests.repo_tools.test_proposal import Team
from tests.repo_tools.test_readme import hold_the_ceremony

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "build" / "test-clients" / "node_modules"


@contextmanager
def served(directory: Path) -> Iterator[str]:
    with RepositoryServer(directory) as server:
        server.quiet = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


class TufJs:
    """One host with tuf-js; it remembers what it has seen."""

    def __init__(self, state: Path, root: Path, repo: Path, prefix: str = PREFIX) -> None:
        self.state = state
        self._repo, self._prefix = repo, prefix
        state.mkdir(parents=True)
        shutil.copyfile(root, state / "root.json")

    def run(self, *names: str) -> subprocess.CompletedProcess[str]:
        with served(self._repo) as url:
            addresses = (f"{url}/{self._prefix}", f"{url}/targets")
            return subprocess.run(
                ["node", HERE / "read.js", *addresses, self.state, *names],
                env={"NODE_PATH": str(MODULES), "PATH": "/usr/local/bin:/usr/bin:/bin"},
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip

    def read(self, *names: str) -> dict[str, Any]:
        done = self.run("manifest.json", *names)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        # What it fetched is, byte for byte, what the file's name promises.
        for name, digest in found["targets"].items():
            assert (self._repo / "targets" / f"{digest}.{name}").is_file()
        return found

    def refuses(self) -> str:
        done = self.run("manifest.json")
        assert done.returncode == 1
        return done.stderr


@pytest.fixture
def now_owner(tmp_path: Path) -> Owner:
    """An owner of today: tuf-js looks at the real clock."""
    return Owner(tmp_path / "owner", datetime.now(UTC))


def images(version: str) -> list[str]:
    parts = ("boot.ext4.lz4", "root.ext4.lz4", "root.verity.lz4")
    return [f"{PREFIX.replace('/', '-')}-{version}-{part}" for part in parts]


def test_the_ceremony_of_the_readme(tmp_path: Path) -> None:
    """Four roots, a key in a token, rotations, a stolen key, and two of three for targets."""
    hold_the_ceremony(tmp_path)
    for version in (1, 2, 3, 4):
        host = TufJs(tmp_path / f"host{version}", tmp_path / f"{version}.root.json",
                     tmp_path / "repository", "metal/x86_64")  # fmt: skip
        found = host.read("metal-x86_64-1.2.0-root.ext4.lz4")
        assert found["versions"] == {"root": 4, "targets": 4, "snapshot": 5, "timestamp": 5}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_two_of_three_for_targets_and_snapshot(now_owner: Owner, tmp_path: Path, kind: str) -> None:
    team = Team(now_owner, snapshot_people=True, kind=kind)
    team.found()
    host = TufJs(tmp_path / "host", now_owner.root, now_owner.repo)
    assert host.read(*images("1.1.0"))["versions"]["targets"] == 2
    file = team.propose("1.2.0", start="1.1.0")
    team.sign(file, "bob", "carol")
    now_owner.do(*team.publishing(file))
    assert host.read(*images("1.1.0"), *images("1.2.0"))["versions"]["targets"] == 3


def test_a_host_lives_through_publishing_and_new_keys(now_owner: Owner, tmp_path: Path) -> None:
    owner = now_owner
    owner.found()
    owner.publish("1.1.0", start="1.0.0")
    host = TufJs(tmp_path / "host", owner.root, owner.repo)
    host.read(*images("1.1.0"))
    following = owner.base / "2.root.json"
    words: list[str | Path] = []
    for role in ("root", "targets", "snapshot", "timestamp"):
        owner.make_keys(f"{role}2")
        words += [f"--{role}-key", owner.key(f"{role}2"), "--remove", f"{role}={owner.key(role)}"]
    owner.do("root", "change", owner.root, following, *words)
    for name in ("root", "root2"):
        owner.do(
            "root", "sign", "-y", "--previous", owner.root, "--key", owner.key(name), following
        )
    owner.do("root", "publish", *owner.repository(), following)
    assert host.read(*images("1.1.0"))["versions"]["root"] == 2
    owner.publish("1.2.0", start="1.1.0")
    owner.do("repo", "refresh", *owner.repository(), "--within", "99 days")
    owner.do("rollout", "recall", *owner.repository(), "--version", "1.2.0")
    found = host.read(*images("1.2.0"))
    assert found["versions"] == {"root": 2, "targets": 6, "snapshot": 6, "timestamp": 6}
    new = TufJs(tmp_path / "new", owner.root, owner.repo)
    assert new.read(*images("1.2.0")) == found


def test_a_mirror(now_owner: Owner, tmp_path: Path) -> None:
    now_owner.found()
    now_owner.publish("1.1.0", start="1.0.0")
    now_owner.do("repo", "mirror", *now_owner.repository(keys=False), tmp_path / "mirror")
    TufJs(tmp_path / "host", now_owner.root, tmp_path / "mirror").read(*images("1.1.0"))


class TestItWouldNotice:
    """The witness refuses what it has to refuse."""

    def test_an_old_state(self, now_owner: Owner, tmp_path: Path) -> None:
        now_owner.found()
        shutil.copytree(now_owner.repo, tmp_path / "old")
        now_owner.publish("1.1.0", start="1.0.0")
        host = TufJs(tmp_path / "host", now_owner.root, now_owner.repo)
        host.read()
        host._repo = tmp_path / "old"
        assert "New timestamp version 1 is less than current version 2" in host.refuses()

    def test_a_changed_target(self, now_owner: Owner, tmp_path: Path) -> None:
        now_owner.found()
        (manifest,) = (now_owner.repo / "targets").glob("*.manifest.json")
        manifest.write_bytes(manifest.read_bytes().replace(b"updates", b"UPDATES"))
        host = TufJs(tmp_path / "host", now_owner.root, now_owner.repo)
        assert "hash" in host.refuses().lower()

    def test_one_signature_of_two(self, now_owner: Owner, tmp_path: Path) -> None:
        team = Team(now_owner, snapshot_people=True)  # so no digest stands in the way
        team.found()
        path = now_owner.metadata / "2.targets.json"
        targets = json.loads(path.read_bytes())
        del targets["signatures"][0]
        path.write_text(json.dumps(targets))
        host = TufJs(tmp_path / "host", now_owner.root, now_owner.repo)
        assert "targets was signed by 1/2 keys" in host.refuses()
