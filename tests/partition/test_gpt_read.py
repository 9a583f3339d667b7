"""Reading a table: both copies are checked in full, the primary is preferred, damage is told."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from partition.errors import InvalidTable, ReadFailed
from partition.gpt import ReadTable, Source, read_table
from tests.support.gptbytes import field, fixture, flip, last_lba, patch, seal

if TYPE_CHECKING:
    from collections.abc import Callable

BACKUP = 24575
"""LBA of the backup header of the 512-byte fixtures: 12 MiB."""


def read(disk: bytes | bytearray, sector_size: int | None = 512) -> ReadTable:
    return read_table(
        lambda start, length: bytes(disk[start : start + length]),
        len(disk),
        sector_size,
        disk="disk.img",
    )


def label(found: ReadTable, number: int = 1) -> str:
    return found.table.entry(number).label


@dataclass(frozen=True)
class Damage:
    """A way to damage one copy, and a word of the sentence that tells it."""

    name: str
    do: Callable[[bytearray, int], None]
    told: str


def entry_place(disk: bytearray, lba: int, number: int) -> int:
    return field(disk, lba, "entries_lba") * 512 + (number - 1) * 128


def move_entry(disk: bytearray, lba: int, number: int, first: int, last: int) -> None:
    struct.pack_into("<QQ", disk, entry_place(disk, lba, number) + 32, first, last)
    seal(disk, lba)


def shift_entries(disk: bytearray, lba: int, to: int) -> None:
    """Declare the array at another place, with its bytes there."""
    start = field(disk, lba, "entries_lba") * 512
    disk[to * 512 : to * 512 + 16384] = disk[start : start + 16384]
    patch(disk, lba, entries_lba=to)


DAMAGES = [
    Damage("signature", lambda disk, lba: flip(disk, lba * 512 + 3), "no GPT signature"),
    Damage("header byte", lambda disk, lba: flip(disk, lba * 512 + 41), "header checksum"),
    Damage("header checksum", lambda disk, lba: flip(disk, lba * 512 + 17), "header checksum"),
    Damage(
        "entry byte",
        lambda disk, lba: flip(disk, entry_place(disk, lba, 3) + 60),
        "checksum of the entries",
    ),
    Damage(
        "last byte of the array",
        lambda disk, lba: flip(disk, entry_place(disk, lba, 128) + 127),
        "checksum of the entries",
    ),
    Damage("header too short", lambda d, lba: patch(d, lba, header_size=91), "header size is 91"),
    Damage("header too long", lambda d, lba: patch(d, lba, header_size=513), "header size is 513"),
    Damage("header elsewhere", lambda d, lba: patch(d, lba, my_lba=7), "says that it is at LBA 7"),
    Damage(
        "usable sectors reversed",
        lambda disk, lba: patch(disk, lba, first_usable_lba=24543, last_usable_lba=24542),
        "usable sectors are 24543 to 24542",
    ),
    Damage(
        "usable sectors beyond the disk",
        lambda disk, lba: patch(disk, lba, last_usable_lba=24576),
        "usable sectors are 34 to 24576",
    ),
    Damage(
        "usable sectors over the primary array",
        lambda disk, lba: patch(disk, lba, first_usable_lba=33),
        "leaves no room for the primary array",
    ),
    Damage("no entries", lambda d, lba: patch(d, lba, entries_count=0), "has 0 bytes"),
    Damage("entries for ever", lambda d, lba: patch(d, lba, entries_count=1 << 31), "bytes, expec"),
    Damage("entries too small", lambda d, lba: patch(d, lba, entry_size=64), "entry size is 64"),
    Damage("entries of no power", lambda d, lba: patch(d, lba, entry_size=384), "size is 384"),
    Damage(
        "array far outside the disk",
        lambda disk, lba: patch(disk, lba, entries_lba=1 << 62),
        "entries are in sectors",
    ),
    Damage(
        "array over the header",
        lambda disk, lba: patch(disk, lba, entries_lba=lba),
        "entries are in sectors",
    ),
    Damage(
        "array among the partitions", lambda d, lba: shift_entries(d, lba, 22600), "entries are in"
    ),
    Damage(
        "partition reversed",
        lambda disk, lba: move_entry(disk, lba, 2, 6143, 4096),
        "partition 2 has sectors 6143 to 4096",
    ),
    Damage(
        "partition beyond the usable sectors",
        lambda disk, lba: move_entry(disk, lba, 10, 20480, 24543),
        "partition 10 has sectors 20480 to 24543, usable are 34 to 24542",
    ),
    Damage(
        "partition over the primary array",
        lambda disk, lba: move_entry(disk, lba, 1, 33, 4095),
        "partition 1 has sectors 33 to 4095",
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
class TestDamage:
    def test_of_the_primary_leads_to_the_backup_and_is_told(self, damage: Damage) -> None:
        disk = fixture("sgdisk-fresh")
        damage.do(disk, 1)

        found = read(disk)

        assert found.source is Source.BACKUP
        assert label(found) == "BOTTLEROCKET-BOOT-A"
        (problem,) = found.problems
        assert problem.startswith("primary copy is damaged: ")
        assert damage.told in problem
        assert problem.endswith("; using the backup copy")

    def test_of_the_backup_changes_nothing_and_is_told(self, damage: Damage) -> None:
        disk = fixture("sgdisk-fresh")
        damage.do(disk, BACKUP)

        found = read(disk)

        assert found.source is Source.PRIMARY
        assert label(found) == "BOTTLEROCKET-BOOT-A"
        (problem,) = found.problems
        assert problem.startswith("backup copy is damaged: ")
        assert damage.told in problem

    def test_of_both_is_refused_in_one_line(self, damage: Damage) -> None:
        disk = fixture("sgdisk-fresh")
        damage.do(disk, 1)
        damage.do(disk, BACKUP)

        with pytest.raises(InvalidTable) as caught:
            read(disk)

        message = str(caught.value)
        assert message.startswith("cannot read the partition table of disk.img: ")
        assert damage.told in message
        assert "\n" not in message


def test_two_valid_copies_that_differ_are_the_primary() -> None:
    """Power was lost between the two: the flip had not happened yet."""
    disk = fixture("sgdisk-fresh")
    disk[entry_place(disk, BACKUP, 5) + 54] = 0x12
    seal(disk, BACKUP)

    found = read(disk)

    assert found.source is Source.PRIMARY
    assert found.table.entry(5).attributes == 0
    assert found.problems == ("backup copy differs from the primary copy; using the primary copy",)


def test_a_sector_that_cannot_be_read_counts_as_damage() -> None:
    disk = fixture("sgdisk-fresh")

    def failing(start: int, length: int) -> bytes:
        if start <= 512 < start + length:
            raise ReadFailed("/dev/sda", "Input/output error (byte 512)")
        return bytes(disk[start : start + length])

    found = read_table(failing, len(disk), 512)

    assert found.source is Source.BACKUP
    assert "Input/output error (byte 512)" in found.problems[0]


def test_nothing_readable_at_all_is_an_invalid_table() -> None:
    """The disk is to blame, and the line says so; "no signature" would blame whoever made it."""

    def failing(start: int, length: int) -> bytes:
        raise ReadFailed("/dev/sda", f"Input/output error ({start} {length})")

    with pytest.raises(InvalidTable, match=r"Input/output error \(512 512\)") as caught:
        read_table(failing, 12 << 20, 512)
    assert "no GPT signature" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1023, 1024, 4096, 8191, 16896, 40000])
@pytest.mark.parametrize("sector_size", [512, 4096, None])
def test_a_disk_that_is_too_small_is_an_invalid_table(size: int, sector_size: int | None) -> None:
    disk = fixture("sgdisk-fresh")[:size]

    with pytest.raises(InvalidTable):
        read(disk, sector_size)


def test_an_empty_disk_says_that_there_is_no_table() -> None:
    with pytest.raises(InvalidTable) as caught:
        read(bytes(1 << 20), None)

    assert str(caught.value) == (
        "cannot read the partition table of disk.img: there is no GPT signature at either end"
    )


def test_an_image_that_was_cut_off_is_told_by_its_bounds() -> None:
    disk = fixture("sgdisk-fresh")[: 8 << 20]

    with pytest.raises(InvalidTable, match="usable sectors are 34 to 24542, the disk has sectors"):
        read(disk)


class TestPlaces:
    """The headers' own places are honoured."""

    def test_primary_array_behind_a_gap(self) -> None:
        disk = fixture("cgpt-upgrade-pending")
        assert field(disk, 1, "entries_lba") == 42

        assert label(read(disk), 5) == "BOTTLEROCKET-BOOT-B"

    def test_backup_array_away_from_its_header(self) -> None:
        disk = fixture("sgdisk-fresh")
        patch(disk, BACKUP, last_usable_lba=24000)
        shift_entries(disk, BACKUP, 24100)
        flip(disk, 512)

        found = read(disk)

        assert found.source is Source.BACKUP
        assert found.table.backup.entries_lba == 24100

    def test_256_entries_of_which_the_last_is_used(self) -> None:
        disk = fixture("sgdisk-moved-256")
        for lba in (1, BACKUP):
            last = entry_place(disk, lba, 256)
            disk[last : last + 128] = disk[last - 255 * 128 : last - 254 * 128]
            seal(disk, lba)

        found = read(disk)

        assert found.problems == ()
        assert found.table.entry(256).label == "BOTTLEROCKET-BOOT-A"

    @pytest.mark.parametrize("entry_size", [256, 512, 4096])
    def test_longer_entries_keep_what_is_behind_them(self, entry_size: int) -> None:
        disk = with_entry_size(fixture("sgdisk-fresh"), entry_size)

        found = read(disk)

        assert found.problems == ()
        assert len(found.table.entries) == 10
        tails = [entry.tail for entry in found.table.entries if entry]
        assert tails == [bytes([number]) * (entry_size - 128) for number in range(1, 11)]

    def test_a_longer_header_is_covered_by_its_checksum(self) -> None:
        disk = fixture("sgdisk-fresh")
        for lba in (1, BACKUP):
            disk[lba * 512 + 92 : lba * 512 + 128] = b"later revisions may use this, so what?"[:36]
            patch(disk, lba, header_size=128, revision=0x00020000)
        assert read(disk).problems == ()

        flip(disk, 512 + 120)

        assert "header checksum" in read(disk).problems[0]

    def test_a_backup_where_the_image_ended_before_it_grew(self) -> None:
        disk = fixture("sgdisk-fresh") + bytes(1 << 20)

        found = read(disk)

        assert found.source is Source.PRIMARY
        assert found.problems == (
            "backup copy is at LBA 24575, not at the end of the disk (LBA 26623)",
        )

    def test_a_backup_elsewhere_is_found_when_the_primary_is_damaged(self) -> None:
        disk = fixture("sgdisk-fresh") + bytes(1 << 20)
        flip(disk, 512 + 60)

        found = read(disk)

        assert found.source is Source.BACKUP
        assert label(found) == "BOTTLEROCKET-BOOT-A"

    @pytest.mark.parametrize("alternate_lba", [1, 20000, 24574, 1 << 40])
    def test_a_backup_at_the_end_is_found_whatever_the_primary_says(
        self, alternate_lba: int
    ) -> None:
        disk = fixture("sgdisk-fresh")
        patch(disk, 1, alternate_lba=alternate_lba)

        found = read(disk)

        assert found.source is Source.PRIMARY
        assert found.problems == (
            f"primary copy says that the backup is at LBA {alternate_lba}, it is at LBA 24575",
        )
        assert found.table.primary.alternate_lba == 24575

    def test_a_header_that_names_itself_as_its_backup(self) -> None:
        disk = fixture("sgdisk-fresh")[: BACKUP * 512] + bytes(512)
        patch(disk, 1, alternate_lba=1)

        found = read(disk)

        assert found.problems == (
            "backup copy is damaged: the primary header says that it is its own backup",
        )


