"""Publishing: other people's tools read what comes out, and what must not go out does not."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from repo_tools.store.directory import DirectoryStore
from tests.repo_tools.owner import PREFIX, Owner, Words

if TYPE_CHECKING:
    from pathlib import Path


def targets(owner: Owner) -> dict[str, Path]:
    """Target name to file, for the files in the store."""
    return {p.name.partition(".")[2]: p for p in (owner.repo / "targets").iterdir()}


def tool(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_a_published_update_is_what_other_tools_read(owner: Owner, tmp_path: Path) -> None:
    done = owner.publish("1.1.0", start="1.0.0")
    assert done["versions"] == {"targets": 2, "snapshot": 2, "timestamp": 2}
    assert owner.client().updates() == ["1.1.0"]

    boot, root = owner.images("1.1.0")
    files = targets(owner)
    for path in files.values():
        digest = tool("sha256sum", path).split()[0]
        assert path.name.startswith(f"{digest}.")
    plain = {}
    for part, name in {
        "boot": "demo-x86_64-1.1.0-boot.ext4.lz4",
        "root": "demo-x86_64-1.1.0-root.ext4.lz4",
        "hash": "demo-x86_64-1.1.0-root.verity.lz4",
    }.items():
        plain[part] = tmp_path / part
        tool("lz4", "-t", "-q", files[name])
        tool("lz4", "-d", "-q", files[name], plain[part])
    assert plain["boot"].read_bytes() == boot.read_bytes()
    assert plain["root"].read_bytes() == root.read_bytes()
    root_hash = done["changes"][0].removeprefix("root hash ")
    tool("veritysetup", "verify", plain["root"], plain["hash"], root_hash)


def test_the_manifest_is_bottlerockets(owner: Owner) -> None:
    owner.publish("1.1.0", start="1.0.0", waves="emergency")
    assert owner.client().manifest() == {
        "updates": [
            {
                "variant": "demo",
                "arch": "x86_64",
                "version": "1.1.0",
                "max_version": "1.1.0",
                "waves": {
                    "0": "2026-06-01T13:00:00Z",
                    "102": "2026-06-01T14:00:00Z",
                    "512": "2026-06-01T15:00:00Z",
                },
                "images": {
                    "boot": "demo-x86_64-1.1.0-boot.ext4.lz4",
                    "root": "demo-x86_64-1.1.0-root.ext4.lz4",
                    "hash": "demo-x86_64-1.1.0-root.verity.lz4",
                },
            }
        ],
        "migrations": {"(1.0.0, 1.1.0)": []},
    }


def test_migrations_go_along_in_order_and_compressed(owner: Owner, tmp_path: Path) -> None:
    first, second = tmp_path / "migrate_v1.1.0_first", tmp_path / "migrate_v1.1.0_second"
    first.write_text("#!/bin/sh\n")
    second.write_text("#!/bin/sh\nexit 0\n")
    owner.publish("1.1.0", "--migration", first, "--migration", second, start="1.0.0")
    names = ["migrate_v1.1.0_first.lz4", "migrate_v1.1.0_second.lz4"]
    client = owner.client()
    assert client.manifest()["migrations"] == {"(1.0.0, 1.1.0)": names}
    packed = tmp_path / "packed.lz4"
    packed.write_bytes(client.read(names[1]))
    assert tool("lz4", "-dc", packed) == second.read_text()


def test_steps_come_from_a_release_file(owner: Owner, tmp_path: Path) -> None:
    release = tmp_path / "Release.toml"
    release.write_text(
        'version = "1.2.0"\n[migrations]\n"(1.0.0, 1.1.0)" = []\n"(1.1.0, 1.2.0)" = []'
    )
    owner.publish("1.2.0", "--release", release)
    assert list(owner.client().manifest()["migrations"]) == ["(1.0.0, 1.1.0)", "(1.1.0, 1.2.0)"]


def test_running_it_again_finds_nothing_to_do(owner: Owner) -> None:
    owner.publish("1.1.0", start="1.0.0")
    before = sorted(owner.repo.rglob("*"))
    again = owner.publish("1.1.0", start="1.0.0", waves="default")
    assert again["published"] is False
    assert sorted(owner.repo.rglob("*")) == before
    assert owner.client().manifest()["updates"][0]["waves"] == {}


def test_a_dry_run_shows_everything_and_writes_nothing(owner: Owner) -> None:
    before = {p: p.stat().st_mtime_ns for p in owner.repo.rglob("*.json")}
    result = owner.run(*owner.publishing("1.1.0", start="1.0.0"), "--dry-run")
    assert result.exit_code == 0
    assert "+ update demo x86_64 1.1.0" in result.stderr
    assert "targets version 1 -> 2, expires 2026-08-30, signed by targets" in result.stderr
    assert {p: p.stat().st_mtime_ns for p in owner.repo.rglob("*.json")} == before
    assert not list(owner.repo.glob(".staging*"))


def test_who_says_no_changes_nothing(owner: Owner) -> None:
    shown: list[str] = []

    def no(question: str) -> bool:
        shown.append(question)
        return False

    env = owner.environment(confirm=no)
    result = owner.run(*owner.publishing("1.1.0", start="1.0.0"), env=env)
    assert result.exit_code == 1
    assert shown == ["Sign and publish this?"]
    assert owner.client().updates() == []


def test_a_hash_image_of_ones_own_is_taken_as_it_is(owner: Owner, tmp_path: Path) -> None:
    _, root = owner.images("1.1.0")
    tree = tmp_path / "tree"
    told = tool("veritysetup", "format", "--salt", "aabb", root, tree)
    root_hash = next(line.split()[-1] for line in told.splitlines() if "Root hash" in line)
    done = owner.publish("1.1.0", "--hash", tree, start="1.0.0")
    assert done["changes"][0] == f"root hash {root_hash}"
    packed = targets(owner)["demo-x86_64-1.1.0-root.verity.lz4"]
    plain = tmp_path / "plain"
    tool("lz4", "-d", "-q", packed, plain)
    assert plain.read_bytes() == tree.read_bytes()


def test_images_may_come_compressed_by_any_means(owner: Owner, tmp_path: Path) -> None:
    boot, root = owner.images("1.1.0")
    packed = tmp_path / "root.ext4.lz4"
    tool("lz4", "-q", "-1", "--content-size", root, packed)
    linked = tmp_path / "boot.lz4"
    linked.write_bytes(
        subprocess.run(
            ["lz4", "-c", "-BD"], input=boot.read_bytes(), check=True, capture_output=True
        ).stdout
    )
    words = ["repo", "publish", *owner.repository(), "--version", "1.1.0", "--waves", "none"]
    owner.do(*words, "--boot", linked, "--root-image", packed, "--migrate-from", "1.0.0")
    assert owner.client().read("demo-x86_64-1.1.0-root.ext4.lz4") == packed.read_bytes()


@dataclass
class Refusal:
    """What is tried on a repository that has 1.1.0 and 1.2.0, and a part of what is said."""

    why: str
    words: list[str]
    says: str


REFUSALS = [
    Refusal("backwards", ["1.1.5", "--migrate-from", "1.1.0"], "must not go backwards"),
    Refusal("a duplicate with other contents", ["1.2.0"], "is published already"),
    Refusal("no way from the others", ["1.3.0"], "no migration path from 1.2.0 to 1.3.0"),
    Refusal("no way back either", ["1.3.0"], "no migration path from 1.3.0 to 1.2.0"),
    Refusal(
        "an island beside the others",
        ["1.3.0", "--migrate-from", "1.2.5"],
        "no migration path from 1.0.0 to 1.3.0",
    ),
    Refusal(
        "a maximum below itself",
        ["1.3.0", "--migrate-from", "1.2.0", "--max-version", "1.2.0"],
        "no host would choose it",
    ),
    Refusal(
        "a step with other migrations",
        ["1.3.0", "--migrate-from", "1.2.0", "--release", "conflict.toml"],
        "is there already, with other migrations",
    ),
    Refusal(
        "a migration that is no target",
        ["1.3.0", "--release", "missing.toml"],
        "migration migrate_v1.3.0_x.lz4 of step 1.2.0 -> 1.3.0 is not a target",
    ),
    Refusal(
        "images too large for the partitions",
        ["1.3.0", "--migrate-from", "1.2.0", "--layout", "small.toml"],
        "the root image has 1.5 MiB (1572864 bytes), its partition 1.0 MiB",
    ),
    Refusal("an unknown policy", ["1.3.0", "--waves", "soon"], "there is no such file or policy"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: r.why)
def test_what_hosts_could_not_take_is_refused(
    owner: Owner, tmp_path: Path, refusal: Refusal
) -> None:
    owner.publish("1.1.0", start="1.0.0")
    owner.publish("1.2.0", start="1.1.0")
    files = {
        "conflict.toml": '[migrations]\n"(1.0.0, 1.1.0)" = ["migrate_v1.1.0_y.lz4"]',
        "missing.toml": '[migrations]\n"(1.2.0, 1.3.0)" = ["migrate_v1.3.0_x.lz4"]',
        "small.toml": '[partitions]\nboot = "1 MiB"\nroot = "1 MiB"\nhash = "1 MiB"',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    words = [str(tmp_path / word) if word in files else word for word in refusal.words]
    boot, root = tmp_path / "boot", tmp_path / "root.ext4"
    boot.write_bytes(b"other" * 100)
    root.write_bytes(b"other..." * (3 << 16))
    before = sorted(owner.repo.rglob("*"))
    said = owner.refused(
        "repo",
        "publish",
        *owner.repository(),
        "--boot",
        boot,
        "--root-image",
        root,
        "--version",
        *words,
    )
    assert refusal.says in said
    assert sorted(owner.repo.rglob("*")) == before
    assert owner.client().updates() == ["1.1.0", "1.2.0"]


def test_a_foreign_hash_image_is_refused(owner: Owner, tmp_path: Path) -> None:
    _, root = owner.images("1.1.0")
    other = tmp_path / "other"
    other.write_bytes(bytes(reversed(root.read_bytes())))
    tree = tmp_path / "tree"
    tool("veritysetup", "format", other, tree)
    said = owner.refused(*owner.publishing("1.1.0", "--hash", tree, start="1.0.0"))
    assert "is not the hash tree of" in said
    truncated = tmp_path / "short"
    tool("veritysetup", "format", root, tree)
    truncated.write_bytes(tree.read_bytes()[:-4096])
    said = owner.refused(*owner.publishing("1.1.0", "--hash", truncated, start="1.0.0"))
    assert "is shorter than the hash tree" in said
    assert owner.client().updates() == []


def test_one_migration_under_one_name_for_ever(owner: Owner, tmp_path: Path) -> None:
    migration = tmp_path / "migrate_v1.1.0_x"
    migration.write_text("one")
    owner.publish("1.1.0", "--migration", migration, start="1.0.0")
    migration.write_text("another")
    said = owner.refused(*owner.publishing("1.2.0", "--migration", migration, start="1.1.0"))
    assert "target migrate_v1.1.0_x.lz4 is published already, with other contents" in said


def test_a_recalled_update_must_go_before_the_next_one_comes(owner: Owner) -> None:
    for start, version in (("1.0.0", "1.1.0"), ("1.1.0", "1.2.0")):
        owner.publish(version, start=start)
    owner.do("rollout", "recall", *owner.repository(), "--version", "1.2.0")
    said = owner.refused(*owner.publishing("1.3.0", start="1.2.0"))
    assert "1.2.0 was recalled" in said
    assert "remove it first" in said
    owner.do("repo", "remove", *owner.repository(), "--version", "1.2.0")
    owner.publish("1.3.0", start="1.2.0")
    manifest = owner.client().manifest()
    assert [(u["version"], u["max_version"]) for u in manifest["updates"]] == [
        ("1.1.0", "1.3.0"),
        ("1.3.0", "1.3.0"),
    ]
    # Hosts that still run 1.2.0 find their way up.
    assert "(1.1.0, 1.2.0)" in manifest["migrations"]


class TestWhatIsNotThere:
    """Only a definite answer means that there is no repository; and only `init` makes one."""

    def test_publishing_makes_none(self, newcomer: Owner) -> None:
        newcomer.make_keys("root", "targets", "snapshot", "timestamp")
        newcomer.make_root()
        said = newcomer.refused(*newcomer.publishing("1.0.0"))
        assert said.endswith("there is none")
        assert not newcomer.metadata.exists()

    def test_an_access_error_is_not_an_empty_place(self, owner: Owner) -> None:
        owner.publish("1.1.0", start="1.0.0")
        hidden = owner.metadata.rename(owner.base / "hidden")
        owner.metadata.symlink_to(owner.metadata)  # any access ends in ELOOP, as root too
        for words in (["init"], ["publish", "--version", "1.2.0"], ["refresh"]):
            boot, root = owner.images("1.2.0")
            images: Words = ["--boot", boot, "--root-image", root] if words[0] == "publish" else []
            said = owner.refused("repo", words[0], *owner.repository(), *words[1:], *images)
            assert "Too many levels of symbolic links" in said
        owner.metadata.unlink()
        hidden.rename(owner.metadata)
        assert owner.client().updates() == ["1.1.0"]

    def test_init_does_not_start_over(self, owner: Owner) -> None:
        owner.publish("1.1.0", start="1.0.0")
        assert "there is one already" in owner.refused("repo", "init", *owner.repository())
        assert owner.client().updates() == ["1.1.0"]

    def test_init_does_not_start_over_where_a_file_was_lost(self, owner: Owner) -> None:
        owner.publish("1.1.0", start="1.0.0")
        (owner.metadata / "timestamp.json").rename(owner.base / "kept")
        said = owner.refused("repo", "init", *owner.repository())
        assert said.endswith("there was one, and its timestamp.json is missing")
        (owner.base / "kept").rename(owner.metadata / "timestamp.json")
        assert owner.client().updates() == ["1.1.0"]

    def test_an_interrupted_init_can_be_run_again(self, owner: Owner) -> None:
        (owner.metadata / "timestamp.json").unlink()
        done = owner.do("repo", "init", *owner.repository())
        assert done["versions"] == {"targets": 2, "snapshot": 2, "timestamp": 1}
        assert owner.client().updates() == []


class TestTrust:
    """What is published is built upon only if it follows from the owner's root."""

    def test_somebody_elses_targets_are_not_signed(self, owner: Owner) -> None:
        path = owner.metadata / "1.targets.json"
        forged = json.loads(path.read_bytes())
        forged["signed"]["version"] = 7
        path.write_text(json.dumps(forged))
        said = owner.refused(*owner.publishing("1.1.0", start="1.0.0"))
        assert said.startswith("cannot trust 1.targets.json")

    def test_a_changed_manifest_is_not_signed(self, owner: Owner) -> None:
        (manifest,) = (owner.repo / "targets").glob("*.manifest.json")
        manifest.write_bytes(manifest.read_bytes().replace(b"[]", b"[ "))
        said = owner.refused(*owner.publishing("1.1.0", start="1.0.0"))
        assert "cannot trust manifest.json" in said

    def test_another_root_of_the_same_version_is_refused(self, owner: Owner) -> None:
        owner.make_keys("mallory")
        owner.root.unlink()
        owner.make_root(root_keys=("mallory",))
        said = owner.refused(*owner.publishing("1.1.0", start="1.0.0"))
        assert "says something else" in said

    def test_without_the_keys_nothing_is_built(self, owner: Owner) -> None:
        (owner.keys / "targets.pub").unlink()
        said = owner.refused(*owner.publishing("1.1.0", start="1.0.0"))
        assert said.startswith("cannot publish targets: it has 0 of the 1 signatures")

    def test_an_expired_root_is_told_before_the_work(self, owner: Owner) -> None:
        said = owner.later(days=400).refused(*owner.publishing("1.1.0", start="1.0.0"))
        assert "it expired on 2027-06-01" in said


