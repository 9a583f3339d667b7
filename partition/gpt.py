"""GUID partition tables: which copy to believe, and in which order to write.

UEFI specification 2.10, section 5.3. A disk has two copies of its table, each a header and an array
of entries with a checksum over both. Decided here:

- *Reading.* A copy is valid if signature, both checksums and all bounds hold, partitions included.
  The primary is used when valid, else the backup; what is wrong is told in words (`problems`). The
  headers' own places are honoured: arrays, sizes and sector sizes are as declared.
- *Writing.* A plan, as a value: a copy is written whole and flushed before the other is touched, so
  that one valid copy exists at every instant. The backup goes first, and until the primary header
  is written a boot loader sees the old table. If the backup is the only valid copy, the primary
  goes first, for the same reason.
- *Repair.* A damaged or missing copy is put where the standard wants it, or where its remains show
  that it was. A backup that is not at the end of the disk (the image was copied to a larger one) is
  written at the end, where boot loaders look for it.

Not here: what the partitions mean, and all input and output (`partition.disk`). The protective MBR
is never touched.

    found = read_table(read, size_bytes, sector_size=512)
    table = found.table.with_attributes(2, found.table.entry(2).attributes | 1 << 56)
    for step in write_plan(table): ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from zlib import crc32

from partition.errors import InvalidTable, WriteFailed
from partition.gptcopies import Copies, Copy, DiskView, find_copies
from partition.gptentry import ATTRIBUTES, Entry
from partition.gptheader import PRIMARY_LBA, Header

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FLUSH",
    "Entry",
    "Flush",
    "Header",
    "Plan",
    "ReadTable",
    "Source",
    "Table",
    "Write",
    "read_table",
    "write_plan",
]

_SECTOR_SIZES: Final = (512, 4096)


class Source(Enum):
    """Which copy a table was read from."""

    PRIMARY = "primary"
    BACKUP = "backup"


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table, and where its two copies belong on this disk.

    Attributes:
        primary: Header of the copy at the start of the disk, as it will be written.
        backup: Header of the copy at its end.
        array: All entries, used or not.
        source: The copy that was read, and that must stay whole until the other one is written.
    """

    primary: Header
    backup: Header
    array: bytes
    source: Source

    @property
    def sector_size(self) -> int:
        """Bytes of a sector."""
        return self.primary.sector_size

    @property
    def entries(self) -> tuple[Entry | None, ...]:
        """All entries, None where unused; partition number n is at index n - 1."""
        size = self.primary.entry_size
        return tuple(
            Entry.parse(self.array[start : start + size])
            for start in range(0, len(self.array), size)
        )

    def entry(self, number: int) -> Entry:
        """The entry of partition `number` (from 1).

        Raises:
            KeyError: No such partition.
        """
        place = self._place(number)
        entry = Entry.parse(self.array[place])
        if entry is None:
            raise KeyError(number)
        return entry

    def extent(self, number: int) -> tuple[int, int]:
        """First byte on the disk, and length in bytes, of partition `number`."""
        lbas = self.entry(number).lbas
        return lbas.start * self.sector_size, len(lbas) * self.sector_size

    def with_entry(self, number: int, entry: Entry | None) -> Table:
        """The same table with another entry `number`; None makes it unused (all zeros)."""
        place = self._place(number)
        data = entry.pack() if entry else bytes(place.stop - place.start)
        if len(data) != place.stop - place.start:
            raise ValueError(f"entry has {len(data)} bytes, {place.stop - place.start} expected")
        return self._patched(place, data)

    def with_attributes(self, number: int, attributes: int) -> Table:
        """The same table with other attribute bits of partition `number`, and no other change."""
        self.entry(number)
        start = self._place(number).start
        place = slice(start + ATTRIBUTES.start, start + ATTRIBUTES.stop)
        return self._patched(place, attributes.to_bytes(8, "little"))

    def _place(self, number: int) -> slice:
        if not 1 <= number <= self.primary.entries_count:
            raise KeyError(number)
        size = self.primary.entry_size
        return slice((number - 1) * size, number * size)

    def _patched(self, place: slice, data: bytes) -> Table:
        array = self.array[: place.start] + data + self.array[place.stop :]
        return replace(self, array=array)


class ReadTable(NamedTuple):
    """A table, the copy it was read from, and what is wrong with the copies, a sentence each."""

    table: Table
    source: Source
    problems: tuple[str, ...]


class Write(NamedTuple):
    """Write `data` at byte `offset` of the disk."""

    offset: int
    data: bytes


class Flush(Enum):
    """Wait until everything written so far is on the medium."""

    FLUSH = "flush"


FLUSH: Final = Flush.FLUSH
Plan: TypeAlias = tuple[Write | Flush, ...]


