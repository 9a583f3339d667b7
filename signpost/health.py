"""Judging the running boot, and ending it: the facts that the policy decides upon.

Whoever acts on a verdict does it in this order: store the reason, change the boot flags, restart.
So whatever happens in between, the reason is there to be read, and a set is given up before the
machine leaves it.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from signpost.errors import RestartFailed
from signpost.health_checks import find_checks, run_checks
from signpost.health_files import boot_problems, running_version
from signpost.health_policy import (
    CheckResult,
    Decision,
    Policy,
    Standing,
    failure,
    why_try_stays_spent,
)
from signpost.health_record import BootRecord, History

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from signpost.layout import Slot
    from signpost.state import BootState


class Boot(NamedTuple):
    """What identifies the running boot in the record.

    Attributes:
        active: "A" or "B", the set that runs.
        version: VERSION_ID of what runs; empty if os-release does not say.
        boot_id: The kernel's.
        at: Now, ISO 8601 in UTC.
    """

    active: str
    version: str
    boot_id: str
    at: str

    @classmethod
    def running(cls, active: Slot, *, root: Path, proc: Path, now: datetime) -> Boot:
        """The boot that runs; `now` is the one reading of the clock."""
        try:
            boot_id = (proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            boot_id = ""
        at = now.isoformat(timespec="seconds")
        return cls(active.value, running_version(root), boot_id, at)

    @property
    def name(self) -> str:
        """Set and version, for people."""
        return f"set {self.active} ({self.version})" if self.version else f"set {self.active}"

    def verdict(
        self, reason: str | None, decision: Decision, checks: tuple[CheckResult, ...] = ()
    ) -> BootRecord:
        """The record of a verdict; `reason` is None if the boot is good."""
        return BootRecord(
            active_set=self.active,
            version=self.version,
            boot_id=self.boot_id,
            at=self.at,
            passed=reason is None,
            reason=reason or "",
            decision=f"{decision.action.value}: {decision.because}",
            checks=checks,
        )


def with_what_was_missed(history: History, boot: Boot, root: Path) -> History:
    """Add what earlier boots could not write themselves.

    The boot stage leaves a line for each set that it gave up. And a set that was left to boot next,
    while it is the other one that runs now, has failed without a word.
    """
    missed = dict(boot_problems(root))
    expected = history.expected_set
    if expected and expected != boot.active:
        missed.setdefault(
            expected,
            "it was to boot and did not come up (a panic, a hang, dm-verity or a loss of power)",
        )
    for active_set, reason in missed.items():
        history = history.with_boot(
            BootRecord(active_set, "", boot.boot_id, boot.at, passed=False, reason=reason)
        )
    return history._replace(expected_set="")


def standing_of(state: BootState) -> Standing:
    """What a boot state says about the running set."""
    flags = state.sets[state.active]
    other = state.sets.get(state.active.other)
    return Standing(
        confirmed=flags.successful,
        tries_left=flags.tries_left,
        other_boots=other is not None and other.will_boot,
    )


def run_all_checks(
    root: Path, policy: Policy, environment: Mapping[str, str]
) -> tuple[CheckResult, ...]:
    """Run the required checks, then, if those are good, the wanted ones; one deadline for all."""
    deadline = time.monotonic() + policy.deadline_seconds
    results: tuple[CheckResult, ...] = ()
    for required in (True, False):
        if failure(results) is None:
            results += run_checks(
                find_checks(root, required=required),
                deadline=deadline,
                retry_seconds=policy.retry_seconds,
                environment=environment,
            )
    return results


def end_cleanly(
    state: BootState, history: History, boot: Boot, policy: Policy
) -> tuple[BootState, History, str | None]:
    """What a clean shutdown changes.

    Returns:
        The new boot state, the new record, and why the try stays spent; None if it is given back.
    """
    standing = standing_of(state)
    chosen = state.next_slot()
    expected = chosen.value if chosen is not None and chosen is not state.active else ""
    history = history._replace(expected_set=expected)
    probation = (boot.active, boot.version)
    why = why_try_stays_spent(
        standing=standing,
        failed=history.failed_in(boot.boot_id, boot.active),
        clean_reboots=history.clean_reboots_of(probation),
        policy=policy,
    )
    if why is not None:
        return state, history, why
    if not standing.confirmed:
        history = history.with_clean_reboot(probation)
    return state.restore_try(), history, None


def system_is_stopping() -> bool:
    """Whether systemd is shutting the system down; False where there is no systemd."""
    try:
        answer = _systemctl("is-system-running")
    except OSError:
        return False
    return answer.stdout.strip() == "stopping"


def restart_host() -> None:
    """Ask systemd for a restart; returns before it happens.

    Raises:
        RestartFailed: It refused, or there is none.
    """
    try:
        done = _systemctl("--no-block", "reboot")
    except OSError as error:
        raise RestartFailed(f"systemctl: {error.strerror}") from error
    if done.returncode:
        raise RestartFailed(done.stderr.strip() or f"systemctl ended with {done.returncode}")


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/systemctl", *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True)
