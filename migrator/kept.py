"""What migrations lost on the way to this version, kept to be brought back on the way down.

Going forward, each migration is measured: what would its own backward run make of what it has
just made? Where that is not what was there before, a `Correction` is kept: the value that was
there, and the one that would come back instead. Nothing is kept for what comes back by itself.

Going backward, each correction of a migration is applied after its backward run, by one rule:

    what came back is what was foreseen  ->  nobody has set it since: the old value returns
    anything else came back              ->  somebody has set it since: that stays

So a removed setting returns, unless it was set again; an overwritten one returns, unless it was
changed; and a setting that the newer version renamed is changed in the old place too. If nothing
was changed since, the way back ends exactly where the way forward began.

An executable is not run backward just to be measured. For it, what it changed is what is kept,
as if its backward run left everything alone; what that run does restore wins.

Two guards: what a pending transaction lost is brought back only if the transaction is just as the
migration left it (names of transactions are used again); and a value is not brought back where a
group of settings, or a value above it, now stands in its place.

All this is one file in the copy, beside `live` and `pending`, written and flushed with it
(`migrator.kept_file`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migrator import values
from migrator.errors import KeyInvalid, StepFailed
from migrator.tree import is_below_value, is_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from semver import Version

    from migrator.tree import DataKey, K, Layer, MetadataKey, State, Tree


@dataclass(frozen=True, slots=True)
class Correction:
    """What one key should have after the way back. None: no value.

    Attributes:
        was: The JSON text before the migration.
        foreseen: The JSON text that the backward run alone would leave.
    """

    was: str | None
    foreseen: str | None


@dataclass(slots=True)
class Losses:
    """The corrections for one tree."""

    data: dict[DataKey, Correction] = field(default_factory=dict)
    metadata: dict[MetadataKey, Correction] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.data or self.metadata)


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
        entries: In the order in which they were lost.
        pending: Fingerprint of each transaction as the last migration left it.
    """

    entries: list[Entry] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)

    def forget_touched(self, state: State) -> None:
        """Drop what was kept for transactions that are not as the last migration left them."""
        whole = {
            name
            for name, tree in state.pending.items()
            if self.pending.get(name) == fingerprint(tree)
        }
        for entry in self.entries:
            entry.trees = {
                name: losses
                for name, losses in entry.trees.items()
                if name is None or name in whole
            }
        self.entries = [entry for entry in self.entries if entry.trees]

    def remember_pending(self, state: State) -> None:
        """Note how a migration leaves each transaction."""
        self.pending = {name: fingerprint(tree) for name, tree in state.pending.items()}

    def add(self, entry: Entry) -> None:
        """Keep what a migration lost; nothing if it lost nothing."""
        entry.trees = {name: losses for name, losses in entry.trees.items() if losses}
        if entry.trees:
            self.entries.append(entry)

    def strangers(self, migrations: Iterable[tuple[str, Version]]) -> bool:
        """Say whether anything is kept of other migrations than these, each with its version."""
        known = {(name, str(newer)) for name, newer in migrations}
        return any((entry.migration, str(entry.newer)) not in known for entry in self.entries)

    def restore(self, state: State, *, migration: str, newer: Version) -> None:
        """Apply and drop what this migration lost on its way to `newer`."""
        self._restore(state, lambda entry: entry.migration == migration and entry.newer == newer)

    def restore_above(self, state: State, reached: Version) -> None:
        """Apply and drop whatever was lost above the version that has been reached.

        A published migration may have been replaced by another since; what the first one lost is
        still there to be brought back.
        """
        self._restore(state, lambda entry: entry.older >= reached)

    def _restore(self, state: State, concerned: Callable[[Entry], bool]) -> None:
        left = []
        for entry in reversed(self.entries):
            if not concerned(entry):
                left.append(entry)
                continue
            for name, losses in entry.trees.items():
                tree = state.live if name is None else state.pending.get(name)
                if tree is not None:
                    _restore_tree(tree, losses)
        self.entries = left[::-1]


def measure(tree: Tree, backward: Callable[[Tree], None]) -> Losses:
    """Find what a migration that has just run forward would not bring back.

    Args:
        tree: Marked (`Tree.mark`) before the forward run; unchanged by this, and marked anew.
        backward: The same migration's backward run.
    """
    data, metadata = tree.data.mark(), tree.metadata.mark()
    try:
        backward(tree)
    except (StepFailed, KeyInvalid):
        tree.data.undo()
        tree.metadata.undo()
    losses = Losses(_corrections(tree.data, data), _corrections(tree.metadata, metadata))
    tree.data.undo()
    tree.metadata.undo()
    return losses


def compare(before: Tree, after: Tree) -> Losses:
    """Find what an executable changed, which is all that its backward run might not restore."""
    return Losses(
        _differences(before.data, after.data), _differences(before.metadata, after.metadata)
    )


def fingerprint(tree: Tree) -> str:
    """Return a digest of everything in a tree."""
    digest = hashlib.sha256()
    for items in (sorted(tree.data.values.items()), sorted(tree.metadata.values.items())):
        digest.update(repr(items).encode())
    return digest.hexdigest()


def _corrections(layer: Layer[K], forward: Mapping[K, str | None]) -> dict[K, Correction]:
    # A key that only the backward run touched had its old value when that run began.
    was = {**layer.before, **forward}
    return _unequal((key, old, layer.get(key)) for key, old in was.items())


def _differences(before: Layer[K], after: Layer[K]) -> dict[K, Correction]:
    touched = before.values.keys() | after.values.keys()
    return _unequal((key, before.get(key), after.get(key)) for key in touched)


def _unequal(found: Iterable[tuple[K, str | None, str | None]]) -> dict[K, Correction]:
    return {
        key: Correction(was, foreseen)
        for key, was, foreseen in found
        if not values.same(was, foreseen)
    }


def _restore_tree(tree: Tree, losses: Losses) -> None:
    data = _as_foreseen(tree.data, losses.data)
    metadata = _as_foreseen(tree.metadata, losses.metadata)
    # Removals first: a value may return to a name above or below one that goes.
    for name, was in data.items():
        if was is None:
            tree.data.put(name, None)
    for address, was in metadata.items():
        if was is None:
            tree.metadata.put(address, None)
    for name, was in data.items():
        if was is not None and (name in tree.data or not is_taken(tree, name)):
            tree.data.put(name, was)
    for address, was in metadata.items():
        if was is not None and not is_below_value(tree, address[0]):
            tree.metadata.put(address, was)


def _as_foreseen(layer: Layer[K], corrections: Mapping[K, Correction]) -> dict[K, str | None]:
    """Return the old values of the keys that came back as was foreseen: nobody has set them."""
    return {
        key: correction.was
        for key, correction in corrections.items()
        if values.same(layer.get(key), correction.foreseen)
    }
