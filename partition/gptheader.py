"""One header of a GUID partition table: its fields, what makes it valid, its bytes.

UEFI specification 2.10, section 5.3.2, table 5.5. Decided here: when one header can be trusted.
Which of the two copies is used, and where they are written, is `partition.gpt`.

All bytes that are not fields (the four reserved ones, and everything behind the 92nd) are kept, so
that a header read and written again is the same byte for byte.

Plain records of this package are NamedTuples, which import several times as fast as dataclasses:
`signpost status` is asked often.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

SIGNATURE: Final = b"EFI PART"
PRIMARY_LBA: Final = 1

_FIELDS: Final = struct.Struct("<8sIIIIQQQQ16sQIII")
_CRC_OFFSET: Final = 16
_MIN_ENTRY_BYTES: Final = 128
# The specification names no upper limit. A header with a valid checksum can still be hostile, and
# must not make us read the whole disk into memory; Linux draws the line at the same place.
_MAX_ARRAY_BYTES: Final = 4 << 20


class Damaged(Exception):
    """This copy cannot be trusted; `str()` says why, and becomes one of the table's problems."""


class Header(NamedTuple):
    """The fields of one header. LBAs count sectors from the start of the disk; ends are inclusive.

    Attributes:
        revision: As it was read; 0x00010000 for every revision so far.
        header_size: Bytes that the checksum covers, from 92 up to a sector.
        reserved: Four bytes after the checksum.
        my_lba: Where this header is.
        alternate_lba: Where the other one is.
        first_usable_lba: First sector that a partition may use.
        last_usable_lba: Last sector that a partition may use.
        disk_guid: Identity of the disk.
        entries_lba: First sector of this copy's array of entries.
        entries_count: Entries in the array, used or not.
        entry_size: Bytes of one entry: 128, or 128 times a power of two.
        entries_crc32: Checksum of the array.
        tail: What follows the fields, to the end of the sector.
    """

    revision: int
    header_size: int
    reserved: bytes
    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_guid: UUID
    entries_lba: int
    entries_count: int
    entry_size: int
    entries_crc32: int
    tail: bytes

    @property
    def sector_size(self) -> int:
        """Bytes of a sector: a header fills exactly one."""
        return _FIELDS.size + len(self.tail)

    @property
    def array_bytes(self) -> int:
        """Bytes of the array of entries."""
        return self.entries_count * self.entry_size

    @property
    def array_sectors(self) -> int:
        """Sectors that the array occupies, the last one perhaps in part."""
        return -(-self.array_bytes // self.sector_size)

    @property
    def array_lbas(self) -> range:
        """The sectors of the array."""
        return range(self.entries_lba, self.entries_lba + self.array_sectors)

    @property
    def usable_lbas(self) -> range:
        """The sectors that partitions may use."""
        return range(self.first_usable_lba, self.last_usable_lba + 1)

    def pack(self) -> bytes:
        """The header's sector, with its checksum computed."""
        blank = self._sector(0)
        return self._sector(crc32(blank[: self.header_size]))

    def _sector(self, header_crc32: int) -> bytes:
        fields = _FIELDS.pack(
            SIGNATURE,
            self.revision,
            self.header_size,
            header_crc32,
            int.from_bytes(self.reserved, "little"),
            self.my_lba,
            self.alternate_lba,
            self.first_usable_lba,
            self.last_usable_lba,
            self.disk_guid.bytes_le,
            self.entries_lba,
            self.entries_count,
            self.entry_size,
            self.entries_crc32,
        )
        return fields + self.tail


def unchecked(sector: bytes) -> Header | None:
    """What a sector says as a header, damaged or not; None without the signature or if too short.

    The result is a hint where to look, never something to believe.
    """
    if len(sector) < _FIELDS.size or not sector.startswith(SIGNATURE):
        return None
    fields = _FIELDS.unpack_from(sector)
    _, revision, header_size, _, reserved, *places, guid, entries_lba, count, size, crc = fields
    my_lba, alternate_lba, first_usable_lba, last_usable_lba = places
    return Header(
        revision=revision,
        header_size=header_size,
        reserved=reserved.to_bytes(4, "little"),
        my_lba=my_lba,
        alternate_lba=alternate_lba,
        first_usable_lba=first_usable_lba,
        last_usable_lba=last_usable_lba,
        disk_guid=UUID(bytes_le=guid),
        entries_lba=entries_lba,
        entries_count=count,
        entry_size=size,
        entries_crc32=crc,
        tail=bytes(sector[_FIELDS.size :]),
    )


def parse(sector: bytes, *, lba: int, disk_sectors: int) -> Header:
    """Read a header and check all that can be known without its array.

    Args:
        sector: The whole sector that was read at `lba`.
        lba: Where it was read.
        disk_sectors: Sectors of the disk.

    Raises:
        Damaged: It cannot be trusted.
    """
    header = unchecked(sector)
    if header is None:
        raise Damaged("there is no GPT signature")
    if not _FIELDS.size <= header.header_size <= len(sector):
        raise Damaged(
            f"header size is {header.header_size}, expected {_FIELDS.size} to {len(sector)}"
        )
    stored = int.from_bytes(sector[_CRC_OFFSET : _CRC_OFFSET + 4], "little")
    covered = bytearray(sector[: header.header_size])
    covered[_CRC_OFFSET : _CRC_OFFSET + 4] = bytes(4)
    computed = crc32(covered)
    if stored != computed:
        raise Damaged(f"header checksum is {stored:#010x}, its bytes give {computed:#010x}")
    if header.my_lba != lba:
        raise Damaged(f"header says that it is at LBA {header.my_lba}, it was read at LBA {lba}")
    _check_geometry(header, disk_sectors)
    return header


def _check_geometry(header: Header, disk_sectors: int) -> None:
    multiple, rest = divmod(header.entry_size, _MIN_ENTRY_BYTES)
    # "This field shall be set to a value of 128 x 2^n where n is an integer greater than or equal
    # to zero": a power of two has a single bit.
    if rest or multiple.bit_count() != 1:
        raise Damaged(f"entry size is {header.entry_size}, expected 128 times a power of two")
    if not 1 <= header.array_bytes <= _MAX_ARRAY_BYTES:
        raise Damaged(
            f"array of entries has {header.array_bytes} bytes, expected 1 to {_MAX_ARRAY_BYTES}"
        )
    first, last = header.first_usable_lba, header.last_usable_lba
    if not first <= last < disk_sectors:
        raise Damaged(
            f"usable sectors are {first} to {last}, the disk has sectors 0 to {disk_sectors - 1}"
        )
    # Behind the protective MBR, the header, and an array of this size for the primary copy.
    if first < PRIMARY_LBA + 1 + header.array_sectors:
        raise Damaged(f"first usable sector {first} leaves no room for the primary array")
    # "The primary GPT must be located ... before the First Usable LBA", the backup "after the Last
    # Usable LBA", and its array before its header. The order of writes relies on it: neither copy's
    # place may reach into the other's, or into a partition.
    array = header.array_lbas
    room = (
        range(PRIMARY_LBA + 1, first)
        if header.my_lba == PRIMARY_LBA
        else range(last + 1, header.my_lba)
    )
    if not room.start <= array.start <= array.stop <= room.stop:
        raise Damaged(
            f"entries are in sectors {array.start} to {array.stop - 1}, "
            f"expected within {room.start} to {room.stop - 1}"
        )
