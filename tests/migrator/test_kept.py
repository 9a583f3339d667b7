"""What migrations lose on the way up comes back on the way down, unless it was set again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import data_migration, files, kept_file
from migrator.carry import Body, Program, carry
from migrator.executable import Limits
from migrator.kept import Correction, Entry, Kept, Losses
from migrator.plan import Leg, Route
from migrator.tree import State, Tree
from migrator.workshop import Workshop
from tests.migrator.builders import plain, plain_metadata, state, tree
from updog.migrations import Direction

if TYPE_CHECKING:
    from pathlib import Path

V1, V2, V3 = Version(1), Version(2), Version(3)


def migration(name: str, document: str) -> Body:
    return data_migration.parse(name, document.encode())


def way(*legs: tuple[Version, Version, list[str]]) -> Route:
    """A route up over these legs."""
    parts = tuple(Leg(low, high, Direction.FORWARD, tuple(names)) for low, high, names in legs)
    return Route(parts[0].older, parts[-1].newer, parts)


class Traveller:
    """Settings that go up and down, with the migrations of one world."""

    def __init__(self, place: Path, settings: State, bodies: dict[str, Body]) -> None:
        self.state = settings
        self._place = place
        self._bodies = bodies

    def go(self, route: Route) -> None:
        with Workshop(self._place, Limits(seconds=20)) as workshop:
            self.state = carry(self.state, route, self._bodies, workshop)

    @property
    def live(self) -> dict[str, object]:
        return plain(self.state.live)


REMOVE = '[[steps]]\nkind = "remove-settings"\nsettings = ["settings.motd"]'
REPLACE = '[[steps]]\nkind = "replace-string"\nsetting = "s"\nold = "a"\nnew = "b"'
ADD = '[[steps]]\nkind = "add-settings"\nsettings = ["n"]'
RENAME = '[[steps]]\nkind = "rename-settings"\nfrom = "old"\nto = "new"'
FIRST = '[[steps]]\nkind = "convert"\nsettings = ["l"]\nforward = "first"\nbackward = "to-list"'
UP = way((V1, V2, ["m"]))


def traveller(tmp_path: Path, document: str, settings: State) -> Traveller:
    return Traveller(tmp_path, settings, {"m": migration("m", document)})


def test_a_removed_setting_returns(tmp_path: Path) -> None:
    host = traveller(tmp_path, REMOVE, state({"settings.motd": "hi", "b": 1}))
    host.go(UP)
    assert host.live == {"b": 1}
    host.go(UP.back())
    assert host.live == {"settings.motd": "hi", "b": 1}
    assert host.state.kept is None


def test_a_removed_setting_that_was_set_again_stays_as_it_was_set(tmp_path: Path) -> None:
    host = traveller(tmp_path, REMOVE, state({"settings.motd": "hi"}))
    host.go(UP)
    host.state.live.data.put("settings.motd", '"newer"')
    host.go(UP.back())
    assert host.live == {"settings.motd": "newer"}


def test_a_setting_that_happened_to_have_the_new_value_keeps_it(tmp_path: Path) -> None:
    """Going back by itself would make "a" of it, which nobody had set."""
    host = traveller(tmp_path, REPLACE, state({"s": "b"}))
    host.go(UP)
    host.go(UP.back())
    assert host.live == {"s": "b"}


@pytest.mark.parametrize("since, back", [("a", "a"), ("mine", "mine"), (None, None)])
def test_a_setting_changed_since_follows_the_backward_run(
    tmp_path: Path, since: str | None, back: str | None
) -> None:
    host = traveller(tmp_path, REPLACE, state({"s": "a"}))
    host.go(UP)
    assert host.live == {"s": "b"}
    host.state.live.data.put("s", None if since is None else f'"{since}"')
    host.go(UP.back())
    assert host.live == ({} if back is None else {"s": back})


def test_a_setting_that_the_older_version_had_already_returns_to_its_old_value(
    tmp_path: Path,
) -> None:
    host = traveller(tmp_path, ADD, state({"n": 1}))
    host.go(UP)
    host.state.live.data.put("n", "2")
    host.go(UP.back())
    assert host.live == {"n": 1}


def test_a_setting_of_the_newer_version_does_not_follow_to_the_older(tmp_path: Path) -> None:
    host = traveller(tmp_path, ADD, state({"x": 1}))
    host.go(UP)
    host.state.live.data.put("n", "2")
    host.go(UP.back())
    assert host.live == {"x": 1}


def test_a_change_to_a_renamed_setting_goes_back_under_the_old_name(tmp_path: Path) -> None:
    host = traveller(tmp_path, RENAME, state({"old": 1, "new": 7}))
    host.go(UP)
    assert host.live == {"new": 1}
    host.state.live.data.put("new", "2")
    host.go(UP.back())
    assert host.live == {"old": 2, "new": 7}


def test_what_a_conversion_dropped_returns_until_the_setting_is_changed(tmp_path: Path) -> None:
    host = traveller(tmp_path, FIRST, state({"l": ["x", "y"]}))
    host.go(UP)
    assert host.live == {"l": "x"}
    host.go(UP.back())
    assert host.live == {"l": ["x", "y"]}
    host.go(UP)
    host.state.live.data.put("l", '"z"')
    host.go(UP.back())
    assert host.live == {"l": ["z"]}


def test_removed_metadata_returns(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "remove-metadata"\nsetting = "s"\nmetadata = "m"'
    settings = State(tree({"s": 1}, {"s": {"m": ["x"], "n": 1}}))
    host = traveller(tmp_path, document, settings)
    host.go(UP)
    assert plain_metadata(host.state.live) == {"s": {"n": 1}}
    host.go(UP.back())
    assert plain_metadata(host.state.live) == {"s": {"m": ["x"], "n": 1}}


def test_a_value_does_not_return_into_a_group_that_took_its_place(tmp_path: Path) -> None:
    host = traveller(tmp_path, REMOVE, state({"settings.motd": "hi"}))
    host.go(UP)
    host.state.live.data.put("settings.motd.text", '"longer"')
    host.go(UP.back())
    assert host.live == {"settings.motd.text": "longer"}


def test_a_value_does_not_return_below_a_value(tmp_path: Path) -> None:
    host = traveller(tmp_path, REMOVE, state({"settings.motd": "hi"}))
    host.go(UP)
    host.state.live.data.put("settings", '"all"')
    host.go(UP.back())
    assert host.live == {"settings": "all"}


class TestPendingTransactions:
    def test_what_a_transaction_lost_returns_to_it(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, REMOVE, state({}, tx={"settings.motd": "hi", "b": 1}))
        host.go(UP)
        assert plain(host.state.pending["tx"]) == {"b": 1}
        host.go(UP.back())
        assert plain(host.state.pending["tx"]) == {"settings.motd": "hi", "b": 1}

    def test_not_if_it_was_touched_since(self, tmp_path: Path) -> None:
        """The name may stand for another transaction by now."""
        host = traveller(tmp_path, REMOVE, state({}, tx={"settings.motd": "hi", "b": 1}))
        host.go(UP)
        host.state.pending["tx"] = tree({"c": 2})
        host.go(UP.back())
        assert plain(host.state.pending["tx"]) == {"c": 2}

    def test_not_if_it_is_gone(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, REMOVE, state({}, tx={"settings.motd": "hi"}))
        host.go(UP)
        del host.state.pending["tx"]
        host.go(UP.back())
        assert host.state.pending == {}

    def test_one_emptied_by_a_migration_is_filled_again(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, REMOVE, state({}, tx={"settings.motd": "hi"}))
        host.go(UP)
        assert plain(host.state.pending["tx"]) == {}
        host.go(UP.back())
        assert plain(host.state.pending["tx"]) == {"settings.motd": "hi"}


BODIES = {"one": migration("one", REMOVE), "two": migration("two", REPLACE)}
ROUTE = way((V1, V2, ["one"]), (V2, V3, ["two"]))


class TestLongerWays:
    def test_half_the_way_back_brings_back_half(self, tmp_path: Path) -> None:
        host = Traveller(tmp_path, state({"settings.motd": "hi", "s": "b"}), BODIES)
        host.go(ROUTE)
        host.go(way((V2, V3, ["two"])).back())
        assert host.live == {"s": "b"}
        host.go(way((V1, V2, ["one"])).back())
        assert host.live == {"settings.motd": "hi", "s": "b"}

    def test_what_was_lost_long_ago_is_kept_over_later_updates(self, tmp_path: Path) -> None:
        host = Traveller(tmp_path, state({"settings.motd": "hi"}), BODIES)
        host.go(way((V1, V2, ["one"])))
        host.state.live.data.put("s", '"a"')
        host.go(way((V2, V3, ["two"])))
        assert host.live == {"s": "b"}
        host.go(ROUTE.back())
        assert host.live == {"settings.motd": "hi", "s": "a"}

    def test_a_migration_that_was_replaced_since_does_not_lose_what_its_forerunner_kept(
        self, tmp_path: Path
    ) -> None:
        bodies = {**BODIES, "one-fixed": migration("one-fixed", REMOVE)}
        host = Traveller(tmp_path, state({"settings.motd": "hi"}), bodies)
        host.go(way((V1, V2, ["one"])))
        host.go(way((V1, V2, ["one-fixed"])).back())
        assert host.live == {"settings.motd": "hi"}

    def test_a_way_back_by_larger_steps_brings_back_all(self, tmp_path: Path) -> None:
        bodies = {**BODIES, "all": migration("all", "steps = []")}
        host = Traveller(tmp_path, state({"settings.motd": "hi"}), bodies)
        host.go(ROUTE)
        host.go(way((V1, V3, ["all"])).back())
        assert host.live == {"settings.motd": "hi"}

    def test_going_up_again_loses_and_keeps_again(self, tmp_path: Path) -> None:
        host = Traveller(tmp_path, state({"settings.motd": "hi"}), BODIES)
        for _ in range(3):
            host.go(ROUTE)
            assert host.live == {}
            host.go(ROUTE.back())
            assert host.live == {"settings.motd": "hi"}


SCRIPT = b"""#!/usr/bin/env python3
import pathlib, shutil, sys
direction, _, source, _, target = sys.argv[1:]
target = pathlib.Path(target)
shutil.copytree(source, target)
live = target / "live"
if direction == "--forward":
    (live / "gone").unlink(missing_ok=True)
    if (live / "old").exists():
        (live / "old").rename(live / "new")
    (live / "list").write_text('"x"')
