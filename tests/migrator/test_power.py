"""The power is cut at every write of whatever changes the datastore; the next boot finds settings.

The model of what a cut leaves is `tests.support.volume`: what was not flushed may have happened in
any combination, and a write in part. What must hold in every state: `current` leads to the old
settings or to the new ones, whole, under the version that they belong to; and a second run ends
with the new ones and leaves nothing behind. For the first copy: nothing or all of it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import chain, defaults, files
from migrator.datastore import Datastore
from migrator.errors import StoreError
from migrator.run import Outcome, migrate
from tests.migrator.builders import HASTY, Host, read_files
from tests.migrator.test_run import LIVE, MIGRATIONS, NEWEST, STEPS
from tests.support.cuts import QUICK, Thoroughness, states
from tests.support.power import PowerKernel, materialise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEW = {
    "live/settings/source": '"v2"',
    "live/settings/source.template": '"t"',
    "pending/tx/settings/source": '"v2"',
}
# A few samples for each of the changes, of which there are many.
SAMPLED = Thoroughness(exhaustive=4, samples=2, lengths=3, scattered=1)


def cut(host: Host, work: Callable[[PowerKernel], object], place: Path) -> Iterator[Host]:
    """Do some work; then yield a host for each state that a power cut during it could leave."""
    kernel = PowerKernel(host.base)
    work(kernel)
    history = kernel.history()
    assert len(history.changes) > 5
    for number, left in enumerate(states(history, SAMPLED)):
        again = Host(place / str(number))
        again.cache.rmdir()
        again.cache.symlink_to(host.cache)
        again.signed = host.signed
        materialise(history, left, again.base)
        yield again
        shutil.rmtree(again.directory)


def version_of(host: Host) -> str:
    found = chain.read(host.base)
    assert found is not None
    return str(found.version)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(NEWEST, id="another major version: current itself is flipped"),
        pytest.param(Version(1, 1), id="the same major version: v1 takes everybody over"),
    ],
)
def test_a_migration(tmp_path: Path, target: Version) -> None:
    host = Host(tmp_path / "host")
    host.install("1.0.0", LIVE)
    host.publish(STEPS, MIGRATIONS)
    new = NEW if target is NEWEST else {n: t for n, t in LIVE.items() if "motd" not in n}
    seen = {"1.0.0": 0, str(target): 0}
    for booted in cut(host, lambda kernel: migrate(host.setting(kernel=kernel), target), tmp_path):
        version = version_of(booted)
        seen[version] += 1
        assert booted.files() == (LIVE if version == "1.0.0" else new)
        migrate(booted.setting(kernel=HASTY), target)
        assert booted.files() == new
        if seen[version] % 20 == 1:
            # It can be carried back as well, and nothing is left lying about.
            assert migrate(booted.setting(kernel=HASTY), Version(1)) is Outcome.MIGRATED
            assert booted.files() == LIVE
            assert len([name for name in booted.names() if "_" in name]) == 2
    assert min(seen.values()) > 1, seen


def test_a_migration_that_only_relinks(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    host.install("1.1.0", LIVE)
    host.publish(STEPS, MIGRATIONS)
    target = Version(1, 2)
    seen = {"1.1.0": 0, "1.2.0": 0}
    for booted in cut(host, lambda kernel: migrate(host.setting(kernel=kernel), target), tmp_path):
        seen[version_of(booted)] += 1
        assert booted.files() == LIVE
        migrate(booted.setting(kernel=HASTY), target)
        assert version_of(booted) == "1.2.0"
        assert booted.files() == LIVE
    assert min(seen.values()) > 1, seen


def test_a_migration_after_one_that_was_cut(tmp_path: Path) -> None:
    """What the first cut left in the way does not make the second one worse."""
    host = Host(tmp_path / "host")
    host.install("1.0.0", LIVE)
    host.publish(STEPS, MIGRATIONS)
    again = 0
    work = lambda kernel: migrate(host.setting(kernel=kernel), NEWEST)  # noqa: E731
    for number, once in enumerate(cut(host, work, tmp_path)):
        if number not in {60, 160} or version_of(once) != "1.0.0":
            continue
        work_again = lambda kernel, once=once: migrate(once.setting(kernel=kernel), NEWEST)  # noqa: E731
        for twice in cut(once, work_again, tmp_path / f"again{number}"):
            again += 1
            assert twice.files() in (LIVE, NEW)
            assert (version_of(twice) == "1.0.0") == (twice.files() == LIVE)
    assert again > 200


def test_a_transaction_is_committed_wholly_or_not_at_all(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    host.install("1.0.0", {"live/a": "1", "live/b": "1", "pending/tx/a": "2", "pending/tx/b": "2"})
    old, new = host.files(), {"live/a": "2", "live/b": "2"}
    seen = []
    work = lambda kernel: Datastore(host.current, kernel=kernel).commit("tx")  # noqa: E731
    for booted in cut(host, work, tmp_path):
        assert booted.files() in (old, new)
        assert version_of(booted) == "1.0.0"
        seen.append(booted.files() == new)
        Datastore(booted.current, kernel=HASTY).set({"c": "3"})
    assert seen.count(True) > 1
    assert seen.count(False) > 1


@pytest.mark.parametrize("text", ["2", None])
def test_one_setting_is_changed_or_not(tmp_path: Path, text: str | None) -> None:
    host = Host(tmp_path / "host")
    host.install("1.0.0", {"live/a/b": "1", "live/c": "1"})
    key = "a.b" if text is None else "d.e.f"
    new = {"live/c": "1"} if text is None else {**host.files(), "live/d/e/f": "2"}
    old = host.files()
    kernel = PowerKernel(host.base)
    Datastore(host.current, kernel=kernel).set({key: text})
    history = kernel.history()
    found = []
    for number, left in enumerate(states(history, QUICK)):
        booted = Host(tmp_path / str(number))
        materialise(history, left, booted.base)
        state = Datastore(booted.current, kernel=HASTY).read()
        assert state.pending == {}
        live = {name: text for name, text in booted.files().items() if name.startswith("live/")}
        assert live in (old, new)
        found.append(live == new)
    assert set(found) == {True, False}


def test_the_first_copy(tmp_path: Path) -> None:
    """A creation that is cut is completed by the next boot, wherever it was cut."""
    host = Host(tmp_path / "host")
    fresh = defaults.parse("d.toml", b"a.b = 1\na.c = [2]\n[metadata.a]\nm = 3")
    new = {"live/a/b": "1", "live/a/c": "[2]", "live/a.m": "3"}
    version = Version.parse("1.0.0-rc.1")
    seen = {True: 0, False: 0}
    work = lambda kernel: Datastore(host.current, kernel=kernel).prepare(version, fresh)  # noqa: E731
    for booted in cut(host, work, tmp_path):
        complete = booted.current.exists()
        seen[complete] += 1
        if complete:
            assert booted.files() == new
            assert version_of(booted) == "1.0.0-rc.1"
        else:
            # The migrator comes first at boot: there is nothing to migrate.
            assert migrate(booted.setting(kernel=HASTY), version) is Outcome.NO_DATASTORE
        Datastore(booted.current, kernel=HASTY).prepare(version, fresh)
        assert booted.files() == new
        assert len([name for name in booted.names() if "_" in name]) == 1
        assert not (booted.base / ".creating").exists()
    assert min(seen.values()) > 1, seen


class Forgetful(PowerKernel):
    """Says that it has flushed, and has not."""

    def syncfs(self, fd: int) -> None:
        """Forget to."""


def test_this_would_notice_a_flush_that_is_missing(tmp_path: Path) -> None:
    """A test of the tests: without the one flush before the flip, some cut spoils the settings."""
    host = Host(tmp_path / "host")
    host.install("1.0.0", LIVE)
    host.publish(STEPS, MIGRATIONS)
    kernel = Forgetful(host.base)
    migrate(host.setting(kernel=kernel), NEWEST)
    history = kernel.history()
    spoilt = 0
    for number, left in enumerate(states(history, SAMPLED)):
        booted = Host(tmp_path / str(number))
        materialise(history, left, booted.base)
        try:
            found: dict[str, str] | None = read_files(booted.current)
            files.read_copy(booted.current.resolve())
        except StoreError:
            found = None
        spoilt += found not in (LIVE, NEW)
    assert spoilt > 0