def test_versions_count_on_past_what_an_interrupted_run_left(owner: Owner) -> None:
    left = owner.metadata / "2.targets.json"
    left.write_text("{}")
    done = owner.publish("1.1.0", start="1.0.0")
    assert done["versions"] == {"targets": 3, "snapshot": 2, "timestamp": 2}
    assert left.read_text() == "{}"
    assert owner.client().versions() == {"root": 1, "targets": 3, "snapshot": 2, "timestamp": 2}


def test_versions_do_not_come_from_a_clock(owner: Owner) -> None:
    owner.publish("1.1.0", start="1.0.0")
    owner.later(days=-2).publish("1.2.0", start="1.1.0")
    assert owner.client().versions()["timestamp"] == 3


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "a b"])
def test_a_variant_that_is_no_plain_name(owner: Owner, name: str) -> None:
    words = [name if word == "demo" else word for word in owner.repository(keys=False)]
    result = owner.run("repo", "check", *words)
    assert result.exit_code == 2
    assert "is no plain name" in result.stderr


def test_many_hosts_at_one_instant_are_warned_of(owner: Owner) -> None:
    done = owner.publish("1.1.0", start="1.0.0", waves="default")
    told = "warning: 75% of the fleet at one instant, 2026-06-07T12:00:00Z"
    assert told in done["changes"]
    assert not [x for x in owner.publish("1.2.0", start="1.1.0")["changes"] if "warning" in x]


