"""Which states to look at: the power cuts worth trying on a recorded history.

For a cut while change number i is under way, or any time after it and before the next flush:

- everything up to i happened, or everything but i (every prefix);
- of the changes up to i that were not flushed, every subset, where these are few; else all, none,
  all but one, one alone, and a deterministic sample;
- a write before i arrived as a length without data, or half of it;
- change i arrived in part, if it is a write: every length in sectors where these are few, else
  some, and sectors picked at random; with all, or none, of the other pending changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.support.volume import State, Torn, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.volume import History


@dataclass(frozen=True, slots=True)
class Thoroughness:
    """How much of a large space to look at.

    Attributes:
        exhaustive: Up to this many changes in the air, every subset is tried.
        samples: Beyond it, so many random subsets for each change.
        lengths: Up to this many sectors, a write is torn at each; beyond, at so many.
        scattered: Random sets of sectors for each write.
    """

    exhaustive: int = 7
    samples: int = 24
    lengths: int = 34
    scattered: int = 3


QUICK = Thoroughness()
DEEP = Thoroughness(exhaustive=12, samples=400, lengths=256, scattered=40)


def states(history: History, how: Thoroughness = QUICK, *, first: int = 0) -> Iterator[State]:
    """Yield each state once, the untouched one first. The same ones in every run.

    Args:
        history: What was recorded.
        how: How many states to look at where there are too many.
        first: Leave out cuts before so many changes were made.
    """
    seen: set[State] = set()
    random = Random(1)  # noqa: S311  reproducible on purpose
    for state in _all(history, how, random, first):
        if state not in seen:
            seen.add(state)
            yield state


def _all(history: History, how: Thoroughness, random: Random, first: int) -> Iterator[State]:
    yield State(history.durable(first))
    for cut in range(first + 1, len(history.changes) + 1):
        last = cut - 1
        durable, air = history.air(cut)
        air.remove(last)
        # Subsets without the last change were subsets of an earlier cut.
        for subset in _subsets(air, how, random):
            yield State(durable | subset | 1 << last)
        everything = sum(1 << i for i in air)
        for index in air:
            other = history.changes[index]
            if isinstance(other, Write):
                for kept in (other.sectors[:0], other.sectors[: len(other.sectors) // 2]):
                    torn = (Torn(index, frozenset(kept)),)
                    yield State(durable | everything | 1 << last, torn)
        change = history.changes[last]
        if isinstance(change, Write):
            for sectors in _tears(change, how, random):
                torn = (Torn(last, sectors),)
                yield State(durable | everything | 1 << last, torn)
                yield State(durable | 1 << last, torn)


def _subsets(air: list[int], how: Thoroughness, random: Random) -> Iterator[int]:
    everything = sum(1 << i for i in air)
    if len(air) <= how.exhaustive:
        for choice in range(1 << len(air)):
            yield sum(1 << index for place, index in enumerate(air) if choice >> place & 1)
        return
    yield everything
    yield 0
    for index in air:
        yield everything & ~(1 << index)
        yield 1 << index
    for _ in range(how.samples):
        yield sum(1 << index for index in air if random.random() < 0.5)


def _tears(change: Write, how: Thoroughness, random: Random) -> Iterator[frozenset[int]]:
    sectors = change.sectors
    count = len(sectors)
    lengths = (
        range(count) if count <= how.lengths else sorted(random.sample(range(count), how.lengths))
    )
    for length in lengths:
        yield frozenset(sectors[:length])
    for _ in range(how.scattered if count > 1 else 0):
        yield frozenset(sector for sector in sectors if random.random() < 0.5)
