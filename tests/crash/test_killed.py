"""A process killed at any moment, another one that carries on, and then the power fails.

What the killed one left may lie in the page cache alone. The next process sees it all, and must not
take for granted that the medium holds it: that a set is clear, that the partition table's other
copy is whole, that a file which is there has a name that lasts.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.crash.scenarios import SCENARIOS, Scenario
from tests.support.cuts import Thoroughness, states
from tests.support.examiner import Examiner, recover, settings_follow
from tests.support.power import Killed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IS_DEEP = os.environ.get("UPDOG_CRASH") == "deep"
HOW = Thoroughness(exhaustive=4, samples=4, lengths=3, scattered=1)
# Every moment, or every seventh; the moments that once went wrong are always among them, for the
# last ones of a run, from before a set is marked valid, are all tried.
STEP = 1 if IS_DEEP else 8
LAST = 20

NAMES = {
    "a first update",
    "an update over the former system",
    "an update that replaces a pending one",
}


@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if each.name in NAMES], ids=lambda each: each.name
)
def test_killed_then_again_then_the_power_fails(
    scenario: Scenario, place: Path, record_property: Callable[[str, object], None]
) -> None:
    host, repository = scenario.begin(place / "host")
    whole = host.copy(place / "whole")
    kernel = whole.record()
    scenario.act(whole, repository)
    total = kernel.spent

    examined = kills = 0
    for moment in sorted({*range(0, total, STEP), *range(total - LAST, total)}):
        copy = place / f"killed at {moment}"
        again = host.copy(copy)
        kernel = again.record()
        kernel.kill_after(moment)
        # How often the journal is written depends on the time that it takes: a run may have come
        # to its end by then, and the second one finds nothing to do.
        with suppress(Killed):
            scenario.act(again, repository)
            shutil.rmtree(copy)
            continue
        kills += 1
        first = kernel.made
        kernel.revive()
        scenario.act(again, repository)
        assert not again.paths.journal.exists(), "there is nothing left to go on with"

        history = kernel.history()
        shutil.rmtree(copy)
        examiner = Examiner(history, scenario.may_boot)
        for state in states(history, HOW, first=first):
            examiner.check(state)
        examined += examiner.examined
        assert examiner.check(history.flushed) == scenario.ends_as
        settings_follow(history, history.flushed, scenario.ends_as, place / "settings")
        if moment % 4 == 0:
            recover(history, history.flushed, place / "cut", repository, scenario.goal)
    assert kills >= 25
    assert examined >= 5_000
    record_property("kills", [scenario.name, kills, examined])


def test_killed_over_and_over_it_still_arrives(place: Path) -> None:
    """Each run gets a little further, for what it flushed and verified is not done again."""
    scenario = SCENARIOS[0]
    host, repository = scenario.begin(place / "host")
    kernel = host.record()
    asked: list[int] = []
    for attempt in count(1):
        kernel.kill_after(60)
        try:
            scenario.act(host, repository)
        except Killed:
            asked.append(kernel.made)
            assert attempt < 20, f"it never arrives: {asked}"
            continue
        break
    kernel.revive()
    assert len(asked) >= 2
    assert host.boot() == scenario.ends_as
