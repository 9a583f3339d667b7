"""The TUF specification's attacks, on a host: what is refused, and what runs afterwards.

Whoever attacks has the server or the network between, and sometimes a stolen key. After each
refusal the host boots what it ran before, whole, with its settings, and the other set is not
bootable. Attacks on single steps are told where the step is tested; docs/security.md has them all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import MetaFile, TargetFile

from partition.errors import PartitionError
from signpost.layout import Slot
from signpost.state import BootState
from tests.support.host import Host, publish, release, target_name
from tests.support.repository import MemoryTransport, Repository, version_of
from updog.errors import DownloadFailed, MetadataExpired, NotFound, RepositoryInvalid, UpdogError
from updog.trust import refresh

if TYPE_CHECKING:
    from collections.abc import Callable


def refuses(host: Host, repository: Repository, why: str) -> UpdogError | PartitionError:
    """An update is refused with that line, and nothing came of it."""
    with pytest.raises((UpdogError, PartitionError), match=why) as caught:
        host.update(repository)
    error = caught.value
    assert isinstance(error, UpdogError | PartitionError)
    assert "\n" not in str(error)
    assert error.exit_code == 1
    with host.boot_disk() as disk:
        assert disk.state.sets[Slot.B].is_clear
    assert host.boot() == "1.0.0"
    return error


def resigned(repository: Repository, by: Repository) -> None:
    """Serve another repository's metadata in place of this one's."""
    repository.files.clear()
    repository.files.update(by.files)


def served(repository: Repository, name: str) -> str:
    """Return the path of the newest version of a target."""
    listed = repository.targets.targets[name]
    return f"{listed.hashes['sha256']}.{name}"


def test_nothing_is_wrong_without_an_attack(host: Host, repository: Repository) -> None:
    host.update(repository)
    assert host.boot() == "1.1.0"


class TestArbitrarySoftware:
    def test_images_of_the_attacker_are_not_installed(
        self, host: Host, repository: Repository
    ) -> None:
        """A well-formed LZ4 stream of the right length, but for one byte of the root image."""
        path = served(repository, target_name("1.1.0", "root"))
        image = bytearray(repository.target_files[path])
        image[len(image) // 2] ^= 1
        repository.target_files[path] = bytes(image)
        refuses(host, repository, "root")

    def test_a_repository_of_the_attacker_is_not_trusted(
        self, host: Host, repository: Repository
    ) -> None:
        resigned(repository, by=publish("1.0.0", "1.1.0"))
        refuses(host, repository, "refusing the timestamp metadata")

    def test_a_root_of_the_attacker_is_not_trusted(
        self, host: Host, repository: Repository
    ) -> None:
        other = Repository()
        other.publish("root")
        repository.files["2.root.json"] = other.files["2.root.json"]
        refuses(host, repository, "refusing the root metadata")


class TestWrongSoftware:
    def test_a_good_image_under_another_name_is_not_installed(
        self, host: Host, repository: Repository
    ) -> None:
        """Both are signed; the server swaps what it serves for them."""
        old, new = (served(repository, target_name(v, "root")) for v in ("1.0.0", "1.1.0"))
        files = repository.target_files
        files[old], files[new] = files[new], files[old]
        refuses(host, repository, "root")

    def test_an_older_manifest_does_not_pass_for_the_newer_one(
        self, host: Host, repository: Repository
    ) -> None:
        before = repository.target_files[served(repository, "manifest.json")]
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        repository.target_files[served(repository, "manifest.json")] = before
        refuses(host, repository, r"manifest\.json")


class TestRollback:
    def replay(self, repository: Repository, old: dict[str, bytes]) -> None:
        repository.files.clear()
        repository.files.update(old)

    def test_a_whole_older_repository_is_refused(self, host: Host, repository: Repository) -> None:
        """All of it was signed, unexpired, and current a moment ago: only memory helps."""
        old = dict(repository.files)
        publish("1.0.0", repository=repository)
        host.update(repository)
        self.replay(repository, old)
        refuses(host, repository, "New timestamp version 2 must be >= 3")

    def test_memory_survives_a_reboot_and_a_failed_refresh(
        self, host: Host, repository: Repository
    ) -> None:
        old = dict(repository.files)
        publish("1.0.0", repository=repository)
        newest = f"{repository.targets.version}.targets.json"
        del repository.files[newest]
        refuses(host, repository, "404 Not Found")
        self.replay(repository, old)
        refuses(host, repository, "New timestamp version 2 must be >= 3")

    def test_memory_outlives_the_update(self, host: Host, repository: Repository) -> None:
        """The new system goes on from what the old one knew; /var is the same."""
        old = dict(repository.files)
        publish("1.0.0", "1.1.0", repository=repository)
        host.update(repository)
        assert host.boot() == "1.1.0"
        self.replay(repository, old)
        with pytest.raises(RepositoryInvalid, match="New timestamp version 2 must be >= 3"):
            host.update(repository)
        assert host.version == "1.1.0"

    def test_a_recall_is_not_repeated_by_a_replay(self, host: Host, repository: Repository) -> None:
        """1.1.0 was recalled, then released again; whoever replays the recall wants 1.0.0 back."""
        publish("1.0.0", repository=repository)
        recalled = dict(repository.files)
        publish("1.0.0", "1.1.0", repository=repository)
        host.update(repository)
        assert host.boot() == "1.1.0"
        host.signpost(BootState.mark_successful_boot)
        self.replay(repository, recalled)
        with pytest.raises(RepositoryInvalid, match="timestamp"):
            host.update(repository)
        assert host.boot() == "1.1.0"


class TestMixAndMatch:
    def test_parts_of_two_publications_are_refused(
        self, host: Host, repository: Repository
    ) -> None:
        """The new timestamp and snapshot, and targets from before, under the new name."""
        old = repository.files[f"{repository.targets.version}.targets.json"]
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        repository.files[f"{repository.targets.version}.targets.json"] = old
        refuses(host, repository, "refusing the targets metadata")

    def test_a_snapshot_of_another_time_is_refused(
        self, host: Host, repository: Repository
    ) -> None:
        old = repository.files[f"{repository.snapshot.version}.snapshot.json"]
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        repository.files[f"{repository.snapshot.version}.snapshot.json"] = old
        refuses(host, repository, "refusing the snapshot metadata")


class TestIndefiniteFreeze:
    def test_an_old_repository_is_good_only_until_it_expires(
        self, host: Host, repository: Repository
    ) -> None:
        """The attacker shows the same repository for ever; each boot is an hour later."""
        publish("1.0.0", repository=repository)
        host.update(repository)
        host.boots += 31 * 24
        error = refuses(host, repository, "it expired on 2026-03-31T12:00:00Z; this clock says")
        assert isinstance(error, MetadataExpired)


class TestEndlessData:
    @pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
    def test_metadata_without_end_is_refused(
        self, host: Host, repository: Repository, name: str
    ) -> None:
        repository.files[name] = b" " * ((1 << 20) + 1)
        error = refuses(host, repository, "longer than 1048576 bytes")
        assert isinstance(error, DownloadFailed)

    def test_an_image_without_end_is_refused(self, host: Host, repository: Repository) -> None:
        path = served(repository, target_name("1.1.0", "boot"))
        repository.target_files[path] += b"\0" * 1000
        refuses(host, repository, "the server has .* bytes, expected")


class TestExtraneousDependencies:
    def test_only_what_the_signed_manifest_names_is_fetched(
        self, host: Host, repository: Repository
    ) -> None:
        """The server offers more: other files, other targets, a role that claims migrations."""
        repository.target_files["0" * 64 + ".migrate_v1.1.0_evil.lz4"] = b"evil"
        evil = repository.delegate("targets", "evil", ["migrate_*"])
        evil.targets["migrate_v1.1.0_evil.lz4"] = TargetFile.from_data("x", b"evil", ["sha256"])
        repository.publish("evil", "targets", "snapshot", "timestamp")
        host.update(repository)
        assert host.boot() == "1.1.0"
        cached = {path.name.partition(".")[2] for path in host.paths.migrations.iterdir()}
        assert cached == {"manifest.json", "migrate_v1.1.0_greeting.toml.lz4"}


class TestFastForward:
    def test_the_owner_recovers_with_new_keys(self, host: Host, repository: Repository) -> None:
        """A stolen timestamp key published version 1,000,000, so that nothing newer fits."""
        repository.metadata["timestamp"].signed.version = 999_999
        repository.publish("timestamp")
        host.check_update(repository)
        repository.metadata["timestamp"].signed.version = 2
        repository.publish("timestamp")
        refuses(host, repository, "New timestamp version 3 must be >= 1000000")
        repository.rotate_keys("timestamp")
        repository.metadata["timestamp"].signed.version = 3
        repository.publish("root", "timestamp")
        host.update(repository)
        assert host.boot() == "1.1.0"


class TestKeyCompromise:
    def test_a_timestamp_key_alone_installs_nothing(
        self, host: Host, repository: Repository
    ) -> None:
        """It can sign which snapshot is current, and there is none of the attacker's to name."""
        stolen = repository.signers["timestamp"]
        forged = publish("1.0.0", "1.1.0", "2.0.0")
        forged.signers["timestamp"] = stolen
        forged.metadata["timestamp"].signed.version = 10
        forged.publish("timestamp")
        resigned(repository, by=forged)
        refuses(host, repository, "refusing the snapshot metadata")

    def test_the_online_keys_together_install_nothing(
        self, host: Host, repository: Repository
    ) -> None:
        """Timestamp and snapshot are what a repository's server holds; targets is not."""
        forged = publish("1.0.0", "1.1.0", "2.0.0")
        for role in ("snapshot", "timestamp"):
            forged.signers[role] = repository.signers[role]
            forged.metadata[role].signed.version = 10
        forged.publish("snapshot", "timestamp")
        resigned(repository, by=forged)
        refuses(host, repository, "refusing the targets metadata")

    def test_one_of_two_targets_keys_installs_nothing(
        self, host: Host, repository: Repository
    ) -> None:
        for _ in range(2):
            repository.add_key("targets")
        repository.root.roles["targets"].threshold = 2
        repository.publish("root", "targets", "snapshot", "timestamp")
        host.check_update(repository)
        del repository.signers["targets"][1:]
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        refuses(host, repository, "targets was signed by 1/2 keys")

    def test_a_revoked_key_installs_nothing(self, host: Host, repository: Repository) -> None:
        stolen = list(repository.signers["targets"])
        repository.rotate_keys("targets")
        repository.publish("root", "targets", "snapshot", "timestamp")
        repository.signers["targets"] = stolen
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        refuses(host, repository, "targets was signed by 0/1 keys")

    def test_a_revocation_cannot_be_hidden(self, host: Host, repository: Repository) -> None:
        """The attacker, who has the old key, keeps the new root from the host."""
        stolen = list(repository.signers["targets"])
        repository.rotate_keys("targets")
        repository.publish("root")
        transport = MemoryTransport(repository)
        repository.signers["targets"] = stolen
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        transport.answers["2.root.json"] = DownloadFailed("2.root.json", "403 Forbidden")
        with pytest.raises(DownloadFailed, match="403 Forbidden"):
            refresh(host.environment(), transport)
        assert host.boot() == "1.0.0"


