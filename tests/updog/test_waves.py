"""Waves: when a host's turn comes, to the microsecond, from literal times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog.waves import (
    Seed,
    check_order,
    format_time,
    parse_key,
    parse_seed,
    parse_time,
    ready_at,
)

MICROSECOND = timedelta(microseconds=1)


def at(text: str) -> datetime:
    """A literal time, by Python's own parser."""
    return datetime.fromisoformat(text).astimezone(UTC)


# The example of the contract: one day for the first five per cent.
EXAMPLE = {0: at("2020-07-01T00:00:00+00:00"), 102: at("2020-07-02T00:00:00+00:00")}

# A real policy: 1 % after an hour, 5 % after 4 hours, 10 % after a day, 25 % after 3 days, all
# after 6; as a release at midnight, in seeds of 2048.
SIX_DAYS = {
    0: at("2020-07-01T01:00:00+00:00"),
    20: at("2020-07-01T04:00:00+00:00"),
    102: at("2020-07-02T00:00:00+00:00"),
    204: at("2020-07-04T00:00:00+00:00"),
    512: at("2020-07-07T00:00:00+00:00"),
}

# Published by a real distribution when seeds had 32 bits: the second wave has no host any more.
WIDE = {0: at("2019-10-06T15:00:00+00:00"), 858993459: at("2019-10-07T15:00:00+00:00")}

# A key just above the greatest seed gives the last wave an end.
BOUNDED = {0: at("2024-01-01T00:00:00+00:00"), 2048: at("2024-01-01T00:34:08+00:00")}


@dataclass(frozen=True)
class Case:
    name: str
    waves: dict[int, datetime]
    seed: int
    ready: str


