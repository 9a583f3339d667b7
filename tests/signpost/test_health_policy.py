"""What follows from a verdict, row by row, and when a clean shutdown gives the try back."""

from __future__ import annotations

import pytest

from signpost.health_policy import (
    Action,
    CheckResult,
    OnFailure,
    Outcome,
    Policy,
    Standing,
    decide,
    failure,
    why_try_stays_spent,
)

PROBATION = Standing(confirmed=False, tries_left=0, other_boots=True)
CONFIRMED = Standing(confirmed=True, tries_left=0, other_boots=True)

ROWS = {
    "a good boot on probation is confirmed": (
        *(PROBATION, None, OnFailure.FALL_BACK),
        Action.MARK_SUCCESSFUL,
    ),
    "a good boot of a confirmed set changes nothing": (
        *(CONFIRMED, None, OnFailure.FALL_BACK),
        Action.NOTHING,
    ),
    "a bad boot on probation goes back": (
        *(PROBATION, "no network", OnFailure.FALL_BACK),
        Action.GIVE_UP_AND_RESTART,
    ),
    "even with tries left": (
        *(PROBATION._replace(tries_left=2), "no network", OnFailure.FALL_BACK),
        Action.GIVE_UP_AND_RESTART,
    ),
    "unless it is to be tried again": (
        *(PROBATION._replace(tries_left=2), "no network", OnFailure.RETRY),
        Action.RESTART,
    ),
    "which ends when no tries are left": (
        *(PROBATION, "no network", OnFailure.RETRY),
        Action.GIVE_UP_AND_RESTART,
    ),
    "with nothing else to boot it keeps running": (
        *(PROBATION._replace(other_boots=False), "no network", OnFailure.FALL_BACK),
        Action.REPORT,
    ),
    "also when it was to be tried again": (
        *(PROBATION._replace(other_boots=False), "no network", OnFailure.RETRY),
        Action.REPORT,
    ),
    "an owner may want to be told only": (
        *(PROBATION, "no network", OnFailure.REPORT),
        Action.REPORT,
    ),
    "a bad day of a confirmed set undoes nothing": (
        *(CONFIRMED, "no network", OnFailure.FALL_BACK),
        Action.REPORT,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_follows(row: str) -> None:
    standing, reason, on_failure, expected = ROWS[row]
    decision = decide(standing, reason, Policy(on_failure=on_failure))
    assert decision.action is expected
    restarting = {Action.GIVE_UP_AND_RESTART, Action.RESTART}
    assert decision.restarts == (expected in restarting)


def test_trying_again_never_goes_on_for_ever() -> None:
    """Each boot spends a try; a set that fails each time leaves within as many boots."""
    policy = Policy(on_failure=OnFailure.RETRY)
    actions = [
        decide(PROBATION._replace(tries_left=left), "no network", policy).action
        for left in (2, 1, 0)
    ]
    assert actions == [Action.RESTART, Action.RESTART, Action.GIVE_UP_AND_RESTART]


def test_every_failed_required_check_is_named() -> None:
    results = [
        CheckResult("10-net", True, Outcome.FAILED, "exit status 1", "trying\nno route\n"),
        CheckResult("20-disk", True, Outcome.PASSED, output="fine"),
        CheckResult("30-web", True, Outcome.TIMED_OUT, "killed at the deadline"),
        CheckResult("40-printer", False, Outcome.FAILED, "exit status 1", "no paper"),
    ]
    assert failure(results) == (
        "required check 10-net failed (exit status 1): no route; "
        "required check 30-web timed out (killed at the deadline)"
    )
    assert failure(results[1:2]) is None
    assert failure([]) is None


@pytest.mark.parametrize("given_back", [0, 1, 2])
def test_a_clean_end_on_probation_gives_the_try_back(given_back: int) -> None:
    policy = Policy(max_clean_reboots=3)
    assert spent(failed=False, clean_reboots=given_back, policy=policy) is None


def test_but_not_for_ever() -> None:
    policy = Policy(max_clean_reboots=3)
    why = spent(failed=False, clean_reboots=3, policy=policy)
    assert why == "it was given back 3 times already (max_clean_reboots)"


def test_and_not_after_a_failure() -> None:
    why = spent(failed=True, clean_reboots=0, policy=Policy())
    assert why == "this boot was judged a failure"


def test_a_confirmed_set_has_one_try_as_the_mark_of_a_clean_end() -> None:
    def why(tries_left: int) -> str | None:
        return why_try_stays_spent(
            standing=CONFIRMED._replace(tries_left=tries_left),
            failed=False,
            clean_reboots=99,
            policy=Policy(),
        )

    assert why(0) is None
    assert why(1) == "a confirmed set needs no more than one"


def spent(*, failed: bool, clean_reboots: int, policy: Policy) -> str | None:
    return why_try_stays_spent(
        standing=PROBATION, failed=failed, clean_reboots=clean_reboots, policy=policy
    )
