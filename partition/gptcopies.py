"""The two copies of a GUID partition table: where to look for them, and which of them hold.

Nothing here writes, and nothing is repaired: damage becomes a sentence in `problems`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from partition.errors import ReadFailed
from partition.gptentry import Entry
from partition.gptheader import PRIMARY_LBA, Damaged, Header, parse, unchecked

if TYPE_CHECKING:
    from collections.abc import Callable


class DiskView(NamedTuple):
    """A disk as sectors of one size."""

    read: Callable[[int, int], bytes]
    sector_size: int
    sectors: int

    def bytes_at(self, lba: int, length_bytes: int) -> bytes:
        """Bytes from a sector on; fewer, or none, where they cannot be read."""
        if lba < 0:
            return b""
        try:
            return self.read(lba * self.sector_size, length_bytes)
        except ReadFailed:
            return b""

    def is_unreadable(self, lba: int) -> bool:
        """Whether the disk refuses to give a sector that it has."""
        if not 0 <= lba < self.sectors:
            return False
        try:
            self.read(lba * self.sector_size, self.sector_size)
        except ReadFailed:
            return True
        return False

    def remains(self, lba: int) -> Header | None:
        """What a damaged header still says."""
        return unchecked(self.bytes_at(lba, self.sector_size))

    def sound_header(self, lba: int) -> Header | None:
        """A header that is valid by itself, whatever its array is like."""
        try:
            sector = self.bytes_at(lba, self.sector_size)
            return parse(sector, lba=lba, disk_sectors=self.sectors)
        except Damaged:
            return None


class Copy(NamedTuple):
    """A valid copy."""

    header: Header
    array: bytes

    def agrees_with(self, other: Copy) -> bool:
        """Both describe the same partitions on the same disk."""
        mine, theirs = self.header, other.header
        return self.array == other.array and (
            (mine.disk_guid, mine.entry_size, mine.usable_lbas)
            == (theirs.disk_guid, theirs.entry_size, theirs.usable_lbas)
        )


class Copies(NamedTuple):
    """What was found on a disk, read with one sector size.

    Attributes:
        disk: The disk.
        primary: Its first copy, if valid.
        backup: Its other one, if valid.
        problems: What is wrong, in words.
        has_signature: There is something that once was a table, or could be: it cannot be read.
    """

    disk: DiskView
    primary: Copy | None
    backup: Copy | None
    problems: tuple[str, ...]
    has_signature: bool

    @property
    def valid(self) -> Copy | None:
        """The copy to believe: the primary when valid, else the backup."""
        return self.primary or self.backup

    @property
    def rank(self) -> tuple[int, bool]:
        """Grows with the evidence that this sector size is the disk's."""
        return (bool(self.primary) + bool(self.backup), self.primary is not None)


def find_copies(disk: DiskView) -> Copies:
    """Look for both copies: the primary at LBA 1, the backup where declared, or at the end."""
    problems = []
    primary, why = _try_copy(disk, PRIMARY_LBA)
    last_lba = disk.sectors - 1
    remains = disk.remains(PRIMARY_LBA)
    declared_lba = remains.alternate_lba if remains else last_lba
    # A valid primary knows its backup. A damaged one is only a hint, after the standard's place.
    lbas = [declared_lba, last_lba] if primary else [last_lba, declared_lba]
    backup, why_backup = _first_copy(disk, lbas)
    if primary is None:
        problems.append(
            f"primary copy is damaged: {why}" + ("; using the backup copy" if backup else "")
        )
    if backup is None:
        problems.append(f"backup copy is damaged: {why_backup}")
    elif backup.header.my_lba != last_lba:
        problems.append(
            f"backup copy is at LBA {backup.header.my_lba}, "
            f"not at the end of the disk (LBA {last_lba})"
        )
    if primary and backup:
        if primary.header.alternate_lba != backup.header.my_lba:
            problems.append(
                f"primary copy says that the backup is at LBA {primary.header.alternate_lba}, "
                f"it is at LBA {backup.header.my_lba}"
            )
        if not primary.agrees_with(backup):
            problems.append("backup copy differs from the primary copy; using the primary copy")
    has_signature = (
        remains is not None
        or disk.remains(last_lba) is not None
        or any(disk.is_unreadable(lba) for lba in (PRIMARY_LBA, last_lba))
    )
    return Copies(disk, primary, backup, tuple(problems), has_signature)


def _first_copy(disk: DiskView, lbas: list[int]) -> tuple[Copy | None, str]:
    """The first valid copy at any of `lbas`, or why there is none at the first of them."""
    whys = []
    for lba in dict.fromkeys(lbas):
        copy, why = _try_copy(disk, lba)
        if copy and lba == PRIMARY_LBA:
            copy, why = None, "the primary header says that it is its own backup"
        if copy:
            return copy, ""
        whys.append(why)
    return None, whys[0]


def _try_copy(disk: DiskView, lba: int) -> tuple[Copy | None, str]:
    try:
        return _read_copy(disk, lba), ""
    except (Damaged, ReadFailed) as error:
        return None, str(error)


def _read_copy(disk: DiskView, lba: int) -> Copy:
    if not PRIMARY_LBA <= lba < disk.sectors:
        raise Damaged(f"its header belongs at LBA {lba}, the disk has {disk.sectors} sectors")
    sector = disk.read(lba * disk.sector_size, disk.sector_size)
    header = parse(sector, lba=lba, disk_sectors=disk.sectors)
    array = disk.read(header.entries_lba * disk.sector_size, header.array_bytes)
    computed = crc32(array)
    if header.entries_crc32 != computed:
        raise Damaged(
            f"checksum of the entries is {header.entries_crc32:#010x}, "
            f"their bytes give {computed:#010x}"
        )
    for start in range(0, header.array_bytes, header.entry_size):
        entry = Entry.parse(array[start : start + header.entry_size])
        if entry:
            _check_bounds(start // header.entry_size + 1, entry, header)
    return Copy(header, array)


def _check_bounds(number: int, entry: Entry, header: Header) -> None:
    first, last = header.first_usable_lba, header.last_usable_lba
    if not first <= entry.first_lba <= entry.last_lba <= last:
        raise Damaged(
            f"partition {number} has sectors {entry.first_lba} to {entry.last_lba}, "
            f"usable are {first} to {last}"
        )
