"""What `updog status` shows: a running update, what is staged, what failed to boot.

Works while an update runs, takes no lock for longer than an instant, and writes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partition.errors import PartitionError
from signpost.errors import SignpostError
from updog.activity import Activity, read_activity
from updog.attempts_file import load_attempts
from updog.os_disk import locate_disk, open_disk
from updog.waves import format_time

if TYPE_CHECKING:
    from signpost.state import BootState
    from updog.attempts import Attempts, Staged
    from updog.environment import Host


@dataclass(frozen=True, slots=True)
class Status:
    """All of it.

    Attributes:
        activity: What a running update does; None if none runs.
        attempts: As recorded.
        boot: The flags on disk; None if the disk cannot be read.
    """

    activity: Activity | None
    attempts: Attempts
    boot: BootState | None

    def lines(self) -> list[str]:
        """As text."""
        staged = self.attempts.staged
        what = "nothing" if staged is None else f"{staged.label} on set {staged.slot.value}"
        told = f", {self._staged_state(staged)}" if staged else ""
        lines = [f"Update: {_activity_line(self.activity)}", f"Staged: {what}{told}"]
        for version, failure in self.attempts.failures.items():
            times = "once" if failure.count == 1 else f"{failure.count} times"
            why = f": {failure.reason}" if failure.reason else ""
            last = format_time(failure.last.replace(microsecond=0))
            lines.append(f"Failed: {version} did not boot, {times}, last noticed {last}{why}")
        return lines

    def to_json(self) -> dict[str, object]:
        """As JSON."""
        attempts = self.attempts.to_json()
        staged = self.attempts.staged
        return {
            "update": self.activity
            and {
                "process": self.activity.process,
                "phase": self.activity.phase,
                "images": {
                    name: {"done_bytes": done, "total_bytes": total}
                    for name, (done, total) in self.activity.images.items()
                },
            },
            "staged": staged
            and {
                "variant": staged.variant,
                "version": str(staged.version),
                "set": staged.slot.value,
                "state": self._staged_state(staged),
            },
            "failures": attempts["failures"],
        }

    def _staged_state(self, staged: Staged) -> str:
        flags = self.boot.sets.get(staged.slot) if self.boot else None
        if self.boot is None or flags is None:
            return "applied" if staged.flip else "not applied"
        if self.boot.active is staged.slot:
            return "running"
        if flags.is_clear:
            return "cleared"
        if not staged.is_whole(flags):
            return "tried"
        return "boots next" if self.boot.upgrade_pending else "not applied"


def read_status(host: Host) -> Status:
    """Look at everything once.

    Raises:
        PartitionError: What is remembered cannot be read, or somebody else could have written it.
    """
    boot: BootState | None = None
    with suppress(PartitionError, SignpostError), open_disk(host, locate_disk(host)) as disk:
        boot = disk.state
    activity = read_activity(host.paths.activity, host.paths.lock)
    return Status(activity, load_attempts(host.paths.attempts), boot)


def _activity_line(activity: Activity | None) -> str:
    if activity is None:
        return "none running"
    images = [
        f"{name} {100 * done // total if total else 100} %"
        for name, (done, total) in activity.images.items()
    ]
    told = f" ({', '.join(images)})" if images else ""
    return f"{activity.phase}{told}, process {activity.process}"
