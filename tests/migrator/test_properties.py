"""Properties that hold for any settings and any chain of data migrations."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from semver import Version

from migrator import data_migration, keys, values
from migrator.carry import Body, carry
from migrator.errors import MigrationFailed, ResultInvalid
from migrator.executable import Limits
from migrator.plan import Leg, Route, changes
from migrator.tree import State, Tree, clash
from migrator.workshop import Workshop
from updog.migrations import Direction

if TYPE_CHECKING:
    from pathlib import Path

# Few names and values, so that migrations meet settings, and each other's results.
NAMES = st.sampled_from(["a", "b", "b.a", 'b."c.d"', 'b."c.d".a', "ü", r'"q\""', "a.a"])
STRINGS = st.sampled_from(["", "x", "y", "z", "ü"])
LISTS = st.lists(STRINGS, max_size=2)
VALUES = (STRINGS | LISTS | st.integers(-1, 2) | st.booleans()).map(values.dump)
METADATA_KEYS = st.sampled_from(["m", "n.o"])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Trees that can be stored."""
    found = Tree()
    for name, text in draw(st.dictionaries(NAMES, VALUES, min_size=2, max_size=6)).items():
        found.data.put(name, text)
        if clash(found) is not None:
            found.data.put(name, None)
    metadata = st.dictionaries(st.tuples(NAMES, METADATA_KEYS), VALUES, max_size=6)
    for address, text in draw(metadata).items():
        found.metadata.put(address, text)
        if clash(found) is not None:
            found.metadata.put(address, None)
    return found.copy()


STATES = st.builds(
    State, trees(), st.dictionaries(st.sampled_from(["t", "u v"]), trees(), max_size=2)
)


def toml(value: object) -> str:
    match value:
        case str():
            return '"' + "".join(f"\\U{ord(each):08x}" for each in value) + '"'
        case dict():
            inner = ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items())
            return "{ " + inner + " }"
        case _:
            return "[" + ", ".join(map(toml, value)) + "]"  # type: ignore[call-overload]


PREFIXES = st.sampled_from(["a", "b", 'b."c', "ü", "a.b."])
RENAMES = st.permutations(["a", "b", 'a."c.d"', "b.a", "ü"]).map(
    lambda names: dict(zip(names[:2], names[2:4], strict=True))
)
REPLACE_STRING = {"setting": NAMES, "old": STRINGS, "new": STRINGS}
REPLACE_LIST = {"setting": NAMES, "old": LISTS, "new": LISTS}
ON_METADATA = {"metadata": METADATA_KEYS.map(lambda key: keys.name_of((key,)))}
FIELDS: dict[str, dict[str, st.SearchStrategy[object]]] = {
    "add-settings": {"settings": st.lists(NAMES, max_size=3)},
    "add-prefixes": {"prefixes": st.lists(PREFIXES, max_size=2)},
    "add-prefix-suffix": {"prefix": PREFIXES, "suffix": PREFIXES},
    "remove-settings": {"settings": st.lists(NAMES, max_size=3)},
    "remove-prefixes": {"prefixes": st.lists(PREFIXES, max_size=2)},
    "replace-string": {**REPLACE_STRING},
    "replace-lists": {**REPLACE_LIST},
    "rename-settings": {"names": RENAMES},
    "rename-prefixes": {"names": RENAMES},
    "convert": {
        "prefixes": st.lists(PREFIXES, min_size=1, max_size=2),
        "forward": st.sampled_from(["to-list", "first", "to-string", "none"]),
        "backward": st.sampled_from(["to-list", "first", "to-string", "none"]),
    },
    "add-metadata": {"setting": NAMES, **ON_METADATA},
    "remove-metadata": {"setting": NAMES, **ON_METADATA},
    "replace-metadata": {**REPLACE_STRING, **ON_METADATA},
    "replace-metadata-lists": {**REPLACE_LIST, **ON_METADATA},
    "no-op": {},
}


@st.composite
def steps(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(sorted(FIELDS)))
    fields = [f"{name} = {toml(draw(values))}" for name, values in FIELDS[kind].items()]
    if draw(st.integers(0, 5)) == 0:
        fields.append(f"only = {toml(draw(st.sampled_from(['forward', 'backward'])))}")
    return "\n".join(["[[steps]]", f'kind = "{kind}"', *fields])


# More than for other tests: what goes wrong here needs several things to meet.
EXAMPLES = 5 * settings().max_examples

DOCUMENTS = st.lists(steps(), min_size=1, max_size=4).map("\n".join)
CHAINS = st.lists(st.lists(DOCUMENTS, min_size=1, max_size=2), min_size=1, max_size=3)


def route_of(chain: list[list[str]]) -> tuple[Route, dict[str, Body]]:
    """A route up over these documents, each leg with its own."""
    bodies: dict[str, Body] = {}
    legs = []
    for number, documents in enumerate(chain, start=1):
        names = [f"m{number}{letter}" for letter in string.ascii_lowercase[: len(documents)]]
        for name, document in zip(names, documents, strict=True):
            bodies[name] = data_migration.parse(name, document.encode())
        legs.append(Leg(Version(number), Version(number + 1), Direction.FORWARD, tuple(names)))
    return Route(legs[0].older, legs[-1].newer, tuple(legs)), bodies


