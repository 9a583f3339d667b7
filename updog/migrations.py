"""Which migrations lead from one version of the settings to another.

The manifest lists steps, `(FROM, TO)`, each with its migrations in order. Only steps that go up
are walked (others are ignored, so there are no cycles); to go down, the path up is taken in
reverse, last migration first.

Where several paths exist, the one with the largest steps that does arrive is taken: from each
version the greatest TO, not above the destination, **from which the destination can be reached**.
A greedy walk without that condition can end in a dead end:

    (1.0, 1.1) (1.0, 1.3) (1.1, 1.4)         1.0 to 1.4: over 1.1, for 1.3 leads nowhere

Forward and backward between two versions thus always take the same path. It is found once from
the destination down to the start, so its cost grows with the number of steps, not of paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from updog.errors import NoMigrationPath
from updog.versions import precedence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from updog.versions import Version

Migrations: TypeAlias = "Mapping[tuple[Version, Version], tuple[str, ...]]"
"""Steps `(FROM, TO)` to the names of their migrations (targets), in forward order."""


class Direction(Enum):
    """Which way the settings go; the value is the option of an executable migration."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.

    Attributes:
        from_version: Where this step starts, in the direction of travel.
        to_version: Where it ends.
        names: Its migrations, in the order in which they are to be run.
        direction: Forward if `from_version` is the lower one.
    """

    from_version: Version
    to_version: Version
    names: tuple[str, ...]
    direction: Direction


def find_path(migrations: Migrations, current: Version, wanted: Version) -> tuple[Step, ...]:
    """Return the steps from `current` to `wanted`, in order; none for the same version.

    Raises:
        NoMigrationPath: There is none.
    """
    low, high = sorted((precedence(current), precedence(wanted)))
    climb = _climb(migrations, low, high)
    if climb is None:
        raise NoMigrationPath(current, wanted)
    if current <= wanted:
        return climb
    return tuple(
        Step(step.to_version, step.from_version, step.names[::-1], Direction.BACKWARD)
        for step in reversed(climb)
    )


def targets(path: Iterable[Step]) -> tuple[str, ...]:
    """Return the migrations of a path in the order in which they are to be run.

    A name that occurs in two steps occurs twice.
    """
    return tuple(name for step in path for name in step.names)


def _climb(migrations: Migrations, low: Version, high: Version) -> tuple[Step, ...] | None:
    """Return the path up from `low` to `high`; None if there is none."""
    up: dict[Version, list[tuple[Version, tuple[str, ...]]]] = {}
    below: dict[Version, list[Version]] = {}
    for (start, end), names in migrations.items():
        if start < end:
            up.setdefault(precedence(start), []).append((precedence(end), names))
            below.setdefault(precedence(end), []).append(precedence(start))
    # Everything from which `high` can be reached; steps only go up, so none of it is above.
    arriving, found = {high}, [high]
    while found:
        starts = [start for start in below.get(found.pop(), ()) if start not in arriving]
        arriving.update(starts)
        found += starts
    if low not in arriving:
        return None
    path: list[Step] = []
    place = low
    while place != high:
        reaching = [step for step in up[place] if step[0] in arriving]
        end, names = max(reaching, key=lambda step: step[0])
        path.append(Step(place, end, names, Direction.FORWARD))
        place = end
    return tuple(path)
