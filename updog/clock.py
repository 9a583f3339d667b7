"""What time it is, as far as it can be trusted: one reading per run, never before what we know.

Metadata that has expired is refused, so the clock decides whether an attacker can keep a host on
an old repository (TUF's indefinite freeze attack). Nobody signs the current time for us; these are
the rules that are left:

- The clock is read once per run, by the caller, and every role is judged by that reading.
- The time of the last run in which all metadata held is remembered. A clock behind it is reported,
  and that time is used instead: setting a clock back revives nothing.
- A clock before `FIRST_RELEASE` was never set. That is said, and nothing is trusted by it, unless
  a remembered time helps out, or the operator allows the time at which the image was built
  (`clock_floor = "build-time"`).
- A clock far ahead makes everything look expired, which is refused as such; the time remembered
  never lies past the expiry of metadata that held, so one wrong run does no lasting harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from updog.errors import ClockNotSet

# No repository of this kind is older than the format of its manifest.
FIRST_RELEASE: Final = datetime(2019, 1, 1, tzinfo=UTC)
# Time servers step a clock back by some seconds now and then; that is not worth a line.
_NOTICEABLE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """The time by which this run judges.

    Attributes:
        now: Aware, UTC.
        note: Why it is not what the clock says, for the user; None if it is.
    """

    now: datetime
    note: str | None = None


def trusted_time(
    clock: datetime, *, last_trusted: datetime | None, build_time: datetime | None
) -> TrustedTime:
    """Decide what time it is.

    Args:
        clock: This run's reading (aware).
        last_trusted: Of an earlier run, if any.
        build_time: Of the image, if it may be used as the earliest time.

    Raises:
        ClockNotSet: The clock was never set, and nothing else helps.
    """
    floors = [
        (floor, what)
        for floor, what in (
            (last_trusted, "the last check of this host"),
            (build_time, "the build of this image"),
        )
        if floor is not None and floor >= FIRST_RELEASE
    ]
    floor, what = max(floors, default=(clock, ""))
    if floor > clock:
        note = (
            f"this clock says {show(clock)}, which is before {what} at {show(floor)}; "
            "going by the latter"
        )
        noticeable = floor - clock >= _NOTICEABLE
        return TrustedTime(floor, note if noticeable else None)
    if clock < FIRST_RELEASE:
        raise ClockNotSet(show(clock))
    return TrustedTime(clock)


def show(moment: datetime) -> str:
    """Write a time as it stands in metadata: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