def write_plan(table: Table) -> Plan:
    """The writes that put `table` on its disk, in order.

    A power cut at any point, within a sector too, leaves a valid copy with the old table or the new
    one; writes between two flushes may reach the medium in any order.

    Raises:
        WriteFailed: The disk is too small for a backup copy behind the last partition.
    """
    backup = table.backup
    used_lbas = [entry.last_lba for entry in table.entries if entry]
    last_needed_lba = max([*used_lbas, backup.first_usable_lba])
    if last_needed_lba >= backup.entries_lba:
        raise WriteFailed(
            "the partition table",
            f"LBA {last_needed_lba} belongs to partitions, and the disk ends at LBA "
            f"{backup.my_lba}, expected {backup.array_sectors + 1} sectors for the backup copy",
        )
    if table.source is Source.PRIMARY:
        return (
            *_copy_writes(backup, table.array),
            FLUSH,
            *_copy_writes(table.primary, table.array),
            FLUSH,
        )
    # The backup is all there is, and if it is not at the end of the disk, what is left of the
    # primary header may be all that leads to it: the new one must not be there before its array.
    entries, header = _copy_writes(table.primary, table.array)
    return (entries, FLUSH, header, FLUSH, *_copy_writes(backup, table.array), FLUSH)


def _copy_writes(header: Header, array: bytes) -> tuple[Write, Write]:
    sealed = header._replace(entries_crc32=crc32(array))
    return (
        Write(header.entries_lba * header.sector_size, array),
        Write(header.my_lba * header.sector_size, sealed.pack()),
    )


def read_table(
    read: Callable[[int, int], bytes],
    size_bytes: int,
    sector_size: int | None,
    *,
    disk: str = "the disk",
) -> ReadTable:
    """Read the table of a disk, from whichever copy is valid.

    Args:
        read: Called with offset and length in bytes; returns less only at the end of the disk. A
            ReadFailed counts against the copy that could not be read.
        size_bytes: Size of the disk.
        sector_size: The disk's logical sector size; None for an image file, where it is found out:
            the size under which more copies are valid.
        disk: Its name, for messages.

    Raises:
        InvalidTable: Neither copy is valid.
    """
    sizes = _SECTOR_SIZES if sector_size is None else (sector_size,)
    found = [find_copies(DiskView(read, size, size_bytes // size)) for size in sizes]
    best = max(found, key=lambda copies: copies.rank)
    if best.valid is None:
        problems = [why for copies in found if copies.has_signature for why in copies.problems]
        raise InvalidTable(disk, problems or ["there is no GPT signature at either end"])
    table = _table(best, best.valid)
    return ReadTable(table, table.source, best.problems)


def _table(copies: Copies, valid: Copy) -> Table:
    """The table of the valid copy, with a place for each copy."""
    backup_array_lba = _backup_array_lba(copies, valid)
    last_lba = copies.disk.sectors - 1
    common = valid.header._replace(
        last_usable_lba=min(valid.header.last_usable_lba, backup_array_lba - 1)
    )
    return Table(
        primary=_placed(
            common,
            like=copies.primary,
            my_lba=PRIMARY_LBA,
            alternate_lba=last_lba,
            entries_lba=_primary_array_lba(copies, valid),
        ),
        backup=_placed(
            common,
            like=copies.backup,
            my_lba=last_lba,
            alternate_lba=PRIMARY_LBA,
            entries_lba=backup_array_lba,
        ),
        array=valid.array,
        source=Source.PRIMARY if copies.primary else Source.BACKUP,
    )


def _placed(
    common: Header, *, like: Copy | None, my_lba: int, alternate_lba: int, entries_lba: int
) -> Header:
    """The common header at one of its places, with the bytes that this copy had beside fields."""
    own = like.header if like else common
    return common._replace(
        my_lba=my_lba,
        alternate_lba=alternate_lba,
        entries_lba=entries_lba,
        header_size=own.header_size,
        reserved=own.reserved,
        tail=own.tail,
    )


def _primary_array_lba(copies: Copies, valid: Copy) -> int:
    """Where the primary array is, or was: its place is not in the backup header.

    Some disks keep a boot loader in the sectors behind the primary header, and the array after it;
    so what is left of the header, and of the array itself, is asked before the standard's place.
    """
    disk, header = copies.disk, valid.header
    standard_lba = PRIMARY_LBA + 1
    last_possible_lba = header.first_usable_lba - header.array_sectors
    possible_lbas = range(standard_lba, last_possible_lba + 1)
    sound, remains = disk.sound_header(PRIMARY_LBA), disk.remains(PRIMARY_LBA)
    if sound and sound.entries_lba in possible_lbas:
        return sound.entries_lba
    # A tool that moved the array made the partitions begin behind it, and perhaps left a copy at
    # the standard's place: so the latest place comes first.
    for lba in (remains.entries_lba if remains else 0, last_possible_lba, standard_lba):
        if lba in possible_lbas and _holds(disk, lba, valid.array):
            return lba
    return standard_lba


def _backup_array_lba(copies: Copies, valid: Copy) -> int:
    """Where the backup array belongs: where it is, if that is sound, else before its header."""
    disk, header = copies.disk, valid.header
    last_lba = disk.sectors - 1
    standard_lba = last_lba - header.array_sectors
    possible_lbas = range(header.last_usable_lba + 1, standard_lba + 1)
    sound, remains = disk.sound_header(last_lba), disk.remains(last_lba)
    if sound and sound.entries_lba in possible_lbas:
        return sound.entries_lba
    lba = remains.entries_lba if remains else standard_lba
    return lba if lba in possible_lbas and _holds(disk, lba, valid.array) else standard_lba


def _holds(disk: DiskView, lba: int, array: bytes) -> bool:
    return disk.bytes_at(lba, len(array)) == array
