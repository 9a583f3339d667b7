"""New partition tables on disk images, and a second opinion on existing ones: libparted.

The only module that imports pyparted. libparted lays the partitions out and writes the first table;
through pyparted it can set neither type GUIDs nor attribute bits, and releases before 3.5 zero
those bits. So our own codec sets both afterwards, and libparted never writes a table that already
carries them. What the partitions mean is the caller's.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import _ped
import parted

from partition.disk import Disk
from partition.errors import InvalidTable, WriteFailed
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from uuid import UUID

ALIGNMENT_BYTES = 1 << 20
"""Partitions start at multiples of this, as all tools do it today."""

# The environment variable by which libparted is told the sector size of an image file (init_file in
# its arch/linux.c); block devices know theirs.
_SECTOR_SIZE_VARIABLE = "PARTED_SECTOR_SIZE"

# They have no base class of their own.
_REFUSALS = (
    _ped.AlignmentException,
    _ped.ConstraintException,
    _ped.CreateException,
    _ped.DeviceException,
    _ped.DiskException,
    _ped.DiskLabelException,
    _ped.GeometryException,
    _ped.IOException,
    _ped.PartedException,
    _ped.PartitionException,
    _ped.UnknownDeviceException,
)


class Planned(NamedTuple):
    """A partition to make.

    Attributes:
        label: Its name, at most 36 UTF-16 code units.
        type_guid: Its type.
        length_bytes: Its size, a multiple of the sector size.
        attributes: Its 64 attribute bits.
    """

    label: str
    type_guid: UUID
    length_bytes: int
    attributes: int = 0


class Seen(NamedTuple):
    """A partition as libparted sees it; number from 1, place in bytes."""

    number: int
    label: str
    offset_bytes: int
    length_bytes: int


def disk_bytes(partitions: Sequence[Planned]) -> int:
    """The smallest size of a disk for these partitions, in whole MiB."""
    aligned = sum(-(-each.length_bytes // ALIGNMENT_BYTES) for each in partitions)
    # One unit before the first partition and one behind the last, for the two copies of the table.
    return (aligned + 2) * ALIGNMENT_BYTES


def make_table(
    path: Path,
    partitions: Sequence[Planned],
    *,
    sector_size: int = 512,
    kernel: Kernel = KERNEL,
) -> None:
    """Give the disk image `path` a new table, with partitions one after the other from 1 MiB on.

    What the image held is forgotten, not erased.

    Args:
        path: An existing file of at least `disk_bytes(partitions)` bytes.
        partitions: From number 1.
        sector_size: 512 or 4096.
        kernel: Where the last write, of types and attributes, goes.

    Raises:
        WriteFailed: libparted refuses: no room, or no permission.
        DeviceNotFound: There is no such file.
    """
    with Disk.open(path, writable=True, kernel=kernel) as disk:
        disk.lock()
        with _device(path, sector_size) as device:
            _lay_out(device, partitions)
        table = disk.read_table().table
        for number, planned in enumerate(partitions, start=1):
            entry = table.entry(number)
            table = table.with_entry(number, entry.with_type(planned.type_guid))
            table = table.with_attributes(number, planned.attributes)
        disk.write_table(table)


def inspect(path: Path, *, sector_size: int = 512) -> tuple[Seen, ...]:
    """The partitions of a disk image as libparted sees them, in order of their place.

    Raises:
        InvalidTable: libparted finds no table, or a damaged one.
    """
    with _device(path, sector_size) as device:
        try:
            disk = parted.newDisk(device)
        except _REFUSALS as error:
            raise InvalidTable(str(path), [_words(error)]) from error
        return tuple(
            Seen(
                each.number,
                each.getPedPartition().get_name(),
                each.geometry.start * sector_size,
                each.geometry.length * sector_size,
            )
            for each in disk.partitions
        )


def check(path: Path) -> None:
    """Make sure that libparted sees the very partitions that our codec sees.

    Raises:
        InvalidTable: It does not, or one of the two finds no valid table.
    """
    with Disk.open(path) as disk:
        table = disk.read_table().table
    ours = {
        Seen(number, entry.label, *table.extent(number))
        for number, entry in enumerate(table.entries, start=1)
        if entry
    }
    differing = ours ^ set(inspect(path, sector_size=table.sector_size))
    if differing:
        numbers = ", ".join(map(str, sorted({each.number for each in differing})))
        raise InvalidTable(str(path), [f"libparted sees partition {numbers} differently"])


def _lay_out(device: parted.Device, partitions: Sequence[Planned]) -> None:
    try:
        disk = parted.freshDisk(device, "gpt")
        start = ALIGNMENT_BYTES // device.sectorSize
        for planned in partitions:
            length, rest = divmod(planned.length_bytes, device.sectorSize)
            if rest or not length:
                raise WriteFailed(
                    device.path,
                    f"partition {planned.label} would have {planned.length_bytes} bytes, "
                    f"expected a multiple of {device.sectorSize}",
                )
            geometry = parted.Geometry(device, start=start, length=length)
            made = parted.Partition(disk, parted.PARTITION_NORMAL, geometry=geometry)
            disk.addPartition(made, constraint=parted.Constraint(exactGeom=geometry))
            made.getPedPartition().set_name(planned.label)
            start = -(-(start + length) * device.sectorSize // ALIGNMENT_BYTES) * (
                ALIGNMENT_BYTES // device.sectorSize
            )
        disk.commitToDevice()
    except _REFUSALS as error:
        raise WriteFailed(device.path, _words(error)) from error


@contextmanager
def _device(path: Path, sector_size: int) -> Iterator[parted.Device]:
    before = os.environ.get(_SECTOR_SIZE_VARIABLE)
    os.environ[_SECTOR_SIZE_VARIABLE] = str(sector_size)
    try:
        device = parted.getDevice(str(path))
    finally:
        if before is None:
            del os.environ[_SECTOR_SIZE_VARIABLE]
        else:
            os.environ[_SECTOR_SIZE_VARIABLE] = before
    try:
        yield device
    finally:
        # libparted would remember the size of the file, and what it has read of it.
        device.removeFromCache()


def _words(error: Exception) -> str:
    return f"libparted: {' '.join(str(error).split())}"
