"""What migrations lose on the way up comes back on the way down, unless it was set again.

And what they lose on the way down comes back on the next way up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import data_migration, files, kept_file
from migrator.carry import Body, Program, carry
from migrator.corrections import Correction, Losses
from migrator.executable import Limits
from migrator.kept import Entry, Kept
from migrator.plan import Leg, Route
from migrator.tree import State, Tree
from migrator.workshop import Workshop
from tests.migrator.builders import plain, plain_metadata, state, tree
from updog.migrations import Direction

if TYPE_CHECKING:
    from pathlib import Path

V1, V2, V3, V4, V5 = (Version(number) for number in (1, 2, 3, 4, 5))


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

    def set(self, name: str, value: object) -> None:
        """As a user does."""
        self.state.live.data.put(name, json.dumps(value))

    def unset(self, name: str) -> None:
        """As a user does."""
        self.state.live.data.put(name, None)

    def kept(self) -> str | None:
        """The text of the file."""
        return self.state.kept

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
    assert host.kept() is None


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


COLOUR = '[[steps]]\nkind = "add-settings"\nsettings = ["settings.host.colour"]'
GREETING = (
    '[[steps]]\nkind = "rename-settings"\nfrom = "settings.motd"\nto = "settings.host.greeting"\n'
    + COLOUR
)
LIST = '[[steps]]\nkind = "convert"\nsettings = ["l"]\nforward = "to-list"\nbackward = "first"'
MOVED = f'{RENAME}\nonly = "forward"'
ADD_M = '[[steps]]\nkind = "add-metadata"\nsetting = "s"\nmetadata = "m"'


class TestTheWayUpAgain:
    """The host ran the newer version, went back to the older one, and returns."""

    def test_what_only_the_newer_version_knows_is_there_again(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, GREETING, state({"settings.motd": "hi"}))
        host.go(UP)
        host.set("settings.host.colour", "green")
        newer = {"settings.host.greeting": "hi", "settings.host.colour": "green"}
        assert host.live == newer
        host.go(UP.back())
        assert host.live == {"settings.motd": "hi"}
        host.go(UP)
        assert host.live == newer

    def test_the_file_holds_it_in_between(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, GREETING, state({"settings.motd": "hi"}))
        host.go(UP)
        assert host.kept() is None
        host.set("settings.host.colour", "green")
        host.go(UP.back())
        assert host.kept() == (
            '{"format":1,"entries":[],"up":[{"from":"1.0.0","to":"2.0.0","migration":"m",'
            '"live":{"data":{"settings.host.colour":{"was":"\\"green\\""}}}}],"pending":{}}'
        )
        host.go(UP)
        assert host.kept() is None

    def test_set_in_the_older_version_under_a_name_of_the_newer_it_stays(
        self, tmp_path: Path
    ) -> None:
        host = traveller(tmp_path, COLOUR, state({}))
        host.go(UP)
        host.set("settings.host.colour", "green")
        host.go(UP.back())
        host.set("settings.host.colour", "red")
        host.go(UP)
        assert host.live == {"settings.host.colour": "red"}

    def test_each_version_keeps_its_own_value_of_what_both_know(self, tmp_path: Path) -> None:
        """The migration says that the older version does not know "n"; yet it was set there."""
        host = traveller(tmp_path, ADD, state({"n": 1}))
        host.go(UP)
        host.set("n", 2)
        for _ in range(3):
            host.go(UP.back())
            assert host.live == {"n": 1}
            host.go(UP)
            assert host.live == {"n": 2}

    def test_a_value_changed_under_its_old_name_wins(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, GREETING, state({"settings.motd": "hi"}))
        host.go(UP)
        host.set("settings.host.greeting", "hello")
        host.go(UP.back())
        assert host.live == {"settings.motd": "hello"}
        host.set("settings.motd", "good morning")
        host.go(UP)
        assert host.live == {"settings.host.greeting": "good morning"}

    def test_what_was_unset_in_the_newer_version_stays_unset(self, tmp_path: Path) -> None:
        """Going forward would make "new" of "old", which the way down leaves where it is."""
        host = traveller(tmp_path, MOVED, state({"old": 1}))
        host.go(UP)
        assert host.live == {"new": 1}
        host.unset("new")
        for _ in range(3):
            host.go(UP.back())
            assert host.live == {"old": 1}
            host.go(UP)
            assert host.live == {}

    def test_until_it_is_set_in_the_older_version(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, MOVED, state({"old": 1}))
        host.go(UP)
        host.unset("new")
        host.go(UP.back())
        host.set("old", 2)
        host.go(UP)
        assert host.live == {"new": 2}
        host.go(UP.back())
        assert host.live == {"old": 2}

    def test_what_was_unset_in_the_older_version_is_gone_from_both(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, GREETING, state({"settings.motd": "hi"}))
        host.go(UP)
        host.go(UP.back())
        host.unset("settings.motd")
        for _ in range(2):
            host.go(UP)
            assert host.live == {}
            host.go(UP.back())
            assert host.live == {}
        assert host.kept() is None

    def test_what_came_back_and_was_unset_then_does_not_come_back_once_more(
        self, tmp_path: Path
    ) -> None:
        host = traveller(tmp_path, COLOUR, state({}))
        host.go(UP)
        host.set("settings.host.colour", "green")
        host.go(UP.back())
        host.go(UP)
        host.unset("settings.host.colour")
        host.go(UP.back())
        host.go(UP)
        assert host.live == {}
        assert host.kept() is None

    def test_what_was_removed_on_the_way_up_and_unset_later_stays_unset(
        self, tmp_path: Path
    ) -> None:
        host = traveller(tmp_path, REMOVE, state({"settings.motd": "hi"}))
        host.go(UP)
        host.go(UP.back())
        host.unset("settings.motd")
        host.go(UP)
        host.go(UP.back())
        assert host.live == {}
        assert host.kept() is None

    @pytest.mark.parametrize("since, up", [(None, "a"), ("a", "a"), ("mine", "mine")])
    def test_a_value_that_going_forward_would_replace(
        self, tmp_path: Path, since: str | None, up: str
    ) -> None:
        """In the newer version somebody wants just what the older one had."""
        host = traveller(tmp_path, REPLACE, state({"s": "a"}))
        host.go(UP)
        assert host.live == {"s": "b"}
        host.set("s", "a")
        host.go(UP.back())
        assert host.live == {"s": "a"}
        if since is not None:
            host.set("s", since)
        host.go(UP)
        assert host.live == {"s": up}

    def test_what_a_conversion_back_dropped(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, LIST, state({"l": "x"}))
        host.go(UP)
        host.set("l", ["x", "y"])
        host.go(UP.back())
        assert host.live == {"l": "x"}
        host.go(UP)
        assert host.live == {"l": ["x", "y"]}
        host.go(UP.back())
        host.set("l", "z")
        host.go(UP)
        assert host.live == {"l": ["z"]}

    def test_metadata(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, ADD_M, State(tree({"s": 1}, {"s": {"n": 1}})))
        host.go(UP)
        host.state.live.metadata.put(("s", "m"), '["x"]')
        host.go(UP.back())
        assert plain_metadata(host.state.live) == {"s": {"n": 1}}
        host.go(UP)
        assert plain_metadata(host.state.live) == {"s": {"m": ["x"], "n": 1}}
        host.go(UP.back())
        host.state.live.metadata.put(("s", "m"), '["y"]')
        host.go(UP)
        assert plain_metadata(host.state.live) == {"s": {"m": ["y"], "n": 1}}

    def test_metadata_that_was_unset_stays_unset(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, MOVED, State(tree({"old": 1}, {"old": {"m": 1, "n": 2}})))
        host.go(UP)
        assert plain_metadata(host.state.live) == {"new": {"m": 1, "n": 2}}
        host.state.live.metadata.put(("new", "m"), None)
        for _ in range(2):
            host.go(UP.back())
            assert plain_metadata(host.state.live) == {"old": {"m": 1, "n": 2}}
            host.go(UP)
            assert plain_metadata(host.state.live) == {"new": {"n": 2}}

    def test_a_value_does_not_return_into_a_group_that_took_its_place(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, COLOUR, state({}))
        host.go(UP)
        host.set("settings.host.colour", "green")
        host.go(UP.back())
        host.set("settings.host.colour.name", "red")
        host.go(UP)
        assert host.live == {"settings.host.colour.name": "red"}

    def test_what_was_brought_back_does_not_stand_in_the_way(self, tmp_path: Path) -> None:
        """The old value returns on the way down, and becomes "new" on the way up.

        There is a group of that name by now, which somebody made in the newer version.
        """
        host = traveller(tmp_path, MOVED, state({"old": 1}))
        host.go(UP)
        host.unset("new")
        host.set("new.part", 2)
        host.go(UP.back())
        assert host.live == {"old": 1, "new.part": 2}
        host.go(UP)
        assert host.live == {"new.part": 2}

    @pytest.mark.parametrize(
        "newer, older",
        [
            ({"new": 1, "old.part": 2}, {"old": 1}),
            ({"new.part": 1, "old": 2}, {"old.part": 1}),
            ({"new": 1, "old.part": 2, "old.other.part": 3, "older": 4}, {"old": 1, "older": 4}),
        ],
    )
    def test_what_takes_its_old_place_again_takes_it_whole(
        self, tmp_path: Path, newer: dict[str, object], older: dict[str, object]
    ) -> None:
        """The newer version did not know the old name, and somebody set what cannot lie beside it.

        It does not prevent the way down, and is not lost either.
        """
        document = RENAME.replace("rename-settings", "rename-prefixes")
        host = traveller(tmp_path, document, state(newer))
        for _ in range(2):
            host.go(UP.back())
            assert host.live == older
            host.go(UP)
            assert host.live == newer

    def test_what_is_put_below_a_value_takes_its_place_though_that_was_changed_too(
        self, tmp_path: Path
    ) -> None:
        document = RENAME.replace('"old"', '"s.part"') + "\n" + REPLACE
        host = traveller(tmp_path, document, state({"new": 1, "s": "b"}))
        for _ in range(2):
            host.go(UP.back())
            assert host.live == {"s.part": 1}
            host.go(UP)
            assert host.live == {"new": 1, "s": "b"}

    def test_metadata_in_the_way_gives_way_too(self, tmp_path: Path) -> None:
        settings = State(tree({"new": 1}, {"old.part": {"m": 2}, "other": {"m": 3}}))
        host = traveller(tmp_path, RENAME, settings)
        host.go(UP.back())
        assert host.live == {"old": 1}
        assert plain_metadata(host.state.live) == {"other": {"m": 3}}
        host.go(UP)
        assert host.live == {"new": 1}
        assert plain_metadata(host.state.live) == {"old.part": {"m": 2}, "other": {"m": 3}}

    def test_nothing_grows_on_the_hundredth_way(self, tmp_path: Path) -> None:
        """Both kinds at once, and values that both versions have of their own."""
        document = f"{REMOVE}\n{COLOUR}\n{ADD}\n{MOVED}\n{ADD_M}\n{REPLACE}"
        settings = State(tree({"settings.motd": "hi", "n": 1, "old": 1, "s": "b"}, {"s": {"m": 1}}))
        host = traveller(tmp_path, document, settings)
        host.go(UP)
        host.set("settings.host.colour", "green")
        host.set("n", 2)
        host.unset("new")
        host.set("settings.motd", "of the newer version")
        host.state.live.metadata.put(("s", "m"), "2")
        newer = {
            "settings.motd": "of the newer version",
            "settings.host.colour": "green",
            "n": 2,
            "s": "b",
        }
        older = {"settings.motd": "of the newer version", "n": 1, "old": 1, "s": "b"}
        kept = set()
        for _ in range(50):
            assert host.live == newer
            assert plain_metadata(host.state.live) == {"s": {"m": 2}}
            host.go(UP.back())
            assert host.live == older
            assert plain_metadata(host.state.live) == {"s": {"m": 1}}
            kept.add(host.state.kept)
            host.go(UP)
        assert len(kept) == 1

    def test_what_both_set_where_the_migration_removes_it(self, tmp_path: Path) -> None:
        """Nothing of the older version's value is left to see in the newer one: each keeps its."""
        host = traveller(tmp_path, REMOVE, state({"settings.motd": "hi"}))
        host.go(UP)
        host.set("settings.motd", "newer")
        host.go(UP.back())
        host.set("settings.motd", "older")
        for _ in range(2):
            host.go(UP)
            assert host.live == {"settings.motd": "newer"}
            host.go(UP.back())
            assert host.live == {"settings.motd": "older"}


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

    def test_the_same_on_the_way_up_again(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, COLOUR, state({}, tx={"b": 1}, empty={}))
        host.go(UP)
        for name in ("tx", "empty"):
            host.state.pending[name].data.put("settings.host.colour", '"green"')
        host.go(UP.back())
        assert {name: plain(each) for name, each in host.state.pending.items()} == {
            "tx": {"b": 1},
            "empty": {},
        }
        host.go(UP)
        assert {name: plain(each) for name, each in host.state.pending.items()} == {
            "tx": {"b": 1, "settings.host.colour": "green"},
            "empty": {"settings.host.colour": "green"},
        }

    def test_not_if_it_was_touched_in_the_older_version(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, COLOUR, state({}, tx={"settings.host.colour": "green", "b": 1}))
        host.go(UP.back())
        host.state.pending["tx"].data.put("c", "2")
        host.go(UP)
        assert plain(host.state.pending["tx"]) == {"b": 1, "c": 2}

    def test_one_committed_in_the_older_version_changes_what_is_live(self, tmp_path: Path) -> None:
        host = traveller(tmp_path, RENAME, state({"new": 1}, tx={"new": 2}))
        host.go(UP.back())
        host.set("old", 2)
        del host.state.pending["tx"]
        host.go(UP)
        assert host.live == {"new": 2}
        assert host.state.pending == {}


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

    def test_back_two_steps_and_forward_three(self, tmp_path: Path) -> None:
        bodies = {**BODIES, "colour": migration("colour", COLOUR), "three": migration("three", ADD)}
        steps = (V1, V2, ["one", "colour"]), (V2, V3, ["two"]), (V3, V4, ["three"])
        host = Traveller(tmp_path, state({"settings.motd": "hi", "s": "a"}), bodies)
        host.go(way(*steps[:2]))
        host.set("settings.host.colour", "green")
        host.set("s", "a")
        host.go(way(*steps[:2]).back())
        assert host.live == {"settings.motd": "hi", "s": "a"}
        host.go(way(*steps))
        assert host.live == {"settings.host.colour": "green", "s": "a"}
        host.set("n", 1)
        host.go(way(*steps).back())
        assert host.live == {"settings.motd": "hi", "s": "a"}
        host.go(way(*steps))
        assert host.live == {"settings.host.colour": "green", "s": "a", "n": 1}

    def test_half_the_way_up_brings_back_half(self, tmp_path: Path) -> None:
        bodies = {"one": migration("one", COLOUR), "two": migration("two", ADD)}
        host = Traveller(tmp_path, state({"settings.host.colour": "green", "n": 1}), bodies)
        host.go(ROUTE.back())
        assert host.live == {}
        host.go(way((V1, V2, ["one"])))
        assert host.live == {"settings.host.colour": "green"}
        host.go(way((V2, V3, ["two"])))
        assert host.live == {"settings.host.colour": "green", "n": 1}

    def test_what_only_a_far_version_knows_waits_for_it(self, tmp_path: Path) -> None:
        """The host goes back below it, and takes other updates there, before it gets so far."""
        bodies = {
            "one": migration("one", RENAME),
            "two": migration("two", COLOUR),
            "side": migration("side", REPLACE),
        }
        between = Version.parse("1.5.0")
        host = Traveller(tmp_path, state({"settings.host.colour": "green", "new": 1}), bodies)
        host.go(way((V1, V2, ["one"]), (V2, V3, ["two"])).back())
        assert host.live == {"old": 1}
        host.set("s", "a")
        host.go(way((V1, between, ["side"])))
        assert host.live == {"old": 1, "s": "b"}
        host.go(way((between, V2, ["one"])))
        assert host.live == {"new": 1, "s": "b"}
        host.go(way((V2, V3, ["two"])))
        assert host.live == {"new": 1, "s": "b", "settings.host.colour": "green"}

    @pytest.mark.parametrize("document", [COLOUR, "steps = []"])
    def test_a_migration_that_was_replaced_before_the_way_up(
        self, tmp_path: Path, document: str
    ) -> None:
        """What comes back with the other one goes with it again, whatever that one does."""
        bodies = {"one": migration("one", COLOUR), "other": migration("other", document)}
        host = Traveller(tmp_path, state({"settings.host.colour": "green"}), bodies)
        host.go(way((V1, V2, ["one"])).back())
        for _ in range(2):
            assert host.live == {}
            host.go(way((V1, V2, ["other"])))
            assert host.live == {"settings.host.colour": "green"}
            host.go(way((V1, V2, ["other"])).back())

    def test_a_way_up_by_larger_steps_brings_back_all(self, tmp_path: Path) -> None:
        bodies = {
            "one": migration("one", COLOUR),
            "two": migration("two", ADD),
            "all": migration("all", "steps = []"),
        }
        host = Traveller(tmp_path, state({"settings.host.colour": "green", "n": 1}), bodies)
        host.go(ROUTE.back())
        assert host.live == {}
        host.go(way((V1, V3, ["all"])))
        assert host.live == {"settings.host.colour": "green", "n": 1}
        host.go(ROUTE.back())
        assert host.live == {}

    def test_by_larger_steps_losses_of_one_value_come_back_in_turn(self, tmp_path: Path) -> None:
        """What the nearer one lost is what the farther one had left of it."""
        first = '[[steps]]\nkind = "convert"\nsettings = ["n"]\n'
        bodies = {
            "gone": migration("gone", ADD.replace("add", "remove")),
            "one": migration("one", ADD),
            "up": migration("up", f'{first}forward = "first"'),
            "down": migration("down", f'{first}backward = "first"'),
            "all": migration("all", "steps = []"),
        }
        larger = way((V1, V3, ["all"]))
        host = Traveller(tmp_path, state({"n": ["x", "y"]}), bodies)
        host.go(way((V1, V2, ["one"]), (V2, V3, ["down"])).back())
        assert host.live == {}
        host.go(larger)
        assert host.live == {"n": ["x", "y"]}
        host = Traveller(tmp_path, state({"n": ["x", "y"]}), bodies)
        host.go(way((V1, V2, ["up"]), (V2, V3, ["gone"])))
        assert host.live == {}
        host.go(larger.back())
        assert host.live == {"n": ["x", "y"]}

    def test_a_step_that_has_lost_its_migrations_brings_back_all(self, tmp_path: Path) -> None:
        bodies = {"one": migration("one", COLOUR), "two": migration("two", ADD)}
        host = Traveller(tmp_path, state({"settings.host.colour": "green", "n": 1}), bodies)
        host.go(ROUTE.back())
        host.go(way((V1, V2, ["one"]), (V2, V3, [])))
        assert host.live == {"settings.host.colour": "green", "n": 1}

    def test_what_was_due_while_there_was_nothing_to_run_comes_with_the_next_migration(
        self, tmp_path: Path
    ) -> None:
        """Between versions without migrations the links are renamed, and nothing is read."""
        bodies = {"one": migration("one", COLOUR), "two": migration("two", REPLACE)}
        host = Traveller(tmp_path, state({"settings.host.colour": "green"}), bodies)
        host.go(way((V1, V2, ["one"])).back())
        host.go(way((V2, V3, ["two"])))
        assert host.live == {"settings.host.colour": "green"}
        assert host.kept() is None

    def test_a_migration_that_two_steps_list(self, tmp_path: Path) -> None:
        """What it lost at one of them does not come back at the other."""
        host = Traveller(tmp_path, state({"settings.motd": "hi"}), BODIES)
        lower, upper = (V1, V2, ["one"]), (V2, V3, ["one"])
        host.go(way(lower, upper))
        host.go(way(upper).back())
        assert host.live == {}
        host.go(way(lower).back())
        assert host.live == {"settings.motd": "hi"}

    def test_a_migration_that_is_listed_twice(self, tmp_path: Path) -> None:
        """Each of its runs has losses of its own."""
        swap = '[[steps]]\nkind = "rename-settings"\nnames = {"a" = "b"}\nonly = "forward"'
        shift = f'{swap}\n[[steps]]\nkind = "rename-settings"\nfrom = "c"\nto = "a"'
        host = Traveller(tmp_path, state({"a": 1, "c": 2}), {"m": migration("m", shift)})
        route = way((V1, V2, ["m", "m"]))
        host.go(route)
        assert host.live == {"b": 2}
        host.go(route.back())
        assert host.live == {"a": 1, "c": 2}

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

    def test_there_and_back_again_and_again(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        for _ in range(3):
            host.go(UP)
            assert host.live == {"new": 2, "list": "x"}
            host.go(UP.back())
            assert host.live == {"gone": 1, "old": 2, "list": ["x", "y"]}


DEFAULTS = b"""#!/usr/bin/env python3
import pathlib, shutil, sys
direction, _, source, _, target = sys.argv[1:]
shutil.copytree(source, target)
mine, other = ("newer", "older") if direction == "--forward" else ("older", "newer")
(pathlib.Path(target) / "live" / other).unlink(missing_ok=True)
setting = pathlib.Path(target) / "live" / mine
if not setting.exists():
    setting.write_text('"default"')
"""


class TestExecutablesOnTheWayUpAgain:
    """A program that creates a setting of either version, with a default, and removes the other's.

    That it does so was seen when it last ran that way.
    """

    def host(self, place: Path) -> Traveller:
        bodies: dict[str, Body] = {"m": Program("m", lambda: DEFAULTS)}
        host = Traveller(place, state({"older": "mine", "x": 1}), bodies)
        host.go(UP)
        assert host.live == {"newer": "default", "x": 1}
        return host

    def test_what_was_set_in_either_version_is_there_again(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        host.set("newer", "green")
        for _ in range(3):
            host.go(UP.back())
            assert host.live["x"] == 1
            host.go(UP)
            assert host.live == {"newer": "green", "x": 1}
        host.go(UP.back())
        host.set("older", "red")
        for _ in range(3):
            host.go(UP)
            assert host.live == {"newer": "green", "x": 1}
            host.go(UP.back())
            assert host.live == {"older": "red", "x": 1}

    def test_what_was_unset_in_the_newer_version_stays_unset(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        host.unset("newer")
        for _ in range(3):
            host.go(UP.back())
            host.go(UP)
            assert host.live == {"x": 1}

    def test_what_was_unset_in_the_older_version_stays_unset(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        host.go(UP.back())
        host.unset("older")
        for _ in range(3):
            host.go(UP)
            assert host.live == {"newer": "default", "x": 1}
            host.go(UP.back())
            assert host.live == {"x": 1}

    def test_what_it_leaves_alone_is_as_it_was_set_last(self, tmp_path: Path) -> None:
        host = self.host(tmp_path)
        host.set("x", 2)
        host.go(UP.back())
        assert host.live["x"] == 2
        host.set("x", 3)
        host.go(UP)
        assert host.live == {"newer": "default", "x": 3}


ONE = '{"from": "1.0.0", "to": "2.0.0", "migration": "m", "live": {"data": {"settings.motd": %s}}}'


class TestTheFile:
    ENTRY = Entry(
        Version.parse("1.0.0-rc.1"),
        V2,
        "migrate_v2.0.0_x.lz4",
        {
            None: Losses(
                {
                    'a."b.c"': Correction('"x"', None, None),
                    "e": Correction("1", "2", None),
                    "f": Correction("1", None, "3"),
                },
                {("s", "m.n"): Correction(None, "[1.50]", "[1.50]")},
            ),
            "tx": Losses({"d": Correction("1", "2", "2")}),
        },
    )

    def test_it_reads_back_what_it_wrote(self) -> None:
        other = Entry(
            V2, V3, "migrate_v3.0.0_y.lz4", {"tx": Losses({"d": Correction("5", "6", "6")})}
        )
        kept = Kept([self.ENTRY], [other], {"tx": "print"})
        text = kept_file.render(kept)
        assert text is not None
        assert kept_file.parse(text) == kept

    def test_nothing_kept_is_no_file(self) -> None:
        assert kept_file.render(Kept(pending={"tx": "print"})) is None

    def test_one_from_before_there_was_a_way_up_again(self, tmp_path: Path) -> None:
        """As a migrator wrote it that knew the way down alone."""
        host = traveller(tmp_path, REMOVE, state({"b": 1}))
        host.state.kept = (
            '{"format":1,"entries":[{"from":"1.0.0","to":"2.0.0","migration":"m",'
            '"live":{"data":{"settings.motd":{"was":"\\"hi\\""}}}}],"pending":{}}'
        )
        host.go(UP.back())
        assert host.live == {"b": 1, "settings.motd": "hi"}
        assert host.kept() is None

    def test_one_that_a_program_left_before_there_was_a_way_up_again(self, tmp_path: Path) -> None:
        host = Traveller(tmp_path, state({"newer": "green"}), {"m": Program("m", lambda: DEFAULTS)})
        host.state.kept = (
            '{"format":1,"entries":[{"from":"1.0.0","to":"2.0.0","migration":"m","live":{"data":{'
            '"older":{"was":"\\"mine\\""},"newer":{"foreseen":"\\"default\\""}}}}],"pending":{}}'
        )
        host.go(UP.back())
        assert host.live == {"older": "default"}
        host.go(UP)
        assert host.live == {"newer": "green"}

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
            '{"format": 1, "entries": [], "up": [1], "pending": {}}',
            '{"format": 1, "entries": [], "up": {"a": 1}, "pending": {}}',
            '{"format": 1, "entries": [%s], "pending": {}}' % (ONE % '{"was": 1}'),
            '{"format": 1, "entries": [%s], "pending": {}}' % (ONE % '{"was": "{"}'),
            '{"format": 1, "entries": [], "up": [%s], "pending": {}}' % (ONE % '{"made": "{"}'),
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
        """The farthest losses are given up, not the datastore."""
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
        assert "left out what the 2 farthest migrations lost" in caplog.text
        files.write_copy(tmp_path / "copy", host.state, files.PlainWriter())
        host.state = files.read_copy(tmp_path / "copy")
        host.go(route.back())
        assert host.live == {"settings.n2": long, "settings.n3": long}

    def test_it_keeps_what_is_nearest_either_way(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        long = "x" * 3_500_000
        bodies = {f"r{n}": migration(f"r{n}", REMOVE.replace("motd", f"r{n}")) for n in (1, 2)}
        bodies |= {f"a{n}": migration(f"a{n}", COLOUR.replace("colour", f"a{n}")) for n in (3, 4)}
        low = way((V1, V2, ["r1"]), (V2, V3, ["r2"]))
        high = way((V3, V4, ["a3"]), (V4, V5, ["a4"]))
        host = Traveller(tmp_path, state({"settings.r1": long, "settings.r2": long}), bodies)
        host.go(low)
        host.go(high)
        host.set("settings.host.a3", long)
        host.set("settings.host.a4", long)
        host.go(high.back())
        assert host.live == {}
        assert "left out what the 1 farthest migrations lost" in caplog.text
        host.go(high)
        assert host.live == {"settings.host.a3": long}
        host.go(high.back())
        host.go(low.back())
        assert host.live == {"settings.r1": long, "settings.r2": long}

    def test_trees_that_lost_nothing_are_not_in_it(self) -> None:
        kept = Kept()
        kept.add(Direction.FORWARD, Entry(V1, V2, "m", {None: Losses(), "tx": Losses()}))
        assert kept.down == []
        losses = Losses({"a": Correction("1", None, None)})
        kept.add(Direction.FORWARD, Entry(V1, V2, "m", {None: losses, "tx": Losses()}))
        assert [list(entry.trees) for entry in kept.down] == [[None]]
        assert kept.up == []


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    host = traveller(tmp_path, REPLACE, state({"s": "b", "t": 1}))
    host.go(UP)
    assert host.state.live == Tree(tree({"s": "b", "t": 1}).data)
