"""Metadata does not expire by surprise, and a repository's faults are found before hosts do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as _families

from repo_tools.care.metrics import RepositoryState, openmetrics
from repo_tools.keys.keyfile import load_key_ring
from repo_tools.publish.plan import apply
from repo_tools.publish.release import Change, NewTarget, sign
from repo_tools.publish.session import session
from repo_tools.publish.signing import Signing
from repo_tools.store.directory import DirectoryStore
from tests.repo_tools.owner import PREFIX, PROGRAM, Owner
from tests.support.servers import nginx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
from typing import Any


def text_string_to_metric_families(text: str) -> list[Any]:
    """Prometheus' own reader of OpenMetrics, which is strict."""
    return list(_families(text))  # type: ignore[no-untyped-call]


class TestRefresh:
    """For a timer: only what is needed, with only the keys that are there."""

    def words(self, owner: Owner, *extra: str) -> list[str]:
        return ["repo", "refresh", *owner.repository(), *extra]

    def test_nothing_while_nothing_is_near(self, owner: Owner) -> None:
        before = sorted(owner.metadata.iterdir())
        assert owner.later(days=3).do(*self.words(owner))["published"] is False
        assert sorted(owner.metadata.iterdir()) == before

    def test_the_timestamp_alone(self, owner: Owner) -> None:
        for role in ("targets", "snapshot", "root"):
            (owner.keys / f"{role}.pem").unlink()
            (owner.keys / f"{role}.pub").unlink()
        later = owner.later(days=4)
        assert later.do(*self.words(owner))["versions"] == {"timestamp": 2}
        assert owner.later(days=10).client().versions() == {
            "root": 1, "targets": 1, "snapshot": 1, "timestamp": 2,
        }  # fmt: skip

    def test_what_refers_to_it_too(self, owner: Owner) -> None:
        assert owner.later(days=11).do(*self.words(owner))["versions"] == {
            "snapshot": 2, "timestamp": 2,
        }  # fmt: skip
        assert owner.later(days=46).do(*self.words(owner))["versions"] == {
            "targets": 2, "snapshot": 3, "timestamp": 3,
        }  # fmt: skip
        assert owner.later(days=50).client().updates() == []

    def test_what_cannot_be_renewed_is_named_and_the_rest_is(self, owner: Owner) -> None:
        (owner.keys / "snapshot.pub").unlink()
        result = owner.later(days=20).run(*self.words(owner))
        assert result.exit_code == 0
        told = "snapshot expires on 2026-06-22, and cannot be renewed with the keys at hand"
        assert told in result.stderr
        assert owner.later(days=20).client().versions()["timestamp"] == 2

    def test_even_what_has_expired(self, owner: Owner) -> None:
        late = owner.later(days=100)
        assert set(late.do(*self.words(owner))["versions"]) == {"targets", "snapshot", "timestamp"}
        assert late.client().updates() == []

    def test_within_a_time_of_ones_own(self, owner: Owner) -> None:
        done = owner.do(*self.words(owner, "--within", "8 days", "--timestamp-valid", "2 days"))
        assert done["expires"] == {"timestamp": "2026-06-03T12:00:00Z"}

    def test_a_root_near_its_end_is_told(self, owner: Owner) -> None:
        result = owner.later(days=200).run(*self.words(owner))
        assert "root expires on 2027-06-01: its keys have to sign a new one" in result.stderr


