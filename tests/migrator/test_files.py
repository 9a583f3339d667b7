"""One copy as files: what is read from where, what is written where, what is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from migrator import files, values
from migrator.errors import StoreCorrupt
from migrator.plan import changes
from migrator.tree import State
from tests.migrator.builders import plain, plain_metadata, read_files, tree, write_files
from tests.migrator.test_properties import STATES

if TYPE_CHECKING:
    from pathlib import Path

STORE = {
    "live/settings/motd": '"hi"',
    "live/settings/motd.affected-services": '["host"]',
    "live/settings/motd.a%2Eb": "1",
    "live/settings/kubernetes/node-labels/example%2Ecom%2Frole": '"x"',
    "live/settings/empty": "[]",
    "live/settings/gr%C3%B6%C3%9Fe": "1.50",
    "live/settings.affected-services": "[]",
    "pending/test%20transaction/settings/motd": '"hello"\n',
}


def test_a_copy_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, STORE)
    (tmp_path / "pending" / "empty").mkdir()
    (tmp_path / "lost+found").mkdir()
    state = files.read_copy(tmp_path)
    assert plain(state.live) == {
        "settings.motd": "hi",
        'settings.kubernetes.node-labels."example.com/role"': "x",
        "settings.empty": [],
        "settings.größe": 1.5,
    }
    assert plain_metadata(state.live) == {
        "settings.motd": {"affected-services": ["host"], "a.b": 1},
        "settings": {"affected-services": []},
    }
    assert {name: plain(each) for name, each in state.pending.items()} == {
        "test transaction": {"settings.motd": "hello"},
        "empty": {},
    }


def test_a_copy_is_written_as_it_was_read_but_for_white_space(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    write_files(source, STORE)
    files.write_copy(target, files.read_copy(source), files.PlainWriter())
    assert read_files(target) == {name: text.strip() for name, text in STORE.items()}
    assert read_files(target)["live/settings/gr%C3%B6%C3%9Fe"] == "1.50"


def test_a_copy_without_pending_transactions_is_fine(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    assert files.read_copy(tmp_path) == State()


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("live/settings/motd", "hi", "not JSON"),
        ("live/settings/motd", "", "not JSON"),
        ("live/settings/motd", '{"a": 1}', "it is an object"),
        ("live/settings/motd", "NaN", "NaN is not JSON"),
        ("live/settings/motd.meta", "hi", "not JSON"),
        ("live/settings/a b", "1", "the file name is not the encoding of a key"),
        ("live/settings/a%2eb", "1", "the file name is not the encoding of a key"),
        ("live/settings/a%41", "1", "escapes what needs no escape"),
        ("live/settings/a%FF", "1", "does not encode UTF-8"),
        ("live/settings/a%0Ab", "1", "control character"),
        ("live/settings/motd.", "1", "the file name is not the encoding of a key"),
        ("live/.hidden", "1", "the file name is not the encoding of a key"),
        ("live/settings/motd.a.b", "1", "the file name is not the encoding of a key"),
        ("live/settings.d/x", "1", "is neither a plain file nor a directory"),
        ("pending/loose", "1", "it is not a transaction's directory"),
        ("pending/a b/x", "1", "the file name is not the encoding of a key"),
        ("pending/tx/x", "?", "not JSON"),
    ],
)
def test_what_the_format_does_not_allow_is_named(
    tmp_path: Path, name: str, content: str, why: str
) -> None:
    write_files(tmp_path, {"live/good": "1", name: content})
    with pytest.raises(StoreCorrupt, match=why) as caught:
        files.read_copy(tmp_path)
    assert str(caught.value).startswith(f"cannot read datastore at {tmp_path}/")
    if content.startswith("{"):
        assert content not in str(caught.value), "values may be secrets"


def test_a_copy_without_live_settings_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupt, match="it has no directory 'live'"):
        files.read_copy(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"live/a": ""})
    (tmp_path / "live/a").write_bytes(b'"\xff"')
    with pytest.raises(StoreCorrupt, match="it is not UTF-8"):
        files.read_copy(tmp_path)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('"x"')
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "a").symlink_to(secret)
    with pytest.raises(StoreCorrupt, match="neither a plain file nor a directory"):
        files.read_copy(tmp_path)


@pytest.mark.parametrize("name", ["live", "pending", "."])
def test_a_link_to_elsewhere_is_no_datastore(tmp_path: Path, name: str) -> None:
    write_files(tmp_path / "real", STORE)
    write_files(tmp_path / "elsewhere", {"a": "1"})
    place = tmp_path / "real" / name
    place.rename(tmp_path / "moved")
    (tmp_path / "real" / name if name != "." else tmp_path / "real").symlink_to(tmp_path / "moved")
    with pytest.raises(StoreCorrupt, match="it is a symbolic link"):
        files.read_copy(tmp_path / "real")


def test_a_fifo_does_not_stop_us(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    os.mkfifo(tmp_path / "live" / "a")
    with pytest.raises(StoreCorrupt, match="neither a plain file nor a directory"):
        files.read_copy(tmp_path)


def test_a_value_that_is_far_too_long_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    with (tmp_path / "live" / "a").open("wb") as file:
        file.truncate(values.MAX_VALUE_BYTES + 1)
    with pytest.raises(StoreCorrupt, match="longer than any setting may be"):
        files.read_copy(tmp_path)


def test_a_long_value_is_fine(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    write_files(tmp_path, {"live/a": f'"{long}"'})
    assert plain(files.read_copy(tmp_path).live) == {"a": long}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=STATES)
def test_any_state_reads_back_as_it_was_written(tmp_path: Path, state: State) -> None:
    place = tmp_path / str(len(list(tmp_path.iterdir())))
    files.write_copy(place, state, files.PlainWriter())
    again = files.read_copy(place)
    assert again == state
    assert changes(state, again) == []


def test_kept_values_lie_beside_the_settings(tmp_path: Path) -> None:
    state = State(tree({"a": 1}), kept='{"format":1}')
    files.write_copy(tmp_path / "c", state, files.PlainWriter())
    assert (tmp_path / "c" / "kept.json").read_text() == '{"format":1}'
    assert files.read_copy(tmp_path / "c") == state
