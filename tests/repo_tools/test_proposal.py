"""Targets and snapshot metadata are signed by several people, each on a machine of their own.

Two of alice, bob and carol must sign targets; the publishing machine has the keys of snapshot and
timestamp, and of nothing else.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from repo_tools.keys.keyfile import load_public_key
from repo_tools.store.directory import DirectoryStore
from repo_tools.store.transport import StoreTransport
from tests.repo_tools.owner import PREFIX, Owner, Words
from tests.repo_tools.test_root_change import Snapshots
from updog.errors import RepositoryInvalid
from updog.manifest import Manifest
from updog.trust import refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PEOPLE = ("alice", "bob", "carol")
ONLINE = ("snapshot", "timestamp")


class Team:
    """People with a key each, and a machine that publishes."""

    def __init__(
        self, owner: Owner, *, snapshot_people: bool = False, kind: str = "ed25519"
    ) -> None:
        self.owner = owner
        names = ["root", *PEOPLE, *ONLINE]
        owner.do("key", "generate", "--no-passphrase", "--type", kind,
                 *(owner.keys / name for name in names))  # fmt: skip
        snapshot = PEOPLE if snapshot_people else ("snapshot",)
        holders = {
            "root": ["root"],
            "targets": PEOPLE,
            "snapshot": snapshot,
            "timestamp": ["timestamp"],
        }
        words = [
            word
            for role, names in holders.items()
            for name in names
            for word in (f"--{role}-key", owner.key(name))
        ]
        words += ["--targets-threshold", "2", "--snapshot-threshold", str(min(2, len(snapshot)))]
        owner.do("root", "init", owner.root, *words)
        owner.do("root", "sign", "--yes", "--key", owner.key("root"), owner.root)
        self.online: Words = [w for name in ONLINE for w in ("--key", owner.key(name))]

    @property
    def where(self) -> list[str]:
        return self.owner.repository(keys=False)

    def file(self, name: str) -> Path:
        return self.owner.base / f"{name}.proposal"

    def sign(self, file: Path, *people: str, more: Words | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for name in people:
            key = self.owner.key(name)
            answer = self.owner.do(
                "proposal", "sign", "-y", "--key", key, *self.where, file, *(more or [])
            )
        return answer

    def publishing(self, file: Path) -> Words:
        return ["proposal", "publish", *self.where, *self.online, file]

    def found(self) -> None:
        """Make the repository, and 1.1.0 in it."""
        first = self.file("first")
        self.owner.do("repo", "init", *self.where, "--propose", first)
        self.sign(first, "alice", "bob")
        self.owner.do(*self.publishing(first))
        self.sign(self.propose("1.1.0", start="1.0.0"), "alice", "bob")
        self.owner.do(*self.publishing(self.file("1.1.0")))

    def propose(self, version: str, start: str) -> Path:
        boot, root = self.owner.images(version)
        file = self.file(version)
        self.owner.do("repo", "publish", *self.where, "--version", version, "--waves", "none",
                      "--migrate-from", start, "--boot", boot, "--root-image", root,
                      "--propose", file)  # fmt: skip
        return file

    def keyid(self, name: str) -> str:
        return load_public_key(self.owner.keys / f"{name}.pub").keyid

    def signed(self, name: str) -> set[str]:
        """Whose signatures a published file has."""
        there = json.loads((self.owner.metadata / name).read_bytes())["signatures"]
        keyids = {signature["keyid"] for signature in there}
        everybody = [path.stem for path in self.owner.keys.glob("*.pub")]
        return {name for name in everybody if self.keyid(name) in keyids}


@pytest.fixture
def team(newcomer: Owner) -> Team:
    team = Team(newcomer)
    team.found()
    return team


def state(owner: Owner) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in owner.metadata.iterdir()}


def test_two_of_three_on_machines_of_their_own(team: Team, tmp_path: Path) -> None:
    """The file is copied to each; what comes back is brought together and published."""
    owner, file = team.owner, team.propose("1.2.0", start="1.1.0")
    before = state(owner)
    assert owner.client().updates() == ["1.1.0"]
    assert "has 0 of the 2 signatures" in owner.refused(*team.publishing(file))
    copies = []
    for name in ("carol", "bob"):
        copies.append(tmp_path / f"{name}.proposal")
        shutil.copyfile(file, copies[-1])
        shown = team.sign(copies[-1], name)
        targets = shown["roles"][0]
        assert (targets["role"], targets["threshold"]) == ("targets", 2)
        assert targets["signed"] == [team.keyid(name)]
        assert not targets["complete"]
        assert "has 1 of the 2 signatures" in owner.refused(*team.publishing(copies[-1]))
        trying = [*team.publishing(copies[-1]), "--dry-run"]
        assert "has 1 of the 2 signatures" in owner.refused(*trying)
    owner.do("proposal", "merge", file, *copies)
    assert state(owner) == before
    done = owner.do(*team.publishing(file))
    assert done["versions"] == {"targets": 3, "snapshot": 3, "timestamp": 3}
    assert owner.client().updates() == ["1.1.0", "1.2.0"]
    assert team.signed("3.targets.json") == {"bob", "carol"}
    assert team.signed("3.snapshot.json") == {"snapshot"}
    # Once more changes nothing.
    after = state(owner)
    assert owner.do(*team.publishing(file))["published"] is False
    assert state(owner) == after


def test_a_repository_begins_with_the_same_signatures(newcomer: Owner) -> None:
    team = Team(newcomer)
    first = team.file("first")
    newcomer.do("repo", "init", *team.where, "--propose", first)
    assert not newcomer.metadata.exists()
    team.sign(first, "alice")
    assert "1 of the 2 signatures" in newcomer.refused(*team.publishing(first))
    assert not newcomer.metadata.exists()
    team.sign(first, "carol")
    newcomer.do(*team.publishing(first))
    assert newcomer.client().updates() == []
    assert team.signed("1.targets.json") == {"alice", "carol"}


def test_a_signer_is_shown_what_is_signed_and_can_decline(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    before = file.read_bytes()
    env = team.owner.environment(confirm=lambda _: False)
    result = team.owner.run("proposal", "sign", "--key", team.owner.key("alice"), *team.where,
                            file, env=env)  # fmt: skip
    assert result.exit_code == 1
    root = json.loads(file.read_bytes())["metadata"]["targets"]["signed"]["targets"][
        "demo-x86_64-1.2.0-root.ext4.lz4"]  # fmt: skip
    for line in (
        "+ update demo x86_64 1.2.0, maximum version 1.2.0",
        "+ migration step 1.1.0 -> 1.2.0: nothing to do",
        (
            f"+ target demo-x86_64-1.2.0-root.ext4.lz4 ({root['length']:,} bytes,"
            f" sha256 {root['hashes']['sha256']})"
        ),
        "targets version 2 -> 3, expires 2026-08-30, 2 of 3 must sign",
    ):
        assert line in result.stderr.splitlines()
    assert file.read_bytes() == before


def test_a_stranger_cannot_sign(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    before = file.read_bytes()
    team.owner.make_keys("mallory")
    said = team.owner.refused("proposal", "sign", "-y", "--key", team.owner.key("mallory"),
                              *team.where, file)  # fmt: skip
    assert "is no key of targets or snapshot" in said
    assert file.read_bytes() == before


def test_the_same_person_twice_counts_once(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    team.sign(file, "alice", "alice")
    assert "1 of the 2 signatures" in team.owner.refused(*team.publishing(file))


def test_the_publishing_machine_may_hold_one_of_the_keys(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    team.sign(file, "alice")
    team.owner.do(*team.publishing(file), "--key", team.owner.key("bob"))
    assert team.signed("3.targets.json") == {"alice", "bob"}
    assert team.owner.client().updates() == ["1.1.0", "1.2.0"]


def test_every_change_can_be_proposed(team: Team) -> None:
    team.sign(team.propose("1.2.0", start="1.1.0"), "alice", "bob")
    team.owner.do(*team.publishing(team.file("1.2.0")))
    owner = team.owner.later(hours=1)
    team.owner = owner
    for name, words in {
        "waves": ["rollout", "set-waves", "--version", "1.2.0", "--waves", "slow"],
        "pause": ["rollout", "pause", "--version", "1.2.0"],
        "resume": ["rollout", "resume", "--version", "1.2.0"],
        "fast": ["rollout", "speed-up", "--version", "1.2.0"],
        "recall": ["rollout", "recall", "--version", "1.2.0"],
        "remove": ["repo", "remove", "--version", "1.2.0"],
        "refresh": ["repo", "refresh", "--within", "99 days"],
    }.items():
        owner.do(*words, *team.where, "--propose", team.file(name))
        team.sign(team.file(name), "bob", "carol")
        assert owner.do(*team.publishing(team.file(name)))["published"] is True
    assert owner.client().updates() == ["1.1.0"]
    assert owner.client().versions()["targets"] == 10


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_killed_after_any_write_it_is_finished_by_running_it_again(
    newcomer: Owner, tmp_path: Path, kind: str
) -> None:
    """Signatures of most kinds differ each time: what is there is taken, not signed again."""
    team = Team(newcomer, kind=kind)
    team.found()
    file = team.propose("1.2.0", start="1.1.0")
    team.sign(file, "alice")
    kernel = Snapshots(newcomer.repo, tmp_path / "moments")
    words = [*team.publishing(file), "--key", newcomer.key("bob")]
    Owner(newcomer.base, newcomer.now, kernel).do(*words)
    assert [name for name, _ in kernel.moments] == [
        "3.targets.json", "3.snapshot.json", "timestamp.json",
    ]  # fmt: skip
    for number, (_, repo) in enumerate(kernel.moments):
        again = Owner(tmp_path / f"again{number}", newcomer.now)
        shutil.copytree(repo, again.repo)
        shutil.copytree(newcomer.keys, again.keys)
        shutil.copyfile(newcomer.root, again.root)
        host = again.client()
        assert host.updates() in (["1.1.0"], ["1.1.0", "1.2.0"])
        team.owner = again
        again.do(*team.publishing(file), "--key", again.key("bob"))
        assert host.again().updates() == again.client().updates() == ["1.1.0", "1.2.0"]


def test_a_snapshot_that_people_sign_too(newcomer: Owner) -> None:
    """It is signed in the same round as the targets metadata, whose signatures it cannot know."""
    team = Team(newcomer, snapshot_people=True)
    team.found()
    assert team.signed("2.snapshot.json") == {"alice", "bob"}
    assert newcomer.client().updates() == ["1.1.0"]
    snapshot = json.loads((newcomer.metadata / "2.snapshot.json").read_bytes())["signed"]
    assert snapshot["meta"] == {"targets.json": {"version": 2}}
    # From then on its own renewal needs two as well; the timestamp's does not.
    later = newcomer.later(days=5)
    done = later.do("repo", "refresh", *team.where, "--key", newcomer.key("timestamp"))
    assert done["versions"] == {"timestamp": 3}
    later = newcomer.later(days=15)
    team.owner = later
    later.do("repo", "refresh", *team.where, "--propose", team.file("refresh"))
    shown = team.sign(team.file("refresh"), "carol")
    assert [role["role"] for role in shown["roles"]] == ["snapshot"]
    assert "1 of the 2" in later.refused(*team.publishing(team.file("refresh")))
    team.sign(team.file("refresh"), "bob")
    later.do(*team.publishing(team.file("refresh")))
    assert later.client().versions() == {"root": 1, "targets": 2, "snapshot": 3, "timestamp": 4}


def test_a_snapshot_key_that_is_somewhere_else(team: Team) -> None:
    """Its renewal alone is proposed; what it lists stays, digest and all."""
    team.owner = later = team.owner.later(days=15)
    file = team.file("refresh")
    later.do("repo", "refresh", *team.where, "--propose", file)
    team.sign(file, "snapshot")
    before = json.loads((later.metadata / "2.snapshot.json").read_bytes())["signed"]["meta"]
    later.do("proposal", "publish", *team.where, "--key", later.key("timestamp"), file)
    after = json.loads((later.metadata / "3.snapshot.json").read_bytes())["signed"]["meta"]
    assert after == before
    assert "hashes" in after["targets.json"]
    assert later.client().versions() == {"root": 1, "targets": 2, "snapshot": 3, "timestamp": 3}


class TestMeanwhile:
    """Something is published between the proposal and its last signature."""

    def test_other_targets_make_it_void(self, team: Team) -> None:
        mine, theirs = team.propose("1.2.0", start="1.1.0"), team.propose("1.3.0", start="1.1.0")
        team.sign(mine, "alice", "bob")
        team.sign(theirs, "alice", "bob")
        team.owner.do(*team.publishing(theirs))
        before = state(team.owner)
        for words in (team.publishing(mine), ["proposal", "show", *team.where, mine]):
            said = team.owner.refused(*words)
            assert "it follows targets version 2, published is version 3" in said
        assert state(team.owner) == before

    def test_a_timer_that_renews_the_snapshot_does_not(self, team: Team) -> None:
        file = team.propose("1.2.0", start="1.1.0")
        team.owner = later = team.owner.later(days=20)
        later.do("repo", "refresh", *team.where, *team.online)
        team.sign(file, "alice", "bob")
        later.do(*team.publishing(file))
        assert later.client().updates() == ["1.1.0", "1.2.0"]
        assert later.client().versions()["snapshot"] == 4

    def test_it_expires(self, team: Team) -> None:
        file = team.propose("1.2.0", start="1.1.0")
        team.owner = team.owner.later(days=91)
        said = team.owner.refused("proposal", "show", *team.where, file)
        assert "its targets metadata expired on 2026-08-30" in said


def test_somebody_leaves_and_somebody_comes(team: Team, tmp_path: Path) -> None:
    """Signed for the root to come as well, published, and then the root changes nothing else."""
    owner = team.owner
    owner.make_keys("dave")
    following = owner.base / "2.root.json"
    gone = [
        word for name in ("alice", "bob") for word in ("--remove", f"targets={owner.key(name)}")
    ]
    owner.do("root", "change", owner.root, following, *gone, "--targets-key", owner.key("dave"))
    owner.do("root", "sign", "-y", "--key", owner.key("root"), "--previous", owner.root, following)
    # Without the people's keys there is a moment at which hosts cannot follow, or no way at all.
    root_publish: Words = ["root", "publish", *team.where, *team.online, following]
    assert "has 0 of the 2 signatures" in owner.refused(*root_publish)
    file = team.file("handover")
    owner.do("repo", "refresh", *team.where, "--within", "99 days", "--propose", file)
    assert "is no key of" in owner.refused(
        "proposal", "sign", "-y", "--key", owner.key("dave"), *team.where, file
    )
    team.sign(file, "alice", "carol")
    team.sign(file, "dave", more=["--next-root", following])
    owner.do(*team.publishing(file))
    old = owner.client()
    kernel = Snapshots(owner.repo, tmp_path / "moments")
    Owner(owner.base, owner.now, kernel).do(*root_publish)
    assert [name for name, _ in kernel.moments] == ["2.root.json"]
    assert old.again().updates() == owner.client().updates() == ["1.1.0"]
    assert owner.client().versions()["root"] == 2


def test_so_many_keys_are_lost_that_nobody_can_propose(team: Team) -> None:
    """The new people's keys come together once; hosts that know the old root go on."""
    owner = team.owner
    host = owner.client()
    owner.make_keys("dave", "erin")
    following = owner.base / "2.root.json"
    words: Words = [f"--remove=targets={owner.key(name)}" for name in ("alice", "bob")]
    words += [w for name in ("dave", "erin") for w in ("--targets-key", owner.key(name))]
    owner.do("root", "change", owner.root, following, *words)
    owner.do("root", "sign", "-y", "--key", owner.key("root"), "--previous", owner.root, following)
    publish: Words = ["root", "publish", *team.where, *team.online, following]
    publish += ["--key", owner.key("dave")]
    assert "has 1 of the 2 signatures" in owner.refused(*publish)
    shown = owner.run(*publish, "--key", owner.key("erin"), "--dry-run").stderr
    assert "hosts that check between the last two writes refuse the repository" in shown
    owner.do(*publish, "--key", owner.key("erin"))
    assert team.signed("3.targets.json") == {"dave", "erin"}
    assert host.again().updates() == owner.client().updates() == ["1.1.0"]


