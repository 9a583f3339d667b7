"""The partitions of a new disk, from their sizes.

They lie in the order that a boot loader needs which counts from the boot partition:

    boot A, root A, hash A, [reserved A,] boot B, root B, hash B, [reserved B,] private, [data]

Set A is marked as a disk is after its first good boot (priority 1, successful); set B has all bits
clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from partition.geometry import Planned
from signpost.flags import BootFlags
from signpost.layout import DATA_TYPE, PART_TYPES, PRIVATE_TYPE, RESERVED_TYPE, Part, Slot

if TYPE_CHECKING:
    from repo_tools.disk.layout_file import DiskLayout

PRIVATE_LABEL: Final = "BOTTLEROCKET-PRIVATE"
DATA_LABEL: Final = "BOTTLEROCKET-DATA"
_INSTALLED: Final = BootFlags(0).with_priority(1).with_successful(True).bits


def partitions(layout: DiskLayout) -> tuple[Planned, ...]:
    """The partitions, from number 1."""
    sizes = {Part.BOOT: layout.boot, Part.ROOT: layout.root, Part.HASH: layout.hash}
    found = []
    for slot in Slot:
        for part, size in sizes.items():
            label = f"BOTTLEROCKET-{part.name}-{slot.value}"
            attributes = _INSTALLED if (slot, part) == (Slot.A, Part.BOOT) else 0
            found.append(Planned(label, PART_TYPES[part], size, attributes))
        if layout.reserved:
            label = f"BOTTLEROCKET-RESERVED-{slot.value}"
            found.append(Planned(label, RESERVED_TYPE, layout.reserved))
    found.append(Planned(PRIVATE_LABEL, PRIVATE_TYPE, layout.private))
    if layout.data:
        found.append(Planned(DATA_LABEL, DATA_TYPE, layout.data))
    return tuple(found)
