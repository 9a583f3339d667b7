"""When a host's turn comes: a seed, placed in the waves of an update.

A wave is a range of seeds. Its key is its first seed, its value the time at which it starts; it
ends where the next key's wave starts. Inside a wave, hosts follow each other evenly:

    ready = start + (end - start) * (seed - start_seed) / (end_seed - start_seed)

    {0: noon, 512: one o'clock}      seed 0: noon, seed 128: 12:15, seed 511: almost one

In the last wave everybody is ready at its start; with no waves, at once; with a seed below the
first key, at the first wave's start. So ready times never fall as seeds rise.

Arithmetic is exact, in whole microseconds, and rounds up: nobody is ever early. A timestamp with
more than six fractional digits is rounded up for the same reason.

Keys above the greatest seed are allowed, for published manifests have them: no host is in such a
wave, but it ends the one before. Who writes waves (`repo_tools`) is stricter. Two waves may start
at the same instant, a later one never before an earlier one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Final, NewType, TypeAlias

MAX_SEED: Final = 2048
"""Seeds are below this."""

Seed = NewType("Seed", int)
"""A host's place in every rollout, 0 to 2047."""

Waves: TypeAlias = Mapping[int, datetime]
"""First seed of each wave to its start (aware, UTC); in ascending order of seeds."""

_MAX_KEY: Final = (1 << 32) - 1
_KEY = re.compile(r"0|[1-9][0-9]{0,9}")
_MICROSECOND = timedelta(microseconds=1)

# RFC 3339, and what chrono reads besides: no padding needed, a space for the "T".
_TIME = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})[Tt ]"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2}):(?P<second>[0-9]{1,2})(?:\.(?P<part>[0-9]{1,9}))?"
    r"(?:(?P<utc>[Zz])|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)


def parse_seed(value: int) -> Seed:
    """Return the seed.

    Raises:
        ValueError: Outside 0 to 2047.
    """
    if not 0 <= value < MAX_SEED:
        raise ValueError(f"{value} is not a seed, 0 to {MAX_SEED - 1}")
    return Seed(value)


def parse_key(text: str) -> int:
    """Return the first seed of a wave, from the JSON key.

    Raises:
        ValueError: Not a decimal number of 32 bits.
    """
    if not _KEY.fullmatch(text) or int(text) > _MAX_KEY:
        raise ValueError(f"{text!r} is not the first seed of a wave, a decimal number")
    return int(text)


def parse_time(text: str) -> datetime:
    """Return the instant that an RFC 3339 timestamp names, in UTC.

    A leap second is the second after it; an offset is required.

    Raises:
        ValueError: Not such a timestamp, or one that no calendar has.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2020-07-01T00:00:00Z")
    field = match.groupdict()
    offset = timedelta()
    if field["sign"]:
        offset = timedelta(hours=int(field["hours"]), minutes=int(field["minutes"]))
    second = int(field["second"])
    nanoseconds = int((field["part"] or "").ljust(9, "0"))
    try:
        moment = datetime(
            year=int(field["year"]),
            month=int(field["month"]),
            day=int(field["day"]),
            hour=int(field["hour"]),
            minute=int(field["minute"]),
            second=min(second, 59),
            tzinfo=timezone(-offset if field["sign"] == "-" else offset),
        )
        if second > 60:  # noqa: PLR2004 (a leap second is number 60)
            raise ValueError(f"second must be in 0..60, not {second}")  # noqa: TRY301
        extra = timedelta(seconds=second - min(second, 59), microseconds=-(-nanoseconds // 1000))
        return (moment + extra).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None


def format_time(moment: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, with a fraction only where there is one.

    Three or six digits, as chrono does it.
    """
    moment = moment.astimezone(UTC)
    if not moment.microsecond:
        places = "seconds"
    elif moment.microsecond % 1000:
        places = "microseconds"
    else:
        places = "milliseconds"
    return moment.isoformat(timespec=places).replace("+00:00", "Z")


def check_order(waves: Waves) -> None:
    """Make sure that waves start in the order of their seeds.

    Raises:
        ValueError: A wave starts before the one with smaller seeds.
    """
    ordered = sorted(waves.items())
    for (seed, start), (next_seed, next_start) in pairwise(ordered):
        if next_start < start:
            raise ValueError(
                f"wave {next_seed} starts at {format_time(next_start)}, "
                f"before wave {seed} at {format_time(start)}"
            )


def ready_at(waves: Waves, seed: Seed) -> datetime | None:
    """Return when the host's turn comes; None: at once, for there are no waves.

    Args:
        waves: In order (`check_order`).
        seed: Of the host.
    """
    keys = sorted(waves)
    if not keys:
        return None
    place = bisect_right(keys, seed) - 1
    if place < 0:
        return waves[keys[0]]
    start_seed, start = keys[place], waves[keys[place]]
    if place + 1 == len(keys):
        return start
    end_seed, end = keys[place + 1], waves[keys[place + 1]]
    share = (end - start) // _MICROSECOND * (seed - start_seed)
    return start + timedelta(microseconds=-(-share // (end_seed - start_seed)))
