"""What is kept about boots: the last verdicts, their reasons, and how often a try was restored.

One small JSON file (`/var/lib/signpost/health.json`) so that the reason for a failed boot can be
read after the machine has gone back to the other set. This module is its shape and its rules;
`signpost.health` reads and writes it. A file that cannot be understood is started afresh by the
writer and said so: these are notes for people, no decision about which set boots rests on them
except the count of clean reboots, which then starts at 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from signpost.health_policy import CheckResult, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_BOOTS = 10
_FORMAT = 1


class BootRecord(NamedTuple):
    """One boot's verdict.

    Attributes:
        active_set: "A" or "B".
        version: VERSION_ID of the system that ran; empty if it never got as far as saying so.
        boot_id: The kernel's id of the boot that wrote this.
        at: When, ISO 8601 in UTC, by the host's clock.
        passed: The verdict.
        reason: Why not, or what is worth saying; empty when passed.
        decision: What followed from it.
        checks: All checks with their outcomes.
    """

    active_set: str
    version: str
    boot_id: str
    at: str
    passed: bool
    reason: str = ""
    decision: str = ""
    checks: tuple[CheckResult, ...] = ()

    def sentence(self) -> str:
        """One line for people: which set, which version, what came of it and why."""
        version = f" ({self.version})" if self.version else ""
        verdict = "passed" if self.passed else f"failed: {self.reason}"
        return f"Set {self.active_set}{version} at {self.at} {verdict}"

    def to_json(self) -> dict[str, object]:
        """The JSON object of the state file and of `--json`."""
        return {
            "set": self.active_set,
            "version": self.version,
            "boot_id": self.boot_id,
            "at": self.at,
            "passed": self.passed,
            "reason": self.reason,
            "decision": self.decision,
            "checks": [
                {
                    "name": check.name,
                    "required": check.required,
                    "outcome": check.outcome.value,
                    "detail": check.detail,
                    "output": check.output,
                }
                for check in self.checks
            ],
        }

    @classmethod
    def from_json(cls, value: object) -> BootRecord:
        """Read what `to_json` wrote; ValueError, KeyError or TypeError when it is not that."""
        fields = _object(value)
        return cls(
            active_set=_text(fields["set"]),
            version=_text(fields["version"]),
            boot_id=_text(fields["boot_id"]),
            at=_text(fields["at"]),
            passed=_flag(fields["passed"]),
            reason=_text(fields["reason"]),
            decision=_text(fields["decision"]),
            checks=tuple(_check(each) for each in _list(fields["checks"])),
        )


class History(NamedTuple):
    """The content of the state file.

    Attributes:
        boots: Newest first, at most `KEPT_BOOTS`.
        probation: Set and version that `clean_reboots` counts for.
        clean_reboots: Clean shutdowns that gave the try of `probation` back.
        expected_set: The set that the last clean shutdown left to boot next, if that was the other
            one: when it is not the one that comes up, it has failed without saying why.
    """

    boots: tuple[BootRecord, ...] = ()
    probation: tuple[str, str] = ("", "")
    clean_reboots: int = 0
    expected_set: str = ""

    def with_boot(self, record: BootRecord) -> History:
        """Add a verdict; one of the same boot and set is replaced."""
        same = (record.boot_id, record.active_set)
        others = [boot for boot in self.boots if (boot.boot_id, boot.active_set) != same]
        return self._replace(boots=(record, *others)[:KEPT_BOOTS])

    def clean_reboots_of(self, probation: tuple[str, str]) -> int:
        """The count for this set and version; another one starts at 0."""
        return self.clean_reboots if self.probation == probation else 0

    def with_clean_reboot(self, probation: tuple[str, str]) -> History:
        """Count one more."""
        count = self.clean_reboots_of(probation) + 1
        return self._replace(probation=probation, clean_reboots=count)

    def failed_in(self, boot_id: str, active_set: str) -> bool:
        """Whether this boot of this set was judged a failure."""
        verdict = self.verdict_of(boot_id, active_set)
        return verdict is not None and not verdict.passed

    def verdict_of(self, boot_id: str, active_set: str) -> BootRecord | None:
        """What was said of this boot of this set, if anything."""
        key = (boot_id, active_set)
        return next((each for each in self.boots if (each.boot_id, each.active_set) == key), None)

    def last_failure(self) -> BootRecord | None:
        """The newest boot that failed, of either set."""
        return next((boot for boot in self.boots if not boot.passed), None)

    def to_json(self) -> dict[str, object]:
        """The JSON object of the state file."""
        return {
            "format": _FORMAT,
            "boots": [boot.to_json() for boot in self.boots],
            "probation": list(self.probation),
            "clean_reboots": self.clean_reboots,
            "expected_set": self.expected_set,
        }

    @classmethod
    def from_json(cls, value: object) -> History:
        """Read what `to_json` wrote; ValueError, KeyError or TypeError when it is not that."""
        fields = _object(value)
        if fields["format"] != _FORMAT:
            raise ValueError(f"format {fields['format']!r}, expected {_FORMAT}")
        active_set, version = (_text(each) for each in _list(fields["probation"]))
        count = fields["clean_reboots"]
        if not isinstance(count, int) or count < 0:
            raise ValueError("clean_reboots is not a count")
        return cls(
            boots=tuple(BootRecord.from_json(each) for each in _list(fields["boots"])),
            probation=(active_set, version),
            clean_reboots=count,
            expected_set=_text(fields["expected_set"]),
        )


def _check(value: object) -> CheckResult:
    fields = _object(value)
    return CheckResult(
        name=_text(fields["name"]),
        required=_flag(fields["required"]),
        outcome=Outcome(fields["outcome"]),
        detail=_text(fields["detail"]),
        output=_text(fields["output"]),
    )


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return cast("Mapping[str, object]", value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return cast("list[object]", value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value
