"""When a boot counts, and what follows when it does not. Decisions only: nothing is run or written.

A set is on *probation* from the moment it is chosen by an upgrade or a rollback until it is marked
successful. During it:

    every required check passes   the set is marked successful
    one fails, or the deadline    on_failure = "fall-back": give the set up, restart into the other
    passes                        on_failure = "retry": restart, the set's remaining tries decide
                                  on_failure = "report": store the reason, change nothing
    it ends in a clean shutdown   the try is given back, `max_clean_reboots` times: the boot has
                                  not failed, but a system that restarts itself for ever has
    panic, hang, loss of power    the try is spent: the boot loader's rule decides

Nothing is given up and nothing is restarted unless another set boots afterwards: a host that runs,
however badly, is worth more than one that does not. A set that was confirmed before is not undone
by a failed check: a network that is down today says nothing about last month's update.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# sysexits.h EX_TEMPFAIL: a check that says "not yet" is asked again until the deadline.
NOT_YET = 75


class OnFailure(Enum):
    """What a failed boot on probation leads to; the configuration's word for it."""

    FALL_BACK = "fall-back"
    RETRY = "retry"
    REPORT = "report"


class Policy(NamedTuple):
    """`/etc/signpost/health.toml`, with its defaults.

    Attributes:
        deadline_seconds: How long all required checks together may take.
        retry_seconds: Pause before a check that said "not yet" (exit status 75) is asked again.
        on_failure: See the module.
        max_clean_reboots: How many clean shutdowns of one set on probation give its try back.
    """

    deadline_seconds: int = 300
    retry_seconds: int = 5
    on_failure: OnFailure = OnFailure.FALL_BACK
    max_clean_reboots: int = 3


class Outcome(Enum):
    """How one check ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    NOT_RUN = "not run"


class CheckResult(NamedTuple):
    """One check and how it ended.

    Attributes:
        name: Its file name.
        required: Whether the boot depends on it.
        outcome: How it ended.
        detail: "exit status 3", "killed by signal 9", why it could not be run; empty if passed.
        output: The last lines it printed, on either stream.
    """

    name: str
    required: bool
    outcome: Outcome
    detail: str = ""
    output: str = ""

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.outcome is Outcome.PASSED

    def sentence(self) -> str:
        """One line about it, for people."""
        kind = "required" if self.required else "wanted"
        detail = f" ({self.detail})" if self.detail else ""
        lines = self.output.strip().splitlines()
        said = f": {lines[-1]}" if lines and not self.passed else ""
        return f"{kind} check {self.name} {self.outcome.value}{detail}{said}"


def failure(results: Sequence[CheckResult]) -> str | None:
    """Why the boot does not count: the required checks that did not pass; None if all did."""
    failed = [result.sentence() for result in results if result.required and not result.passed]
    return "; ".join(failed) or None


class Action(Enum):
    """What to do once the verdict is in."""

    NOTHING = "nothing"
    MARK_SUCCESSFUL = "mark the set successful"
    GIVE_UP_AND_RESTART = "give the set up and restart"
    RESTART = "restart"
    REPORT = "report"


class Decision(NamedTuple):
    """An action, and the sentence that explains it to whoever reads the record."""

    action: Action
    because: str

    @property
    def restarts(self) -> bool:
        """Whether the machine is to be restarted."""
        return self.action in {Action.GIVE_UP_AND_RESTART, Action.RESTART}


class Standing(NamedTuple):
    """What the disk says about the running set.

    Attributes:
        confirmed: It was marked successful, now or in an earlier boot.
        tries_left: What remains of its tries after this boot spent one.
        other_boots: The boot loader would take the other set if this one were given up.
    """

    confirmed: bool
    tries_left: int
    other_boots: bool


def decide(standing: Standing, reason: str | None, policy: Policy) -> Decision:
    """What follows from a verdict; `reason` is None when the boot is good."""
    if reason is None and standing.confirmed:
        return Decision(Action.NOTHING, "this set was already confirmed")
    if reason is None:
        return Decision(Action.MARK_SUCCESSFUL, "every required check passed")
    if standing.confirmed:
        return Decision(Action.REPORT, "this set was confirmed by an earlier boot and is kept")
    if policy.on_failure is OnFailure.REPORT:
        return Decision(Action.REPORT, "on_failure says to report only")
    return _next_boot(standing, policy)


def _next_boot(standing: Standing, policy: Policy) -> Decision:
    """Where a failed boot on probation goes."""
    if policy.on_failure is OnFailure.RETRY and standing.tries_left > 0:
        return Decision(Action.RESTART, f"tries left: {standing.tries_left}")
    if standing.other_boots:
        return Decision(Action.GIVE_UP_AND_RESTART, "the other set boots")
    return Decision(Action.REPORT, "no other set boots, so this one keeps running")


def why_try_stays_spent(
    *, standing: Standing, failed: bool, clean_reboots: int, policy: Policy
) -> str | None:
    """Why a clean shutdown now does not give the running set its try back; None when it does.

    For a confirmed set the try only marks the clean end: the next boot, finding none, checks the
    whole root before it is used, since it may have been dm-verity that restarted the machine.

    Args:
        standing: What the disk says about the running set.
        failed: This boot was judged a failure.
        clean_reboots: Clean shutdowns that gave this set's try back before.
        policy: Holds the limit of those.
    """
    if standing.confirmed:
        return None if standing.tries_left == 0 else "a confirmed set needs no more than one"
    if failed:
        return "this boot was judged a failure"
    if clean_reboots >= policy.max_clean_reboots:
        return f"it was given back {clean_reboots} times already (max_clean_reboots)"
    return None