CASES = [
    Case("the first seed goes at the start", EXAMPLE, 0, "2020-07-01T00:00:00+00:00"),
    # 86400 s / 102 = 847.0588235… s, rounded up
    Case("the second is not early", EXAMPLE, 1, "2020-07-01T00:14:07.058824+00:00"),
    Case("half of the seeds, half of the day", EXAMPLE, 51, "2020-07-01T12:00:00+00:00"),
    Case("the last seed, before the end", EXAMPLE, 101, "2020-07-01T23:45:52.941177+00:00"),
    Case("the next wave's first seed", EXAMPLE, 102, "2020-07-02T00:00:00+00:00"),
    Case("the last wave goes at its start", EXAMPLE, 2047, "2020-07-02T00:00:00+00:00"),
    Case("10 of 20 seeds in three hours", SIX_DAYS, 10, "2020-07-01T02:30:00+00:00"),
    Case("19 of 20 seeds in three hours", SIX_DAYS, 19, "2020-07-01T03:51:00+00:00"),
    Case("a later wave counts from its own start", SIX_DAYS, 20, "2020-07-01T04:00:00+00:00"),
    Case("41 of 82 seeds in twenty hours", SIX_DAYS, 61, "2020-07-01T14:00:00+00:00"),
    Case("51 of 102 seeds in two days", SIX_DAYS, 153, "2020-07-03T00:00:00+00:00"),
    Case("154 of 308 seeds in three days", SIX_DAYS, 358, "2020-07-05T12:00:00+00:00"),
    # 3 d * 307 / 308 = 258358.4415584… s
    Case("307 of 308 seeds", SIX_DAYS, 511, "2020-07-06T23:45:58.441559+00:00"),
    Case("three quarters wait for the end", SIX_DAYS, 512, "2020-07-07T00:00:00+00:00"),
    Case("nobody later than the last wave", SIX_DAYS, 2047, "2020-07-07T00:00:00+00:00"),
    # 86400 s * 123 / 858993459 = 12371.688… us
    Case("keys beyond all seeds end a wave", WIDE, 123, "2019-10-06T15:00:00.012372+00:00"),
    Case("one second per seed", BOUNDED, 1, "2024-01-01T00:00:01+00:00"),
    Case("one second per seed to the end", BOUNDED, 2047, "2024-01-01T00:34:07+00:00"),
    Case("a seed below the first key", {7: at("2024-01-01T00:00:00+00:00")}, 3,
         "2024-01-01T00:00:00+00:00"),
    Case("below the first of several keys",
         {7: at("2024-01-01T00:00:00+00:00"), 9: at("2024-01-03T00:00:00+00:00")}, 6,
         "2024-01-01T00:00:00+00:00"),
    Case("two waves of one instant",
         {0: at("2019-09-20T23:00:00+00:00"), 2047: at("2019-09-20T23:00:00+00:00")}, 1487,
         "2019-09-20T23:00:00+00:00"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_turn_comes_when_the_contract_says(case: Case) -> None:
    assert ready_at(case.waves, Seed(case.seed)) == at(case.ready)


def test_with_no_waves_everybody_goes_at_once() -> None:
    assert ready_at({}, Seed(0)) is None
    assert ready_at({}, Seed(2047)) is None


def test_a_whole_fleet_spreads_evenly_over_a_wave() -> None:
    """2048 seeds in 2048 seconds: one host a second, none together."""
    times = [ready_at(BOUNDED, Seed(seed)) for seed in range(2048)]
    start = at("2024-01-01T00:00:00+00:00")
    assert times == [start + timedelta(seconds=seed) for seed in range(2048)]


SECONDS = st.integers(min_value=0, max_value=10**9)


@st.composite
def some_waves(draw: st.DrawFn) -> dict[int, datetime]:
    keys = sorted(draw(st.sets(st.integers(0, 5000), min_size=1, max_size=12)))
    starts = sorted(draw(st.lists(SECONDS, min_size=len(keys), max_size=len(keys))))
    zero = datetime(2020, 1, 1, tzinfo=UTC)
    return {key: zero + timedelta(seconds=each) for key, each in zip(keys, starts, strict=True)}


@given(some_waves(), st.lists(st.integers(0, 2047), min_size=2, max_size=20))
def test_ready_times_never_fall_as_seeds_rise(waves: dict[int, datetime], seeds: list[int]) -> None:
    times = [ready_at(waves, Seed(seed)) for seed in sorted(seeds)]
    for earlier, later in pairwise(times):
        assert earlier is not None
        assert later is not None
        assert earlier <= later


@given(some_waves(), st.integers(0, 2047))
def test_nobody_goes_before_or_after_their_wave(waves: dict[int, datetime], seed: int) -> None:
    ready = ready_at(waves, Seed(seed))
    begun = [start for key, start in waves.items() if key <= seed]
    ahead = [start for key, start in waves.items() if key > seed]
    assert ready is not None
    assert ready >= max(begun, default=min(waves.values()))
    assert not ahead or ready <= min(ahead)


@given(some_waves(), st.integers(0, 2047))
def test_a_microsecond_earlier_is_too_early(waves: dict[int, datetime], seed: int) -> None:
    """Against exact fractions: the time is the first microsecond that is not before the turn."""
    ready = ready_at(waves, Seed(seed))
    keys = sorted(waves)
    mine = [key for key in keys if key <= seed]
    if not mine or mine[-1] == keys[-1]:
        return
    first, after = mine[-1], keys[len(mine)]
    span, seeds = waves[after] - waves[first], after - first
    assert ready is not None
    assert (ready - waves[first]) * seeds >= span * (seed - first)
    assert (ready - MICROSECOND - waves[first]) * seeds < span * (seed - first) or seed == first


def test_waves_that_start_out_of_order_are_refused() -> None:
    later, earlier = at("2020-07-02T00:00:00+00:00"), at("2020-07-01T00:00:00+00:00")
    check_order({0: earlier, 5: later, 9: later})
    with pytest.raises(ValueError, match="wave 102 starts at 2020-07-01T00:00:00Z, before wave 0"):
        check_order({0: later, 102: earlier})
    with pytest.raises(ValueError, match="wave 102"):
        check_order({102: earlier, 0: later})


def test_seeds_end_at_2047() -> None:
    assert parse_seed(0) == 0
    assert parse_seed(2047) == 2047
    for value in (-1, 2048, 858993459):
        with pytest.raises(ValueError, match="is not a seed, 0 to 2047"):
            parse_seed(value)


def test_keys_are_decimal_numbers_of_32_bits() -> None:
    assert [parse_key(text) for text in ("0", "2047", "2048", "4294967295")] == [
        0, 2047, 2048, 4294967295,
    ]  # fmt: skip
    for text in ("", "-1", "+1", "1.0", "01", " 1", "0x10", "ten", "٣", "4294967296", "9" * 5000):
        with pytest.raises(ValueError, match="first seed of a wave"):
            parse_key(text)


@pytest.mark.parametrize(
    "text, meaning",
    [
        ("2020-07-01T00:00:00Z", "2020-07-01T00:00:00+00:00"),
        ("2020-07-01t00:00:00z", "2020-07-01T00:00:00+00:00"),
        ("2020-07-01 00:00:00+00:00", "2020-07-01T00:00:00+00:00"),
        ("2020-07-01T02:30:00+02:30", "2020-07-01T00:00:00+00:00"),
        ("2020-06-30T20:00:00-04:00", "2020-07-01T00:00:00+00:00"),
        ("2020-07-01T00:00:00.5Z", "2020-07-01T00:00:00.500000+00:00"),
        ("2020-07-01T00:00:00.123456Z", "2020-07-01T00:00:00.123456+00:00"),
        # Finer than a microsecond: the next one, never the one before.
        ("2020-07-01T00:00:00.123456001Z", "2020-07-01T00:00:00.123457+00:00"),
        ("2020-07-01T00:00:00.999999999Z", "2020-07-01T00:00:01+00:00"),
        # A manifest of a real distribution's tests has such days.
        ("2019-8-6T15:00:00Z", "2019-08-06T15:00:00+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("2020-02-29T00:00:00Z", "2020-02-29T00:00:00+00:00"),
    ],
)
def test_times_are_rfc_3339(text: str, meaning: str) -> None:
    assert parse_time(text) == at(meaning)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020-07-01",
        "2020-07-01T00:00:00",
        "2020-07-01T00:00Z",
        "2020-13-01T00:00:00Z",
        "2021-02-29T00:00:00Z",
        "2020-07-01T24:00:00Z",
        "2020-07-01T00:60:00Z",
        "2020-07-01T00:00:61Z",
        "2020-07-01T00:00:00.Z",
        "2020-07-01T00:00:00.1234567891Z",
        "2020-07-01T00:00:00+25:00",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٠-07-01T00:00:00Z",
        "2020-07-01T00:00:00Z ",
        "tomorrow",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)


def test_times_are_written_as_they_are_published() -> None:
    assert format_time(at("2020-07-01T02:00:00+02:00")) == "2020-07-01T00:00:00Z"
    assert format_time(at("2020-07-01T00:00:00.250000+00:00")) == "2020-07-01T00:00:00.250Z"
    assert format_time(at("2020-07-01T00:00:00.000001+00:00")) == "2020-07-01T00:00:00.000001Z"
