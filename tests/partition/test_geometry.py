"""Disk layouts by libparted, types and attributes by us, looked at by sgdisk and fdisk."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from partition.errors import DeviceNotFound, InvalidTable, WriteFailed
from partition.geometry import Planned, Seen, check, disk_bytes, inspect, make_table
from tests.support.disks import (
    BOOT,
    PRIVATE,
    ROOT,
    assert_sound,
    assert_sound_to_fdisk,
    attributes,
    fdisk_flags,
    make_disk,
    run,
)
from tests.support.gptbytes import seal

if TYPE_CHECKING:
    from pathlib import Path

PLAN = [
    Planned("BOTTLEROCKET-BOOT-A", UUID(BOOT), 1 << 20, 0x0101 << 48),
    Planned("BOTTLEROCKET-ROOT-A", UUID(ROOT), (3 << 20) + 8192),
    Planned("BOTTLEROCKET-PRIVATE", UUID(PRIVATE), 1 << 20, 1 << 57),
]
SEEN = (
    Seen(1, "BOTTLEROCKET-BOOT-A", 1 << 20, 1 << 20),
    Seen(2, "BOTTLEROCKET-ROOT-A", 2 << 20, (3 << 20) + 8192),
    Seen(3, "BOTTLEROCKET-PRIVATE", 6 << 20, 1 << 20),
)


def image(path: Path, size_bytes: int) -> Path:
    path.touch()
    os.truncate(path, size_bytes)
    return path


def test_sgdisk_sees_types_names_places_and_bits(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.img", disk_bytes(PLAN))

    make_table(path, PLAN)

    assert path.stat().st_size == 8 << 20
    assert_sound(path)
    assert inspect(path) == SEEN
    shown = run("sgdisk", "-i", "2", str(path))
    assert "Partition GUID code: 5526016A-1A97-4EA4-B39A-B7C8C6CA4502" in shown
    assert "First sector: 4096 (at 2.0 MiB)" in shown
    assert "Last sector: 10255" in shown
    assert "Partition name: 'BOTTLEROCKET-ROOT-A'" in shown
    assert [attributes(path, number) for number in (1, 2, 3)] == [0x0101 << 48, 0, 1 << 57]


def test_fdisk_sees_the_same_with_sectors_of_4096_bytes(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.img", disk_bytes(PLAN))
    before = dict(os.environ)

    make_table(path, PLAN, sector_size=4096)

    assert_sound_to_fdisk(path, sector_size=4096)
    assert inspect(path, sector_size=4096) == SEEN
    assert fdisk_flags(path, 1, sector_size=4096) == {48, 56}
    assert fdisk_flags(path, 3, sector_size=4096) == {57}
    assert dict(os.environ) == before


def test_an_image_made_again_in_another_size_is_not_remembered(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.img", 64 << 20)
    make_table(path, PLAN)
    path.unlink()
    image(path, disk_bytes(PLAN))

    make_table(path, PLAN)

    assert_sound(path)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_libparted_sees_what_others_made(tmp_path: Path, sector_size: int) -> None:
    check(make_disk(tmp_path / "disk.img", sector_size=sector_size))


def test_a_partition_that_libparted_sees_elsewhere_is_told(tmp_path: Path) -> None:
    """The primary copy has a partition beyond the usable sectors, which only we refuse."""
    path = make_disk(tmp_path / "disk.img")
    disk = bytearray(path.read_bytes())
    struct.pack_into("<Q", disk, 1024 + 9 * 128 + 40, len(disk) // 512 - 33)
    seal(disk, 1)
    path.write_bytes(disk)

    with pytest.raises(InvalidTable) as caught:
        check(path)

    assert str(caught.value) == (
        f"cannot read the partition table of {path}: libparted sees partition 10 differently"
    )


def test_an_image_without_a_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidTable, match=r"libparted: .*: unrecognised disk label"):
        inspect(image(tmp_path / "disk.img", 8 << 20))


def test_a_disk_too_small_is_refused_by_libparted(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.img", disk_bytes(PLAN) - (2 << 20))

    with pytest.raises(WriteFailed, match=f"cannot write {path}: libparted: "):
        make_table(path, PLAN)


def test_a_size_that_is_no_multiple_of_a_sector_is_refused(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.img", 8 << 20)

    with pytest.raises(WriteFailed, match="would have 1000 bytes, expected a multiple of 512"):
        make_table(path, [Planned("BOOT", UUID(BOOT), 1000)])


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFound):
        make_table(tmp_path / "disk.img", PLAN)

    assert list(tmp_path.iterdir()) == []
