"""A fleet of hosts going through a rollout: who updates when, and what the repository has to serve.

The model, per host:

- it asks the repository at a random phase, then once every check interval;
- it takes the update the first time that it asks after its turn has come (`updog.waves.ready_at`);
- a given share of hosts fails to boot the new version, goes back, and does not try again (updog's
  `max_attempts` of 1);
- each check is a request for the timestamp; the first after the publish also fetches snapshot,
  targets and manifest; an update fetches its images.

A pause at time T leaves the update to every host whose turn has come by T, also to those that have
not asked since. A recall stops those too, and brings back those that have updated.

Hosts are worked through in blocks, so ten million need little memory. Pure but for the random
numbers, which come from a seed that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from updog.waves import MAX_SEED, format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from repo_tools.waves.curve import Curve

_BLOCK_HOSTS: Final = 1 << 20
_FIRST_CHECK_REQUESTS: Final = 3
# Peaks are told at this resolution, whatever the bins are.
_MOMENTS_PER_INTERVAL: Final = 4
_MOMENTS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Fleet:
    """What hosts there are, and how they behave.

    Attributes:
        hosts: How many; ignored where `seeds` are given.
        seeds: The seeds of real hosts; `None` draws them at random.
        check_interval: Time between two checks of a host.
        failure_rate: Share of hosts that fail to boot the new version, 0 to 1.
        image_bytes: What an update downloads.
        image_requests: How many files that are.
        check_bytes: What a check downloads.
        metadata_bytes: What the first check after the publish downloads in addition.
    """

    hosts: int
    check_interval: timedelta
    seeds: Sequence[int] | None = None
    failure_rate: float = 0.0
    image_bytes: int = 500_000_000
    image_requests: int = 3
    check_bytes: int = 2_000
    metadata_bytes: int = 50_000

    @property
    def size(self) -> int:
        """How many hosts there are."""
        return self.hosts if self.seeds is None else len(self.seeds)


@dataclass(frozen=True, slots=True)
class Reach:
    """What an intervention at some moment still leaves.

    Attributes:
        at: The moment.
        updated: Hosts that have taken the update by then.
        failed: Those of them that failed to boot it.
        pause_adds: Further hosts that will take it although the rollout is paused.
    """

    at: datetime
    updated: int
    failed: int
    pause_adds: int

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "at": format_time(self.at),
            "updated": self.updated,
            "failed": self.failed,
            "pause_adds": self.pause_adds,
        }


@dataclass(frozen=True, slots=True)
class Simulation:
    """What came out. Arrays have one entry for each bin of time.

    Attributes:
        fleet: Number of hosts.
        start: Begin of the first bin.
        bin_seconds: Length of a bin.
        updates: Hosts that take the update in the bin.
        failures: Those of them that fail to boot it.
        requests: Requests per second, at the busiest moment of the bin.
        bytes: Bytes per second, likewise.
        reaches: The interventions that were asked about.
    """

    fleet: int
    start: datetime
    bin_seconds: float
    updates: NDArray[np.int64]
    failures: NDArray[np.int64]
    requests: NDArray[np.float64]
    bytes: NDArray[np.float64]
    reaches: tuple[Reach, ...]

    def points(self) -> Iterator[tuple[datetime, int, int, float, float]]:
        """End of bin, hosts updated and failed by then, most requests/s and bytes/s in it."""
        updated, failed = np.cumsum(self.updates), np.cumsum(self.failures)
        for index in range(len(self.updates)):
            end = self.start + timedelta(seconds=self.bin_seconds * (index + 1))
            yield (
                end,
                int(updated[index]),
                int(failed[index]),
                float(self.requests[index]),
                float(self.bytes[index]),
            )

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "fleet": self.fleet,
            "start": format_time(self.start),
            "bin_seconds": self.bin_seconds,
            "updated": int(self.updates.sum()),
            "failed": int(self.failures.sum()),
            "peak_requests_per_second": float(self.requests.max()),
            "peak_bytes_per_second": float(self.bytes.max()),
            "reach": [reach.to_json() for reach in self.reaches],
            "series": [
                {
                    "until": format_time(end),
                    "updated": updated,
                    "failed": failed,
                    "requests_per_second": requests,
                    "bytes_per_second": rate,
                }
                for end, updated, failed, requests, rate in self.points()
            ],
        }


def roll_out(
    curve: Curve,
    fleet: Fleet,
    *,
    start: datetime,
    end: datetime,
    bins: int,
    random_seed: int,
    interventions: Sequence[datetime] = (),
) -> Simulation:
    """Let a fleet go through a rollout.

    Args:
        curve: When which seed's turn comes.
        fleet: The hosts.
        start: When the update is published; hosts see it from their next check on.
        end: When to stop looking.
        bins: Pieces of time to report.
        random_seed: Seeds and phases are drawn with it; the same one gives the same result.
        interventions: Moments at which a pause or a recall is thought of.
    """
    span = (end - start).total_seconds()
    interval = fleet.check_interval.total_seconds()
    ready = np.array([max(0.0, (moment - start).total_seconds()) for moment in curve.ready])
    moments = [(moment - start).total_seconds() for moment in interventions]
    random = np.random.default_rng(random_seed)
    moments_per_bin = max(1, math.ceil(span / bins / interval * _MOMENTS_PER_INTERVAL))
    count = bins * min(moments_per_bin, _MOMENTS_MAX // bins)
    updates, failures, firsts = (np.zeros(count, np.int64) for _ in range(3))
    reach = np.zeros((len(moments), 3), np.int64)
    for seeds in _blocks(fleet, random):
        phase = random.random(len(seeds)) * interval
        turn = ready[seeds]
        # The first check at or after the turn: whole intervals after the host's first check.
        taken = phase + np.ceil(np.maximum(turn - phase, 0.0) / interval) * interval
        fails = random.random(len(seeds)) < fleet.failure_rate
        updates += _count(taken, span, count)
        failures += _count(taken[fails], span, count)
        firsts += _count(phase, span, count)
        for row, moment in enumerate(moments):
            done = taken <= moment
            reach[row] += (
                done.sum(),
                (done & fails).sum(),
                ((turn <= moment) & ~done).sum(),
            )
    width = span / count
    checks = fleet.size / interval
    requests = checks + (_FIRST_CHECK_REQUESTS * firsts + fleet.image_requests * updates) / width
    rates = (
        checks * fleet.check_bytes
        + (fleet.metadata_bytes * firsts + float(fleet.image_bytes) * updates) / width
    )
    reaches = tuple(
        Reach(at, *(int(count) for count in counts))
        for at, counts in zip(interventions, reach, strict=True)
    )
    return Simulation(
        fleet.size,
        start,
        span / bins,
        updates.reshape(bins, -1).sum(axis=1),
        failures.reshape(bins, -1).sum(axis=1),
        requests.reshape(bins, -1).max(axis=1),
        rates.reshape(bins, -1).max(axis=1),
        reaches,
    )


def _blocks(fleet: Fleet, random: np.random.Generator) -> Iterator[NDArray[np.int16]]:
    """The seeds of the fleet, in blocks."""
    for first in range(0, fleet.size, _BLOCK_HOSTS):
        count = min(_BLOCK_HOSTS, fleet.size - first)
        if fleet.seeds is None:
            yield random.integers(0, MAX_SEED, count, dtype=np.int16)
        else:
            yield np.array(fleet.seeds[first : first + count], np.int16)


def _count(times: NDArray[np.float64], span: float, bins: int) -> NDArray[np.int64]:
    """How many of the times fall into each bin of [0, span); later ones are left out."""
    index = (times[times < span] * (bins / span)).astype(np.int64)
    return np.bincount(index, minlength=bins)
