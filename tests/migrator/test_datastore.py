"""The datastore for programs and people."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import chain, defaults
from migrator.datastore import Datastore
from migrator.errors import (
    ChainBroken,
    DefaultsInvalid,
    KeyInvalid,
    ResultInvalid,
    StoreCorrupt,
    StoreError,
    StoreUnwritable,
    TransactionMissing,
    ValueInvalid,
)
from migrator.tree import Tree
from partition import durable
from partition.errors import LockHeld
from partition.kernel import Kernel
from tests.migrator.builders import HASTY, Host, plain, plain_metadata, read_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIVE = {
    "live/settings/motd": '"hi"',
    "live/settings/ntp/servers": '["a"]',
    "live/settings/ntp-extra": "1",
    "live/settings.affected-services": '["all"]',
    "live/settings/ntp.affected-services": '["chronyd"]',
    "live/settings/ntp/servers.note": '"x"',
    "pending/tx/settings/motd": '"pending"',
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.install("1.0.0", LIVE)
    return host


@pytest.fixture
def store(host: Host) -> Datastore:
    return Datastore(host.current)


def test_reading(store: Datastore) -> None:
    assert store.get("settings.motd") == '"hi"'
    assert store.get('"settings".motd') == '"hi"'
    assert store.get("settings.absent") is None
    assert store.get("settings.motd", "tx") == '"pending"'
    assert store.transactions() == ("tx",)
    assert store.list("settings.ntp") == {
        "settings.ntp-extra": "1",
        "settings.ntp.servers": '["a"]',
    }
    with pytest.raises(TransactionMissing, match="there is no pending transaction 'other'"):
        store.get("settings.motd", "other")
    with pytest.raises(KeyInvalid):
        store.get("settings..motd")


def test_metadata_is_inherited_from_shorter_names(store: Datastore) -> None:
    assert store.metadata("settings.ntp.servers") == {
        "affected-services": '["chronyd"]',
        "note": '"x"',
    }
    assert store.metadata("settings.motd") == {"affected-services": '["all"]'}
    assert store.metadata("settings.ntp-extra") == {"affected-services": '["all"]'}
    assert store.metadata("other") == {}
    assert store.list_metadata("settings.ntp") == {
        "settings.ntp": {"affected-services": '["chronyd"]'},
        "settings.ntp.servers": {"note": '"x"'},
    }


@pytest.mark.parametrize("path", ["", "current", "v1.0.0_0123456789abcdef"])
def test_it_is_found_by_its_link_its_directory_or_its_copy(host: Host, path: str) -> None:
    assert Datastore(host.base / path).get("settings.motd") == '"hi"'


def test_one_setting_is_changed_in_place(host: Host, store: Datastore) -> None:
    chain = host.chain()
    store.set({'settings.new."a.b"': " [1,  2] "})
    assert host.files() == {**LIVE, "live/settings/new/a%2Eb": "[1,  2]"}
    store.set({'settings.new."a.b"': None})
    assert host.files() == LIVE
    assert not (host.current / "live/settings/new").exists()
    assert host.chain() == chain
    store.set_metadata("settings.motd", {'"x.y"': "true"})
    assert host.files() == {**LIVE, "live/settings/motd.x%2Ey": "true"}


def test_several_settings_are_changed_at_once(host: Host, store: Datastore) -> None:
    """In a new copy; the old one, which a reader may be in the middle of, is left as it was."""
    old = host.base / "v1.0.0_0123456789abcdef"
    reader = os.open(old / "live/settings/motd", os.O_RDONLY)
    store.set({"settings.motd": '"ho"', "settings.new": "2", "settings.ntp-extra": None})
    assert os.read(reader, 100) == b'"hi"'
    os.close(reader)
    expected = {**LIVE, "live/settings/motd": '"ho"', "live/settings/new": "2"}
    del expected["live/settings/ntp-extra"]
    assert host.files() == expected
    assert host.chain().startswith("current -> v1 -> v1.0 -> v1.0.0 -> v1.0.0_")
    assert not old.exists()


def test_a_transaction_is_committed_at_once(host: Host, store: Datastore) -> None:
    store.set({"settings.other": "1"}, "tx")
    assert store.commit("tx") == ("settings.motd", "settings.other")
    assert store.transactions() == ()
    assert store.get("settings.motd") == '"pending"'
    assert not (host.current / "pending" / "tx").exists()
    with pytest.raises(TransactionMissing):
        store.commit("tx")


def test_a_transaction_is_made_by_its_first_setting_and_dropped(
    host: Host, store: Datastore
) -> None:
    store.set({"settings.x": "1"}, "my tx/1")
    assert (host.current / "pending/my%20tx%2F1/settings/x").read_text() == "1"
    store.discard("my tx/1")
    assert host.files() == LIVE


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "ü" * 100])
def test_a_name_that_no_directory_can_have_is_no_transactions(
    host: Host, store: Datastore, name: str
) -> None:
    with pytest.raises(KeyInvalid):
        store.set({"settings.x": "1"}, name)
    assert host.files() == LIVE


# Two values at once: a single one would be replaced in place.
BOTH = [{"a": "1", "b": "1"}, {"a": "2", "b": "2"}]


@contextmanager
def restless(host: Host, both: list[dict[str, str]]) -> Iterator[None]:
    """A writer that makes one copy after the other meanwhile."""
    Datastore(host.current, kernel=HASTY).set({**both[0]})
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            Datastore(host.current, kernel=HASTY).set({**both[number % 2]})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_a_reader_outruns_a_writer(host: Host) -> None:
    """Whoever reads while copies come and go finds all of one of them."""
    with restless(host, BOTH):
        found = [Datastore(host.current).read().live.data.values for _ in range(100)]
    assert all((each["a"], each["b"]) in {("1", "1"), ("2", "2")} for each in found)


def test_links_are_followed_while_they_are_set_anew(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that the links led to is gone when it is looked at: they lead elsewhere by now."""
    before = chain.read(host.current.parent)
    look = chain._version_of

    def meanwhile(base: Path, links: tuple[str, ...]) -> Version:
        monkeypatch.undo()
        Datastore(host.current, kernel=HASTY).set(BOTH[0])
        return look(base, links)

    monkeypatch.setattr(chain, "_version_of", meanwhile)
    found = chain.read(host.current.parent)
    assert before is not None
    assert not before.path.exists()
    assert found == chain.read(host.current.parent)
    assert found != before


