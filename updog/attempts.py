"""What was staged, what was tried, and which versions failed to boot.

An update is *staged* when it lies whole on the inactive set, and *tried* once the boot loader was
told to boot it. Both are recorded before they happen, so that a power cut in between leaves a
record too much, never one too few; what really happened is then read from the disk:

    flags of its set                      meaning
    confirmed                             it came up: the record goes, its failures are forgotten
    unconfirmed, and the host runs it     on probation: the record stays
    cleared                               wiped: the record goes, nothing is known of a boot
    no priority, tries left               staged; the flip never was, or was taken back
    priority, tries as many as given      a boot is pending
    priority, fewer tries                 tried, never confirmed: A FAILURE

Running an update again without a reboot in between therefore counts nothing. Where the disk cannot
be read, the boot id decides: another boot than that of the flip, and still the old version, is a
failure.

Pure; `attempts_file` loads and stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from signpost.layout import Slot
from updog.versions import Version, parse_version
from updog.waves import format_time, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from signpost.flags import BootFlags

_FORMAT: Final = 1
# Versions that failed, the most recent ones: enough for years, and the file stays small.
_KEPT_FAILURES: Final = 32


@dataclass(frozen=True, slots=True)
class Flip:
    """The boot loader was told to boot it, or was about to be.

    Attributes:
        at: When (aware, UTC).
        boot_id: Of the boot in which that was; None if unknown.
    """

    at: datetime
    boot_id: str | None


@dataclass(frozen=True, slots=True)
class Staged:
    """An update on the inactive set.

    Attributes:
        variant: Of the update.
        version: Of the update.
        slot: The set it lies on.
        tries: How often the boot loader may try it, as marked.
        images: `boot`, `root`, `hash` to the digest of the target that was written there.
        flip: Present once it was to be booted.
    """

    variant: str
    version: Version
    slot: Slot
    tries: int
    images: Mapping[str, str] = field(hash=False)
    flip: Flip | None = None

    @property
    def label(self) -> str:
        """`<variant> <version>`."""
        return f"{self.variant} {self.version}"

    def is_whole(self, flags: BootFlags) -> bool:
        """Whether its set's flags are those of an update that is valid and not tried yet."""
        return flags.tries_left == self.tries and not flags.successful


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that did not come up.

    Attributes:
        count: How many attempts failed.
        last: When the last failure was noticed (aware, UTC).
        reason: What its own health checks said, if they got that far.
    """

    count: int
    last: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run can see of how an attempt ended.

    Attributes:
        now: The time (aware, UTC).
        boot_id: Of this boot; None if unknown.
        running: The version that runs.
        active: The set that runs; None if the disk cannot be read.
        flags: Of both sets; empty if the disk cannot be read.
        reason: Why the last boot was given up, if its health checks left word.
    """

    now: datetime
    boot_id: str | None
    running: Version
    active: Slot | None = None
    flags: Mapping[Slot, BootFlags] = field(default_factory=dict, hash=False)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """All that is remembered; each change returns a new value."""

    staged: Staged | None = None
    failures: Mapping[str, Failure] = field(default_factory=dict, hash=False)

    def stage(self, staged: Staged) -> Attempts:
        """An update is about to be marked valid."""
        return replace(self, staged=staged)

    def discard(self) -> Attempts:
        """The inactive set is about to be cleared."""
        return replace(self, staged=None)

    def flip(self, flip: Flip) -> Attempts:
        """The staged update is about to be made the next one to boot."""
        return (
            self if self.staged is None else replace(self, staged=replace(self.staged, flip=flip))
        )

    def withdraw(self) -> Attempts:
        """The flip was taken back; the update stays staged."""
        return (
            self if self.staged is None else replace(self, staged=replace(self.staged, flip=None))
        )

    def failed(self, max_attempts: int) -> Mapping[str, Failure]:
        """The versions to pass over: those that failed `max_attempts` times or more."""
        return {
            version: failure
            for version, failure in self.failures.items()
            if failure.count >= max_attempts
        }

    def judge(self, evidence: Evidence) -> Attempts:
        """Decide how the recorded attempt ended, by the table in this module's docstring."""
        staged = self.staged
        if staged is None:
            return self
        flags = evidence.flags.get(staged.slot)
        if flags is None:
            return self._judge_by_boot_id(staged, evidence)
        if flags.successful:
            return self._came_up(staged)
        if evidence.active == staged.slot:
            return self
        if not flags.priority:
            return self.withdraw() if flags.tries_left else self.discard()
        return self if flags.tries_left >= staged.tries else self._did_not(staged, evidence)

    def to_json(self) -> dict[str, object]:
        """Return the content of the file."""
        failures = {
            version: {
                "count": failure.count,
                "last": format_time(failure.last),
                "reason": failure.reason,
            }
            for version, failure in self.failures.items()
        }
        return {"format": _FORMAT, "staged": _staged_to_json(self.staged), "failures": failures}

    @classmethod
    def from_json(cls, value: object) -> Attempts:
        """Read the content of the file.

        Raises:
            ValueError: It is not what `to_json` returns.
        """
        try:
            return cls._from_json(_fields(value))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__} at {error}") from error

    @classmethod
    def _from_json(cls, value: Mapping[str, object]) -> Attempts:
        if value["format"] != _FORMAT:
            raise ValueError(f"its format is {value['format']!r}, expected {_FORMAT}")
        return cls(
            staged=_staged_from_json(value["staged"]),
            failures={
                str(parse_version(version)): _failure_from_json(_fields(failure))
                for version, failure in _fields(value["failures"]).items()
            },
        )

    def _judge_by_boot_id(self, staged: Staged, evidence: Evidence) -> Attempts:
        if staged.flip is None:
            return self
        if evidence.running == staged.version:
            return self._came_up(staged)
        boots = {staged.flip.boot_id, evidence.boot_id}
        rebooted = None not in boots and len(boots) > 1
        return self._did_not(staged, evidence) if rebooted else self

    def _came_up(self, staged: Staged) -> Attempts:
        version = str(staged.version)
        return Attempts(
            failures={key: self.failures[key] for key in self.failures if key != version}
        )

    def _did_not(self, staged: Staged, evidence: Evidence) -> Attempts:
        version = str(staged.version)
        count = self.failures[version].count + 1 if version in self.failures else 1
        failures = {
            **self.failures,
            version: Failure(count, evidence.now, evidence.reason),
        }
        recent = sorted(failures, key=lambda each: failures[each].last)[-_KEPT_FAILURES:]
        return Attempts(failures={key: failures[key] for key in recent})