@dataclass
class Tampering:
    """What somebody does to the file on its way, and what is said of it."""

    what: str
    change: Callable[[dict[str, Any]], Any]
    says: str


def _targets(proposal: dict[str, Any]) -> dict[str, Any]:
    signed: dict[str, Any] = proposal["metadata"]["targets"]["signed"]
    return signed


TAMPERINGS = [
    Tampering("another manifest in the file", lambda p: p.update(manifest='{"updates": []}'),
              "its manifest does not hold"),
    Tampering("no manifest", lambda p: p.pop("manifest"), "does not hold the manifest"),
    Tampering("another manifest's digest", lambda p: _targets(p)["targets"]["manifest.json"].update(
        length=3), "its manifest does not hold"),
    Tampering("a target that the manifest names is gone", lambda p: _targets(p)["targets"].pop(
        "demo-x86_64-1.2.0-root.ext4.lz4"), "is not a target"),
    Tampering("a delegation", lambda p: _targets(p).update(delegations={"keys": {}, "roles": []}),
              "it changes more than targets"),
    Tampering("a field that nobody sees", lambda p: _targets(p).update(note="x"),
              "it changes more than targets"),
    Tampering("something about a target", lambda p: _targets(p)["targets"][
        "demo-x86_64-1.2.0-root.ext4.lz4"].update(custom={"x": 1}), "it says more of target"),
    Tampering("a version that was there", lambda p: _targets(p).update(version=2),
              "its targets version 2 is published already"),
    Tampering("another snapshot", lambda p: p["metadata"]["snapshot"]["signed"]["meta"].update(
        {"targets.json": {"version": 9}}), "its snapshot lists something else"),
    Tampering("a snapshot of more", lambda p: p["metadata"]["snapshot"]["signed"]["meta"].update(
        {"other.json": {"version": 1}}), "its snapshot lists something else"),
    Tampering("another repository", lambda p: p.update(repository="demo/aarch64"),
              "it is for demo/aarch64"),
    Tampering("another beginning", lambda p: p.update(follows=1), "it follows targets version 1"),
    Tampering("roles exchanged", lambda p: p["metadata"].update(
        targets=p["metadata"]["snapshot"]), "it does not hold targets and snapshot metadata"),
    Tampering("another role", lambda p: p["metadata"].update(
        timestamp=p["metadata"]["snapshot"]), "it does not hold targets and snapshot metadata"),
    Tampering("no role", lambda p: p["metadata"].clear(), "it does not hold targets and snapshot"),
    Tampering("no metadata", lambda p: p.pop("metadata"), "it is not a proposal"),
    Tampering("metadata that is none", lambda p: p["metadata"].update(targets=[]),
              "it is not a proposal"),
    Tampering("a number for a name", lambda p: p.update(follows="x"), "it is not a proposal"),
]  # fmt: skip


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda t: t.what)
def test_what_a_signer_would_not_see_is_refused(team: Team, tampering: Tampering) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    proposal = json.loads(file.read_bytes())
    tampering.change(proposal)
    file.write_text(json.dumps(proposal))
    before = file.read_bytes()
    commands: list[Words] = [
        ["proposal", "show", *team.where, file],
        ["proposal", "sign", "-y", "--key", team.owner.key("alice"), *team.where, file],
    ]
    if "snapshot" not in tampering.what:  # which this publishing machine makes anew
        commands.append(team.publishing(file))
    for words in commands:
        said = team.owner.refused(*words)
        assert said.startswith(f"cannot use proposal {file}: ")
        assert tampering.says in said
    assert file.read_bytes() == before