def test_metadata_of_a_transaction_is_committed_with_it(store: Datastore) -> None:
    store.set_metadata("settings.motd", {"strength": '"weak"'}, "tx")
    store.commit("tx")
    assert store.metadata("settings.motd")["strength"] == '"weak"'


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"settings.motd": "hi"}, ValueInvalid),
        ({"settings.motd": '{"a": 1}'}, ValueInvalid),
        ({"settings..motd": "1"}, KeyInvalid),
        ({"settings.good": "1", "settings.bad": "?"}, ValueInvalid),
        ({"settings.motd.below": "1"}, ResultInvalid),
        ({"settings.ntp": "1"}, ResultInvalid),
        ({"x" * 256: "1"}, KeyInvalid),
        ({'a."b"c': "1", "a.bc": "?"}, ValueInvalid),
    ],
)
def test_what_cannot_be_stored_changes_nothing(
    host: Host, store: Datastore, settings: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.set(settings)
    assert host.files() == LIVE


def test_nothing_is_stored_that_is_too_long_to_be_read_again(host: Host, store: Datastore) -> None:
    with pytest.raises(ValueInvalid, match="longer than 16777216 bytes"):
        store.set({"settings.motd": '"' + "x" * (16 << 20) + '"'})
    long = '"' + "ü" * (8_000_000) + '"'
    with pytest.raises(ResultInvalid, match="all of them together are longer"):
        store.set({f"n{number}": long for number in range(20)})
    assert host.files() == LIVE


def test_a_group_left_without_values_gives_way_to_a_value(host: Host, store: Datastore) -> None:
    """As after a power cut between removing the last value of a group and the group itself."""
    (host.current / "live/settings/group/inner").mkdir(parents=True)
    store.set({"settings.group": "1"})
    assert host.files() == {**LIVE, "live/settings/group": "1"}


def test_a_copy_by_itself_is_changed_one_setting_at_a_time(host: Host) -> None:
    copy = Datastore(host.base / "v1.0.0_0123456789abcdef")
    copy.set({"settings.motd": "1"})
    assert copy.get("settings.motd") == "1"
    with pytest.raises(StoreCorrupt, match="through 'current' only"):
        copy.set({"a": "1", "b": "2"})


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ChainBroken, match="there is no datastore yet"):
        Datastore(tmp_path / "current").read()
    with pytest.raises(ChainBroken, match="there is no datastore yet"):
        Datastore(tmp_path / "absent" / "current").set({"a": "1"})


