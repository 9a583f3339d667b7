"""What updog adds to the workflow: its ends, its errors, its limits, and what it hands on."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import TargetFile

from tests.support.repository import NOW, MemoryTransport, Repository
from tests.support.unflushed import Unflushed
from updog.errors import (
    ClockNotSet,
    DownloadFailed,
    MetadataExpired,
    NoSuchTarget,
    NotFound,
    RepositoryInvalid,
)
from updog.trust import TrustedRepository, refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

DAY = timedelta(days=1)


@dataclass
class Host:
    """A place to keep trust in, and the repository that it trusts."""

    store: TrustStore
    repository: Repository
    transport: MemoryTransport
    shipped: bytes

    def refresh(
        self, clock: datetime = NOW, *, build_time: datetime | None = None
    ) -> TrustedRepository:
        return refresh_store(self.store, self.shipped, self.transport, clock, build_time=build_time)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    repository = Repository()
    repository.add_target("manifest.json", b'{"updates": []}')
    repository.publish_all()
    store = TrustStore(tmp_path / "metadata", tmp_path / "trust.json", kernel=Unflushed())
    return Host(store, repository, MemoryTransport(repository), repository.shipped_root)


def test_only_not_found_ends_the_chain_of_roots(host: Host) -> None:
    host.repository.publish("root")
    host.refresh()
    assert host.transport.requests[:2] == ["2.root.json", "3.root.json"]


@pytest.mark.parametrize("status", ["403 Forbidden", "410 Gone", "500 Server Error", "reset"])
def test_any_other_answer_for_the_next_root_is_an_error(host: Host, status: str) -> None:
    """Else whoever can cause it could hide the root that revokes a key."""
    host.transport.answers["2.root.json"] = DownloadFailed("2.root.json", status)
    with pytest.raises(DownloadFailed, match=status):
        host.refresh()
    assert host.transport.requests == ["2.root.json"]


def test_a_missing_timestamp_is_not_the_end_of_anything(host: Host) -> None:
    host.transport.answers["timestamp.json"] = NotFound("timestamp.json", "404 Not Found")
    with pytest.raises(NotFound, match=r"cannot download timestamp\.json: 404"):
        host.refresh()


def test_hundreds_of_roots_are_walked(host: Host) -> None:
    """As tough allows; python-tuf alone stops at 256."""
    for _ in range(300):
        host.repository.publish("root")
    host.refresh()
    assert host.store.read()["root.json"] == host.repository.files["301.root.json"]


def test_what_was_verified_is_kept_when_a_later_role_fails(host: Host) -> None:
    """An attacker breaks the end of a refresh, and then replays what was before it."""
    host.refresh()
    old = dict(host.repository.files)
    host.repository.publish_all()
    host.transport.answers["3.snapshot.json"] = DownloadFailed("3.snapshot.json", "reset")
    with pytest.raises(DownloadFailed):
        host.refresh()
    host.repository.files.clear()
    host.repository.files.update(old)
    with pytest.raises(RepositoryInvalid, match="New timestamp version 2 must be >= 3"):
        host.refresh()


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_expiry_names_the_role_and_both_dates(host: Host, role: str) -> None:
    host.repository.metadata[role].signed.expires = NOW - DAY
    host.repository.publish("root", "targets", "snapshot", "timestamp")
    with pytest.raises(MetadataExpired) as caught:
        host.refresh()
    assert caught.value.role == role
    assert str(caught.value) == (
        f"refusing the {role} metadata of memory:/: it expired on 2026-02-28T12:00:00Z; "
        "this clock says 2026-03-01T12:00:00Z"
    )


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_expiry_of_what_is_here_already(host: Host, role: str) -> None:
    """Nothing new was published, and the time ran out."""
    host.repository.metadata[role].signed.expires = NOW + DAY
    host.repository.publish("root", "targets", "snapshot", "timestamp")
    host.refresh()
    with pytest.raises(MetadataExpired) as caught:
        host.refresh(NOW + DAY)
    assert caught.value.role == role


def test_the_very_second_of_expiry_is_too_late(host: Host) -> None:
    host.refresh(host.repository.expires - timedelta(seconds=1))
    with pytest.raises(MetadataExpired):
        host.refresh(host.repository.expires)


def test_every_role_is_judged_by_the_clock_reading_given(host: Host) -> None:
    """Valid then, long expired by the real clock of whoever runs this test, or not yet begun."""
    assert host.refresh(NOW).now == NOW


def test_a_clock_set_back_is_judged_by_the_last_trusted_time(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.repository.timestamp.expires = NOW + 2 * DAY
    host.repository.publish("timestamp")
    host.refresh(NOW + DAY)
    with caplog.at_level(logging.WARNING):
        assert host.refresh(NOW - 300 * DAY).now == NOW + DAY
    assert "going by the latter" in caplog.text


def test_a_clock_far_ahead_does_no_lasting_harm(host: Host) -> None:
    host.refresh()
    with pytest.raises(MetadataExpired):
        host.refresh(NOW + 9999 * DAY)
    assert host.refresh(NOW + DAY).now == NOW + DAY


def test_a_clock_never_set(host: Host) -> None:
    epoch = NOW.replace(year=1970)
    with pytest.raises(ClockNotSet) as caught:
        host.refresh(epoch)
    assert "clock_floor" in str(caught.value.hint)
    assert host.transport.requests == []
    assert host.refresh(epoch, build_time=NOW).now == NOW
    # From now on the last check helps.
    assert host.refresh(epoch).now == NOW


def test_ten_thousand_targets_fit(host: Host) -> None:
    sample = TargetFile.from_data("x", b"content", ["sha256", "sha512"])
    for number in range(10_000):
        name = f"bottlerocket-aws-k8s-1.30-x86_64-1.{number}.0-a1b2c3d4-root.ext4.lz4"
        host.repository.targets.targets[name] = TargetFile(7, sample.hashes, name)
    host.repository.hashes = False
    host.repository.publish_all()
    assert len(host.repository.files["3.targets.json"]) > 3_000_000
    last = "bottlerocket-aws-k8s-1.30-x86_64-1.9999.0-a1b2c3d4-root.ext4.lz4"
    assert host.refresh().target(last).length_bytes == 7


@pytest.mark.parametrize(
    "name, limit",
    [
        ("2.root.json", 1 << 20),
        ("timestamp.json", 1 << 20),
        ("2.snapshot.json", 4 << 20),
        ("2.targets.json", 32 << 20),
    ],
)
def test_metadata_without_end_is_refused(host: Host, name: str, limit: int) -> None:
    host.repository.hashes = False
    host.repository.publish("targets", "snapshot", "timestamp", bump=False)
    host.transport.answers[name] = b" " * (limit + 1)
    with pytest.raises(DownloadFailed, match=f"longer than {limit} bytes"):
        host.refresh()


def test_a_listed_length_bounds_more_closely(host: Host) -> None:
    listed = host.repository.timestamp.snapshot_meta.length
    host.transport.answers["2.snapshot.json"] = host.repository.files["2.snapshot.json"] + b" "
    with pytest.raises(DownloadFailed, match=f"longer than {listed} bytes"):
        host.refresh()


@pytest.mark.parametrize("content", [b"", b"<html>", b"{}", b"[1]", b"\xff", b"[" * 50_000])
@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json"])
def test_what_is_not_metadata_is_refused(host: Host, name: str, content: bytes) -> None:
    host.transport.answers[name] = content
    with pytest.raises(RepositoryInvalid):
        host.refresh()


def test_the_shipped_root_must_hold(host: Host) -> None:
    host.shipped = host.shipped.replace(b"spec_version", b"sqec_version")
    with pytest.raises(RepositoryInvalid, match="shipped root"):
        host.refresh()
    assert host.transport.requests == []


def test_a_target_and_its_bytes(host: Host) -> None:
    trusted = host.refresh()
    target = trusted.target("manifest.json")
    assert target.length_bytes == 15
    # From `printf '{"updates": []}' | sha256sum`.
    assert target.hashes["sha256"] == (
        "d212f2fe10f7ab99646286081c49e11c4be58bbb3de276bc0c3ae451ef1abcb3"
    )
    assert trusted.read_target("manifest.json", 100) == b'{"updates": []}'
    with pytest.raises(NoSuchTarget, match="lists no target 'other'"):
        trusted.target("other")


def test_a_small_target_is_verified(host: Host) -> None:
    trusted = host.refresh()
    path = trusted.target("manifest.json").relative_path()
    with pytest.raises(DownloadFailed, match="at most 10 are allowed here"):
        trusted.read_target("manifest.json", 10)
    host.transport.answers[path] = b'{"updates": {}}'
    with pytest.raises(RepositoryInvalid, match="does not match its sha256"):
        trusted.read_target("manifest.json", 100)
    host.transport.answers[path] = b"{}"
    with pytest.raises(DownloadFailed, match="the server has 2 bytes, expected 15"):
        trusted.read_target("manifest.json", 100)


def test_what_is_handed_on_are_the_bytes_that_were_verified(host: Host) -> None:
    trusted = host.refresh()
    before = dict(host.repository.files)
    # Published while the update runs: the set must not become a mixture.
    host.repository.publish_all()
    assert trusted.metadata_files() == {
        name: before[name]
        for name in ("1.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json")
    }


def test_roots_older_than_the_shipped_one_are_handed_on_too(host: Host) -> None:
    """The image that the host goes to may ship an older root than the one that runs."""
    for _ in range(3):
        host.repository.rotate_keys("timestamp")
        host.repository.publish("root")
    host.repository.publish_all()
    host.shipped = host.repository.files["3.root.json"]
    files = host.refresh().metadata_files()
    for version in (1, 2, 3, 4):
        assert files[f"{version}.root.json"] == host.repository.files[f"{version}.root.json"]


def test_an_older_root_that_did_not_lead_here_is_left_out(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Signed well, by strangers."""
    host.repository.publish("root")
    host.shipped = host.repository.files["2.root.json"]
    host.transport.answers["1.root.json"] = Repository().shipped_root
    with caplog.at_level(logging.WARNING):
        files = host.refresh().metadata_files()
    assert "1.root.json" not in files
    assert "root 1 is not what came before 2" in caplog.text


