"""What migrations lost on the way to this version, kept to be brought back on the way back.

Whichever way a migration is passed, forward or backward, this happens:

1. It runs.
2. What was kept when it was last passed the other way is applied, and dropped.
3. It is measured (`migrator.corrections`): what would its run the other way make of what there is
   now? Where that is not what was there before, a correction is kept for the other way.

Corrections are applied by one rule:

    what came back is what was foreseen  ->  nobody has set it since: the old value returns
    anything else came back              ->  somebody has set it since: that stays

So what only the older version knows survives the newer one, and what only the newer one knows
survives the older one, unless it was set since; what was unset on purpose stays unset; and a
setting that has another name in one of them is changed in both. If nothing was changed since, the
way back ends exactly where the way there began, and so does the way there again: each passing
takes one entry of a migration and leaves at most one, so nothing grows, however often a host goes
to and fro.

There are two stacks of entries, for the way down and for the way up, with what lies nearest on
top. On a way that is not the one by which the host came (a published migration may have been
replaced by another since, or a larger step been published), what was kept at migrations that are
not on it is applied when the version behind them is reached: after the last migration that leads
there, before that is measured.

Two guards: what a pending transaction lost is brought back only if the transaction is just as the
last migration left it (names of transactions are used again); and a value is not brought back
where a group of settings, or a value above it, now stands in its place.

All this is one file in the copy, beside `live` and `pending`, written and flushed with it
(`migrator.kept_file`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from updog.migrations import Direction

if TYPE_CHECKING:
    from semver import Version

    from migrator.corrections import Losses
    from migrator.plan import Leg
    from migrator.tree import State, Tree


@dataclass(slots=True)
class Entry:
    """What one migration lost, in each tree by transaction name; None names the live one."""

    older: Version
    newer: Version
    migration: str
    trees: dict[str | None, Losses]


@dataclass(slots=True)
class Kept:
    """Everything that is kept.

    Attributes:
        down: For the way down: what was lost going forward, in the order in which it was lost.
        up: For the way up: what was lost going backward, in the order in which it was lost.
        pending: Fingerprint of each transaction as the last migration left it.
    """

    down: list[Entry] = field(default_factory=list)
    up: list[Entry] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.down) + len(self.up)

    def forget_touched(self, state: State) -> None:
        """Drop what was kept for transactions that are not as the last migration left them."""
        whole = {
            name
            for name, tree in state.pending.items()
            if self.pending.get(name) == fingerprint(tree)
        }
        for stack in (self.down, self.up):
            for entry in stack:
                entry.trees = {
                    name: losses
                    for name, losses in entry.trees.items()
                    if name is None or name in whole
                }
            stack[:] = [entry for entry in stack if entry.trees]

    def remember_pending(self, state: State) -> None:
        """Note how a migration leaves each transaction."""
        self.pending = {name: fingerprint(tree) for name, tree in state.pending.items()}

    def take(self, leg: Leg, migration: str, *, arrived: bool) -> list[Entry]:
        """Remove and return what is to be applied now that a migration of a leg has run.

        Args:
            leg: Says which way it ran.
            migration: Its name. Whatever was kept later than at this one is due as well.
            arrived: It was the last one of the leg: so is what was kept at any migration between
                here and the version that the leg ends at.

        Returns:
            What was lost last comes first.
        """
        forward = leg.direction is Direction.FORWARD
        stack = self.up if forward else self.down
        start = len(stack)
        for index in range(len(stack) - 1, -1, -1):
            if stack[index].migration == migration and stack[index].newer == leg.newer:
                start = index
                break
        taken = _pop(stack, start)
        if arrived:
            taken += self._passed_up(leg.newer) if forward else self._passed_down(leg.older)
        return taken

    def overdue(self, version: Version) -> list[Entry]:
        """Remove and return what should have been applied before a version was reached.

        A way has led past it on which there were no migrations, and so nothing to be done.
        """
        return self._passed_down(version) + self._passed_up(version)

    def add(self, direction: Direction, entry: Entry) -> None:
        """Keep what a migration lost that ran in a direction; nothing if it lost nothing."""
        entry.trees = {name: losses for name, losses in entry.trees.items() if losses}
        if entry.trees:
            stack = self.down if direction is Direction.FORWARD else self.up
            stack.append(entry)

    def _passed_down(self, reached: Version) -> list[Entry]:
        start = len(self.down)
        while start and self.down[start - 1].older >= reached:
            start -= 1
        return _pop(self.down, start)

    def _passed_up(self, reached: Version) -> list[Entry]:
        start = len(self.up)
        while start and self.up[start - 1].newer <= reached:
            start -= 1
        return _pop(self.up, start)


def fingerprint(tree: Tree) -> str:
    """Return a digest of everything in a tree."""
    digest = hashlib.sha256()
    for items in (sorted(tree.data.values.items()), sorted(tree.metadata.values.items())):
        digest.update(repr(items).encode())
    return digest.hexdigest()


def _pop(stack: list[Entry], start: int) -> list[Entry]:
    """Remove what lies from an index on; return it, the top first."""
    taken = stack[start:][::-1]
    del stack[start:]
    return taken
