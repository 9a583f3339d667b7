"""Carrying settings along a route, in memory: every migration in order, on every tree.

Data migrations run here; executables in a `Workshop`. Whichever way a migration is passed, what
it lost when it was last passed the other way is brought back, and what it loses now is kept
(`migrator.kept` has the rule). Nothing is written: the result is a state, checked before anybody
stores it.

A data migration that makes both a value and a group of one name fails going forward, where its
author can see it. Going backward it must not stop a host: there, what stands in the way gives way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from migrator import corrections, kept_file, tree
from migrator.corrections import Losses
from migrator.data_migration import DataMigration
from migrator.errors import KeyInvalid, MigrationFailed, StepFailed
from migrator.kept import Entry, Kept
from updog.migrations import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from migrator.plan import Leg, Route
    from migrator.tree import State, Tree
    from migrator.workshop import Workshop

_log = logging.getLogger("migrator")


@dataclass(frozen=True, slots=True)
class Program:
    """An executable migration.

    Attributes:
        name: The target's name.
        load: Returns the program, verified and decompressed; not kept in memory.
    """

    name: str
    load: Callable[[], bytes]


Body: TypeAlias = DataMigration | Program


def carry(state: State, route: Route, bodies: Mapping[str, Body], workshop: Workshop) -> State:
    """Return the settings as they are at the end of a route.

    Args:
        state: At the route's source. Not to be used afterwards.
        route: Where to go.
        bodies: Every migration of the route, by name.
        workshop: For executables.

    Raises:
        MigrationFailed: Names the migration, its direction, and why.
        ResultInvalid: All ran, but the result cannot be stored.
    """
    kept = _load_kept(state)
    kept.forget_touched(state)
    before = state.copy()
    _restore(state, kept.overdue(route.source))
    for leg in route.legs:
        for number, name in enumerate(leg.names, start=1):
            _log.info("migrating %s: %s", leg.direction.value, name)
            arrived = number == len(leg.names)
            state = _run(state, leg, bodies[name], kept, workshop, arrived=arrived)
    _restore(state, kept.overdue(route.target))
    tree.check(state, unchanged=before)
    kept.remember_pending(state)
    count = len(kept)
    state.kept = kept_file.render(kept)
    if len(kept) < count:
        lost = count - len(kept)
        _log.warning("too much to keep: left out what the %d farthest migrations lost", lost)
    return state


def _load_kept(state: State) -> Kept:
    if state.kept is None:
        return Kept()
    try:
        return kept_file.parse(state.kept)
    except (ValueError, KeyInvalid) as error:
        # The settings themselves are whole; to refuse them would lose more than is lost here.
        _log.warning("cannot use what earlier migrations kept for the way back: %s", error)
        return Kept()


def _run(
    state: State, leg: Leg, body: Body, kept: Kept, workshop: Workshop, *, arrived: bool
) -> State:
    taken = kept.take(leg, body.name, arrived=arrived)
    if isinstance(body, DataMigration):
        losses = _run_data(state, leg.direction, body, taken)
    else:
        before = state
        state = workshop.run(body.name, body.load(), leg.direction.value, before)
        _restore(state, taken)
        former = next((entry for entry in taken if entry.migration == body.name), None)
        losses = _compare(before, state, former.trees if former else {})
    kept.add(leg.direction, Entry(leg.older, leg.newer, body.name, losses))
    return state


def _run_data(
    state: State, direction: Direction, migration: DataMigration, taken: Iterable[Entry]
) -> dict[str | None, Losses]:
    """Run a data migration on every tree and bring back what was lost; return what it lost."""
    run, other = migration.forward, migration.backward
    if direction is Direction.BACKWARD:
        run, other = other, run
    losses = {}
    for transaction, each in state.trees():
        each.mark()
        try:
            run(each)
            _restore_tree(each, transaction, taken)
            if direction is Direction.FORWARD:
                _check_names(each)
            else:
                corrections.make_room(each)
        except (StepFailed, KeyInvalid) as error:
            where = tree.describe(transaction)
            reason = f"in the {where}: {error}"
            raise MigrationFailed(migration.name, direction.value, reason) from error
        losses[transaction] = corrections.measure(each, other)
    return losses


def _restore(state: State, taken: Iterable[Entry]) -> None:
    for transaction, each in state.trees():
        _restore_tree(each, transaction, taken)


def _restore_tree(each: Tree, transaction: str | None, taken: Iterable[Entry]) -> None:
    for entry in taken:
        if transaction in entry.trees:
            corrections.restore(each, entry.trees[transaction])


def _check_names(each: Tree) -> None:
    """Refuse what no version could store: any migration may be the last one of a route."""
    clash = tree.new_clash(each)
    if clash is not None:
        raise StepFailed(f"{clash} would be both a value and a group")


def _compare(
    before: State, after: State, former: Mapping[str | None, Losses]
) -> dict[str | None, Losses]:
    pairs: dict[str | None, tuple[Tree, Tree]] = {None: (before.live, after.live)}
    for transaction in before.pending.keys() & after.pending.keys():
        pairs[transaction] = (before.pending[transaction], after.pending[transaction])
    return {
        name: corrections.compare(old, new, former.get(name, Losses()))
        for name, (old, new) in pairs.items()
    }