def _staged_to_json(staged: Staged | None) -> dict[str, object] | None:
    if staged is None:
        return None
    flip = staged.flip
    return {
        "variant": staged.variant,
        "version": str(staged.version),
        "set": staged.slot.value,
        "tries": staged.tries,
        "images": dict(staged.images),
        "flip": flip and {"at": format_time(flip.at), "boot_id": flip.boot_id},
    }


def _staged_from_json(value: object) -> Staged | None:
    if value is None:
        return None
    staged = _fields(value)
    tries = staged["tries"]
    if not isinstance(tries, int):
        raise TypeError("tries")
    return Staged(
        variant=_text(staged["variant"]),
        version=parse_version(_text(staged["version"])),
        slot=Slot(staged["set"]),
        tries=tries,
        images={part: _text(digest) for part, digest in _fields(staged["images"]).items()},
        flip=_flip_from_json(staged["flip"]),
    )


def _flip_from_json(value: object) -> Flip | None:
    if value is None:
        return None
    flip = _fields(value)
    boot_id = flip["boot_id"]
    return Flip(parse_time(_text(flip["at"])), None if boot_id is None else _text(boot_id))


def _failure_from_json(failure: Mapping[str, object]) -> Failure:
    count, reason = failure["count"], failure["reason"]
    if not isinstance(count, int):
        raise TypeError("count")
    return Failure(
        count, parse_time(_text(failure["last"])), None if reason is None else _text(reason)
    )


def _fields(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"an object, found {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string, found {value!r}")
    return value
