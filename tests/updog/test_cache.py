"""The migrator's cache: verified bytes, one whole set at every instant, nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from partition.errors import StateFileUnsafe, WriteFailed
from tests.support.unflushed import Unflushed
from updog.cache import prune, store_for_migrator
from updog.environment import Paths
from updog.errors import DownloadFailed, NoSuchTarget, UnsafeTargetName
from updog.targets import Target

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Shelf:
    """A verified repository in memory."""

    targets: dict[str, bytes]
    metadata: dict[str, bytes]
    read: list[str] = field(default_factory=list)

    def target(self, name: str) -> Target:
        if name not in self.targets:
            raise NoSuchTarget("shelf", name)
        data = self.targets[name]
        return Target(name, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def read_target(self, name: str, max_bytes: int) -> bytes:
        self.read.append(name)
        if len(self.targets[name]) > max_bytes:
            raise DownloadFailed(name, "too long")
        return self.targets[name]

    def metadata_files(self) -> dict[str, bytes]:
        return self.metadata


UNFLUSHED = Unflushed()

OLD = Shelf(
    {"manifest.json": b"old", "one.lz4": b"1", "both.lz4": b"2"},
    {"1.root.json": b"r1", "timestamp.json": b"t1", "1.snapshot.json": b"s1"},
)
NEW = Shelf(
    {"manifest.json": b"new", "both.lz4": b"2", "three.lz4": b"3"},
    {"1.root.json": b"r1", "2.root.json": b"r2", "timestamp.json": b"t2", "2.snapshot.json": b"s2"},
)


def name(data: bytes, of: str) -> str:
    return f"{hashlib.sha256(data).hexdigest()}.{of}"


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    store_for_migrator(paths, OLD, ["one.lz4", "both.lz4"], kernel=UNFLUSHED)
    return paths


OLD_TARGETS = {
    name(b"old", "manifest.json"): b"old",
    name(b"1", "one.lz4"): b"1",
    name(b"2", "both.lz4"): b"2",
}
NEW_TARGETS = {
    name(b"new", "manifest.json"): b"new",
    name(b"2", "both.lz4"): b"2",
    name(b"3", "three.lz4"): b"3",
}


def test_the_set_lies_where_the_contract_says(paths: Paths, tmp_path: Path) -> None:
    assert content(tmp_path / "var/lib/bottlerocket-migrations") == OLD_TARGETS
    assert content(tmp_path / "var/cache/bottlerocket-metadata") == OLD.metadata
    assert paths.migrations.stat().st_mode & 0o777 == 0o700


def test_a_new_set_keeps_the_old_targets_until_they_are_pruned(paths: Paths) -> None:
    """The system on the other set may still be booted, and need them."""
    keep = store_for_migrator(paths, NEW, ["both.lz4", "three.lz4"], kernel=UNFLUSHED)
    assert content(paths.metadata_cache) == NEW.metadata
    assert content(paths.migrations) == {**OLD_TARGETS, **NEW_TARGETS}
    (paths.migrations / ".left-by-a-crash.new").write_bytes(b"half")
    prune(paths, keep, kernel=UNFLUSHED)
    assert content(paths.migrations) == NEW_TARGETS


def test_what_is_there_already_is_not_fetched_again(paths: Paths) -> None:
    NEW.read.clear()
    store_for_migrator(paths, NEW, ["both.lz4", "three.lz4", "both.lz4"], kernel=UNFLUSHED)
    assert NEW.read == ["three.lz4", "manifest.json"]


def test_a_damaged_file_is_replaced(paths: Paths) -> None:
    damaged = paths.migrations / name(b"1", "one.lz4")
    damaged.write_bytes(b"x")
    store_for_migrator(paths, OLD, ["one.lz4"], kernel=UNFLUSHED)
    assert damaged.read_bytes() == b"1"


def test_without_migrations_the_manifest_and_the_metadata_are_kept(tmp_path: Path) -> None:
    keep = store_for_migrator(Paths(tmp_path), OLD, [], kernel=UNFLUSHED)
    assert keep == {name(b"old", "manifest.json")}
    assert content(Paths(tmp_path).metadata_cache) == OLD.metadata


def test_a_migration_that_is_missing_leaves_the_old_set(paths: Paths) -> None:
    with pytest.raises(NoSuchTarget):
        store_for_migrator(paths, NEW, ["three.lz4", "missing.lz4"], kernel=UNFLUSHED)
    assert content(paths.metadata_cache) == OLD.metadata
    assert OLD_TARGETS.items() <= content(paths.migrations).items()


@pytest.mark.parametrize("bad", ["a/b.lz4", "../b.lz4", "x" * 250])
def test_names_that_are_no_file_names_are_refused(bad: str, paths: Paths) -> None:
    shelf = Shelf({**NEW.targets, bad: b"x"}, NEW.metadata)
    with pytest.raises(UnsafeTargetName):
        store_for_migrator(paths, shelf, [bad], kernel=UNFLUSHED)
    assert content(paths.metadata_cache) == OLD.metadata


@pytest.mark.parametrize(
    "place", ["var/lib/bottlerocket-migrations", "var/cache/bottlerocket-metadata"]
)
def test_a_link_in_place_of_a_directory_is_refused(place: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).symlink_to(elsewhere)
    with pytest.raises(StateFileUnsafe, match="symbolic link"):
        store_for_migrator(Paths(tmp_path), OLD, ["one.lz4"], kernel=UNFLUSHED)
    assert list(elsewhere.iterdir()) == []


class Stops(Unflushed):
    """The power goes after so many calls that change something."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def replace(self, source: object, target: object) -> None:
        self._count()
        super().replace(source, target)  # type: ignore[arg-type]

    def exchange(self, one: object, other: object) -> None:
        self._count()
        super().exchange(one, other)  # type: ignore[arg-type]

    def unlink(self, path: object) -> None:
        self._count()
        super().unlink(path)  # type: ignore[arg-type]


def test_at_every_instant_one_set_is_whole(tmp_path: Path) -> None:
    """The metadata of one set, and at least all targets that belong to it."""
    seen = set()
    for calls in range(40):
        paths = Paths(tmp_path / str(calls))
        store_for_migrator(paths, OLD, ["one.lz4", "both.lz4"], kernel=UNFLUSHED)
        kernel = Stops(calls)
        try:
            keep = store_for_migrator(paths, NEW, ["both.lz4", "three.lz4"], kernel=kernel)
            prune(paths, keep, kernel=kernel)
        except KeyboardInterrupt:
            finished = False
        else:
            finished = True
        metadata = content(paths.metadata_cache)
        wanted = {"s1": OLD_TARGETS, "s2": NEW_TARGETS}
        generation = "s1" if metadata == OLD.metadata else "s2"
        assert metadata in (OLD.metadata, NEW.metadata)
        assert wanted[generation].items() <= content(paths.migrations).items()
        seen.add((generation, finished))
        if finished:
            break
    assert seen == {("s1", False), ("s2", False), ("s2", True)}


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/lib").write_text("a file")
    with pytest.raises(WriteFailed, match="bottlerocket-migrations: Not a directory"):
        store_for_migrator(Paths(tmp_path), OLD, [], kernel=UNFLUSHED)
