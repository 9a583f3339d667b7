"""A boot loader: GRUB's `gptprio.next`, in one page, sharing no code with what it is a witness of.

It reads the primary table if both its checksums hold, else the backup at the end of the disk; takes
the boot partition with the greatest priority among those with a priority and (tries or success),
the first on a tie; spends a try if there is one, writing both copies; and says which it boots.

    assert boot(disk) == "B"
    assert next_boot(disk) == "A"        # only a look
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Protocol

BOOT_TYPE = bytes.fromhex("6861636b 2074 6865 2070 6c616e657421")
"""The boot partition type as its bytes are on disk: "hack the planet!"."""


class Stops(Exception):
    """There is nothing to boot; the machine stops here."""


class Storage(Protocol):
    """A disk, as a boot loader has it."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...


class Memory:
    """A disk in a bytearray."""

    def __init__(self, disk: bytearray) -> None:
        self.disk = disk
        self.size = len(disk)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.disk[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.disk[offset : offset + len(data)] = data


class Image:
    """A disk image."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def write(self, offset: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)


def boot(disk: Path | bytearray | Storage, sector_size: int = 512) -> str:
    """Choose a set, spend its try, and return "A" or "B" (the first or second boot partition).

    Raises:
        Stops: No set will boot, or there is no valid table.
    """
    storage = _storage(disk)
    header, array = _table(storage, sector_size)
    name, place = _choose(header, array)
    attributes = struct.unpack_from("<Q", array, place + 48)[0]
    tries = attributes >> 52 & 15
    if tries:
        changed = bytearray(array)
        struct.pack_into("<Q", changed, place + 48, attributes - (1 << 52))
        _write(storage, sector_size, header, bytes(changed))
    return name


def next_boot(disk: Path | bytearray | Storage, sector_size: int = 512) -> str | None:
    """The set that `boot` would choose, or None; changes nothing."""
    try:
        return _choose(*_table(_storage(disk), sector_size))[0]
    except Stops:
        return None


def _storage(disk: Path | bytearray | Storage) -> Storage:
    if isinstance(disk, bytearray):
        return Memory(disk)
    return Image(disk) if isinstance(disk, Path) else disk


def _table(storage: Storage, sector_size: int) -> tuple[bytes, bytes]:
    """The first valid header, and its array."""
    for lba in (1, storage.size // sector_size - 1):
        header = storage.read(lba * sector_size, sector_size)
        if header[:8] != b"EFI PART":
            continue
        length, checksum = struct.unpack_from("<II", header, 12)
        if not 92 <= length <= sector_size:
            continue
        if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != checksum:
            continue
        (mine,) = struct.unpack_from("<Q", header, 24)
        start, count, size, array_checksum = struct.unpack_from("<QIII", header, 72)
        array = storage.read(start * sector_size, count * size)
        if mine == lba and zlib.crc32(array) == array_checksum:
            return header, array
    raise Stops("no valid partition table")


def _choose(header: bytes, array: bytes) -> tuple[str, int]:
    """The name of the set to boot, and the place of its boot partition in the array."""
    (size,) = struct.unpack_from("<I", header, 84)
    best: tuple[int, str, int] | None = None
    names = iter("AB")
    for place in range(0, len(array), size):
        if array[place : place + 16] != BOOT_TYPE:
            continue
        name = next(names)
        attributes = struct.unpack_from("<Q", array, place + 48)[0]
        priority, tries, successful = (
            attributes >> 48 & 15,
            attributes >> 52 & 15,
            attributes >> 56 & 1,
        )
        if priority and (tries or successful) and (best is None or priority > best[0]):
            best = priority, name, place
    if best is None:
        raise Stops("no bootable partition set")
    return best[1], best[2]


def _write(storage: Storage, sector_size: int, header: bytes, array: bytes) -> None:
    """Write both copies, the backup first."""
    last = storage.size // sector_size - 1
    sectors = -(-len(array) // sector_size)
    found_at_start = struct.unpack_from("<Q", header, 24)[0] == 1
    primary_array = struct.unpack_from("<Q", header, 72)[0] if found_at_start else 2
    for mine, other, start in ((last, 1, last - sectors), (1, last, primary_array)):
        copy = bytearray(header)
        struct.pack_into("<QQ", copy, 24, mine, other)
        struct.pack_into("<Q", copy, 72, start)
        struct.pack_into("<I", copy, 88, zlib.crc32(array))
        struct.pack_into("<I", copy, 16, 0)
        (length,) = struct.unpack_from("<I", copy, 12)
        struct.pack_into("<I", copy, 16, zlib.crc32(bytes(copy[:length])))
        storage.write(start * sector_size, array)
        storage.write(mine * sector_size, bytes(copy))
