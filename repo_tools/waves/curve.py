"""When which share of a fleet may update: the curve of a set of waves.

Everything is worked out from `updog.waves.ready_at`, seed by seed, so it cannot disagree with what
hosts do. Seeds are taken to be spread evenly over the fleet, as they are when each host draws one.

- `Curve.ready` has, for every seed, when its turn comes.
- A *step* is an instant at which many hosts get their turn at once: nothing spreads the hosts of a
  last wave, nor those of a wave as long as nothing. From `STEP_WARNING` of the fleet on it is worth
  a warning: they all come to the repository within one check interval.

Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from repo_tools.rollout.schedule import NEVER
from updog.waves import MAX_SEED, Seed, format_time, ready_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from updog.waves import Waves

STEP_WARNING: Final = 0.05
"""The share of the fleet that is worth a warning when it comes at once."""


@dataclass(frozen=True, slots=True)
class WaveRow:
    """One wave: where it starts and ends, and how much of the fleet it is.

    Attributes:
        number: From 1.
        first_seed: Its first seed.
        last_seed: Its last seed, inclusive.
        start: When its first host's turn comes.
        end: When its last host's turn comes.
        share: Its part of the fleet, 0 to 1.
        share_after: The part of the fleet that has had its turn when it is over.
    """

    number: int
    first_seed: int
    last_seed: int
    start: datetime
    end: datetime
    share: float
    share_after: float


@dataclass(frozen=True, slots=True)
class Step:
    """An instant at which several seeds get their turn."""

    at: datetime
    seeds: int

    @property
    def share(self) -> float:
        """The part of the fleet, 0 to 1."""
        return self.seeds / MAX_SEED


@dataclass(frozen=True, slots=True)
class Curve:
    """A schedule. With no waves, everybody's turn comes at `start`.

    Attributes:
        waves: First seed to start, in order.
        ready: For every seed, 0 to 2047, when its turn comes; never falls.
        begin: What offsets are shown from: when a policy is said to start, or the first turn if
            that is earlier.
    """

    waves: Waves
    ready: tuple[datetime, ...]
    begin: datetime

    @property
    def start(self) -> datetime:
        """When the first host's turn comes."""
        return self.ready[0]

    @property
    def end(self) -> datetime:
        """When the last turn comes, of those that do; a paused rollout holds the others back."""
        return max((at for at in self.ready if at < NEVER), default=self.begin)

    def share_at(self, moment: datetime) -> float:
        """The part of the fleet whose turn has come, 0 to 1."""
        return bisect_right(self.ready, moment) / MAX_SEED

    def rows(self) -> tuple[WaveRow, ...]:
        """The waves that hosts are in."""
        keys = [key for key in sorted(self.waves) if key < MAX_SEED] or [0]
        keys[0] = 0  # hosts below the first key belong to the first wave
        found = []
        for number, (first, after) in enumerate(zip(keys, [*keys[1:], MAX_SEED], strict=True), 1):
            found.append(
                WaveRow(
                    number,
                    first,
                    after - 1,
                    self.ready[first],
                    self.ready[after - 1],
                    (after - first) / MAX_SEED,
                    after / MAX_SEED,
                )
            )
        return tuple(found)

    def steps(self) -> tuple[Step, ...]:
        """The instants at which more than `STEP_WARNING` of the fleet gets its turn."""
        grouped = ((at, sum(1 for _ in seeds)) for at, seeds in groupby(self.ready))
        steps = (Step(at, seeds) for at, seeds in grouped)
        return tuple(step for step in steps if step.share > STEP_WARNING and step.at < NEVER)

    def warnings(self, fleet: int) -> Iterator[str]:
        """What an owner should know before publishing this.

        Args:
            fleet: Number of hosts.
        """
        for step in self.steps():
            hosts = round(step.share * fleet)
            yield (
                f"{step.share:.0%} of the fleet ({hosts:,} hosts) get their turn at one instant,"
                f" {format_time(step.at)}: they all come within one check interval"
            )

    def to_json(self, fleet: int) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "begin": format_time(self.begin),
            "start": format_time(self.start),
            "end": format_time(self.end),
            "fleet": fleet,
            "waves": [
                {
                    "number": row.number,
                    "first_seed": row.first_seed,
                    "last_seed": row.last_seed,
                    "start": format_time(row.start),
                    "end": format_time(row.end),
                    "hosts": round(row.share * fleet),
                    "share": row.share,
                    "share_after": row.share_after,
                }
                for row in self.rows()
            ],
            "ready": [format_time(moment) for moment in self.ready],
            "warnings": list(self.warnings(fleet)),
        }


def curve_of(waves: Waves, now: datetime) -> Curve:
    """The curve of waves; offsets count from `now`, when without waves every host's turn comes."""
    ready = tuple(ready_at(waves, Seed(seed)) or now for seed in range(MAX_SEED))
    return Curve(dict(sorted(waves.items())), ready, min(now, ready[0]))


def samples(curve: Curve, count: int) -> tuple[tuple[datetime, float], ...]:
    """Points of the curve at equal distances in time, from its begin to its end."""
    step = length(curve) / (count - 1)
    moments = [curve.begin + index * step for index in range(count)]
    moments[-1] = max(moments[-1], curve.end)
    return tuple((moment, curve.share_at(moment)) for moment in moments)


def length(curve: Curve) -> timedelta:
    """What a picture shows, from the begin to the end; an hour at least."""
    return max(curve.end - curve.begin, timedelta(hours=1))
