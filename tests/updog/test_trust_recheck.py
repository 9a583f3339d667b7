"""When a check may be one small request, and when it may not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import NOW, MemoryTransport, Repository
from tests.support.unflushed import Unflushed
from updog.config import Config
from updog.environment import Environment, Paths
from updog.errors import DownloadFailed, MetadataExpired, RepositoryInvalid
from updog.recheck import current_target
from updog.release import Release
from updog.versions import parse_version
from updog.waves import Seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR = timedelta(hours=1)
MANIFEST = b'{"updates": [], "migrations": {}}'


@dataclass
class Host:
    root: Path
    repository: Repository
    transport: MemoryTransport = field(init=False)
    now: datetime = NOW
    full_check_hours: int = 24

    def __post_init__(self) -> None:
        self.transport = MemoryTransport(self.repository)

    @property
    def shipped(self) -> Path:
        return self.root / "usr/share/updog/root.json"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/updog"

    def check(self) -> bytes:
        """Check, and forget what was asked for before."""
        self.transport.requests.clear()
        config = Config(
            metadata_base_url="http://repo.example/metadata",
            targets_base_url="http://repo.example/targets",
            seed=Seed(1),
            full_check_hours=self.full_check_hours,
        )
        release = Release("demo", parse_version("1.0.0"), "x86_64")
        env = Environment(
            paths=Paths(self.root),
            now=self.now,
            kernel=Unflushed(),
            config=config,
            release=release,
        )
        return current_target(env, self.transport, "manifest.json", 1000).data

    def was_short(self) -> bool:
        return self.transport.requests == ["timestamp.json"]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    repository = Repository()
    repository.add_target("manifest.json", MANIFEST)
    repository.publish_all()
    host = Host(tmp_path, repository)
    host.shipped.parent.mkdir(parents=True)
    host.shipped.write_bytes(repository.shipped_root)
    (tmp_path / "var/lib").mkdir(parents=True)
    assert host.check() == MANIFEST
    assert not host.was_short()
    return host


def test_nothing_new_is_one_small_request(host: Host) -> None:
    host.now += HOUR
    assert host.check() == MANIFEST
    assert host.was_short()


def test_a_server_without_validators_sends_the_same_timestamp_again(host: Host) -> None:
    host.transport.validators = False
    assert host.check() == MANIFEST
    assert host.was_short()


def test_something_new_is_verified_in_full(host: Host) -> None:
    host.repository.add_target("manifest.json", b"{}")
    host.repository.publish_all()
    assert host.check() == b"{}"
    assert host.transport.requests[:3] == ["timestamp.json", "2.root.json", "timestamp.json"]
    assert host.check() == b"{}"
    assert host.was_short()


def test_the_whole_workflow_runs_once_a_day(host: Host) -> None:
    """So that a revoked key is noticed even if the timestamp stays as it is."""
    host.now += 24 * HOUR - timedelta(seconds=1)
    host.check()
    assert host.was_short()
    host.now += timedelta(seconds=1)
    host.check()
    assert not host.was_short()
    host.now += HOUR
    host.check()
    assert host.was_short()


def test_it_can_be_switched_off(host: Host) -> None:
    host.full_check_hours = 0
    host.check()
    assert not host.was_short()


def shipped_root_changes(host: Host) -> None:
    host.repository.publish("root")
    host.shipped.write_bytes(host.repository.files["2.root.json"])


def another_repository(host: Host) -> None:
    host.transport.label = "https://other.example/"


def remove(name: str) -> Callable[[Host], None]:
    return lambda host: (host.state / name).unlink()


def damage(name: str) -> Callable[[Host], None]:
    def change(host: Host) -> None:
        path = host.state / name
        path.write_bytes(path.read_bytes() + b" ")

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(shipped_root_changes, id="another image runs"),
        pytest.param(another_repository, id="another repository is configured"),
        pytest.param(remove("trust.json"), id="no record"),
        pytest.param(remove("metadata/targets.json"), id="no targets metadata"),
        pytest.param(remove("kept/manifest.json"), id="no manifest"),
        pytest.param(damage("metadata/root.json"), id="another root"),
        pytest.param(damage("metadata/timestamp.json"), id="another timestamp"),
        pytest.param(damage("metadata/snapshot.json"), id="another snapshot"),
        pytest.param(damage("metadata/targets.json"), id="other targets"),
        pytest.param(damage("kept/manifest.json"), id="another manifest"),
    ],
)
def test_what_is_not_as_it_was_is_verified_in_full(
    host: Host, change: Callable[[Host], None]
) -> None:
    change(host)
    assert host.check() == MANIFEST
    assert not host.was_short()
    assert host.check() == MANIFEST
    assert host.was_short()


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_not_modified_does_not_make_metadata_younger(host: Host, role: str) -> None:
    """Whoever answers 304 for ever freezes the host only until the first role expires."""
    host.repository.metadata[role].signed.expires = NOW + 2 * HOUR
    host.repository.publish("root", "targets", "snapshot", "timestamp")
    host.check()
    host.now += HOUR
    host.check()
    assert host.was_short()
    host.now += HOUR
    with pytest.raises(MetadataExpired):
        host.check()


def test_a_clock_set_back_does_not_make_metadata_younger(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.repository.timestamp.expires = NOW + 2 * HOUR
    host.repository.publish("timestamp")
    host.now += HOUR
    host.check()
    host.now -= 30 * 24 * HOUR
    assert "going by the latter" not in caplog.text
    host.check()
    assert "going by the latter" in caplog.text
    assert host.was_short()
    host.now = NOW + 3 * HOUR
    with pytest.raises(MetadataExpired):
        host.check()


def test_an_unreachable_repository_is_an_error(host: Host) -> None:
    host.transport.answers["timestamp.json"] = DownloadFailed("timestamp.json", "reset")
    with pytest.raises(DownloadFailed):
        host.check()


def test_an_older_timestamp_is_refused_as_ever(host: Host) -> None:
    old = host.repository.files["timestamp.json"]
    host.repository.publish("timestamp")
    host.check()
    host.transport.answers["timestamp.json"] = old
    with pytest.raises(RepositoryInvalid, match="must be >= 3"):
        host.check()


def test_it_waits_for_nobody_and_writes_nothing(host: Host) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in host.state.rglob("*")}
    host.check()
    assert host.was_short()
    after = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in host.state.rglob("*")}
    assert after == before
