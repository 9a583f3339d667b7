"""What `status` tells, as lines and as JSON: one value, shown in two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from signpost.layout import Part, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signpost.device import BootDisk
    from signpost.flags import BootFlags
    from signpost.state import BootState


class Status(NamedTuple):
    """The state of a disk.

    Attributes:
        os_disk: Its path.
        devices: Each set's partitions: device nodes, or `disk.img#4` in an image.
        state: Flags and active set.
        table_source: The copy of the partition table in use, "primary" or "backup".
        problems: What is wrong with the table's copies.
        last_failure: Why a set was given up, if that is known.
    """

    os_disk: str
    devices: Mapping[Slot, Mapping[Part, str]]
    state: BootState
    table_source: str
    problems: tuple[str, ...]
    last_failure: str | None = None

    @classmethod
    def of(cls, disk: BootDisk, *, last_failure: str | None = None) -> Status:
        """The status of an open disk."""
        return cls(
            os_disk=str(disk.os_disk),
            devices={
                slot: {part: disk.region(slot, part).name for part in Part}
                for slot in disk.layout.sets
            },
            state=disk.state,
            table_source=disk.table_source.value,
            problems=disk.problems,
            last_failure=last_failure,
        )

    def lines(self) -> list[str]:
        """As text; problems are not among the lines."""
        state = self.state
        chosen = state.next_slot()
        lines = [f"OS disk: {self.os_disk}"]
        for slot, flags in state.sets.items():
            parts = " ".join(f"{part.value}={self.devices[slot][part]}" for part in Part)
            lines.append(f"Set {slot.value}: {parts} {flags}")
        lines.append(f"Active: Set {state.active.value}")
        lines.append(f"Next: Set {chosen.value}" if chosen else "Next: None")
        if self.last_failure:
            lines.append(f"Last failure: {self.last_failure}")
        return lines

    def to_json(self) -> dict[str, object]:
        """As JSON; keys are as in the lines."""
        state = self.state
        chosen = state.next_slot()
        return {
            "os_disk": self.os_disk,
            "sets": {
                slot.value: self._set_to_json(slot, flags) for slot, flags in state.sets.items()
            },
            "active": state.active.value,
            "next": chosen.value if chosen else None,
            "upgrade_pending": state.upgrade_pending,
            "has_boot_ever_succeeded": state.ever_succeeded,
            "table_source": self.table_source,
            "problems": list(self.problems),
            "last_failure": self.last_failure,
        }

    def _set_to_json(self, slot: Slot, flags: BootFlags) -> dict[str, object]:
        return {
            **{part.value: self.devices[slot][part] for part in Part},
            "priority": flags.priority,
            "tries_left": flags.tries_left,
            "successful": flags.successful,
            "will_boot": flags.will_boot,
        }
