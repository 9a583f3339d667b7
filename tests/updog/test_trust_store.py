"""Trust that lasts: through power cuts, damage, and whoever else can write to the disk."""

from __future__ import annotations

import errno
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from partition.errors import StateFileUnsafe, WriteFailed
from tests.support.cuts import Thoroughness, states
from tests.support.power import PowerKernel, materialise
from tests.support.recording import RecordingKernel
from tests.support.repository import NOW, MemoryTransport, Repository, version_of
from tests.support.unflushed import Unflushed
from updog.errors import RepositoryInvalid
from updog.trust import refresh_store
from updog.trust_store import Record, TrustStore

if TYPE_CHECKING:
    from pathlib import Path

    from partition.kernel import Kernel


def store_in(directory: Path, kernel: Kernel | None = None) -> TrustStore:
    where = (directory / "metadata", directory / "trust.json")
    return TrustStore(*where, kernel=kernel) if kernel else TrustStore(*where)


def refresh(directory: Path, repository: Repository, kernel: Kernel | None = None) -> None:
    transport = MemoryTransport(repository)
    refresh_store(store_in(directory, kernel), repository.shipped_root, transport, NOW)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "updog"
    directory.mkdir(mode=0o700)
    return directory


def test_a_power_cut_leaves_trust_that_only_grows(state: Path, tmp_path: Path) -> None:
    """At any moment of a refresh: what is there is verified, and a next refresh goes through.

    Before the refresh returns, old or new may be trusted; after it, the old one never again.
    """
    repository = Repository()
    refresh(state, repository)
    old = {name: repository.files[name] for name in repository.files}
    kernel = PowerKernel(state)
    repository.publish("root")
    repository.publish_all()
    refresh(state, repository, kernel)
    history = kernel.history()
    looked_at = 0
    how = Thoroughness(exhaustive=5, samples=4, lengths=3, scattered=1)
    for number, cut in enumerate(states(history, how)):
        after = tmp_path / f"cut-{number}"
        materialise(history, cut, after)
        after.chmod(0o700)
        known = store_in(after).read()
        known_version = version_of(known["timestamp.json"])
        assert known_version in {1, 2}
        refresh(after, repository, Unflushed())
        assert store_in(after).read()["timestamp.json"] == repository.files["timestamp.json"]
        looked_at += 1
    assert looked_at > 100

    settled = tmp_path / "settled"
    materialise(history, history.flushed, settled)
    settled.chmod(0o700)
    replay = MemoryTransport(repository, answers={"timestamp.json": old["timestamp.json"]})
    with pytest.raises(RepositoryInvalid, match="New timestamp version 1 must be >= 2"):
        refresh_store(store_in(settled), repository.shipped_root, replay, NOW)


def test_each_file_is_flushed_before_it_is_named(state: Path) -> None:
    kernel = RecordingKernel()
    refresh(state, Repository(), kernel)
    for name in ("root.json", "timestamp.json", "snapshot.json", "targets.json", "trust.json"):
        fsync = kernel.log.index(f"fsync .{name}.new")
        rename = kernel.log.index(f"replace .{name}.new {name}")
        assert fsync < rename
        assert any(entry.startswith("fsync ") for entry in kernel.log[rename + 1 : rename + 2])


def test_nothing_new_writes_no_metadata(state: Path) -> None:
    repository = Repository()
    refresh(state, repository)
    kernel = RecordingKernel()
    refresh(state, repository, kernel)
    assert not [entry for entry in kernel.log if "timestamp" in entry or "root.json" in entry]


def test_a_full_disk_is_one_line_and_loses_nothing(state: Path) -> None:
    repository = Repository()
    refresh(state, repository)
    before = store_in(state).read()
    repository.publish_all()
    kernel = RecordingKernel(fail={"write": errno.ENOSPC})
    with pytest.raises(WriteFailed, match="No space left on device"):
        refresh(state, repository, kernel)
    assert store_in(state).read() == before


@pytest.mark.parametrize("content", [b'{"signed": ', b"[" * 100_000])
@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json"])
def test_a_damaged_role_is_reported_and_replaced(
    state: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    repository = Repository()
    refresh(state, repository)
    (state / "metadata" / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        refresh(state, repository)
    assert f"{name} is damaged: protection against rollback starts again" in caplog.text
    assert version_of((state / "metadata" / name).read_bytes()) == 1


def test_a_damaged_root_is_fetched_again(state: Path) -> None:
    repository = Repository()
    repository.publish("root")
    refresh(state, repository)
    (state / "metadata/root_history/2.root.json").write_bytes(b"\0")
    refresh(state, repository)
    stored = (state / "metadata/root_history/2.root.json").read_bytes()
    assert stored == repository.files["2.root.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"last_trusted": 1}',
        b'{"last_trusted": "tomorrow"}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_reported_and_replaced(
    state: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    repository = Repository()
    refresh(state, repository)
    (state / "trust.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        refresh(state, repository)
    assert "trust.json makes no sense" in caplog.text
    record = store_in(state).read_record()
    assert record is not None
    assert record.last_trusted == NOW


def test_a_record_is_read_as_it_was_written(state: Path) -> None:
    record = Record(
        last_trusted=NOW,
        refreshed=NOW,
        repository="https://repo.example/",
        shipped_root_sha256="ab" * 32,
        expires=NOW,
        validator='W/"x"',
        digests={"root.json": "cd" * 32},
        targets={"manifest.json": "ef" * 32},
    )
    for each in (record, replace(record, validator=None, digests={}, targets={})):
        store_in(state).write_record(each)
        assert store_in(state).read_record() == each
    stored = json.loads((state / "trust.json").read_text())
    assert stored["last_trusted"] == "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    "name", ["trust.json", "metadata/timestamp.json", "metadata/root_history/1.root.json"]
)
def test_a_link_in_place_of_a_file_is_refused(state: Path, name: str) -> None:
    refresh(state, Repository())
    (state / "elsewhere").write_bytes((state / name).read_bytes())
    (state / name).unlink()
    (state / name).symlink_to(state / "elsewhere")
    with pytest.raises(StateFileUnsafe, match="it is a symbolic link"):
        refresh(state, Repository())


@pytest.mark.parametrize("name", ["metadata", "metadata/root_history"])
def test_a_link_in_place_of_a_directory_is_refused(state: Path, name: str) -> None:
    refresh(state, Repository())
    (state / name).rename(state / "elsewhere")
    (state / name).symlink_to(state / "elsewhere")
    with pytest.raises(StateFileUnsafe, match="it is a symbolic link"):
        refresh(state, Repository())


@pytest.mark.parametrize(
    "name, mode",
    [
        ("trust.json", 0o666),
        ("metadata/timestamp.json", 0o620),
        ("metadata/root_history/1.root.json", 0o602),
        ("metadata", 0o777),
        (".", 0o770),
    ],
)
def test_what_others_could_have_written_is_refused(state: Path, name: str, mode: int) -> None:
    repository = Repository()
    refresh(state, repository)
    (state / name).chmod(mode)
    with pytest.raises(StateFileUnsafe, match="others may write to it"):
        refresh(state, repository)


def test_state_is_for_its_owner_alone(state: Path) -> None:
    refresh(state, Repository())
    for path in state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
