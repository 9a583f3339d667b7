"""Keys of the online roles change hands; at every write, hosts with any root can update.

The witness is python-tuf's own client, new or with state from before, against what is on disk after
each single write.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from repo_tools.keys.keyfile import load_public_key
from repo_tools.keys.signers import open_signer
from tests.repo_tools.owner import Client, Owner
from tests.support.unflushed import Unflushed

if TYPE_CHECKING:
    from partition.kernel import StrPath


class Snapshots(Unflushed):
    """Copies the repository's metadata each time a file in it gets its name."""

    def __init__(self, repo: Path, place: Path) -> None:
        self._repo = repo
        self._place = place
        self.moments: list[tuple[str, Path]] = []

    def replace(self, source: StrPath, target: StrPath) -> None:
        super().replace(source, target)
        if self._repo in Path(target).parents:
            copy = self._place / str(len(self.moments)) / "repo"
            shutil.copytree(self._repo, copy)
            self.moments.append((Path(target).name, copy))


@dataclass
class Handover:
    """The keys of a role change, and the old ones may be at hand or not."""

    what: str
    roles: list[str]
    old_keys: bool
    gap: list[str]


HANDOVERS = [
    Handover("timestamp, as planned", ["timestamp"], True, []),
    Handover("timestamp, the old key stolen or lost", ["timestamp"], False, []),
    Handover("snapshot, as planned", ["snapshot"], True, []),
    Handover("targets, as planned", ["targets"], True, []),
    Handover("all three, as planned", ["targets", "snapshot", "timestamp"], True, []),
    Handover("snapshot, the old key lost", ["snapshot"], False, ["2.root.json"]),
    Handover("targets, the old key lost", ["targets"], False, ["2.root.json"]),
]


@dataclass
class Changed:
    """What a change left at each moment, and the root that hosts had before."""

    owner: Owner
    first: bytes
    moments: list[tuple[str, Path]]


def hand_over(owner: Owner, handover: Handover, place: Path) -> Changed:
    owner.publish("1.1.0", start="1.0.0")
    after = owner.base / "2.root.json"
    words: list[str | Path] = []
    for role in handover.roles:
        owner.make_keys(f"{role}2")
        words += [f"--{role}-key", owner.key(f"{role}2"), "--remove", f"{role}={owner.key(role)}"]
    owner.do("root", "change", owner.root, after, *words)
    owner.do("root", "sign", "--yes", "--key", owner.key("root"), "--previous", owner.root, after)
    if not handover.old_keys:
        for role in handover.roles:
            (owner.keys / f"{role}.pub").unlink()
            (owner.keys / f"{role}.pem").unlink()
    kernel = Snapshots(owner.repo, place)
    Owner(owner.base, owner.now, kernel).do("root", "publish", after, *owner.repository())
    return Changed(owner, owner.root.read_bytes(), kernel.moments)


@pytest.mark.parametrize("handover", HANDOVERS, ids=lambda h: h.what)
def test_a_host_can_update_at_every_moment(
    owner: Owner, tmp_path: Path, handover: Handover
) -> None:
    changed = hand_over(owner, handover, tmp_path / "moments")
    assert [name for name, _ in changed.moments][-1] in {"2.root.json", "timestamp.json"}
    failed = []
    for name, repo in changed.moments:
        try:
            client = Client(repo, changed.first, owner.now)
        except RepositoryError:
            failed.append(name)
            continue
        assert client.updates() == ["1.1.0"]
    assert failed == handover.gap
    second = (owner.metadata / "2.root.json").read_bytes()
    assert owner.client(second).updates() == ["1.1.0"]


@pytest.mark.parametrize("handover", HANDOVERS, ids=lambda h: h.what)
def test_killed_after_any_write_it_is_finished_by_running_it_again(
    owner: Owner, tmp_path: Path, handover: Handover
) -> None:
    changed = hand_over(owner, handover, tmp_path / "moments")
    for number, (_, repo) in enumerate(changed.moments):
        base = tmp_path / f"again{number}"
        base.mkdir()
        shutil.copytree(repo, base / "repo")
        for name in ("keys", "1.root.json", "2.root.json"):
            (base / name).symlink_to(owner.base / name)
        again = Owner(base)
        again.do("root", "publish", base / "2.root.json", *again.repository())
        client = again.client()
        assert client.updates() == ["1.1.0"]
        assert client.versions()["root"] == 2
        # And the new keys are enough from then on.
        again.publish("1.2.0", start="1.1.0")
        assert again.client().updates() == ["1.1.0", "1.2.0"]


def test_a_host_that_a_stolen_timestamp_key_misled_recovers(owner: Owner) -> None:
    """The thief publishes a timestamp with a version from the far future (fast-forward attack)."""
    owner.publish("1.1.0", start="1.0.0")
    honest = (owner.metadata / "timestamp.json").read_bytes()
    thief = open_signer(load_public_key(owner.keys / "timestamp.pub"), lambda *_: "")
    forged = Metadata[Timestamp].from_bytes(honest)
    forged.signed.version = 999_999
    forged.sign(thief)
    (owner.metadata / "timestamp.json").write_bytes(forged.to_bytes())
    host = owner.client()
    assert host.versions()["timestamp"] == 999_999

    (owner.metadata / "timestamp.json").write_bytes(honest)
    after = owner.base / "2.root.json"
    owner.make_keys("timestamp2")
    owner.do(
        "root", "change", owner.root, after, "--timestamp-key", owner.key("timestamp2"),
        "--remove", f"timestamp={owner.key('timestamp')}",
    )  # fmt: skip
    owner.do("root", "sign", "--yes", "--key", owner.key("root"), "--previous", owner.root, after)
    (owner.keys / "timestamp.pub").unlink()
    owner.do("root", "publish", after, *owner.repository())
    assert host.again().versions() == {"root": 2, "targets": 2, "snapshot": 2, "timestamp": 2}


def test_the_old_key_alone_signs_no_more(owner: Owner, tmp_path: Path) -> None:
    shutil.copytree(owner.keys, tmp_path / "old")
    hand_over(owner, HANDOVERS[1], tmp_path / "moments")
    owner.keys.rename(tmp_path / "new")
    (tmp_path / "old").rename(owner.keys)
    refresh = ["repo", "refresh", *owner.repository(), "--within", "30 days"]
    result = owner.run(*refresh)
    assert result.exit_code == 0
    assert "timestamp expires on 2026-06-08, and cannot be renewed with the keys" in result.stderr
    assert owner.client().versions()["timestamp"] == 2


def test_a_root_that_changes_no_online_key_is_one_write(owner: Owner, tmp_path: Path) -> None:
    handover = Handover("nothing but the expiry", [], True, [])
    changed = hand_over(owner, handover, tmp_path / "moments")
    assert [name for name, _ in changed.moments] == ["2.root.json"]