class TestCheck:
    """`check` needs no keys, and fails early enough to act."""

    def words(self, owner: Owner, *extra: str) -> list[str]:
        return ["repo", "check", *owner.repository(keys=False), *extra]

    def test_all_is_well(self, owner: Owner) -> None:
        found = owner.do(*self.words(owner))
        assert [(r["role"], r["expires"]) for r in found["roles"]] == [
            ("root", "2027-06-01T12:00:00Z"),
            ("targets", "2026-08-30T12:00:00Z"),
            ("snapshot", "2026-06-22T12:00:00Z"),
            ("timestamp", "2026-06-08T12:00:00Z"),
        ]

    def test_three_days_before(self, owner: Owner) -> None:
        owner.later(days=3, hours=23).do(*self.words(owner))
        said = owner.later(days=4, hours=1).refused(*self.words(owner))
        assert said == f"timestamp of {owner.repo}/{PREFIX} expires on 2026-06-08 12:00 UTC"
        said = owner.later(days=30).refused(*self.words(owner))
        assert said == f"timestamp of {owner.repo}/{PREFIX} expired on 2026-06-08 12:00 UTC"
        assert "within" not in said
        assert "expires" in owner.refused(*self.words(owner, "--within", "8 days"))

    def test_a_month_before_the_root_ends(self, owner: Owner) -> None:
        late = owner.later(days=340)
        late.do("repo", "refresh", *owner.repository())
        assert late.refused(*self.words(owner)).startswith("root of")
        late.do(*self.words(owner, "--root-within", "20 days"))

    def test_for_monitoring(self, owner: Owner) -> None:
        owner.publish("1.1.0", start="1.0.0")
        owner.publish("1.2.0", start="1.1.0", waves="default")
        text = owner.later(days=2).run(*self.words(owner, "--openmetrics")).stdout
        samples = {
            (sample.name, sample.labels.get("role") or sample.labels.get("version")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["updog_repository_up", None] == 1
        assert samples["updog_repository_expiry_timestamp_seconds", "timestamp"] == 1780920000
        assert samples["updog_repository_metadata_version", "targets"] == 3
        assert samples["updog_rollout_share_ratio", "1.1.0"] == 1
        assert 0.05 < samples["updog_rollout_share_ratio", "1.2.0"] < 0.1
        assert samples["updog_rollout_recalled", "1.2.0"] == 0

    def test_monitoring_hears_of_a_broken_repository(self, owner: Owner) -> None:
        (owner.metadata / "timestamp.json").write_text("{}")
        result = owner.run(*self.words(owner, "--openmetrics"))
        assert result.exit_code == 1
        (family,) = text_string_to_metric_families(result.stdout)
        assert (family.name, family.samples[0].value) == ("updog_repository_up", 0)

    def test_labels_cannot_break_out(self) -> None:
        text = openmetrics(RepositoryState('a"} 1\n', "back\\slash"))
        (family,) = text_string_to_metric_families(text)
        assert family.samples[0].labels == {"variant": 'a"} 1\n', "arch": "back\\slash"}


@dataclass
class Fault:
    """Something wrong with a repository, and a part of what `validate` says."""

    what: str
    make: Callable[[Owner], object]
    says: str
    deep: bool = False


def flip(directory: Path, pattern: str, offset: int = 40) -> None:
    """Change a bit in the one file that matches."""
    (path,) = directory.glob(pattern)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def remove(directory: Path, pattern: str) -> None:
    (path,) = directory.glob(pattern)
    path.unlink()


def add_second_root(owner: Owner) -> None:
    after = owner.base / "2.root.json"
    owner.do("root", "change", owner.root, after)
    owner.do("root", "sign", "--yes", "--key", owner.key("root"), "--previous", owner.root, after)
    owner.do("root", "publish", after, *owner.repository())


def lose_first_root(owner: Owner) -> None:
    add_second_root(owner)
    (owner.metadata / "1.root.json").unlink()
    shutil.copyfile(owner.base / "2.root.json", owner.root)


def cut(owner: Owner) -> None:
    (path,) = (owner.repo / "targets").glob("*boot*")
    path.write_bytes(path.read_bytes()[:-1])


def wait_eight_days(owner: Owner) -> None:
    owner.now = owner.later(days=8).now


FAULTS = [
    Fault("a changed target", lambda o: flip(o.repo / "targets", "*boot*"), "its sha256 is not"),
    Fault("a missing target", lambda o: remove(o.repo / "targets", "*-root.ext4*"), "is missing"),
    Fault("a cut target", cut, "too early"),
    Fault("a changed timestamp", lambda o: flip(o.metadata, "timestamp.json", 60), "updog refuses"),
    Fault("a lost first root", lose_first_root, "1.root.json is missing: images that ship it"),
    Fault("something expired", wait_eight_days, "expired 1.0 days ago"),
]


class TestValidate:
    """As a client and as a linter, on disk and over the network."""

    @pytest.fixture
    def published(self, owner: Owner) -> Owner:
        owner.publish("1.1.0", start="1.0.0")
        return owner

    def words(self, owner: Owner, *extra: str | Path) -> list[str | Path]:
        return ["repo", "validate", *owner.repository(keys=False), *extra]

    def test_a_sound_repository(self, published: Owner, tmp_path: Path) -> None:
        found = published.do(*self.words(published, "--deep"))
        files = (published.repo / "targets").iterdir()
        current = [f for f in files if not f.name.endswith("manifest.json")]
        assert found["sound"] is True
        assert found["targets"] == 4
        sizes = sum(path.stat().st_size for path in current)
        assert sizes < found["bytes"] < sizes + 2000
        layout = tmp_path / "layout.toml"
        layout.write_text('[partitions]\nboot = "1 MiB"\nroot = "1 MiB"\nhash = "1 MiB"')
        published.do(*self.words(published, "--deep", "--layout", layout))

    def test_over_the_network(self, published: Owner) -> None:
        with nginx(published.repo) as server:
            remote = Owner(published.base, published.now, location=server.url)
            assert remote.do(*self.words(remote))["sound"] is True
            flip(published.repo / "targets", "*boot*")
            result = remote.run(*self.words(remote))
            assert result.exit_code == 1
            assert "its sha256 is not the one listed" in result.stdout

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.what)
    def test_faults(self, published: Owner, fault: Fault) -> None:
        fault.make(published)
        result = published.run(*self.words(published))
        assert result.exit_code == 1
        assert fault.says in result.stdout
        assert " is not sound: " in result.stderr
        assert "Traceback" not in result.output

    def test_all_faults_at_once(self, published: Owner) -> None:
        published.publish("1.2.0", start="1.1.0")
        for pattern in ("*1.1.0-boot*", "*1.2.0-boot*"):
            flip(published.repo / "targets", pattern)
        result = published.run(*self.words(published), "--json")
        assert len(json.loads(result.stdout)["problems"]) == 2

    def test_a_faulty_manifest(self, published: Owner) -> None:
        """Made by somebody else's tools, signed with the right keys."""
        manifest = published.client().manifest()
        first = manifest["updates"][0]
        manifest["updates"] += [
            first,
            {**first, "version": "1.2.0", "max_version": "1.3.0", "waves": {
                "5": "2026-06-10T00:00:00Z", "9": "2026-06-10T00:00:00Z",
                "5000": "2026-06-11T00:00:00Z",
            }},
        ]  # fmt: skip
        manifest["migrations"]["(1.5.0, 1.4.0)"] = ["migrate_v1.4.0_gone.lz4"]
        resign(published, manifest)
        result = published.run(*self.words(published), "--json")
        problems = json.loads(result.stdout)["problems"]
        for expected in (
            "demo x86_64 1.1.0 is there twice",
            "the updates of demo x86_64 have different maximum versions: 1.1.0, 1.3.0",
            "there is no migration path from 1.1.0 to 1.2.0",
            "there is no migration path from 1.2.0 to 1.1.0",
            "the waves of demo 1.2.0 start at seed 5, not at 0",
            "the waves of demo 1.2.0 have a wave at seed 5000, above the highest seed",
            "migration step 1.5.0 -> 1.4.0 does not lead upwards",
            "migration migrate_v1.4.0_gone.lz4 of step 1.5.0 -> 1.4.0 is not a target",
        ):
            assert expected in problems
        warning = "the waves of demo 1.2.0 at seeds 5 and 9 start together"
        assert warning in json.loads(result.stdout)["warnings"]

    def test_a_manifest_that_is_none(self, published: Owner) -> None:
        resign(published, {"updates": [{}], "migrations": {}})
        for words in (self.words(published), self.words(published, "--deep")):
            result = published.run(*words)
            assert "cannot use the manifest: updates[0].variant" in result.stdout
            assert "is not sound: 2 problems" in result.stderr

    def test_deep_looks_into_images(self, published: Owner, tmp_path: Path) -> None:
        """A hash image that belongs to another root image, listed and signed as it is."""
        other = tmp_path / "other"
        other.write_bytes(bytes(20480))
        tree, packed = tmp_path / "tree", tmp_path / "packed"
        subprocess.run(["veritysetup", "format", other, tree], check=True, capture_output=True)
        subprocess.run(["lz4", "-q", tree, packed], check=True)
        resign(published, None, {"demo-x86_64-1.1.0-root.verity.lz4": packed.read_bytes()})
        assert published.do(*self.words(published))["sound"] is True
        result = published.run(*self.words(published, "--deep"))
        assert "is not the hash tree of demo-x86_64-1.1.0-root.ext4.lz4" in result.stdout
        # One that claims to be for 4 EiB.
        boast = bytearray(tree.read_bytes())
        struct.pack_into("<Q", boast, 72, 1 << 50)
        subprocess.run(["lz4", "-qf", "-", packed], input=boast, check=True)
        resign(published, None, {"demo-x86_64-1.1.0-root.verity.lz4": packed.read_bytes()})
        result = published.run(*self.words(published, "--deep"))
        assert "is shorter than the hash tree of demo-x86_64-1.1.0-root.ext4" in result.stdout
        packed.write_bytes(packed.read_bytes()[:-5])
        resign(published, None, {"demo-x86_64-1.1.0-root.verity.lz4": packed.read_bytes()})
        result = published.run(*self.words(published, "--deep"))
        assert "its LZ4 frame is cut off" in result.stdout

    def test_deep_compares_with_a_layout(self, published: Owner, tmp_path: Path) -> None:
        layout = tmp_path / "layout.toml"
        layout.write_text('[partitions]\nroot = "1 MiB"')
        big = tmp_path / "big.lz4"
        subprocess.run(["lz4", "-q", "-", big], input=bytes(2 << 20), check=True)
        resign(published, None, {"demo-x86_64-1.1.0-root.ext4.lz4": big.read_bytes()})
        result = published.run(*self.words(published, "--deep", "--layout", layout))
        assert "does not fit its partition of 1.0 MiB" in result.stdout

    def test_memory_does_not_grow_with_the_targets(self, today: Owner) -> None:
        """Three targets of 64 MiB at a time, in less than one of them takes."""
        today.publish("1.1.0", start="1.0.0")
        validate = [PROGRAM, *self.words(today, "--jobs", "3")]
        small = peak_bytes(validate)
        resign(today, None, {f"big-{n}": os.urandom(64 << 20) for n in range(3)})
        assert peak_bytes(validate) - small < 32 << 20

    def test_warnings_do_not_fail(self, published: Owner) -> None:
        published.publish("1.2.0", start="1.1.0", waves="default")
        resign(published, None, {"left-over": b"x"})
        result = published.run(*self.words(published))
        assert result.exit_code == 0
        assert "warning: target left-over is not used by the manifest" in result.stderr
        assert "warning: demo 1.2.0: 75% of the fleet at one instant" in result.stderr


def peak_bytes(words: list[str | Path]) -> int:
    """The most memory that a program holds, which must end well.

    It is started by a small one: a child's peak counts from what its parent held.
    """
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    )
    return int(done.stdout) << 10


def resign(
    owner: Owner, manifest: dict[str, object] | None, files: dict[str, bytes] | None = None
) -> None:
    """Publish a manifest and targets as a careless tool would: signed, and not looked at."""
    contents = dict(files or {})
    if manifest is not None:
        contents["manifest.json"] = json.dumps(manifest).encode()
    add = [
        NewTarget(name, data, len(data), hashlib.sha256(data).hexdigest())
        for name, data in contents.items()
    ]
    store = DirectoryStore(owner.repo, kernel=owner.kernel)
    signing = Signing(load_key_ring([owner.keys]), lambda *_: "", owner.now)
    with session(store, PREFIX, owner.root.read_bytes()) as found:
        apply(store, sign(found.ground, Change(add=add), signing))
