"""How patient a download is."""

from __future__ import annotations

import pytest

from updog.retries import REFILL_BYTES, Broken, Limits, RateGuard, RetryBudget, retry_after_seconds

LIMITS = Limits(max_retries=3, first_wait_seconds=1.0, longest_wait_seconds=3.0)


def budget(jitter: float = 0.999999) -> RetryBudget:
    return RetryBudget(LIMITS, lambda: jitter)


def test_waits_double_up_to_a_limit_and_then_it_gives_up() -> None:
    waits = [wait for wait in map(budget().wait_seconds, [Broken("x")] * 5) if wait is not None]
    assert [round(wait, 3) for wait in waits] == [1, 2, 3]


def test_jitter_halves_a_wait_at_most() -> None:
    assert budget(0.0).wait_seconds(Broken("x")) == 0.5


def test_progress_gives_the_retries_back() -> None:
    spent = budget()
    for _ in range(50):
        assert spent.wait_seconds(Broken("x")) is not None
        spent.progressed(REFILL_BYTES // 2)


def test_a_trickle_is_no_progress() -> None:
    """A byte for each connection: 65,536 of them refill it, and three end it."""
    spent = budget()
    waits = []
    for _ in range(4):
        waits.append(spent.wait_seconds(Broken("x")))
        spent.progressed(1)
    assert waits[-1] is None
    assert None not in waits[:-1]


def test_the_server_is_waited_for_within_a_limit() -> None:
    assert budget().wait_seconds(Broken("429", 90.0)) == 90.0
    assert budget().wait_seconds(Broken("429", 121.0)) is None


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "9" * 400}, 999999999999.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (
            {
                "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Date": "Wed, 21 Oct 2026 07:27:30 GMT",
            },
            30.0,
        ),
        (
            {
                "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Date": "Wed, 21 Oct 2026 08:27:30 GMT",
            },
            0.0,
        ),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


def test_a_rate_is_judged_over_whole_windows_of_waiting() -> None:
    guard = RateGuard(Limits(min_bytes_per_second=100, rate_window_seconds=10))
    assert not guard.too_slow(1, 9.9)
    assert not guard.too_slow(2000, 0.1)
    assert not guard.too_slow(0, 9.0)
    assert guard.too_slow(500, 1.0)
    # A new window begins.
    assert not guard.too_slow(0, 9.9)


def test_no_least_rate_allows_anything() -> None:
    guard = RateGuard(Limits(min_bytes_per_second=0))
    assert not guard.too_slow(0, 10_000.0)