elif (live / "new").exists():
    (live / "new").rename(live / "old")
"""


class TestExecutables:
    """Not run backward to be measured: what they changed is kept, and their way back wins."""

    def host(self, place: Path) -> Traveller:
        body = Program("m", lambda: SCRIPT)
        return Traveller(place, state({"gone": 1, "old": 2, "list": ["x", "y"]}), {"m": body})

    def test_what_one_removed_or_overwrote_returns(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        host.go(UP)
        assert host.live == {"new": 2, "list": "x"}
        host.go(UP.back())
        assert host.live == {"gone": 1, "old": 2, "list": ["x", "y"]}

    def test_what_was_set_since_stays(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        host.go(UP)
        host.state.live.data.put("new", "3")
        host.state.live.data.put("gone", "4")
        host.state.live.data.put("list", '"z"')
        host.go(UP.back())
        assert host.live == {"gone": 4, "old": 3, "list": "z"}


class TestTheFile:
    ENTRY = Entry(
        Version.parse("1.0.0-rc.1"),
        V2,
        "migrate_v2.0.0_x.lz4",
        {
            None: Losses(
                {'a."b.c"': Correction('"x"', None)}, {("s", "m.n"): Correction(None, "[1.50]")}
            ),
            "tx": Losses({"d": Correction("1", "2")}),
        },
    )

    def test_it_reads_back_what_it_wrote(self) -> None:
        kept = Kept([self.ENTRY], {"tx": "print"})
        text = kept_file.render(kept)
        assert text is not None
        assert kept_file.parse(text) == kept

    def test_nothing_kept_is_no_file(self) -> None:
        assert kept_file.render(Kept([], {"tx": "print"})) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"format": 2, "entries": [], "pending": {}}',
            '{"format": 1, "entries": [{}], "pending": {}}',
            '{"format": 1, "entries": [1], "pending": {}}',
            '{"format": 1, "entries": [], "pending": []}',
            '{"format": 1, "entries": [{"from": "x", "to": "2.0.0"}], "pending": {}}',
        ],
    )
    def test_a_damaged_one_is_no_reason_to_refuse_the_settings(
        self, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        host = traveller(tmp_path, REMOVE, state({"b": 1}))
        host.state.kept = text
        host.go(UP.back())
        assert host.live == {"b": 1}
        assert "cannot use what earlier migrations kept" in caplog.text

    def test_it_never_grows_longer_than_can_be_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The oldest losses are given up, not the datastore."""
        long = "x" * 5_000_000
        names = [f"settings.n{number}" for number in range(4)]
        bodies = {
            name: migration(name, f'[[steps]]\nkind = "remove-settings"\nsettings = ["{name}"]')
            for name in names
        }
        host = Traveller(tmp_path, state(dict.fromkeys(names, long)), bodies)
        route = way((V1, V2, names))
        host.go(route)
        assert host.state.kept is not None
        assert len(host.state.kept) < 13_000_000
        assert "left out the 2 oldest migrations" in caplog.text
        files.write_copy(tmp_path / "copy", host.state, files.PlainWriter())
        host.state = files.read_copy(tmp_path / "copy")
        host.go(route.back())
        assert host.live == {"settings.n2": long, "settings.n3": long}

    def test_trees_that_lost_nothing_are_not_in_it(self) -> None:
        kept = Kept()
        kept.add(Entry(V1, V2, "m", {None: Losses(), "tx": Losses()}))
        assert kept.entries == []
        kept.add(Entry(V1, V2, "m", {None: Losses({"a": Correction("1", None)}), "tx": Losses()}))
        assert list(kept.entries[0].trees) == [None]


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    host = traveller(tmp_path, REPLACE, state({"s": "b", "t": 1}))
    host.go(UP)
    assert host.state.live == Tree(tree({"s": "b", "t": 1}).data)
