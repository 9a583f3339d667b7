"""Settings in memory: what is below a name, what was changed, and what cannot be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import ResultInvalid
from migrator.keys import parse
from migrator.tree import Layer, State, Tree, check, clash, new_clash

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = st.sampled_from(["a", "a-b", "a.b", 'a."b.c"', "a.b.c", "a/b", "ab", "b", "ü", "ü.a"])
TEXTS = st.sampled_from(["1", "2", None])
ACTIONS = st.lists(st.tuples(NAMES, TEXTS) | st.sampled_from(["mark", "undo", "ask"]), max_size=20)


@given(
    start=st.dictionaries(NAMES, st.just("0")), actions=ACTIONS, prefix=st.text('ab.ü"', max_size=3)
)
def test_a_layer_is_a_dictionary_that_knows_what_starts_with_a_name(
    start: dict[str, str], actions: list[tuple[str, str | None] | str], prefix: str
) -> None:
    data, metadata = Layer(start), Layer({(name, "m"): text for name, text in start.items()})
    model, marked = dict(start), dict(start)
    for action in actions:
        match action:
            case "mark":
                data.mark()
                metadata.mark()
                marked = dict(model)
            case "undo":
                data.undo()
                metadata.undo()
                model = dict(marked)
            case (name, text):
                data.put(name, text)
                metadata.put((name, "m"), text)
                model.pop(name, None)
                if text is not None:
                    model[name] = text
            case _:
                assert data.starting_with(prefix) == starting_with(prefix, model)
    assert data.values == model
    assert data.starting_with(prefix) == starting_with(prefix, model)
    assert metadata.starting_with(prefix) == [(name, "m") for name in starting_with(prefix, model)]


def starting_with(prefix: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(prefix))


def stands_above(parent: str, name: str) -> bool:
    above, below = parse(parent), parse(name)
    return len(above) < len(below) and below[: len(above)] == above


@given(before=st.sets(NAMES), values=st.sets(NAMES), metadata=st.sets(NAMES))
def test_a_value_with_something_below_it_is_found_however_it_came_about(
    before: set[str], values: set[str], metadata: set[str]
) -> None:
    old = Tree(Layer(dict.fromkeys(before, "1")))
    if clash(old) is not None:
        return
    now = old.copy()
    now.mark()
    for name in values:
        now.data.put(name, "2")
    for name in metadata:
        now.metadata.put((name, "m"), "2")
    names = {*now.data, *metadata}
    expected = any(stands_above(parent, name) for parent in now.data for name in names)
    assert (clash(now) is not None) is expected
    assert (clash(now, old) is not None) is expected
    assert (new_clash(now) is not None) is expected


def test_what_was_checked_before_is_not_checked_again_but_what_is_new_is() -> None:
    before = State(Tree(Layer({"settings.a": "1"})))
    check(before)
    after = before.copy()
    after.live.data.put("settings.a.b", "2")
    with pytest.raises(ResultInvalid, match=r"settings\.a has a value, and so has something below"):
        check(after, unchanged=before)