class FullDisk(Kernel):
    """Has room for so many writes."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def write(self, fd: int, data: object) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data)  # type: ignore[arg-type]


def test_a_full_disk_changes_nothing(host: Host) -> None:
    store = Datastore(host.current, kernel=FullDisk(3))
    with pytest.raises(StoreUnwritable, match="No space left on device"):
        store.set({"a": "1", "b": "2"})
    assert host.files() == LIVE
    assert host.names() == ["current", "v1", "v1.0", "v1.0.0", "v1.0.0_0123456789abcdef"]


def test_writers_exclude_each_other(host: Host) -> None:
    with durable.exclusive_lock(host.base / ".migrator.lock"):
        store = Datastore(host.current, wait_seconds=0)
        with pytest.raises(LockHeld, match=f"process {os.getpid()} is at work"):
            store.set({"a": "1"})
        assert store.get("settings.motd") == '"hi"'
    Datastore(host.current).set({"a": "1"})
    assert host.files() == {**LIVE, "live/a": "1"}


DEFAULTS = b"""
[settings]
motd = "default"
fresh = [1, 2]

[settings.ntp]
servers = ["default"]
"quo.ted" = true

[settings.ntp-extra]
below-a-value = 1

[metadata.settings.ntp]
affected-services = ["default"]

[metadata.settings.ntp.servers]
setting-generator = "x"
"""


class TestDefaults:
    def test_they_fill_what_is_missing_and_overwrite_nothing(
        self, host: Host, store: Datastore
    ) -> None:
        assert store.prepare(Version(1), defaults.parse("d.toml", DEFAULTS)) is True
        assert host.files() == {
            **LIVE,
            "live/settings/fresh": "[1,2]",
            "live/settings/ntp/quo%2Eted": "true",
            "live/settings/ntp/servers.setting-generator": '"x"',
        }
        chain = host.chain()
        assert store.prepare(Version(1), defaults.parse("d.toml", DEFAULTS)) is False
        assert host.chain() == chain

    def test_a_default_that_is_a_group_by_now_is_left_out(self, store: Datastore) -> None:
        store.prepare(Version(1), defaults.parse("d.toml", b"settings.ntp = 5"))
        assert store.get("settings.ntp") is None

    def test_they_belong_to_one_version(self, host: Host, store: Datastore) -> None:
        with pytest.raises(StoreError, match=r"settings are those of 1.0.0, expected a migration"):
            store.prepare(Version(2), defaults.parse("d.toml", DEFAULTS))
        assert host.files() == LIVE

    def test_a_new_datastore_is_made_of_them(self, tmp_path: Path) -> None:
        base = tmp_path / "var/lib/datastore"
        store = Datastore(base / "current")
        assert (
            store.prepare(Version.parse("1.2.3-rc.1"), defaults.parse("d.toml", DEFAULTS)) is True
        )
        state = store.read()
        assert plain(state.live) == {
            "settings.motd": "default",
            "settings.fresh": [1, 2],
            "settings.ntp.servers": ["default"],
            'settings.ntp."quo.ted"': True,
            "settings.ntp-extra.below-a-value": 1,
        }
        assert plain_metadata(state.live) == {
            "settings.ntp": {"affected-services": ["default"]},
            "settings.ntp.servers": {"setting-generator": "x"},
        }
        names = sorted(path.name for path in base.iterdir())
        assert [name for name in names if "_" not in name] == [
            ".migrator.lock",
            "current",
            "v1",
            "v1.2",
            "v1.2.3-rc.1",
        ]
        assert read_files(base / "current")["live/settings/motd"] == '"default"'

    @pytest.mark.parametrize(
        "document, why",
        [
            (b"[", "it is not TOML"),
            (b"\xff", "it is not TOML"),
            (b"when = 2020-01-01", "value of when: it has no JSON form"),
            (b"number = nan", "value of number"),
            (b'"" = 1', "none of them is empty"),
            (b"metadata = 1", "'metadata' must be a table"),
            (b"[metadata]\nx = 1", "metadata 'x' belongs to no setting"),
            (b"list = [{a = 2020-01-01}]", "it has no JSON form"),
        ],
    )
    def test_a_mistake_in_them_is_named(self, document: bytes, why: str) -> None:
        with pytest.raises(DefaultsInvalid, match=why):
            defaults.parse("/etc/defaults.toml", document)


def test_a_creation_that_was_interrupted_is_started_over(tmp_path: Path) -> None:
    """The marker says that what is there is unfinished; without it, it is somebody's settings."""
    host = Host(tmp_path)
    host.install("1.0.0", {"live/half": "1"})
    host.current.unlink()
    store = Datastore(host.current)
    with pytest.raises(ChainBroken, match="v1 leads to settings"):
        store.prepare(Version(1), Tree())
    (host.base / ".creating").write_text("")
    assert store.prepare(Version(2), defaults.parse("d", b"a = 1")) is True
    assert host.files() == {"live/a": "1"}
    assert [name for name in host.names() if "_" not in name] == ["current", "v2", "v2.0", "v2.0.0"]
