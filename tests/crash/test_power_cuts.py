"""The promise of the README's first screen, held against every moment of everything that writes.

For each scenario the product does its work on a recorded host (`tests.support.power`), and every
state that a power cut may leave of it is examined (`tests.support.examiner`). The numbers are
printed at the end of a test run; those in docs/crash-safety.md are floors, so that no change can
make the suite look at less without saying so. `UPDOG_CRASH=deep` looks at far more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crash.counts import documented
from tests.crash.scenarios import SCENARIOS, Scenario, offer
from tests.support.cuts import DEEP, QUICK, states
from tests.support.examiner import Examiner, recover, settings_follow
from tests.support.volume import State, Torn, Write, bits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.repository import Repository
    from tests.support.volume import History

IS_DEEP = os.environ.get("UPDOG_CRASH") == "deep"
HOW = DEEP if IS_DEEP else QUICK
RECOVERIES = 400 if IS_DEEP else 14


def recorded(scenario: Scenario, directory: Path) -> tuple[History, Repository]:
    """Let it happen, and return what was recorded."""
    host, repository = scenario.begin(directory)
    kernel = host.record()
    scenario.act(host, repository)
    if scenario.offered_later:
        offer(repository, scenario.offered_later)
    return kernel.history(), repository


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_cut_leaves_a_whole_system_that_goes_on(
    scenario: Scenario, place: Path, record_property: Callable[[str, object], None]
) -> None:
    history, repository = recorded(scenario, place / "host")
    examiner = Examiner(history, scenario.may_boot)
    alike: dict[object, State] = {}
    alike_to_migrator: dict[object, tuple[State, str]] = {}
    for state in states(history, HOW):
        version = examiner.check(state)
        alike.setdefault(examiner.likeness(state), state)
        alike_to_migrator.setdefault(examiner.likeness_to_migrator(state), (state, version))

    # What is reported done is on the medium, not only on its way there.
    assert examiner.check(history.flushed) == scenario.ends_as
    assert set(examiner.booted) == set(scenario.may_boot), "a version that should boot never did"

    for state, version in alike_to_migrator.values():
        settings_follow(history, state, version, place / "settings")
    step = max(1, len(alike) // RECOVERIES)
    chosen = [*list(alike.values())[::step], history.flushed, history.everything]
    for state in chosen:
        recover(history, state, place / "cut", repository, scenario.goal)

    counted = {
        "changes": len(history.changes),
        "states": examiner.examined,
        "migrated": len(alike_to_migrator),
        "updated again": len(chosen),
    }
    record_property("power cuts", [scenario.name, counted])
    floors = documented()[scenario.name]
    assert all(counted[what] >= floor * 0.85 for what, floor in floors.items()), (counted, floors)


def test_the_documented_scenarios_are_those_that_run() -> None:
    assert set(documented()) == {scenario.name for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS[1:2], ids=lambda scenario: scenario.name)
def test_any_combination_of_what_was_in_the_air(scenario: Scenario, place: Path) -> None:
    """Where the combinations are too many to list, hypothesis picks, and shrinks what it finds."""
    history, _ = recorded(scenario, place / "host")
    examiner = Examiner(history, scenario.may_boot)

    @settings(max_examples=20_000 if IS_DEEP else 600)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        cut = data.draw(st.integers(1, len(history.changes)), label="cut")
        durable, air = history.air(cut)
        kept = data.draw(st.sets(st.sampled_from(air)), label="kept")
        mask = durable | sum(1 << index for index in kept)
        torn = tuple(
            Torn(index, data.draw(st.frozensets(st.sampled_from(change.sectors)), label="sectors"))
            for index in sorted(kept)
            if isinstance(change := history.changes[index], Write)
            and data.draw(st.booleans(), label="torn")
        )
        assert all(cut > index for index in bits(mask))
        examiner.check(State(mask, torn))

    check()
    assert examiner.examined >= 600
    assert set(examiner.booted) == set(scenario.may_boot)
