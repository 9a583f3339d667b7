"""How far each rollout of a line is, at a given moment. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repo_tools.publish.manifest_edit import waves_text
from repo_tools.rollout.schedule import pause_of, served_seeds
from updog.waves import MAX_SEED, format_time

if TYPE_CHECKING:
    from datetime import datetime

    from repo_tools.publish.manifest_edit import Line
    from updog.manifest import Manifest


@dataclass(frozen=True, slots=True)
class RolloutState:
    """One update's rollout; `share` is the part of the fleet whose turn has come, 0 to 1."""

    version: str
    max_version: str
    share: float
    paused_since: datetime | None
    recalled: bool
    schedule: str

    @property
    def text(self) -> str:
        """One line."""
        if self.recalled:
            state = f"recalled (maximum version {self.max_version})"
        elif self.paused_since is not None:
            state = f"paused since {format_time(self.paused_since)}"
        else:
            state = self.schedule
        return f"{self.version}: {self.share:.1%} of the fleet have had their turn, {state}"

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        paused = None if self.paused_since is None else format_time(self.paused_since)
        return {
            "version": self.version,
            "max_version": self.max_version,
            "share": self.share,
            "paused_since": paused,
            "recalled": self.recalled,
        }


def rollout_states(manifest: Manifest, line: Line, now: datetime) -> tuple[RolloutState, ...]:
    """The rollouts of a line, newest first."""
    found = []
    for update in reversed(line.of(manifest)):
        paused = pause_of(update)
        found.append(
            RolloutState(
                str(update.version),
                str(update.max_version),
                served_seeds(update.waves, now) / MAX_SEED,
                None if paused is None else paused.at,
                update.version > update.max_version,
                waves_text(update.waves),
            )
        )
    return tuple(found)
