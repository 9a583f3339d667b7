"""Which migrations a run consists of, and in which order; and what it would change.

Nothing is loaded or run here. A path through the manifest (`updog.migrations`) becomes legs, each
between two neighbouring versions, whose migrations all run in one direction. Versions that are
equal but for their build need no migration; the links are renamed, no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator import values
from migrator.tree import describe
from updog.migrations import Direction, find_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from semver import Version

    from migrator.tree import State, Tree
    from updog.migrations import Migrations, Step


@dataclass(frozen=True, slots=True)
class Leg:
    """One step of the way.

    Attributes:
        older: The lower version, whichever way it goes.
        newer: The higher version.
        direction: Which way it goes.
        names: The migrations' targets, in the order in which they run.
    """

    older: Version
    newer: Version
    direction: Direction
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The whole way from one version to another."""

    source: Version
    target: Version
    legs: tuple[Leg, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All migrations in the order in which they run; the same one may come twice."""
        return tuple(name for leg in self.legs for name in leg.names)

    def back(self) -> Route:
        """Return the same way in the other direction."""
        other = {
            Direction.FORWARD: Direction.BACKWARD,
            Direction.BACKWARD: Direction.FORWARD,
        }
        legs = tuple(
            Leg(leg.older, leg.newer, other[leg.direction], leg.names[::-1])
            for leg in reversed(self.legs)
        )
        return Route(self.target, self.source, legs)


def find_route(migrations: Migrations, current: Version, wanted: Version) -> Route:
    """Return the way from one version of the settings to another.

    Raises:
        NoMigrationPath: The manifest has none.
    """
    return Route(current, wanted, tuple(map(_leg, find_path(migrations, current, wanted))))


def _leg(step: Step) -> Leg:
    older, newer = step.from_version, step.to_version
    if step.direction is Direction.BACKWARD:
        older, newer = newer, older
    return Leg(older, newer, step.direction, step.names)


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs between two stores.

    Attributes:
        transaction: The pending transaction that it belongs to; None: it is live.
        key: The setting.
        metadata: The metadata key; None: it is the setting's own value.
        old: JSON text; None: there is no value.
        new: JSON text; None: there is no value.
    """

    transaction: str | None
    key: str
    metadata: str | None
    old: str | None
    new: str | None

    def lines(self) -> Iterator[str]:
        """Iterate over the lines of a diff: `-` what is there now, `+` what will be."""
        place = "" if self.transaction is None else f"[{describe(self.transaction)}] "
        name = self.key if self.metadata is None else f"{self.key} (metadata {self.metadata})"
        for sign, text in (("-", self.old), ("+", self.new)):
            if text is not None:
                yield f"{sign} {place}{name} = {text}"

    def to_json(self) -> dict[str, object]:
        """Return an object; a value that is not there has no member."""
        members: dict[str, object] = {"key": self.key}
        if self.metadata is not None:
            members["metadata"] = self.metadata
        if self.transaction is not None:
            members["transaction"] = self.transaction
        for name, text in (("old", self.old), ("new", self.new)):
            if text is not None:
                members[name] = values.parse(text)
        return members


def changes(before: State, after: State) -> list[Change]:
    """Return what differs, live settings first, in the order of names."""
    found = list(_tree_changes(None, before.live, after.live))
    for transaction in sorted(before.pending.keys() | after.pending.keys()):
        old, new = before.pending.get(transaction), after.pending.get(transaction)
        found += _tree_changes(transaction, old, new)
    return found


def _tree_changes(
    transaction: str | None, before: Tree | None, after: Tree | None
) -> Iterator[Change]:
    old_data = before.data.values if before else {}
    new_data = after.data.values if after else {}
    for key in sorted(old_data.keys() | new_data.keys()):
        old, new = old_data.get(key), new_data.get(key)
        if not values.same(old, new):
            yield Change(transaction, key, None, old, new)
    old_metadata = before.metadata.values if before else {}
    new_metadata = after.metadata.values if after else {}
    for key, metadata in sorted(old_metadata.keys() | new_metadata.keys()):
        old, new = old_metadata.get((key, metadata)), new_metadata.get((key, metadata))
        if not values.same(old, new):
            yield Change(transaction, key, metadata, old, new)
