"""Writing a table: the order of writes, what stays untouched, and every power cut on the way."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import pytest

from partition.errors import WriteFailed
from partition.gpt import FLUSH, Plan, ReadTable, Write, read_table, write_plan
from tests.support.bootloader import next_boot
from tests.support.gptbytes import field, fixture, flip, last_lba, patch, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UPGRADE_TO_B = (0x0101 << 48, 0x0012 << 48)
"""Attributes of boot A and B: A priority 1 and successful; B priority 2 and one try."""


def read(disk: bytearray, sector_size: int = 512) -> ReadTable:
    return read_table(
        lambda start, length: bytes(disk[start : start + length]), len(disk), sector_size
    )


def apply(disk: bytearray, plan: Plan) -> None:
    for step in plan:
        if isinstance(step, Write):
            disk[step.offset : step.offset + len(step.data)] = step.data


def flip_plan(disk: bytearray, sector_size: int = 512) -> Plan:
    """The plan of an upgrade from A to B."""
    table = read(disk, sector_size).table
    for number, attributes in zip((1, 5), UPGRADE_TO_B, strict=True):
        table = table.with_attributes(number, attributes)
    return write_plan(table)


class TestOrder:
    def test_is_backup_first_and_a_flush_before_the_primary(self) -> None:
        disk = fixture("sgdisk-fresh")

        offsets = [
            step.offset // 512 if isinstance(step, Write) else step for step in flip_plan(disk)
        ]

        assert offsets == [24543, 24575, FLUSH, 2, 1, FLUSH]

    def test_is_primary_first_when_the_backup_is_the_only_valid_copy(self) -> None:
        disk = fixture("sgdisk-fresh")
        flip(disk, 512 + 20)

        offsets = [
            step.offset // 512 if isinstance(step, Write) else step for step in flip_plan(disk)
        ]

        assert offsets == [2, FLUSH, 1, FLUSH, 24543, 24575, FLUSH]

    def test_counts_in_the_sectors_of_the_disk(self) -> None:
        disk = fixture("fdisk-4096")

        offsets = [
            step.offset if isinstance(step, Write) else step for step in flip_plan(disk, 4096)
        ]

        assert offsets == [3067 * 4096, 3071 * 4096, FLUSH, 2 * 4096, 4096, FLUSH]


class TestWhatIsTouched:
    @pytest.mark.parametrize(
        "name, sector_size",
        [
            ("sgdisk-fresh", 512),
            ("sgdisk-moved-256", 512),
            ("cgpt-upgrade-pending", 512),
            ("fdisk-4096", 4096),
        ],
    )
    def test_writing_a_table_as_it_is_changes_no_byte(self, name: str, sector_size: int) -> None:
        disk = fixture(name)
        # Whatever a tool left in reserved fields, behind the header, in unused and used entries.
        for lba in (1, last_lba(disk, sector_size=sector_size)):
            place = lba * sector_size
            disk[place + 92 : place + sector_size] = (bytes(range(256)) * 16)[92:sector_size]
            start = field(disk, lba, "entries_lba", sector_size=sector_size) * sector_size
            disk[start + 20 * 128 + 16 : start + 21 * 128] = bytes(range(112))
            disk[start + 8 * 128 + 120 : start + 9 * 128] = b"\xde\xad\xbe\xef" * 2
            patch(disk, lba, sector_size=sector_size, reserved=0xA5A5A5A5)
        before = bytes(disk)

        found = read(disk, sector_size)
        apply(disk, write_plan(found.table))

        assert found.problems == ()
        assert bytes(disk) == before

    def test_attributes_change_eight_bytes_of_an_entry_and_the_checksums(self) -> None:
        disk = fixture("sgdisk-moved-256")
        before = bytes(disk)

        table = read(disk).table
        apply(disk, write_plan(table.with_attributes(5, 0xFEDC_BA98_7654_3210)))

        last = last_lba(disk)
        allowed = set[int]()
        for lba in (1, last):
            entry = field(disk, lba, "entries_lba") * 512 + 4 * 128
            allowed.update(range(entry + 48, entry + 56))
            allowed.update(range(lba * 512 + 16, lba * 512 + 20))
            allowed.update(range(lba * 512 + 88, lba * 512 + 92))
        changed = {
            place
            for sector in range(0, len(disk), 512)
            if disk[sector : sector + 512] != before[sector : sector + 512]
            for place in range(sector, sector + 512)
            if disk[place] != before[place]
        }
        assert changed
        assert changed <= allowed
        primary = field(disk, 1, "entries_lba") * 512 + 4 * 128
        assert disk[primary + 48 : primary + 56] == bytes.fromhex("1032547698badcfe")


class TestRepair:
    """A damaged copy is written where it was, or where the standard wants it."""

    @pytest.mark.parametrize(
        "name", ["sgdisk-fresh", "sgdisk-moved-256", "cgpt-upgrade-pending", "sgdisk-single-set"]
    )
    @pytest.mark.parametrize("place", [3, 20, 41, 75])
    def test_of_a_primary_header_restores_every_byte(self, name: str, place: int) -> None:
        disk = fixture(name)
        before = bytes(disk)
        flip(disk, 512 + place)

        apply(disk, write_plan(read(disk).table))

        assert bytes(disk) == before

    @pytest.mark.parametrize("name", ["sgdisk-fresh", "sgdisk-moved-256", "cgpt-upgrade-pending"])
    def test_of_an_erased_primary_header_finds_the_array_where_it_is(self, name: str) -> None:
        disk = fixture(name)
        before = bytes(disk)
        disk[512:1024] = bytes(512)

        apply(disk, write_plan(read(disk).table))

        assert bytes(disk) == before

    def test_of_a_primary_of_which_nothing_is_left_uses_the_standard_place(self) -> None:
        disk = fixture("cgpt-upgrade-pending")
        disk[512 : 80 * 512] = bytes(79 * 512)

        apply(disk, write_plan(read(disk).table))

        assert read(disk).problems == ()
        assert field(disk, 1, "entries_lba") == 2

    @pytest.mark.parametrize("name", ["sgdisk-fresh", "sgdisk-moved-256", "cgpt-upgrade-pending"])
    def test_of_entries_of_either_copy_restores_every_byte(self, name: str) -> None:
        for lba in (1, 24575):
            disk = fixture(name)
            before = bytes(disk)
            flip(disk, field(disk, lba, "entries_lba") * 512 + 700)

            apply(disk, write_plan(read(disk).table))

            assert bytes(disk) == before

    def test_of_a_backup_that_was_erased_with_its_array(self) -> None:
        disk = fixture("sgdisk-moved-256")
        before = bytes(disk)
        disk[24511 * 512 :] = bytes(65 * 512)

        apply(disk, write_plan(read(disk).table))

        assert bytes(disk) == before

    def test_of_a_backup_array_away_from_its_header_stays_there(self) -> None:
        disk = fixture("sgdisk-fresh")
        for lba in (1, 24575):
            patch(disk, lba, last_usable_lba=24000)
        disk[24100 * 512 : 24132 * 512] = disk[24543 * 512 : 24575 * 512]
        patch(disk, 24575, entries_lba=24100)
        before = bytes(disk)
        flip(disk, 24575 * 512 + 50)

        apply(disk, write_plan(read(disk).table))

        assert bytes(disk) == before

    def test_of_a_grown_image_puts_the_backup_at_the_new_end(self) -> None:
        disk = fixture("sgdisk-fresh") + bytes(1 << 20)

        apply(disk, write_plan(read(disk).table))

        assert read(disk).problems == ()
        last = last_lba(disk)
        assert field(disk, 1, "alternate_lba") == last
        assert field(disk, last, "entries_lba") == last - 32
        assert field(disk, 1, "last_usable_lba") == 24542

    def test_of_an_image_cut_off_behind_its_partitions_makes_room(self) -> None:
        disk = fixture("sgdisk-fresh")[: 24543 * 512]

        apply(disk, write_plan(read(disk).table))

        assert read(disk).problems == ()
        assert field(disk, 1, "last_usable_lba") == 24542 - 32 - 1

    def test_of_an_image_without_room_for_a_backup_is_refused(self) -> None:
        disk = fixture("sgdisk-fresh")
        # The last partition reaches to the last usable sector, and the image ends right there.
        struct.pack_into("<Q", disk, 1024 + 9 * 128 + 40, 24542)
        seal(disk, 1)
        table = read(disk[: 24543 * 512]).table

        with pytest.raises(WriteFailed, match="LBA 24542 belongs to partitions, and the disk ends"):
            write_plan(table)


@dataclass(frozen=True)
class Beginning:
    """A disk before an upgrade to B; whether a boot loader finds its table at all."""

    name: str
    make: Callable[[], bytearray]
    sector_size: int = 512
    bootable: bool = True


def damaged(name: str, *places: int) -> Callable[[], bytearray]:
    def make() -> bytearray:
        disk = fixture(name)
        for place in places:
            flip(disk, place)
        return disk

    return make


def with_other_backup() -> bytearray:
    """As after a cut between the copies of an earlier write."""
    disk = fixture("sgdisk-fresh")
    struct.pack_into("<Q", disk, 24543 * 512 + 4 * 128 + 48, 0x0013 << 48)
    seal(disk, 24575)
    return disk


def grown(*places: int, by: int = 1 << 20) -> Callable[[], bytearray]:
    return lambda: damaged("sgdisk-fresh", *places)() + bytearray(by)


BEGINNINGS = [
    Beginning("both copies are whole", lambda: fixture("sgdisk-fresh")),
    Beginning("sectors of 4096 bytes", lambda: fixture("fdisk-4096"), 4096),
    Beginning("arrays elsewhere, 256 entries", lambda: fixture("sgdisk-moved-256")),
    Beginning("primary header is damaged", damaged("sgdisk-fresh", 512 + 30)),
    Beginning("primary entries are damaged", damaged("sgdisk-fresh", 1024 + 30)),
    Beginning("primary of 4096 is damaged", damaged("fdisk-4096", 4096 + 30), 4096),
    Beginning("backup header is damaged", damaged("sgdisk-fresh", 24575 * 512 + 30)),
    Beginning("backup entries are damaged", damaged("sgdisk-fresh", 24543 * 512 + 30)),
    Beginning("the copies differ", with_other_backup),
    Beginning("the image has grown", grown()),
    Beginning("the image has grown by less than a copy", grown(by=7 * 512)),
    Beginning("it has grown, the primary is damaged", grown(512 + 60), bootable=False),
]


def cut_states(disk: bytearray, plan: Plan) -> Iterator[None]:
    """Bring `disk` into every state that a power cut during `plan` may leave, one after the other.

    What was flushed is there; of the writes since, any subset, each torn between any two of its
    512-byte sectors.
    """
    groups: list[list[Write]] = [[]]
    for step in plan:
        if isinstance(step, Write):
            groups[-1].append(step)
        else:
            groups.append([])
    for group in groups:
        for kept in product(*(range(0, len(write.data) + 1, 512) for write in group)):
            with partly(disk, group, kept):
                yield
        apply(disk, tuple(group))


@contextmanager
def partly(disk: bytearray, group: list[Write], kept: tuple[int, ...]) -> Iterator[None]:
    before = [bytes(disk[write.offset : write.offset + len(write.data)]) for write in group]
    for write, length in zip(group, kept, strict=True):
        disk[write.offset : write.offset + length] = write.data[:length]
    yield
    for write, data in zip(group, before, strict=True):
        disk[write.offset : write.offset + len(data)] = data


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=lambda beginning: beginning.name)
def test_a_power_cut_leaves_the_old_table_or_the_new_one(beginning: Beginning) -> None:
    disk, size = beginning.make(), beginning.sector_size
    old = read(disk, size).table
    plan = flip_plan(disk, size)
    seen = []

    for _ in cut_states(disk, plan):
        found = read(disk, size).table
        flags = [found.entry(number).attributes >> 48 & 0x1FF for number in (1, 5)]
        assert flags in ([0x101, 0], [0x101, 0x012])
        boots = next_boot(disk, size)
        if beginning.bootable:
            assert boots is not None
        if boots is not None:
            assert boots == ("A" if flags[1] == 0 else "B")
        seen.append(boots)

    # Every sector of two arrays and two headers was a place to cut, and the flip did happen.
    assert len(seen) >= 3 * len(old.array) // 512
    assert seen[0] == ("A" if beginning.bootable else None)
    assert seen[-1] == "B"
    assert read(disk, size).problems == ()


def test_until_the_primary_header_is_written_the_boot_loader_sees_the_old_table() -> None:
    disk = fixture("sgdisk-fresh")
    plan = flip_plan(disk)
    boots = []
    for end in range(len(plan) + 1):
        state = bytearray(disk)
        apply(state, plan[:end])
        boots.append(next_boot(state))

    # Backup entries, backup header, flush, primary entries: torn primary, and the backup is new.
    assert boots == ["A", "A", "A", "A", "B", "B", "B"]
