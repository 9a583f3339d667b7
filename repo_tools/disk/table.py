"""The partition table of a new disk: pure, from sizes to a table.

Partitions lie in this order, which is what a boot loader that counts from the boot partition needs:

    boot A, root A, hash A, [reserved A,] boot B, root B, hash B, [reserved B,] private, [data]

Each starts at a multiple of 1 MiB. Set A is marked as a disk is after its first good boot (priority
1, successful); set B has all bits clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from partition.gpt import Entry, Header, Source, Table
from repo_tools.disk.layout_file import MIB
from signpost.flags import BootFlags
from signpost.layout import DATA_TYPE, PART_TYPES, PRIVATE_TYPE, RESERVED_TYPE, Part, Slot

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from repo_tools.disk.layout_file import DiskLayout

_ENTRIES: Final = 128
_ENTRY_BYTES: Final = 128
_FIELDS_BYTES: Final = 92
_REVISION: Final = 0x00010000
_INSTALLED: Final = BootFlags(0).with_priority(1).with_successful(True).bits


def new_table(layout: DiskLayout, sector_size: int, new_guid: Callable[[], UUID]) -> Table:
    """Lay out a disk.

    Args:
        layout: Sizes of the partitions.
        sector_size: 512 or 4096 bytes.
        new_guid: Gives the identities of the disk and its partitions.
    """
    parts = _partitions(layout)
    first_lba = MIB // sector_size
    entries = []
    for name, type_guid, size, attributes in parts:
        sectors = size // sector_size
        entries.append(
            Entry(type_guid, new_guid(), first_lba, first_lba + sectors - 1, attributes, name)
        )
        first_lba += sectors
    last_lba = disk_bytes(layout) // sector_size - 1
    array_sectors = _ENTRIES * _ENTRY_BYTES // sector_size
    primary = Header(
        revision=_REVISION,
        header_size=_FIELDS_BYTES,
        reserved=bytes(4),
        my_lba=1,
        alternate_lba=last_lba,
        first_usable_lba=2 + array_sectors,
        last_usable_lba=last_lba - array_sectors - 1,
        disk_guid=new_guid(),
        entries_lba=2,
        entries_count=_ENTRIES,
        entry_size=_ENTRY_BYTES,
        entries_crc32=0,
        tail=bytes(sector_size - _FIELDS_BYTES),
    )
    backup = primary._replace(
        my_lba=last_lba, alternate_lba=1, entries_lba=last_lba - array_sectors
    )
    array = b"".join(entry.pack() for entry in entries).ljust(_ENTRIES * _ENTRY_BYTES, b"\0")
    return Table(primary, backup, array, Source.PRIMARY)


def disk_bytes(layout: DiskLayout) -> int:
    """Size of the disk: its partitions, and 1 MiB before and behind them."""
    return 2 * MIB + sum(size for _, _, size, _ in _partitions(layout))


def protective_mbr(total_bytes: int, sector_size: int) -> bytes:
    """Sector 0, which tells tools that know no GPT that the disk is in use (UEFI 2.10, 5.2.3)."""
    sectors = min(total_bytes // sector_size - 1, 0xFFFFFFFF)
    record = bytes([0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF])
    record += (1).to_bytes(4, "little") + sectors.to_bytes(4, "little")
    return (bytes(446) + record + bytes(48) + b"\x55\xaa").ljust(sector_size, b"\0")


def _partitions(layout: DiskLayout) -> list[tuple[str, UUID, int, int]]:
    """Label, type, size and attributes of each partition, in order."""
    sizes = {Part.BOOT: layout.boot, Part.ROOT: layout.root, Part.HASH: layout.hash}
    found = []
    for slot in Slot:
        for part, size in sizes.items():
            label = f"BOTTLEROCKET-{part.name}-{slot.value}"
            attributes = _INSTALLED if (slot, part) == (Slot.A, Part.BOOT) else 0
            found.append((label, PART_TYPES[part], size, attributes))
        if layout.reserved:
            label = f"BOTTLEROCKET-RESERVED-{slot.value}"
            found.append((label, RESERVED_TYPE, layout.reserved, 0))
    found.append(("BOTTLEROCKET-PRIVATE", PRIVATE_TYPE, layout.private, 0))
    if layout.data:
        found.append(("BOTTLEROCKET-DATA", DATA_TYPE, layout.data, 0))
    return found
