"""A root is made by several people: nothing is published that the thresholds do not cover."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tuf.api.exceptions import RepositoryError

from repo_tools.errors import RootInvalid
from repo_tools.keys.keyfile import load_public_key
from repo_tools.root import ceremony
from tests.repo_tools.owner import NOW, ROLES, Owner, Words

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = ("alice", "bob", "carol")


@pytest.fixture
def three(newcomer: Owner) -> Owner:
    """Three people, of whom two must sign; the root is drawn up, and nobody has signed."""
    newcomer.make_keys(*PEOPLE, *ROLES[1:])
    newcomer.draw_up_root("--root-threshold", "2", root_keys=PEOPLE)
    return newcomer


def sign(owner: Owner, file: Path, *people: str, previous: Path | None = None) -> None:
    before: Words = ["--previous", previous] if previous else []
    for name in people:
        owner.do("root", "sign", "--yes", "--key", owner.key(name), *before, file)


def test_two_of_three_sign_one_after_the_other(three: Owner) -> None:
    assert three.do("root", "show", three.root)["complete"] is False
    said = three.refused("repo", "init", *three.repository())
    assert "it has 0 of the 2 signatures that root version 1 asks for" in said
    sign(three, three.root, "alice")
    said = three.refused("repo", "init", *three.repository())
    assert "it has 1 of the 2 signatures" in said
    assert not three.repo.exists() or not list(three.repo.rglob("*.json"))
    sign(three, three.root, "carol")
    shown = three.do("root", "show", three.root)
    assert shown["complete"] is True
    assert shown["signatures"][0]["threshold"] == 2
    three.do("repo", "init", *three.repository())
    assert three.client().updates() == []


def test_signing_twice_counts_once(three: Owner) -> None:
    sign(three, three.root, "alice", "alice")
    assert three.do("root", "show", three.root)["complete"] is False


def test_copies_that_were_signed_apart_come_together(three: Owner, tmp_path: Path) -> None:
    copies = []
    for name in ("alice", "bob"):
        copy = tmp_path / f"{name}.json"
        shutil.copyfile(three.root, copy)
        sign(three, copy, name)
        copies.append(copy)
    three.do("root", "merge", three.root, *copies)
    three.do("repo", "init", *three.repository())
    assert three.client().updates() == []


def test_copies_that_differ_do_not(three: Owner, tmp_path: Path) -> None:
    copy = tmp_path / "other.json"
    other = json.loads(three.root.read_bytes())
    other["signed"]["expires"] = "2099-01-01T00:00:00Z"
    copy.write_text(json.dumps(other))
    said = three.refused("root", "merge", three.root, three.root, copy)
    assert "do not say the same" in said


def test_a_stranger_cannot_sign(three: Owner) -> None:
    three.make_keys("mallory")
    said = three.refused("root", "sign", "--yes", "--key", three.key("mallory"), three.root)
    assert "is not a root key of it" in said
    assert json.loads(three.root.read_bytes())["signatures"] == []


def test_what_is_signed_is_shown_first_and_can_be_declined(three: Owner) -> None:
    env = three.environment(confirm=lambda _: False)
    result = three.run("root", "sign", "--key", three.key("alice"), three.root, env=env)
    assert result.exit_code == 1
    assert "root: 2 of 3 must sign" in result.stderr
    assert json.loads(three.root.read_bytes())["signatures"] == []


def test_a_root_file_is_not_overwritten(three: Owner) -> None:
    said = three.refused(
        "root", "init", three.root, *(w for r in ROLES for w in (f"--{r}-key", three.key("alice")))
    )
    assert "never overwritten" in said


@pytest.mark.parametrize(
    "words, says",
    [
        (["--root-threshold", "2"], "root has 1 keys, its threshold is 2"),
        (["--targets-threshold", "2"], "targets has 1 keys, its threshold is 2"),
    ],
)
def test_a_threshold_that_nobody_can_meet(newcomer: Owner, words: list[str], says: str) -> None:
    newcomer.make_keys(*ROLES)
    keys = [word for role in ROLES for word in (f"--{role}-key", newcomer.key(role))]
    assert says in newcomer.refused("root", "init", newcomer.root, *keys, *words)
    assert not newcomer.root.exists()


def test_a_role_without_a_key(newcomer: Owner) -> None:
    newcomer.make_keys("root")
    said = newcomer.refused("root", "init", newcomer.root, "--root-key", newcomer.key("root"))
    assert "targets has 0 keys, its threshold is 1" in said


def test_one_key_under_two_names_counts_as_none(newcomer: Owner) -> None:
    """TUF counts key identifiers: the same key twice would be a threshold of its own."""
    newcomer.make_keys(*ROLES)
    keys = {role: [load_public_key(newcomer.keys / f"{role}.pub")] for role in ROLES}
    metadata = ceremony.first_root(keys, {}, NOW)
    root = metadata.signed
    twin = root.keys[root.roles["root"].keyids[0]].to_dict()
    root.keys["f" * 64] = type(root.keys[root.roles["root"].keyids[0]]).from_dict("f" * 64, twin)
    root.roles["root"].keyids.append("f" * 64)
    with pytest.raises(RootInvalid, match="one key appears twice in root"):
        ceremony.next_root(root, ceremony.RootChange(thresholds={"root": 2}), NOW)


class TestTheNextRoot:
    """Rotation: two of three keys at once, signed with old and new."""

    def test_drawing_it_up_says_what_changes_and_who_has_to_sign(self, running: Owner) -> None:
        running.make_keys("dave", "erin")
        keyids = {name: load_public_key(running.keys / f"{name}.pub").keyid
                  for name in (*PEOPLE, "dave", "erin")}  # fmt: skip
        new = running.base / "2.root.json"
        result = running.run(
            "root", "change", running.root, new, "--root-threshold", "3",
            "--remove", f"root={running.key('bob')}", "--root-key", running.key("dave"),
            "--root-key", running.key("erin"), "--json",
        )  # fmt: skip
        assert result.stderr.splitlines() == [
            "root version 1 -> 2",
            "expires 2027-06-01 -> 2027-06-01",
            f"root: - {keyids['bob']} (ed25519)",
            f"root: + {keyids['dave']} (ed25519)",
            f"root: + {keyids['erin']} (ed25519)",
            "root: 2 of 3 -> 3 of 4 must sign",
        ]
        by_old, by_new = json.loads(result.stdout)["signatures"]
        assert set(by_old["unsigned"]) == {keyids[name] for name in PEOPLE}
        assert set(by_new["unsigned"]) == {keyids[n] for n in ("alice", "carol", "dave", "erin")}

    @pytest.fixture
    def running(self, three: Owner) -> Owner:
        sign(three, three.root, "alice", "bob")
        three.do("repo", "init", *three.repository())
        three.publish("1.1.0", start="1.0.0")
        return three

    def rotated(self, owner: Owner) -> Path:
        """The next root: bob and carol leave, dave and erin come."""
        owner.make_keys("dave", "erin")
        after = owner.base / "2.root.json"
        owner.do(
            "root", "change", owner.root, after,
            "--root-key", owner.key("dave"), "--root-key", owner.key("erin"),
            "--remove", f"root={owner.key('bob')}", "--remove", f"root={owner.key('carol')}",
        )  # fmt: skip
        return after

    def publish(self, owner: Owner, file: Path) -> Words:
        return ["root", "publish", file, *owner.repository()]

    def test_old_and_new_must_sign(self, running: Owner) -> None:
        after = self.rotated(running)
        sign(running, after, "dave", "erin", previous=running.root)
        said = running.refused(*self.publish(running, after))
        assert "it has 0 of the 2 signatures that root version 1 asks for" in said
        sign(running, after, "bob", previous=running.root)
        said = running.refused(*self.publish(running, after))
        assert "it has 1 of the 2 signatures that root version 1 asks for" in said
        assert not (running.metadata / "2.root.json").exists()
        sign(running, after, "alice", previous=running.root)
        running.do(*self.publish(running, after))
        assert running.client().versions()["root"] == 2

    def test_every_root_is_kept_and_leads_on(self, running: Owner) -> None:
        first = running.root.read_bytes()
        before = running.root
        for version in (2, 3, 4):
            after = running.base / f"{version}.root.json"
            running.do("root", "change", before, after)
            sign(running, after, "alice", "carol", previous=before)
            running.do(*self.publish(running, after))
            before = after
        names = {path.name for path in running.metadata.glob("*.root.json")}
        assert names == {f"{version}.root.json" for version in (1, 2, 3, 4)}
        assert (running.metadata / "1.root.json").read_bytes() == first
        assert running.client(first).updates() == ["1.1.0"]
        found = running.do("root", "rehearse", *running.repository(keys=False), "--shipped", before)
        assert [(each["root_version"], each["failure"]) for each in found["rehearsals"]] == [
            (1, ""),
            (4, ""),
        ]

    def test_no_version_is_left_out(self, running: Owner) -> None:
        second, third = running.base / "2.json", running.base / "3.json"
        running.do("root", "change", running.root, second)
        running.do("root", "change", second, third)
        sign(running, third, "alice", "bob", previous=second)
        said = running.refused(*self.publish(running, third))
        assert "the newest published one is version 1" in said

    def test_no_version_is_published_twice(self, running: Owner) -> None:
        for name in ("one", "two"):
            after = running.base / f"{name}.json"
            running.later(hours=len(name)).do(
                "root",
                "change",
                running.root,
                after,
                "--valid",
                "10 days" if name == "one" else "20 days",
            )
            sign(running, after, "alice", "bob", previous=running.root)
        running.do(*self.publish(running, running.base / "one.json"))
        said = running.refused(*self.publish(running, running.base / "two.json"))
        assert "another one of that version is published" in said
        again = running.do(*self.publish(running, running.base / "one.json"))
        assert again["published"] is False

    def test_a_later_version_is_compared_with_the_one_before(self, running: Owner) -> None:
        after = self.rotated(running)
        said = running.refused("root", "sign", "--yes", "--key", running.key("alice"), after)
        assert "has to be compared with the root before it" in said

    def test_the_trusted_root_itself_is_nothing_to_publish(self, running: Owner) -> None:
        said = running.refused(*self.publish(running, running.root))
        assert said == "cannot use root version 1: it is the trusted one itself"

    def test_keys_that_left_sign_no_more(self, running: Owner) -> None:
        after = self.rotated(running)
        sign(running, after, "alice", "bob", "dave", previous=running.root)
        running.do(*self.publish(running, after))
        third = running.base / "3.root.json"
        running.do("root", "change", after, third)
        said = running.refused(
            "root", "sign", "--yes", "--key", running.key("bob"), "--previous", after, third
        )
        assert "is not a root key of it, or of the root before it" in said.replace(
            " or", ", or", 1
        ) or ("is not a root key of it or of the root before it" in said)

    def test_a_root_that_has_expired_by_now(self, running: Owner) -> None:
        after = running.base / "2.root.json"
        running.do("root", "change", running.root, after, "--valid", "1 day")
        sign(running, after, "alice", "bob", previous=running.root)
        said = running.later(days=2).refused(*self.publish(running, after))
        assert "it expired on 2026-06-02 12:00 UTC" in said
        assert not (running.metadata / "2.root.json").exists()

    def test_an_image_in_the_field_that_could_not_follow_stops_it(self, running: Owner) -> None:
        other = Owner(running.base / "other")
        other.make_keys(*ROLES)
        other.make_root()
        after = running.base / "2.root.json"
        running.do("root", "change", running.root, after)
        sign(running, after, "alice", "bob", previous=running.root)
        said = running.refused(*self.publish(running, after), "--shipped", other.root)
        assert said.startswith("refusing: a host that starts from root version 1 would fail")
        assert not (running.metadata / "2.root.json").exists()

    def test_everything_has_expired_and_comes_back(self, running: Owner) -> None:
        """Nobody looked after it for two years: a new root first, then the rest."""
        late = running.later(days=730)
        refresh = ["repo", "refresh", *late.repository()]
        assert "root version 1: it expired" in late.refused(*refresh)
        after = late.base / "2.root.json"
        late.do("root", "change", late.root, after)
        sign(late, after, "alice", "bob", previous=late.root)
        result = late.run(*self.publish(late, after))
        assert result.exit_code == 0, result.output
        assert "fails: refusing the timestamp metadata" in result.stderr
        assert late.do(*refresh)["versions"] == {"targets": 3, "snapshot": 3, "timestamp": 3}
        assert late.client().updates() == ["1.1.0"]

    def test_what_a_client_is_told_if_a_threshold_were_ignored(self, running: Owner) -> None:
        """The check above is the client's own: written past it, the root is refused there too."""
        after = self.rotated(running)
        sign(running, after, "alice", "dave", previous=running.root)
        shutil.copyfile(after, running.metadata / "2.root.json")
        with pytest.raises(RepositoryError):
            running.client()