def test_an_older_root_with_another_version_is_left_out(host: Host) -> None:
    host.repository.publish("root")
    host.repository.publish("root")
    host.shipped = host.repository.files["3.root.json"]
    host.transport.answers["2.root.json"] = host.repository.shipped_root
    assert "2.root.json" not in host.refresh().metadata_files()


def test_the_chain_of_roots_has_no_gap(host: Host) -> None:
    """The host knew roots 1 and 2 when its new image brought root 5 along."""
    host.repository.publish("root")
    host.refresh()
    for _ in range(3):
        host.repository.publish("root")
    host.shipped = host.repository.files["5.root.json"]
    trusted = host.refresh()
    files = trusted.metadata_files()
    for version in range(1, 6):
        assert files[f"{version}.root.json"] == host.repository.files[f"{version}.root.json"]
    host.transport.requests.clear()
    host.transport.answers["3.root.json"] = NotFound("3.root.json", "404 Not Found")
    assert trusted.metadata_files() == files
    assert host.refresh().metadata_files() == files


def test_what_lies_below_a_gap_is_left_out(host: Host) -> None:
    host.repository.publish("root")
    host.refresh()
    for _ in range(2):
        host.repository.publish("root")
    host.shipped = host.repository.files["4.root.json"]
    del host.repository.files["3.root.json"]
    roots = [name for name in host.refresh().metadata_files() if name.endswith("root.json")]
    assert roots == ["4.root.json"]


