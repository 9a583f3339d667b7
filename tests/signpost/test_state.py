"""The action table of the contract, over every pair of flags; written down here a second time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import pytest

from signpost.errors import (
    ActiveNotConfirmed,
    InactiveNotCleared,
    NoInactiveSet,
    NotBootable,
    NothingBoots,
    NotMarkedValid,
    NoUpgradePending,
    Refused,
)
from signpost.flags import BootFlags
from signpost.layout import Slot
from signpost.state import BootState, boot, next_slot
from tests.support.disks import Flags

if TYPE_CHECKING:
    from collections.abc import Callable

FOREIGN = 0xFC00_1234_5678_9ABC
"""Bits that belong to others."""

SAMPLES = [
    Flags(priority, tries_left, successful)
    for priority, tries_left, successful in product((0, 1, 2, 3, 15), (0, 1, 7), (False, True))
]


def bits(flags: Flags) -> BootFlags:
    return BootFlags(
        FOREIGN | flags.priority << 48 | flags.tries_left << 52 | int(flags.successful) << 56
    )


def flags(found: BootFlags) -> Flags:
    assert found.bits & ~(0x01FF << 48) == FOREIGN
    return Flags(found.bits >> 48 & 15, found.bits >> 52 & 15, bool(found.bits >> 56 & 1))


def state(active: Flags, inactive: Flags, slot: Slot = Slot.A) -> BootState:
    sets = {slot: bits(active), slot.other: bits(inactive)}
    return BootState(slot, {each: sets[each] for each in Slot}, BootFlags(FOREIGN))


def boots(found: Flags) -> bool:
    return found.priority > 0 and (found.tries_left > 0 or found.successful)


def boots_before(first: Flags, second: Flags) -> bool:
    return boots(first) and (not boots(second) or first.priority > second.priority)


@dataclass(frozen=True)
class Row:
    """A line of the action table: when it is allowed, and what becomes of active and inactive."""

    name: str
    act: Callable[[BootState], BootState]
    refused: type[Refused]
    allowed: Callable[[Flags, Flags], bool]
    effect: Callable[[Flags, Flags], tuple[Flags, Flags]]


def rolled_back(active: Flags, inactive: Flags) -> tuple[Flags, Flags]:
    # `successful` goes only where the running set is a way back.
    keeps = inactive.successful and not active.successful
    return active._replace(priority=1), Flags(2, 1, keeps)


TABLE = [
    Row(
        "clear-inactive",
        BootState.clear_inactive,
        ActiveNotConfirmed,
        lambda active, _: active.successful and active.priority > 0,
        lambda active, _: (active, Flags(0, 0, False)),
    ),
    Row(
        "mark-inactive-valid",
        BootState.mark_inactive_valid,
        InactiveNotCleared,
        lambda _, inactive: inactive == (0, 0, False),
        lambda active, _: (active, Flags(0, 1, False)),
    ),
    Row(
        "upgrade-to-inactive",
        BootState.upgrade_to_inactive,
        NotMarkedValid,
        lambda _, inactive: (
            inactive.priority == 0 and not inactive.successful and inactive.tries_left > 0
        ),
        lambda active, inactive: (active._replace(priority=1), inactive._replace(priority=2)),
    ),
    Row(
        "rollback-to-inactive",
        BootState.rollback_to_inactive,
        NotBootable,
        lambda _, inactive: boots(inactive),
        rolled_back,
    ),
    Row(
        "mark-failed-boot",
        BootState.mark_failed_boot,
        NotBootable,
        lambda active, inactive: boots(inactive) and (inactive.successful or not active.successful),
        lambda active, inactive: (Flags(active.priority, 0, False), inactive),
    ),
]


@pytest.mark.parametrize("slot", Slot)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_pair_of_flags_is_allowed_or_refused(row: Row, slot: Slot) -> None:
    allowed = refused = 0
    for active, inactive in product(SAMPLES, SAMPLES):
        before = state(active, inactive, slot)
        if row.allowed(active, inactive):
            after = row.act(before)
            found = flags(after.sets[slot]), flags(after.sets[slot.other])
            assert found == row.effect(active, inactive)
            assert (after.active, after.private) == (slot, before.private)
            allowed += 1
        else:
            with pytest.raises(row.refused, match=f"refusing {row.name}: "):
                row.act(before)
            refused += 1
    assert min(allowed, refused) > 0
    assert allowed + refused == 900


@pytest.mark.parametrize("slot", Slot)
def test_cancelling_is_for_a_pending_upgrade_alone(slot: Slot) -> None:
    allowed = 0
    for active, inactive in product(SAMPLES, SAMPLES):
        before = state(active, inactive, slot)
        first = boots_before(inactive, active)
        # On a tie the first of the table boots.
        if slot is Slot.B and boots(active) and boots(inactive):
            first = inactive.priority >= active.priority
        if first and not inactive.successful:
            after = before.cancel_upgrade()
            assert flags(after.sets[slot]) == active._replace(priority=2)
            assert flags(after.sets[slot.other]) == inactive._replace(priority=0)
            allowed += 1
        else:
            with pytest.raises(NoUpgradePending, match="refusing cancel-upgrade: no upgrade to"):
                before.cancel_upgrade()
    assert 0 < allowed < 900


def test_marking_successful_is_never_refused() -> None:
    for active, inactive in product(SAMPLES, SAMPLES):
        after = state(active, inactive, Slot.B).mark_successful_boot()

        assert flags(after.sets[Slot.B]) == active._replace(successful=True)
        assert flags(after.sets[Slot.A]) == inactive
        assert after.private.bits == FOREIGN | 1 << 57
        assert after.ever_succeeded


def test_a_try_is_given_back_up_to_15() -> None:
    for active, inactive in product(SAMPLES, SAMPLES):
        after = state(active, inactive).restore_try()

        assert flags(after.sets[Slot.A]) == active._replace(tries_left=active.tries_left + 1)
        assert flags(after.sets[Slot.B]) == inactive
    full = state(Flags(1, 15, False), Flags(1, 0, True)).restore_try()
    assert flags(full.sets[Slot.A]) == (1, 15, False)


class TestTries:
    @pytest.mark.parametrize("tries", [1, 2, 15])
    def test_are_as_many_as_wanted(self, tries: int) -> None:
        after = state(Flags(1, 0, True), Flags(0, 0, False)).mark_inactive_valid(tries)

        assert flags(after.sets[Slot.B]) == (0, tries, False)

    @pytest.mark.parametrize("tries", [-1, 0, 16])
    def test_are_1_to_15(self, tries: int) -> None:
        with pytest.raises(ValueError, match=f"tries: {tries}, expected 1 to 15"):
            state(Flags(1, 0, True), Flags(0, 0, False)).mark_inactive_valid(tries)


class TestOneSet:
    """A disk that cannot be updated."""

    ONLY = BootState(Slot.A, {Slot.A: bits(Flags(1, 1, False))}, BootFlags(0))

    @pytest.mark.parametrize(
        "act",
        [
            BootState.clear_inactive,
            BootState.mark_inactive_valid,
            BootState.upgrade_to_inactive,
            BootState.cancel_upgrade,
            BootState.rollback_to_inactive,
            lambda state: state.inactive,
        ],
    )
    def test_has_nothing_to_change_to(self, act: Callable[[BootState], object]) -> None:
        with pytest.raises(NoInactiveSet, match="the disk has set A only, expected two"):
            act(self.ONLY)

    def test_boots_and_is_confirmed(self) -> None:
        assert self.ONLY.next_slot() is Slot.A
        assert not self.ONLY.upgrade_pending
        after = self.ONLY.boot().mark_successful_boot()
        assert flags(BootFlags(after.sets[Slot.A].bits)) == (1, 0, True)

    def test_is_not_the_other_one(self) -> None:
        with pytest.raises(ValueError, match="there is no set B"):
            BootState(Slot.B, self.ONLY.sets, self.ONLY.private)


class TestBoot:
    @pytest.mark.parametrize(
        "a, b, chosen",
        [
            (Flags(1, 0, True), Flags(0, 15, True), "A"),
            (Flags(1, 0, True), Flags(2, 1, False), "B"),
            (Flags(1, 0, True), Flags(2, 0, False), "A"),
            (Flags(1, 0, True), Flags(1, 0, True), "A"),
            (Flags(1, 0, False), Flags(1, 0, True), "B"),
            (Flags(2, 3, True), Flags(1, 0, True), "A"),
        ],
    )
    def test_goes_to_the_greatest_priority_the_first_on_a_tie(
        self, a: Flags, b: Flags, chosen: str
    ) -> None:
        sets = {Slot.A: bits(a), Slot.B: bits(b)}

        found = next_slot(sets)

        assert found is Slot(chosen)

    def test_spends_one_try_of_the_chosen_set(self) -> None:
        chosen, after = boot({Slot.A: bits(Flags(1, 3, True)), Slot.B: bits(Flags(2, 2, True))})

        assert chosen is Slot.B
        assert flags(after[Slot.A]) == (1, 3, True)
        assert flags(after[Slot.B]) == (2, 1, True)

    def test_of_a_set_without_tries_spends_nothing(self) -> None:
        sets = {Slot.A: bits(Flags(1, 0, True)), Slot.B: bits(Flags(0, 0, False))}

        assert boot(sets) == (Slot.A, sets)

    def test_of_nothing_is_refused_with_what_was_seen(self) -> None:
        with pytest.raises(NothingBoots) as caught:
            boot({Slot.A: bits(Flags(0, 1, True)), Slot.B: bits(Flags(2, 0, False))})

        assert str(caught.value) == (
            "refusing to choose a set: none will boot (set A: priority=0 tries_left=1 "
            "successful=true, set B: priority=2 tries_left=0 successful=false)"
        )
