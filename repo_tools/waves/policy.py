"""Wave policies: TOML to values, and values to the waves of a manifest.

    [[waves]]
    start_after = "4 hours"      # [in] N minutes, hours, days or weeks; singular or plural
    fleet_percentage = 5         # of the whole fleet, cumulative: 1 to 100

Both columns rise from wave to wave, and the last percentage is 100: a policy that leaves hosts out,
or names them twice, is refused rather than interpreted. (Bottlerocket ignores the last percentage.)

The conversion is Bottlerocket's, digit for digit. Wave i starts at `start_at + start_after[i]`, and
its first seed is 0 for the first wave, else `floor(fleet_percentage[i - 1] * 2048 / 100)`. So
percentages of 1 and 100 give the keys 0 and 20. (Bottlerocket computes in 32-bit floats; for whole
percentages the floor is the same.)

Pure: the text of a policy and the start are passed in.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from repo_tools.errors import PolicyInvalid
from updog.waves import MAX_SEED

_OFFSET: Final = re.compile(r"(?:in )?(\d{1,9}) (minute|hour|day|week)s?")
_KEYS: Final = {"start_after", "fleet_percentage"}
_WHOLE_FLEET: Final = 100


@dataclass(frozen=True, slots=True)
class PolicyWave:
    """One wave: when it starts, and which share of the fleet it completes (per cent)."""

    start_after: timedelta
    fleet_percentage: int


@dataclass(frozen=True, slots=True)
class WavePolicy:
    """A rollout's shape, free of dates."""

    name: str
    waves: tuple[PolicyWave, ...]

    def starting_at(self, start_at: datetime) -> dict[int, datetime]:
        """The manifest's waves: first seed to start, in order."""
        first_seeds = [0, *(w.fleet_percentage * MAX_SEED // 100 for w in self.waves[:-1])]
        try:
            return {
                seed: start_at + wave.start_after
                for seed, wave in zip(first_seeds, self.waves, strict=True)
            }
        except OverflowError as exc:
            raise PolicyInvalid(self.name, f"it ends after the year 9999 ({exc})") from exc


def parse_policy(text: str, name: str) -> WavePolicy:
    """Read a policy.

    Raises:
        PolicyInvalid: Not TOML, an unknown key, an offset or percentage that is none, columns that
            do not rise, or a fleet that is not covered to 100 %.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise PolicyInvalid(name, f"it is not TOML ({exc})") from exc
    entries = document.pop("waves", None)
    if document:
        raise PolicyInvalid(name, f"it has an unknown key {min(document)!r}")
    if not isinstance(entries, list) or not entries:
        raise PolicyInvalid(name, "it has no [[waves]]")
    waves = tuple(_wave(entry, number, name) for number, entry in enumerate(entries, 1))
    for number, (before, after) in enumerate(itertools.pairwise(waves), 2):
        if after.start_after <= before.start_after:
            raise PolicyInvalid(name, f"wave {number} does not start after the one before it")
        if after.fleet_percentage <= before.fleet_percentage:
            raise PolicyInvalid(
                name,
                f"wave {number} ends at {after.fleet_percentage} % of the fleet, the one before it"
                f" at {before.fleet_percentage} % (percentages are cumulative)",
            )
    if waves[-1].fleet_percentage != _WHOLE_FLEET:
        reason = f"its last wave ends at {waves[-1].fleet_percentage} % of the fleet, not at 100 %"
        raise PolicyInvalid(name, reason)
    return WavePolicy(name, waves)


def parse_offset(text: str) -> timedelta:
    """Read an offset such as `4 hours` or `in 1 week`.

    Raises:
        ValueError: It is none.
    """
    match = _OFFSET.fullmatch(" ".join(text.split()))
    if match is None:
        raise ValueError(
            f"{text!r} is no offset, such as '30 minutes', '4 hours', '2 days' or '1 week'"
        )
    try:
        return timedelta(**{f"{match[2]}s": int(match[1])})
    except OverflowError as exc:
        raise ValueError(f"{text!r} is too long") from exc


def _wave(entry: object, number: int, name: str) -> PolicyWave:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise PolicyInvalid(name, f"wave {number} needs start_after and fleet_percentage, only")
    offset, percentage = entry["start_after"], entry["fleet_percentage"]
    if type(percentage) is not int or not 1 <= percentage <= _WHOLE_FLEET:
        reason = f"the fleet_percentage of wave {number} is {percentage!r}, not 1 to 100"
        raise PolicyInvalid(name, reason)
    if not isinstance(offset, str):
        raise PolicyInvalid(name, f"the start_after of wave {number} is not a string")
    try:
        return PolicyWave(parse_offset(offset), percentage)
    except ValueError as exc:
        raise PolicyInvalid(name, f"wave {number}: {exc}") from exc