def storable(state: State) -> bool:
    return all(clash(each) is None for _, each in state.trees())


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=STATES, chain=CHAINS)
def test_up_and_back_is_the_identity(tmp_path: Path, before: State, chain: list[list[str]]) -> None:
    """Whatever migrations do to settings, the way back undoes it, if nothing was set in between.

    And the next way up does it once more, with nothing more to keep.
    """
    route, bodies = route_of(chain)
    with Workshop(tmp_path, Limits()) as workshop:
        try:
            up = carry(before.copy(), route, bodies, workshop)
        except MigrationFailed as error:
            # Lists that hold something else than strings, or a value above another one.
            event(error.reason[-20:])
            return
        event(f"changed: {bool(changes(before, up))}")
        assert storable(up)
        back = carry(up.copy(), route.back(), bodies, workshop)
        assert changes(before, back) == []
        assert back.kept is None
        again = carry(back.copy(), route, bodies, workshop)
    assert changes(up, again) == []
    assert again.kept == up.kept


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=STATES, chain=CHAINS)
def test_back_and_up_is_the_identity(tmp_path: Path, before: State, chain: list[list[str]]) -> None:
    """Whatever the newest version has is there again when a host returns to it."""
    route, bodies = route_of(chain)
    with Workshop(tmp_path, Limits()) as workshop:
        try:
            back = carry(before.copy(), route.back(), bodies, workshop)
        except (MigrationFailed, ResultInvalid) as error:
            event(str(error)[-20:])
            return
        event(f"changed: {bool(changes(before, back))}, kept: {back.kept is not None}")
        up = carry(back.copy(), route, bodies, workshop)
        assert changes(before, up) == []
        again = carry(up.copy(), route.back(), bodies, workshop)
    assert changes(back, again) == []
    assert again.kept == back.kept


class Edit(NamedTuple):
    """What somebody sets on the way; None unsets."""

    data: dict[str, str | None]
    metadata: dict[tuple[str, str], str | None]

    def apply(self, state: State) -> None:
        for name, text in self.data.items():
            state.live.data.put(name, text)
        for address, text in self.metadata.items():
            state.live.metadata.put(address, text)


EDITS = st.builds(
    Edit,
    st.dictionaries(NAMES, VALUES | st.none(), max_size=3),
    st.dictionaries(st.tuples(NAMES, METADATA_KEYS), VALUES | st.none(), max_size=2),
)


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before=STATES,
    chain=CHAINS,
    start=st.integers(0, 3),
    walk=st.lists(st.integers(0, 3) | EDITS, min_size=3, max_size=8),
)
def test_a_version_that_a_host_returns_to_is_as_it_was_left(
    tmp_path: Path, before: State, chain: list[list[str]], start: int, walk: list[int | Edit]
) -> None:
    """However often a host goes to and fro; until somebody sets something."""
    route, bodies = route_of(chain)
    place, host = start % (len(chain) + 1), before.copy()
    left = {place: host.copy()}
    returns = 0
    with Workshop(tmp_path, Limits()) as workshop:
        for each in walk:
            if isinstance(each, Edit):
                each.apply(host)
                if not storable(host):
                    return
                left = {place: host.copy()}
                continue
            target = each % (len(chain) + 1)
            try:
                host = carry(host, between(route, place, target), bodies, workshop)
            except (MigrationFailed, ResultInvalid) as error:
                event(type(error).__name__)
                return
            place = target
            returns += place in left
            assert changes(left.setdefault(place, host.copy()), host) == []
    event(f"returns: {returns}")


def between(route: Route, place: int, target: int) -> Route:
    """The part of a route up from one of its versions to another, either way."""
    low, high = sorted((place, target))
    part = Route(Version(low + 1), Version(high + 1), route.legs[low:high])
    return part if place <= target else part.back()


@settings(
    max_examples=EXAMPLES // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=STATES, chain=CHAINS, since=trees(), stop=st.integers(1, 4))
def test_whatever_is_set_in_between_the_way_back_arrives(
    tmp_path: Path, before: State, chain: list[list[str]], since: Tree, stop: int
) -> None:
    """No change by the user, and no half of the way, makes what was kept fail the way back."""
    route, bodies = route_of(chain)
    with Workshop(tmp_path, Limits()) as workshop:
        try:
            there = carry(before.copy(), route, bodies, workshop)
            for name, text in since.data.values.items():
                there.live.data.put(name, text)
            if not storable(there):
                return
            legs = route.back().legs[:stop]
            part = Route(legs[0].newer, legs[-1].older, legs)
            back = carry(there, part, bodies, workshop)
        except (MigrationFailed, ResultInvalid) as error:
            # What the user set may meet, under another name, what comes back under it.
            event(type(error).__name__)
            return
    assert storable(back)
