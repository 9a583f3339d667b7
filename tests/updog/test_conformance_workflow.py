"""What the TUF conformance suite expects of a client's workflow, over HTTP and its command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, TargetFile

if TYPE_CHECKING:
    from tests.support.repository import Repository
    from tests.support.servers import ServedRepository
    from tests.support.tuf_client import TufClient

ALL_AT_1 = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


@pytest.fixture
def repository(served: ServedRepository) -> Repository:
    return served.repository


def test_a_refresh_asks_for_each_role_once(client: TufClient, served: ServedRepository) -> None:
    assert client.refresh() == 0
    assert served.metadata == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert client.trusted() == ALL_AT_1


def test_a_download_refreshes_first(client: TufClient, served: ServedRepository) -> None:
    assert client.download("nonexistent") == 1
    assert served.metadata == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert client.trusted() == ALL_AT_1
    assert served.targets == []


def test_metadata_is_kept_byte_for_byte(client: TufClient, repository: Repository) -> None:
    repository.files["timestamp.json"] += b" \n"
    assert client.refresh() == 0
    stored = (client.metadata_dir / "timestamp.json").read_bytes()
    assert stored == repository.files["timestamp.json"]


def test_what_is_there_is_not_fetched_again(client: TufClient, served: ServedRepository) -> None:
    assert client.refresh() == 0
    served.metadata.clear()
    assert client.refresh() == 0
    assert served.metadata == ["2.root.json", "timestamp.json"]


@pytest.mark.parametrize("damage", ["no version", "other signature"])
def test_a_bad_initial_root_is_refused_before_any_request(
    client: TufClient, served: ServedRepository, damage: str
) -> None:
    root = json.loads(served.repository.shipped_root)
    if damage == "no version":
        del root["signed"]["version"]
    else:
        root["signatures"][0]["sig"] = "00" * 64
    client.init(json.dumps(root).encode())
    assert client.refresh() == 1
    assert served.metadata == []


@pytest.mark.parametrize(
    "role, trusted",
    [
        ("root", {"root": 1}),
        ("timestamp", {"root": 2}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "timestamp": 2, "snapshot": 2}),
    ],
)
def test_what_precedes_an_unsigned_role_is_kept(
    client: TufClient, repository: Repository, role: str, trusted: dict[str, int]
) -> None:
    repository.signers[role].clear()
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.trusted() == trusted


@pytest.mark.parametrize(
    "role, trusted",
    [
        ("root", {"root": 1}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "timestamp": 2, "snapshot": 2}),
    ],
)
def test_a_version_that_differs_from_the_address_is_refused(
    client: TufClient, repository: Repository, role: str, trusted: dict[str, int]
) -> None:
    repository.hashes = False
    repository.metadata[role].signed.version += 1
    repository.publish("root", "targets", "snapshot", "timestamp")
    # Version 3 by its content, 2 by its address and by what refers to it.
    repository.files[f"2.{role}.json"] = repository.files.pop(f"3.{role}.json")
    if role == "snapshot":
        repository.timestamp.snapshot_meta = MetaFile(2)
        repository.publish("timestamp", bump=False)
    if role == "targets":
        repository.snapshot.meta["targets.json"] = MetaFile(2)
        repository.publish("snapshot", "timestamp", bump=False)
    assert client.refresh() == 1
    assert client.trusted() == trusted


def test_a_changed_timestamp_of_the_same_version_is_ignored(
    client: TufClient, served: ServedRepository
) -> None:
    assert client.refresh() == 0
    before = (client.metadata_dir / "timestamp.json").read_bytes()
    served.repository.timestamp.snapshot_meta = MetaFile(100)
    served.repository.publish("timestamp", bump=False)
    assert client.refresh() == 0
    assert (client.metadata_dir / "timestamp.json").read_bytes() == before
    assert served.metadata[-1] == "timestamp.json"


def test_hashes_of_metadata_are_checked(client: TufClient, repository: Repository) -> None:
    repository.publish_all()
    assert client.refresh() == 0
    repository.publish("targets")
    listed = repository.snapshot.meta["targets.json"]
    repository.snapshot.meta["targets.json"] = MetaFile(
        listed.version, listed.length, {"sha256": "46" * 32}
    )
    repository.publish("snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.trusted() == {"root": 1, "timestamp": 3, "snapshot": 3, "targets": 2}


def test_a_version_that_nothing_refers_to_is_not_fetched(
    client: TufClient, served: ServedRepository
) -> None:
    assert client.refresh() == 0
    served.repository.publish("targets")
    assert client.refresh() == 0
    assert client.trusted() == ALL_AT_1
    assert served.metadata[-1] == "timestamp.json"


@pytest.mark.parametrize(
    "missing, trusted",
    [
        ("timestamp.json", ALL_AT_1),
        ("2.snapshot.json", ALL_AT_1 | {"timestamp": 2}),
        ("2.targets.json", ALL_AT_1 | {"timestamp": 2, "snapshot": 2}),
    ],
)
def test_a_missing_role_ends_the_refresh_and_what_precedes_it_is_kept(
    client: TufClient, served: ServedRepository, missing: str, trusted: dict[str, int]
) -> None:
    assert client.refresh() == 0
    served.repository.publish_all()
    del served.repository.files[missing]
    assert client.refresh() == 1
    assert served.metadata[-1] == missing
    assert client.trusted() == trusted


def test_a_snapshot_is_not_taken_for_a_timestamp(client: TufClient, repository: Repository) -> None:
    """Signed by the timestamp key, with the content of a timestamp; only its type is wrong."""
    repository.add_key("snapshot", repository.signers["timestamp"][0])
    repository.snapshot.meta = {"snapshot.json": MetaFile(1)}
    repository.publish("root", "snapshot")
    repository.files["timestamp.json"] = repository.files["2.snapshot.json"]
    assert client.refresh() == 1
    assert client.trusted() == {"root": 2}


def test_fields_that_nobody_defined_are_signed_like_the_others(
    client: TufClient, repository: Repository
) -> None:
    signer = CryptoSigner.generate_ed25519()
    signer.public_key.unrecognized_fields["extra"] = {"a": 1, "b": [2]}
    repository.add_key("root", signer)
    repository.root.unrecognized_fields["custom"] = "value"
    repository.root.roles["root"].unrecognized_fields["another"] = "value"
    repository.publish("root")
    assert client.refresh() == 0
    assert client.trusted()["root"] == 2


def test_a_misleading_keyid_hash_algorithm_changes_nothing(
    client: TufClient, repository: Repository
) -> None:
    repository.rotate_keys("snapshot")
    (keyid,) = repository.root.roles["snapshot"].keyids
    repository.root.keys[keyid].unrecognized_fields["keyid_hash_algorithms"] = "md5"
    repository.publish("root", "snapshot", "timestamp")
    assert client.refresh() == 0
    assert client.trusted() == ALL_AT_1 | {"root": 2, "snapshot": 2, "timestamp": 2}


def test_an_expired_root_is_kept_and_ends_the_refresh(
    client: TufClient, repository: Repository
) -> None:
    assert client.refresh() == 0
    repository.root.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.trusted() == ALL_AT_1 | {"root": 2}


@pytest.mark.parametrize(
    "role, trusted",
    [
        ("timestamp", ALL_AT_1),
        ("snapshot", ALL_AT_1 | {"timestamp": 2}),
        ("targets", ALL_AT_1 | {"timestamp": 2, "snapshot": 2}),
    ],
)
def test_an_expired_role_is_not_accepted(
    client: TufClient, repository: Repository, role: str, trusted: dict[str, int]
) -> None:
    assert client.refresh() == 0
    expired = datetime.now(UTC).replace(microsecond=0) - timedelta(days=5)
    repository.metadata[role].signed.expires = expired
    repository.publish_all()
    assert client.refresh() == 1
    assert client.trusted() == trusted


@pytest.mark.parametrize("name", ["target_file.txt", "path/to/a/target_file.txt", "sp ace+%41?#"])
def test_a_target_is_downloaded(client: TufClient, served: ServedRepository, name: str) -> None:
    served.repository.add_target(name, b"content")
    served.repository.publish_all()
    assert client.refresh() == 0
    assert client.downloaded() == []
    # Over HTTP a name is what the server makes of its URL.
    served.repository.target_files = {
        path.replace("%41", "A"): data for path, data in served.repository.target_files.items()
    }
    served.unquote = True
    assert client.download(name) == 0
    assert client.downloaded() == [b"content"]


def test_a_target_that_is_there_is_not_downloaded_again(
    client: TufClient, served: ServedRepository
) -> None:
    served.repository.add_target("file", b"content")
    served.repository.publish_all()
    assert client.download("file") == 0
    assert client.download("file") == 0
    assert len(served.targets) == 1


def test_a_substituted_target_is_refused(client: TufClient, served: ServedRepository) -> None:
    for name in ("first", "second"):
        served.repository.add_target(name, name.encode())
    served.repository.publish_all()
    assert client.download("first") == 0
    for path in served.repository.target_files:
        served.repository.target_files[path] = b"evils"
    client.download("first")
    assert client.download("second") == 1
    assert client.downloaded() == [b"first"]


def test_a_target_that_changes_is_replaced(client: TufClient, served: ServedRepository) -> None:
    for content in (b"one", b"two", b"three"):
        served.repository.add_target("file", content)
        served.repository.publish_all()
        assert client.download("file") == 0
        assert client.downloaded() == [content]


@pytest.mark.parametrize("algorithms", [["sha256"], ["sha512"], ["sha256", "sha512"]])
def test_digests_of_the_specification_are_known(
    client: TufClient, served: ServedRepository, algorithms: list[str]
) -> None:
    listed = TargetFile.from_data("file", b"content", algorithms)
    served.repository.targets.targets["file"] = listed
    for digest in listed.hashes.values():
        served.repository.target_files[f"{digest}.file"] = b"content"
    served.repository.publish_all()
    assert client.download("file") == 0
    assert served.targets[0].partition(".")[0] in listed.hashes.values()
    assert client.downloaded() == [b"content"]


def test_a_target_with_only_an_unknown_digest_is_refused(
    client: TufClient, served: ServedRepository
) -> None:
    listed = TargetFile.from_data("file", b"content", ["sha512"])
    listed.hashes["unknown"] = listed.hashes.pop("sha512")
    served.repository.targets.targets["file"] = listed
    served.repository.target_files[f"{listed.hashes['unknown']}.file"] = b"content"
    served.repository.publish_all()
    assert client.download("file") == 1
    assert client.downloaded() == []


def test_without_consistent_snapshots_names_carry_no_versions(
    client: TufClient, served: ServedRepository
) -> None:
    repository = served.repository
    repository.root.consistent_snapshot = False
    repository.publish("root")
    repository.add_target("file", b"content")
    repository.publish_all()
    for role in ("snapshot", "targets"):
        repository.files[f"{role}.json"] = repository.files.pop(f"2.{role}.json")
    repository.target_files["file"] = b"content"
    assert client.download("file") == 0
    assert served.metadata[-2:] == ["snapshot.json", "targets.json"]
    assert served.targets == ["file"]