LIES: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "no timestamp": (lambda files: files.pop("timestamp.json"), "404 Not Found"),
    "an empty timestamp": (
        lambda files: files.update({"timestamp.json": b""}),
        "refusing the timestamp metadata",
    ),
    "a page": (
        lambda files: files.update({"timestamp.json": b"<html></html>"}),
        "refusing the timestamp metadata",
    ),
    "a timestamp cut short": (
        lambda files: files.update({"timestamp.json": files["timestamp.json"][:100]}),
        "refusing the timestamp metadata",
    ),
    "a changed snapshot": (
        lambda files: files.update(
            {"2.snapshot.json": files["2.snapshot.json"].replace(b"version", b"versiom")}
        ),
        "refusing the snapshot metadata",
    ),
    "no targets": (lambda files: files.pop("2.targets.json"), "404 Not Found"),
}


class TestMaliciousMirror:
    @pytest.mark.parametrize("lie", LIES)
    def test_a_mirror_can_refuse_service_and_nothing_else(
        self, host: Host, repository: Repository, lie: str
    ) -> None:
        """Whatever it serves, nothing of it stays: an honest mirror is believed afterwards."""
        honest = dict(repository.files)
        tell, why = LIES[lie]
        tell(repository.files)
        refuses(host, repository, why)
        repository.files.clear()
        repository.files.update(honest)
        host.update(repository)
        assert host.boot() == "1.1.0"

    def test_a_target_that_is_kept_back(self, host: Host, repository: Repository) -> None:
        del repository.target_files[served(repository, target_name("1.1.0", "hash"))]
        error = refuses(host, repository, "404 Not Found")
        assert isinstance(error, NotFound)

    def test_metadata_that_lies_about_its_version(self, host: Host, repository: Repository) -> None:
        repository.timestamp.snapshot_meta = MetaFile(1)
        stale = json.loads(repository.files["timestamp.json"])
        assert version_of(repository.files["timestamp.json"]) == 2
        stale["signed"]["version"] = 3
        repository.files["timestamp.json"] = json.dumps(stale).encode()
        refuses(host, repository, "timestamp was signed by 0/1 keys")


def test_every_version_of_the_stories_is_real() -> None:
    """The images above are file systems with their own hash trees, not placeholders."""
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        assert release(version).plain["root"][1024 + 56 : 1024 + 58] == b"\x53\xef"
