"""Nothing goes back: the conformance suite's rollback stories, and ways out of a fast-forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.repository import version_of

if TYPE_CHECKING:
    from tests.support.servers import ServedRepository
    from tests.support.tuf_client import TufClient


def test_an_older_timestamp_is_refused(client: TufClient, served: ServedRepository) -> None:
    old = served.repository.files["timestamp.json"]
    served.repository.publish("timestamp")
    assert client.refresh() == 0
    served.repository.files["timestamp.json"] = old
    assert client.refresh() == 1
    assert client.trusted()["timestamp"] == 2
    assert served.metadata[-1] == "timestamp.json"


@pytest.mark.parametrize("hashes", [False, True])
def test_an_older_snapshot_is_refused(
    client: TufClient, served: ServedRepository, *, hashes: bool
) -> None:
    """A new timestamp, correctly signed, leads back to snapshot 1."""
    repository = served.repository
    repository.hashes = hashes
    repository.publish("snapshot", "timestamp")
    assert client.refresh() == 0
    repository.snapshot.version = 1
    repository.publish("snapshot", bump=False)
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert client.trusted()["timestamp"] == 2
    assert client.trusted()["snapshot"] == 2
    assert served.metadata[-1] == "timestamp.json"


@pytest.mark.parametrize("hashes", [False, True])
def test_an_older_targets_is_refused(
    client: TufClient, served: ServedRepository, *, hashes: bool
) -> None:
    """The versions that the trusted snapshot lists count, also when its digest is outdated."""
    repository = served.repository
    repository.hashes = hashes
    repository.publish_all()
    assert client.refresh() == 0
    repository.targets.version = 1
    repository.publish("targets", bump=False)
    repository.publish("snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.trusted()["snapshot"] == 2
    assert client.trusted()["targets"] == 2


def test_a_snapshot_that_drops_a_role_is_refused(
    client: TufClient, served: ServedRepository
) -> None:
    assert client.refresh() == 0
    del served.repository.snapshot.meta["targets.json"]
    served.repository.publish("snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.trusted()["snapshot"] == 1


def test_what_nothing_refers_to_does_no_harm(client: TufClient, served: ServedRepository) -> None:
    served.repository.publish("snapshot", "timestamp")
    assert client.refresh() == 0
    served.repository.publish("snapshot")
    assert client.refresh() == 0
    assert client.trusted()["snapshot"] == 2
    assert served.metadata[-1] == "timestamp.json"


@pytest.mark.parametrize(
    "role, rotate",
    [
        ("timestamp", ["timestamp"]),
        ("snapshot", ["timestamp", "snapshot"]),
        ("targets", ["snapshot"]),
    ],
)
def test_new_keys_recover_from_a_fast_forward(
    client: TufClient, served: ServedRepository, role: str, rotate: list[str]
) -> None:
    """Whoever had a key published version 1000; the owner starts again from 1 with new keys."""
    repository = served.repository
    repository.metadata[role].signed.version = 999
    repository.publish_all()
    assert client.refresh() == 0
    assert client.trusted()[role] == 1000
    for each in rotate:
        repository.rotate_keys(each)
    repository.metadata[role].signed.version = 0
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == 0
    assert client.trusted()[role] == 1


def test_without_new_keys_a_fast_forward_is_not_undone(
    client: TufClient, served: ServedRepository
) -> None:
    served.repository.metadata["timestamp"].signed.version = 999
    served.repository.publish("timestamp")
    assert client.refresh() == 0
    served.repository.metadata["timestamp"].signed.version = 0
    served.repository.publish("timestamp")
    assert version_of(served.repository.files["timestamp.json"]) == 1
    assert client.refresh() == 1
    assert client.trusted()["timestamp"] == 1000
