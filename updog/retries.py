"""When to try again, how long to wait before, and when a link is too slow to be honest.

No total time limit anywhere: a slow link that moves is let finish. What is limited is silence
(connect and stall times), failures in a row without progress, and a rate so low that only
somebody who wants to keep us busy for ever would serve it (TUF's slow retrieval attack).

- Each failure costs one retry; every `REFILL_BYTES` of progress gives all of them back. So the
  retries of one download are bounded by its length, and a server that sends one byte for each
  connection ends after `max_retries`.
- Waits grow exponentially with jitter, so that a fleet does not come back in step.
- `Retry-After` is honoured up to a cap; a server that wants us away for longer is believed, and
  the download ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Progress that refills the budget, counted over failures: 30 KiB a connection is slow, not hostile.
REFILL_BYTES = 64 * 1024

# RFC 9110 section 15.6 and 6585 section 4: the same request may succeed later.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a transport is.

    Attributes:
        connect_timeout_seconds: To set up a connection, TLS included, each time the peer is silent.
        stall_timeout_seconds: Between two arrivals of anything. Twice as long for all that it takes
            to set up a connection, for all of a response's headers, and for what lies between two
            chunks of its body.
        max_retries: Failures in a row, without `REFILL_BYTES` of progress, after the first try.
        first_wait_seconds: Before the first retry, give or take the jitter; doubles each time.
        longest_wait_seconds: What waits grow to.
        longest_retry_after_seconds: The most that a server may ask us to wait.
        min_bytes_per_second: Slower than this over a whole window is refused; 0 allows anything.
        rate_window_seconds: Time spent waiting for bytes, not time in which we were busy.
        max_redirects: For one request.
    """

    connect_timeout_seconds: float = 10.0
    stall_timeout_seconds: float = 30.0
    max_retries: int = 8
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 15.0
    longest_retry_after_seconds: float = 120.0
    min_bytes_per_second: int = 100
    rate_window_seconds: float = 60.0
    max_redirects: int = 5


class Broken(Exception):
    """This attempt failed in a way that another one may not; never leaves the transport.

    `retry_after_seconds` is what the server asked for, if it did.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class RetryBudget:
    """The retries of one download.

    Attributes:
        limits: See there.
        jitter: Returns a number in [0, 1), anew each time.
        failures: In a row, as `REFILL_BYTES` of progress ends a row.
    """

    limits: Limits
    jitter: Callable[[], float]
    failures: int = 0
    _progress_bytes: int = field(default=0, init=False)

    def progressed(self, received_bytes: int) -> None:
        """Count bytes that brought the download forward."""
        self._progress_bytes += received_bytes
        if self._progress_bytes >= REFILL_BYTES:
            self._progress_bytes = 0
            self.failures = 0

    def wait_seconds(self, broken: Broken) -> float | None:
        """Spend one retry; return how long to wait before it, or None to give up."""
        self.failures += 1
        asked = broken.retry_after_seconds or 0.0
        if self.failures > self.limits.max_retries:
            return None
        if asked > self.limits.longest_retry_after_seconds:
            return None
        doubled = self.limits.first_wait_seconds * float(1 << min(self.failures - 1, 30))
        longest = min(self.limits.longest_wait_seconds, doubled)
        return max(asked, longest * (0.5 + self.jitter() / 2))


@dataclass(slots=True)
class RateGuard:
    """Adds up time spent waiting for bytes, and says when it was wasted."""

    limits: Limits
    _seconds: float = field(default=0.0, init=False)
    _bytes: int = field(default=0, init=False)

    def too_slow(self, received_bytes: int, seconds: float) -> bool:
        """Count one arrival; true if a whole window brought less than it must."""
        self._seconds += seconds
        self._bytes += received_bytes
        if self._seconds < self.limits.rate_window_seconds:
            return False
        slow = self._bytes < self._seconds * self.limits.min_bytes_per_second
        self._seconds, self._bytes = 0.0, 0
        return slow


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.

    A date is compared with the answer's own `Date`, since our clock may be wrong; without one it
    is ignored.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    try:
        then, now = (parsedate_to_datetime(part) for part in (text, headers.get("Date", "")))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
