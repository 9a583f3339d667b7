"""Sets are found by type and order; what a boot loader would misread is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from partition.disk import Disk
from signpost.errors import LayoutInvalid
from signpost.layout import DualSet, Layout, Part, PartitionSet, SingleSet, Slot, find_layout
from tests.support.disks import BOOT, DATA, HASH, PRIVATE, ROOT
from tests.support.gptbytes import fixture, with_types

if TYPE_CHECKING:
    from pathlib import Path


def layout_of(content: bytes | bytearray, directory: Path) -> Layout:
    path = directory / "disk.img"
    path.write_bytes(content)
    with Disk.open(path) as disk:
        return find_layout(disk.read_table().table, disk="disk.img")


def test_two_sets(tmp_path: Path) -> None:
    found = layout_of(fixture("sgdisk-fresh"), tmp_path)

    assert found == DualSet(PartitionSet(1, 2, 3), PartitionSet(5, 6, 7), private=9)
    assert list(found.sets) == [Slot.A, Slot.B]
    assert [found.sets[Slot.B].number(part) for part in Part] == [5, 6, 7]


def test_one_set(tmp_path: Path) -> None:
    found = layout_of(fixture("sgdisk-single-set"), tmp_path)

    assert found == SingleSet(PartitionSet(1, 2, 3), private=5)
    assert list(found.sets) == [Slot.A]


def test_labels_do_not_matter(tmp_path: Path) -> None:
    """The third partition of this disk is called HASH-A, the fourth RESERVED-A."""
    kinds = (BOOT, ROOT, HASH, BOOT, ROOT, HASH, PRIVATE)

    found = layout_of(with_types(*kinds), tmp_path)

    assert found == DualSet(PartitionSet(1, 2, 3), PartitionSet(4, 5, 6), private=7)


def test_partitions_of_others_may_come_first(tmp_path: Path) -> None:
    kinds = (DATA, BOOT, ROOT, HASH, DATA, BOOT, ROOT, HASH, PRIVATE, PRIVATE)

    found = layout_of(with_types(*kinds), tmp_path)

    assert found == DualSet(PartitionSet(2, 3, 4), PartitionSet(6, 7, 8), private=9)


@dataclass(frozen=True)
class Wrong:
    """A table that is refused, and why."""

    name: str
    kinds: tuple[str, ...]
    why: str


WRONG = [
    Wrong("a disk of somebody else", (DATA,), "it has 0 boot partitions, expected 1 or 2"),
    Wrong(
        "three sets",
        (BOOT, ROOT, HASH, BOOT, ROOT, HASH, BOOT, ROOT, HASH, PRIVATE),
        "it has 3 boot partitions, expected 1 or 2",
    ),
    Wrong(
        "root before boot",
        (ROOT, BOOT, HASH, PRIVATE),
        "its boot partitions are 2 and its root partitions 1, expected 3",
    ),
    Wrong(
        "hash before root",
        (BOOT, HASH, ROOT, PRIVATE),
        "its boot partitions are 1 and its root partitions 3, expected 2",
    ),
    Wrong(
        "something between root and hash",
        (BOOT, ROOT, DATA, HASH, PRIVATE),
        "its boot partitions are 1 and its hash partitions 4, expected 3",
    ),
    Wrong(
        "boots first, then roots",
        (BOOT, BOOT, ROOT, ROOT, HASH, HASH, PRIVATE),
        "its boot partitions are 1 and 2 and its root partitions 3 and 4, expected 2 and 3",
    ),
    Wrong(
        "a set without its hash",
        (BOOT, ROOT, HASH, BOOT, ROOT, PRIVATE),
        "its boot partitions are 1 and 4 and its hash partitions 3, expected 3 and 6",
    ),
    Wrong(
        "a root too many",
        (BOOT, ROOT, HASH, ROOT, PRIVATE),
        "its boot partitions are 1 and its root partitions 2 and 4, expected 2",
    ),
    Wrong(
        "boot alone",
        (BOOT, PRIVATE),
        "its boot partitions are 1 and its root partitions none, expected 2",
    ),
    Wrong("no private partition", (BOOT, ROOT, HASH), "it has no private partition, expected one"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_another_order_is_refused_with_its_reason(tmp_path: Path, wrong: Wrong) -> None:
    disk = with_types(*wrong.kinds)

    with pytest.raises(LayoutInvalid) as caught:
        layout_of(disk, tmp_path)

    assert str(caught.value) == f"cannot find the partition sets of disk.img: {wrong.why}"


@pytest.mark.parametrize("first_lba, last_lba", [(6143, 6143), (2048, 20479), (4000, 4096)])
def test_sets_that_share_sectors_with_another_partition_are_refused(
    tmp_path: Path, first_lba: int, last_lba: int
) -> None:
    """Writing root A would destroy what is in the other one."""
    path = tmp_path / "disk.img"
    path.write_bytes(fixture("sgdisk-fresh"))
    with Disk.open(path) as disk:
        table = disk.read_table().table
    data = table.entry(10)
    moved = type(data)(data.type_guid, data.guid, first_lba, last_lba, 0, "")

    with pytest.raises(LayoutInvalid, match=r"partitions [123] and 10 overlap"):
        find_layout(table.with_entry(10, moved), disk="disk.img")


def test_the_other_slot() -> None:
    assert (Slot.A.other, Slot.B.other) == (Slot.B, Slot.A)