def test_a_refusal_of_an_older_root_is_an_error(host: Host) -> None:
    """Not found would do; a set without it could leave the next image without its settings."""
    host.repository.publish("root")
    host.shipped = host.repository.files["2.root.json"]
    trusted = host.refresh()
    host.transport.answers["1.root.json"] = DownloadFailed("1.root.json", "403 Forbidden")
    with pytest.raises(DownloadFailed, match="403"):
        trusted.metadata_files()


def test_a_newer_image_starts_from_its_own_root(host: Host) -> None:
    """The image moved on while the host was offline; what it trusted is still of use."""
    host.refresh()
    host.repository.rotate_keys("timestamp")
    host.repository.publish("root", "timestamp")
    host.shipped = host.repository.files["2.root.json"]
    host.transport.requests.clear()
    host.refresh()
    assert host.transport.requests == ["3.root.json", "timestamp.json"]


def test_an_older_image_goes_on_from_what_the_host_knows(host: Host) -> None:
    """After a rollback, the old image's root is behind the trusted chain: nothing is undone."""
    old_timestamp = host.repository.files["timestamp.json"]
    host.repository.rotate_keys("timestamp")
    host.repository.publish("root", "timestamp")
    host.refresh()
    host.transport.answers["2.root.json"] = NotFound("2.root.json", "404 Not Found")
    host.transport.answers["timestamp.json"] = old_timestamp
    with pytest.raises(RepositoryInvalid, match="timestamp"):
        host.refresh()


def test_two_refreshes_at_once_come_one_after_the_other(host: Host) -> None:
    results: list[TrustedRepository] = []
    threads = [threading.Thread(target=lambda: results.append(host.refresh())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
