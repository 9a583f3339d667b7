"""What the two runs of a migration do not make of a tree by themselves, found and put right.

A migration runs one way, and one day the other way. What the other run alone will not bring back
is found at once, and a `Correction` made of it: the value that was there, and the one that the
other run would leave instead. There is none for what comes back by itself.

Data is measured: the other run is applied to what there is now, in memory, and taken back. An
executable is not run just to be measured. Of each of its runs, what it made is noted; the other
way, it is foreseen to do the same again with the same value, and to leave everything else alone.

`migrator.kept` says when corrections are made and applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migrator import values
from migrator.errors import KeyInvalid, StepFailed
from migrator.tree import is_below_value, is_taken, new_clash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migrator.tree import DataKey, K, Layer, MetadataKey, Tree


@dataclass(frozen=True, slots=True)
class Correction:
    """What one key should have after the way back. None: no value.

    Attributes:
        was: The JSON text before the migration ran.
        foreseen: The JSON text that the run the other way alone would leave.
        made: The JSON text that the run itself made of `was`, before anything was corrected; only
            for executables, otherwise as foreseen.
    """

    was: str | None
    foreseen: str | None
    made: str | None


@dataclass(slots=True)
class Losses:
    """The corrections for one tree."""

    data: dict[DataKey, Correction] = field(default_factory=dict)
    metadata: dict[MetadataKey, Correction] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.data or self.metadata)


def measure(tree: Tree, other: Callable[[Tree], None]) -> Losses:
    """Find what a migration that has just run would not bring back.

    Args:
        tree: Marked (`Tree.mark`) before the run; unchanged by this, and marked anew.
        other: The same migration's run the other way.
    """
    data, metadata = tree.data.mark(), tree.metadata.mark()
    try:
        other(tree)
    except (StepFailed, KeyInvalid):
        tree.data.undo()
        tree.metadata.undo()
    losses = Losses(_measured(tree.data, data), _measured(tree.metadata, metadata))
    tree.data.undo()
    tree.metadata.undo()
    return losses


def compare(before: Tree, after: Tree, former: Losses) -> Losses:
    """Find what an executable that has just run might not bring back, and note what it made.

    Args:
        before: What it was given.
        after: What it made, and corrections since: its log begins after the run.
        former: What was found when the same executable last ran the other way.
    """
    return Losses(
        _compared(before.data, after.data, former.data),
        _compared(before.metadata, after.metadata, former.metadata),
    )


def restore(tree: Tree, losses: Losses) -> None:
    """Apply corrections, after the run for which they were made.

    A value is not put where a group of settings, or a value above it, has taken its place.
    """
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


def make_room(tree: Tree) -> None:
    """Remove what stands above or below a value that was put there since `Tree.mark`.

    As what stands at a name itself is overwritten. No name can be both a value and a group; what
    had to go is measured like every other loss.
    """
    if new_clash(tree) is None:
        return
    put = [name for name, was in tree.data.before.items() if was is None and name in tree.data]
    for name in sorted(put):
        for other in list(tree.data):
            if other.startswith(f"{name}.") or name.startswith(f"{other}."):
                tree.data.put(other, None)
    for address in list(tree.metadata):
        if is_below_value(tree, address[0]):
            tree.metadata.put(address, None)


def _as_foreseen(layer: Layer[K], corrections: Mapping[K, Correction]) -> dict[K, str | None]:
    """Return the old values of the keys that came back as was foreseen: nobody has set them."""
    return {
        key: correction.was
        for key, correction in corrections.items()
        if values.same(layer.get(key), correction.foreseen)
    }


def _measured(layer: Layer[K], ran: Mapping[K, str | None]) -> dict[K, Correction]:
    # A key that only the other run touched had its old value when that run began.
    before = {**layer.before, **ran}
    found = ((key, was, layer.get(key)) for key, was in before.items())
    return {
        key: Correction(was, foreseen, foreseen)
        for key, was, foreseen in found
        if not values.same(was, foreseen)
    }


def _compared(
    before: Layer[K], after: Layer[K], former: Mapping[K, Correction]
) -> dict[K, Correction]:
    made = {**after.values, **after.before}
    found = {}
    for key in before.values.keys() | made.keys() | former.keys():
        foreseen = _foreseen(after.get(key), former.get(key))
        each = Correction(before.get(key), foreseen, made.get(key))
        if not (values.same(each.was, foreseen) and values.same(each.was, each.made)):
            found[key] = each
    return found


def _foreseen(now: str | None, former: Correction | None) -> str | None:
    """Return what the other run, last seen when `former` was made, would make of a value."""
    if former is not None and values.same(now, former.was):
        return former.made
    return now
