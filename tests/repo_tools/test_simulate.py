"""A simulated fleet does what hosts do: checked against hosts that are followed one by one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from repo_tools.waves.curve import curve_of
from repo_tools.waves.policies import named_policy
from repo_tools.waves.simulate import Fleet, Simulation, roll_out

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo_tools.owner import Owner

START = datetime(2026, 1, 1, tzinfo=UTC)
CURVE = curve_of(named_policy("emergency").starting_at(START), START)


def simulated(fleet: Fleet, **options: object) -> Simulation:
    usual: dict[str, object] = {
        "start": START, "end": START + timedelta(hours=6), "bins": 6, "random_seed": 7,
    }  # fmt: skip
    return roll_out(CURVE, fleet, **{**usual, **options})  # type: ignore[arg-type]


def test_host_by_host() -> None:
    """Each host is followed check by check, with the random numbers that the model draws."""
    interval = 1800.0
    stop = 2.25 * 3600
    fleet = Fleet(hosts=500, check_interval=timedelta(seconds=interval), failure_rate=0.2)
    result = simulated(fleet, interventions=[START + timedelta(seconds=stop)])
    random = np.random.default_rng(7)
    seeds = random.integers(0, 2048, 500, dtype=np.int16)
    phases = random.random(500) * interval
    fails = random.random(500) < 0.2
    updates, failures = [0] * 6, [0] * 6
    reached = failed = pause_adds = 0
    for seed, phase, bad in zip(seeds, phases, fails, strict=True):
        turn = (CURVE.ready[seed] - START).total_seconds()
        check = phase
        while check < turn:
            check += interval
        if check < 6 * 3600:
            updates[int(check // 3600)] += 1
            failures[int(check // 3600)] += int(bad)
        reached += check <= stop
        failed += check <= stop and bool(bad)
        pause_adds += turn <= stop < check
    assert result.updates.tolist() == updates
    assert result.failures.tolist() == failures
    (reach,) = result.reaches
    assert (reach.updated, reach.failed, reach.pause_adds) == (reached, failed, pause_adds)
    assert pause_adds > 0


def test_everybody_updates_in_the_end() -> None:
    fleet = Fleet(hosts=10_000, check_interval=timedelta(hours=1))
    result = simulated(fleet)
    assert int(result.updates.sum()) == 10_000
    *_, (_, updated, failed, _, _) = result.points()
    assert (updated, failed) == (10_000, 0)


def test_what_the_repository_serves() -> None:
    """Nothing happens but checks: 3600 hosts that ask once an hour are one request a second."""
    fleet = Fleet(
        hosts=3600, check_interval=timedelta(hours=1), check_bytes=500, metadata_bytes=0,
    )  # fmt: skip
    result = simulated(fleet, start=START + timedelta(days=1), end=START + timedelta(days=2))
    # On the second day all are up to date after their first check; in the last bins nothing is new.
    assert result.requests[-1] == pytest.approx(1.0)
    assert result.bytes[-1] == pytest.approx(500.0)


def test_the_peak_is_the_step() -> None:
    """Three quarters of the fleet within one interval, each with three images.

    In its first quarter of an hour, those of the wave before come too whose turn was in the last
    hour and who have not asked since: a fifth of the fleet, less an eighth of them.
    """
    fleet = Fleet(
        hosts=100_000, check_interval=timedelta(hours=1), image_bytes=10**8, image_requests=3
    )
    result = simulated(fleet)
    rate = (0.75 + 0.2 * 7 / 8) * 100_000 / 3600
    assert float(result.bytes[3]) == pytest.approx(rate * 10**8, rel=0.05)
    assert float(result.requests[3]) == pytest.approx(rate * 3 + 100_000 / 3600, rel=0.05)


def test_seeds_of_real_hosts(newcomer: Owner, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.write_text("0\n\n0\n2047\n")
    found = newcomer.do(
        "waves", "simulate", "emergency", "--seeds", seeds, "--check-interval", "1 minute",
        "--bins", "4", "--for", "4 hours",
    )  # fmt: skip
    assert found["fleet"] == 3
    assert [point["updated"] for point in found["series"]] == [0, 2, 2, 3]
    seeds.write_text("1\n2048\n")
    said = newcomer.refused("waves", "simulate", "emergency", "--seeds", seeds)
    assert said == f"cannot read line 2 of {seeds}: 2048 is not a seed, 0 to 2047"


def test_the_same_numbers_each_time(newcomer: Owner) -> None:
    words = ["waves", "simulate", "default", "--fleet", "2000", "--failure-rate", "0.1",
             "--stop-at", "1 day", "--start-at", "2026-01-01T00:00:00Z"]  # fmt: skip
    assert newcomer.do(*words) == newcomer.do(*words)
    assert newcomer.do(*words) != newcomer.do(*words, "--random-seed", "1")
    text = newcomer.run(*words).stdout
    assert "a pause then still reaches" in text
    assert len([line for line in text.splitlines() if "%" in line and "B" in line]) == 24


def test_ten_million_hosts_are_worked_through_in_blocks() -> None:
    """More than one block, and the blocks add up."""
    fleet = Fleet(hosts=(1 << 20) + 17, check_interval=timedelta(hours=1))
    result = simulated(fleet, bins=1)
    assert result.updates.tolist() == [(1 << 20) + 17]
    assert math.isclose(result.bin_seconds, 6 * 3600)