def test_a_file_of_something_else(team: Team) -> None:
    for text in ("", "[]", "{}", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        team.file("x").write_text(text)
        said = team.owner.refused("proposal", "show", *team.where, team.file("x"))
        assert said.endswith("it is not a proposal")


def test_a_change_after_a_signature_makes_it_void(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    team.sign(file, "alice", "bob")
    proposal = json.loads(file.read_bytes())
    _targets(proposal)["expires"] = "2036-01-01T00:00:00Z"
    file.write_text(json.dumps(proposal))
    assert "has 0 of the 2 signatures" in team.owner.refused(*team.publishing(file))


def test_copies_that_differ_do_not_come_together(team: Team, tmp_path: Path) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    other = json.loads(file.read_bytes())
    _targets(other)["expires"] = "2036-01-01T00:00:00Z"
    copy = tmp_path / "copy"
    copy.write_text(json.dumps(other))
    said = team.owner.refused("proposal", "merge", tmp_path / "out", file, copy)
    assert f"it does not say the same as {file}" in said
    assert not (tmp_path / "out").exists()


def test_targets_that_were_not_written(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    team.sign(file, "alice", "bob")
    (image,) = (team.owner.repo / "targets").glob("*.demo-x86_64-1.2.0-boot.ext4.lz4")
    image.unlink()
    said = team.owner.refused(*team.publishing(file))
    assert "target demo-x86_64-1.2.0-boot.ext4.lz4 is not at" in said


def test_signatures_are_not_overwritten(team: Team) -> None:
    file = team.propose("1.2.0", start="1.1.0")
    before = file.read_bytes()
    words: Words = ["rollout", "set-waves", "--version", "1.1.0", "--waves", "slow", *team.where]
    assert "it exists" in team.owner.refused(*words, "--propose", file)
    assert file.read_bytes() == before


def test_a_timestamp_is_not_proposed(team: Team) -> None:
    owner = team.owner.later(days=5)
    said = owner.refused("repo", "refresh", *team.where, "--propose", team.file("x"))
    assert "signed where it is published" in said
    assert not team.file("x").exists()


def test_a_dry_run_writes_nothing(team: Team) -> None:
    boot, root = team.owner.images("1.2.0")
    targets = sorted((team.owner.repo / "targets").iterdir())
    words: Words = ["repo", "publish", *team.where, "--version", "1.2.0", "--boot", boot]
    words += ["--root-image", root, "--migrate-from", "1.1.0", "--propose", team.file("x")]
    team.owner.do(*words, "--dry-run")
    assert not team.file("x").exists()
    assert sorted((team.owner.repo / "targets").iterdir()) == targets


def test_without_a_key_and_without_a_proposal_it_is_a_usage_error(team: Team) -> None:
    result = team.owner.run("repo", "refresh", *team.where)
    assert result.exit_code == 2
    assert "Missing option '--key'" in result.stderr


def test_updog_keeps_its_trust_over_proposals(newcomer: Owner, tmp_path: Path) -> None:
    """Updog's own client, with what it remembers, over snapshots that hold no digests."""
    team = Team(newcomer, snapshot_people=True)
    team.found()
    store = TrustStore(tmp_path / "metadata", tmp_path / "trust.json")

    def versions() -> list[str]:
        transport = StoreTransport(DirectoryStore(newcomer.repo), PREFIX)
        found = refresh_store(store, newcomer.root.read_bytes(), transport, newcomer.now)
        manifest = Manifest.from_bytes(found.read_target("manifest.json", 1 << 20))
        return [str(update.version) for update in manifest.updates]

    assert versions() == versions() == ["1.1.0"]
    team.sign(team.propose("1.2.0", start="1.1.0"), "alice", "carol")
    shutil.copytree(newcomer.repo, tmp_path / "before")
    newcomer.do(*team.publishing(team.file("1.2.0")))
    assert versions() == versions() == ["1.1.0", "1.2.0"]
    # Somebody shows it the state from before.
    shutil.rmtree(newcomer.repo)
    shutil.copytree(tmp_path / "before", newcomer.repo)
    with pytest.raises(RepositoryInvalid, match="version"):
        versions()