def test_a_version_that_was_there_once_is_warned_of(owner: Owner) -> None:
    """Removed and published anew with other images: hosts that run the first one stay with it."""
    said = "warning: migration steps lead to 1.1.0 already"
    assert said not in owner.run(*owner.publishing("1.1.0", start="1.0.0")).stderr
    owner.do("repo", "remove", *owner.repository(), "--version", "1.1.0")
    owner.images("1.1.0")[0].write_bytes(b"another boot image")
    assert said in owner.run(*owner.publishing("1.1.0", start="1.0.0")).stderr


def test_a_damaged_target_is_repaired_by_publishing_it_again(owner: Owner) -> None:
    boot, _ = owner.images("1.1.0")
    probe = owner.do(
        "image",
        "build",
        owner.base / "probe",
        "--name",
        "demo-x86_64-1.1.0",
        "--boot",
        boot,
        "--root-image",
        owner.images("1.1.0")[1],
    )
    built = next(f for f in probe["files"] if "boot" in f["path"])
    target = owner.repo / "targets" / f"{built['sha256']}.demo-x86_64-1.1.0-boot.ext4.lz4"
    target.write_bytes(b"torn")
    owner.publish("1.1.0", start="1.0.0")
    assert hashlib.sha256(target.read_bytes()).hexdigest() == built["sha256"]
    assert owner.client().updates() == ["1.1.0"]


def test_two_owners_do_not_meet(owner: Owner) -> None:
    with DirectoryStore(owner.repo).lock():
        said = owner.refused(*owner.publishing("1.1.0", start="1.0.0"))
    assert "is at work on it" in said


def test_nothing_but_the_repository_is_in_the_repository(owner: Owner) -> None:
    owner.publish("1.1.0", start="1.0.0")
    names = {str(p.relative_to(owner.repo)) for p in owner.repo.rglob("*") if p.is_file()}
    assert {n for n in names if n.startswith(PREFIX)} == {
        f"{PREFIX}/{name}"
        for name in (
            "1.root.json", "timestamp.json", "1.snapshot.json", "2.snapshot.json",
            "1.targets.json", "2.targets.json",
        )
    }  # fmt: skip
    rest = {n for n in names if not n.startswith((PREFIX, "targets/"))}
    assert rest == {".lock"}
