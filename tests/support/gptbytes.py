"""Partition tables as bytes: damage them, change them, and seal them again.

Independent of the product: offsets are those of the UEFI specification, tables 5.5 and 5.6.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from functools import cache
from pathlib import Path
from uuid import UUID

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gpt"

# Offset and format of the header's fields.
HEADER = {
    "revision": (8, "<I"),
    "header_size": (12, "<I"),
    "header_crc32": (16, "<I"),
    "reserved": (20, "<I"),
    "my_lba": (24, "<Q"),
    "alternate_lba": (32, "<Q"),
    "first_usable_lba": (40, "<Q"),
    "last_usable_lba": (48, "<Q"),
    "entries_lba": (72, "<Q"),
    "entries_count": (80, "<I"),
    "entry_size": (84, "<I"),
    "entries_crc32": (88, "<I"),
}


def fixture(name: str) -> bytearray:
    """A whole disk of fixtures/gpt."""
    return bytearray(_decompressed(name))


@cache
def _decompressed(name: str) -> bytes:
    return lzma.decompress((FIXTURES / f"{name}.img.xz").read_bytes())


def field(disk: bytes | bytearray, lba: int, name: str, *, sector_size: int = 512) -> int:
    """A field of the header at `lba`."""
    offset, form = HEADER[name]
    value: int = struct.unpack_from(form, disk, lba * sector_size + offset)[0]
    return value


def last_lba(disk: bytes | bytearray, *, sector_size: int = 512) -> int:
    """Where the backup header is."""
    return len(disk) // sector_size - 1


def patch(disk: bytearray, lba: int, *, sector_size: int = 512, **fields: int) -> None:
    """Set fields of the header at `lba` and seal both its checksums again."""
    for name, value in fields.items():
        offset, form = HEADER[name]
        struct.pack_into(form, disk, lba * sector_size + offset, value)
    seal(disk, lba, sector_size=sector_size)


def seal(disk: bytearray, lba: int, *, sector_size: int = 512) -> None:
    """Compute both checksums of the copy whose header is at `lba`."""
    place = lba * sector_size
    start = field(disk, lba, "entries_lba", sector_size=sector_size) * sector_size
    length = field(disk, lba, "entries_count", sector_size=sector_size) * field(
        disk, lba, "entry_size", sector_size=sector_size
    )
    struct.pack_into("<I", disk, place + 88, zlib.crc32(disk[start : start + length]))
    size = field(disk, lba, "header_size", sector_size=sector_size)
    struct.pack_into("<I", disk, place + 16, 0)
    struct.pack_into("<I", disk, place + 16, zlib.crc32(disk[place : place + size]))


def flip(disk: bytearray, offset: int) -> None:
    """Damage one byte."""
    disk[offset] ^= 0x40


def with_types(*kinds: str) -> bytearray:
    """A disk with partitions of these types, in this order: sgdisk's, with other types."""
    disk = fixture("sgdisk-fresh")
    for lba in (1, last_lba(disk)):
        start = field(disk, lba, "entries_lba") * 512
        for number in range(10):
            place = start + number * 128
            if number < len(kinds):
                disk[place : place + 16] = UUID(kinds[number]).bytes_le
            else:
                disk[place : place + 128] = bytes(128)
        seal(disk, lba)
    return disk
