"""What time it is, as far as it can be trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from updog.clock import trusted_time
from updog.errors import ClockNotSet

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNSET = datetime(1970, 1, 1, 0, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_clock_that_goes_on_is_believed() -> None:
    time = trusted_time(NOON, last_trusted=NOON - DAY, build_time=NOON - 30 * DAY)
    assert (time.now, time.note) == (NOON, None)


def test_a_clock_set_back_is_reported_and_not_believed() -> None:
    time = trusted_time(NOON - DAY, last_trusted=NOON, build_time=None)
    assert time.now == NOON
    assert time.note == (
        "this clock says 2026-02-28T12:00:00Z, which is before the last check of this host at "
        "2026-03-01T12:00:00Z; going by the latter"
    )


def test_a_step_of_some_seconds_is_not_worth_a_line() -> None:
    time = trusted_time(NOON - timedelta(seconds=5), last_trusted=NOON, build_time=None)
    assert (time.now, time.note) == (NOON, None)


def test_a_clock_that_was_never_set_is_not_believed() -> None:
    with pytest.raises(ClockNotSet, match="this clock says 1970-01-01T00:02:00Z, it is not set"):
        trusted_time(UNSET, last_trusted=None, build_time=None)


def test_the_build_time_helps_if_it_may() -> None:
    time = trusted_time(UNSET, last_trusted=None, build_time=NOON)
    assert time.now == NOON
    assert "before the build of this image at 2026-03-01" in str(time.note)


def test_the_last_check_helps_a_host_whose_clock_starts_anew() -> None:
    assert trusted_time(UNSET, last_trusted=NOON, build_time=None).now == NOON
    assert trusted_time(UNSET, last_trusted=NOON, build_time=NOON - DAY).now == NOON
    assert trusted_time(UNSET, last_trusted=NOON - DAY, build_time=NOON).now == NOON


def test_a_build_time_that_means_nothing_does_not_help() -> None:
    """Images with all times at 1980, or at the epoch, are usual."""
    with pytest.raises(ClockNotSet):
        trusted_time(UNSET, last_trusted=None, build_time=UNSET + DAY)