def with_entry_size(disk: bytearray, entry_size: int) -> bytearray:
    """Ten longer entries instead of 128, the space behind entry n filled with n."""
    old = bytes(disk[1024 : 1024 + 10 * 128])
    entries = b"".join(
        old[number * 128 : (number + 1) * 128] + bytes([number + 1]) * (entry_size - 128)
        for number in range(10)
    )
    sectors = len(entries) // 512
    last = last_lba(disk)
    for lba, start in ((1, 2), (last, last - sectors)):
        disk[start * 512 : start * 512 + len(entries)] = entries
        patch(
            disk,
            lba,
            entries_lba=start,
            entries_count=10,
            entry_size=entry_size,
            first_usable_lba=2048,
            last_usable_lba=24000,
        )
    return disk


class TestSectorSize:
    """An image does not say how large its sectors are; its table does."""

    @pytest.mark.parametrize(
        "copy", ["both", "primary", "backup"], ids=lambda name: f"valid-{name}"
    )
    @pytest.mark.parametrize(
        "name, sector_size", [("sgdisk-fresh", 512), ("fdisk-4096", 4096)], ids=["512", "4096"]
    )
    def test_is_found_from_whatever_copy_there_is(
        self, name: str, sector_size: int, copy: str
    ) -> None:
        disk = fixture(name)
        if copy == "backup":
            flip(disk, sector_size + 30)
        if copy == "primary":
            flip(disk, last_lba(disk, sector_size=sector_size) * sector_size + 30)

        found = read(disk, None)

        assert found.table.sector_size == sector_size
        assert label(found) == "BOTTLEROCKET-BOOT-A"

    def test_remains_of_an_older_table_do_not_win(self) -> None:
        """A disk of 4096-byte sectors where an older header for 512 was never erased."""
        disk = fixture("fdisk-4096")
        older = fixture("sgdisk-fresh")
        disk[512:1024] = older[512:1024]

        found = read(disk, None)

        assert found.table.sector_size == 4096
        assert found.problems == ()
