"""Carrying settings along a route, in memory: every migration in order, on every tree.

Data migrations run here; executables in a `Workshop`. Going forward, what each migration loses is
measured and kept; going backward, it is brought back (`migrator.kept` has the rule). Nothing is
written: the result is a state, checked before anybody stores it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from migrator import kept as keeping
from migrator import kept_file, tree
from migrator.data_migration import DataMigration
from migrator.errors import KeyInvalid, MigrationFailed, StepFailed
from migrator.kept import Entry, Kept
from updog.migrations import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migrator.kept import Losses
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
    # What migrations lost that are not on this way: published ones may have been replaced since.
    strangers = kept.strangers((name, leg.newer) for leg in route.legs for name in leg.names)
    for leg in route.legs:
        for name in leg.names:
            _log.info("migrating %s: %s", leg.direction.value, name)
            state = _run(state, leg, bodies[name], kept, workshop)
        if strangers and leg.direction is Direction.BACKWARD:
            kept.restore_above(state, leg.older)
    tree.check(state, unchanged=before)
    kept.remember_pending(state)
    entries = len(kept.entries)
    state.kept = kept_file.render(kept)
    if len(kept.entries) < entries:
        lost = entries - len(kept.entries)
        _log.warning("too much to keep for the way back: left out the %d oldest migrations", lost)
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


def _run(state: State, leg: Leg, body: Body, kept: Kept, workshop: Workshop) -> State:
    forward = leg.direction is Direction.FORWARD
    if isinstance(body, DataMigration):
        losses = _run_data(state, leg.direction, body)
    else:
        before = state
        state = workshop.run(body.name, body.load(), leg.direction.value, before)
        losses = _compare(before, state) if forward else {}
    if forward:
        kept.add(Entry(leg.older, leg.newer, body.name, losses))
    else:
        kept.restore(state, migration=body.name, newer=leg.newer)
    return state


def _run_data(
    state: State, direction: Direction, migration: DataMigration
) -> dict[str | None, Losses]:
    """Run a data migration on every tree; return what it lost, if it goes forward."""
    losses = {}
    for transaction, each in state.trees():
        each.mark()
        try:
            if direction is Direction.FORWARD:
                migration.forward(each)
                _check_names(each)
                losses[transaction] = keeping.measure(each, migration.backward)
            else:
                migration.backward(each)
        except (StepFailed, KeyInvalid) as error:
            where = tree.describe(transaction)
            reason = f"in the {where}: {error}"
            raise MigrationFailed(migration.name, direction.value, reason) from error
    return losses


def _check_names(each: Tree) -> None:
    """Refuse what no version could store: any migration may be the last one of a route."""
    clash = tree.new_clash(each)
    if clash is not None:
        raise StepFailed(f"{clash} would be both a value and a group")


def _compare(before: State, after: State) -> dict[str | None, Losses]:
    pairs: dict[str | None, tuple[Tree, Tree]] = {None: (before.live, after.live)}
    for transaction in before.pending.keys() & after.pending.keys():
        pairs[transaction] = (before.pending[transaction], after.pending[transaction])
    return {name: keeping.compare(old, new) for name, (old, new) in pairs.items()}
