"""Trying out one migration for its author: forward, backward, and forward again.

Two things are asked of it, on real settings:

- **Does the way back bring back what was there?** By itself, without what the migrator keeps for
  the way back: that is there for values that cannot be computed, and its author should know which
  these are. Differences are fine where the author declared them: in `lossy`, or by naming the
  setting in a step whose very purpose it is to add or remove it.
- **Does going forward again arrive at the same place?** What differs then was invented on the way,
  and is never declared away but by the same names.

Data runs in memory; an executable runs as it would at boot. Nothing is written to the datastore.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semver import Version

from migrator import data_migration, keys, metadata_steps, pack, steps
from migrator.carry import Program, carry
from migrator.data_migration import DataMigration
from migrator.decompression import Decompressor
from migrator.errors import MigrationInvalid
from migrator.plan import Change, Leg, Route, changes
from migrator.workshop import Workshop
from updog.migrations import Direction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migrator.carry import Body
    from migrator.executable import Limits
    from migrator.steps import Step
    from migrator.tree import State

_LZ4 = ".lz4"
_OLDER, _NEWER = Version(1), Version(2)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it.

    Attributes:
        forward: What the migration changes.
        back: What is different after the way back from what was there before.
        again: What is different after going forward once more from the first time.
        undeclared: Those of `back` and `again` that the author has not declared.
    """

    forward: tuple[Change, ...]
    back: tuple[Change, ...]
    again: tuple[Change, ...]
    undeclared: tuple[Change, ...]


def load(path: Path) -> Body:
    """Read a migration from an author's file: `.toml`, `.py`, a program, or one of these as `.lz4`.

    Raises:
        MigrationInvalid: It cannot be read or understood.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MigrationInvalid(path.name, f"cannot read it: {error.strerror}") from error
    name = path.name
    if name.endswith(_LZ4):
        content = Decompressor().decompress(name, content)
        name = name.removesuffix(_LZ4)
    if name.endswith(".toml"):
        return data_migration.parse(path.name, content)
    if name.endswith(".py"):
        content = pack.pack_source(path.name, content)
    return Program(path.name, lambda: content)


def run(body: Body, before: State, limits: Limits, *, declared: Iterable[str] = ()) -> Trial:
    """Run a migration both ways on a copy of some settings.

    Args:
        body: The migration.
        before: Settings of the older version.
        limits: For an executable.
        declared: Further settings that may differ, each with what is below it.

    Raises:
        MigrationFailed, ResultInvalid: It does not get through.
    """
    start = _only_settings(before)
    there = _carried(body, start, Direction.FORWARD, limits)
    back = _carried(body, there, Direction.BACKWARD, limits)
    again = _carried(body, back, Direction.FORWARD, limits)
    lost, invented = tuple(changes(start, back)), tuple(changes(there, again))
    allowed = _Declared(body, declared)
    undeclared = tuple(change for change in (*lost, *invented) if not allowed.covers(change))
    return Trial(tuple(changes(start, there)), lost, invented, undeclared)


def _carried(body: Body, state: State, direction: Direction, limits: Limits) -> State:
    leg = Leg(_OLDER, _NEWER, direction, (body.name,))
    ends = (_OLDER, _NEWER) if direction is Direction.FORWARD else (_NEWER, _OLDER)
    with Workshop(Path(tempfile.gettempdir()), limits) as workshop:
        result = carry(state.copy(), Route(*ends, (leg,)), {body.name: body}, workshop)
    # Without what was kept, the way back is the migration's own.
    return _only_settings(result)


def _only_settings(state: State) -> State:
    copy = state.copy()
    copy.kept = None
    return copy


class _Declared:
    """What an author has said may differ."""

    def __init__(self, body: Body, names: Iterable[str]) -> None:
        self._below = [keys.parse(name) for name in names]
        self._steps: tuple[Step, ...] = ()
        if isinstance(body, DataMigration):
            self._below += [keys.parse(name) for name in body.lossy]
            self._steps = tuple(map(_inner, body.steps))
        else:
            about = pack.about_packed(body.load())
            self._below += [keys.parse(name) for name in (about.lossy if about else ())]

    def covers(self, change: Change) -> bool:
        """Say whether a difference was declared."""
        segments = keys.parse(change.key)
        if any(keys.is_below(segments, prefix) for prefix in self._below):
            return True
        return any(_names(step, change) for step in self._steps)


def _inner(step: Step) -> Step:
    return step.step if isinstance(step, steps.OneWay) else step


def _names(step: Step, change: Change) -> bool:
    """Say whether a step exists to add or remove just this."""
    match step:
        case steps.AddSettings() | steps.RemoveSettings():
            return change.metadata is None and change.key in step.settings
        case steps.AddPrefixes() | steps.RemovePrefixes():
            return change.metadata is None and change.key.startswith(step.prefixes)
        case steps.AddPrefixSuffix():
            return change.metadata is None and any(
                pattern.matches(change.key) for pattern in step.patterns
            )
        case metadata_steps.AddMetadata() | metadata_steps.RemoveMetadata():
            return any(
                change.key == each.setting and change.metadata in each.metadata
                for each in step.metadata
            )
        case _:
            return False


def lines(trial: Trial) -> Iterator[str]:
    """Iterate over a trial as a person reads it."""
    for title, found in (
        ("forward changes", trial.forward),
        ("back again, what differs from the start", trial.back),
        ("forward once more, what differs from the first time", trial.again),
    ):
        yield f"{title}: {len(found) or 'nothing'}"
        for change in found:
            mark = "!" if change in trial.undeclared else " "
            yield from (f"{mark} {line}" for line in change.lines())
