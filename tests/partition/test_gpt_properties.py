"""What holds for every entry, every table and every sequence of bytes."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition.errors import InvalidTable, WriteFailed
from partition.gpt import Entry, Table, Write, read_table, write_plan
from tests.support.gptbytes import field, fixture, flip, last_lba, patch, seal

DISK = fixture("sgdisk-moved-256")
NAMES = st.text(st.characters(), max_size=36).filter(
    lambda name: len(name.encode("utf-16-le", "surrogatepass")) <= 72 and not name.endswith("\0")
)
GUIDS = st.uuids().filter(lambda guid: guid.int != 0)
ENTRIES = st.builds(
    Entry,
    type_guid=GUIDS,
    guid=st.uuids(),
    first_lba=st.integers(0, (1 << 64) - 1),
    last_lba=st.integers(0, (1 << 64) - 1),
    attributes=st.integers(0, (1 << 64) - 1),
    name=NAMES,
    tail=st.sampled_from([b"", bytes(range(128)), b"\xff" * 896]),
)


def table() -> Table:
    return read_table(lambda start, n: bytes(DISK[start : start + n]), len(DISK), 512).table


class TestEntry:
    def test_bytes_are_those_of_the_specification(self) -> None:
        """UEFI table 5.6, with the mixed-endian example GUID of its appendix A."""
        entry = Entry(
            type_guid=UUID("00112233-4455-6677-8899-aabbccddeeff"),
            guid=UUID("6b636168-7420-6568-2070-6c616e657421"),
            first_lba=0x22,
            last_lba=0x1234_5678_9ABC,
            attributes=0x8100_0000_0000_0001,
            name="Aä€😀",
        )

        assert entry.pack() == (
            bytes.fromhex("33221100554477668899aabbccddeeff")
            + b"hack the planet!"
            + bytes.fromhex("2200000000000000bc9a785634120000" + "0100000000000081")
            + bytes.fromhex("4100e400ac203dd800de").ljust(72, b"\0")
        )

    @given(ENTRIES)
    def test_packed_and_parsed_is_the_same(self, entry: Entry) -> None:
        assert Entry.parse(entry.pack()) == entry

    @given(st.binary(min_size=16, max_size=16).filter(any), st.binary(min_size=112, max_size=240))
    def test_parsed_and_packed_is_the_same(self, type_guid: bytes, rest: bytes) -> None:
        parsed = Entry.parse(type_guid + rest)

        assert parsed is not None
        assert parsed.pack() == type_guid + rest

    @given(st.binary(min_size=112, max_size=112))
    def test_without_a_type_is_unused_whatever_follows(self, rest: bytes) -> None:
        assert Entry.parse(bytes(16) + rest) is None

    def test_label_ends_at_the_first_nul(self) -> None:
        name = "BOOT\0left over by a tool"
        entry = Entry(UUID(int=1), UUID(int=2), 34, 40, 0, name)

        assert entry.label == "BOOT"
        assert Entry.parse(entry.pack()) == entry

    def test_a_name_that_does_not_fit_is_refused(self) -> None:
        assert Entry(UUID(int=1), UUID(int=2), 34, 40, 0, "x" * 36).label == "x" * 36
        with pytest.raises(ValueError, match="longer than 36 code units"):
            # 19 characters, 38 code units.
            Entry(UUID(int=1), UUID(int=2), 34, 40, 0, "😀" * 19)

    def test_the_zero_type_is_refused(self) -> None:
        with pytest.raises(ValueError, match="zero GUID marks an unused one"):
            Entry(UUID(int=0), UUID(int=2), 34, 40, 0, "")


class TestTable:
    @given(st.integers(1, 256), ENTRIES.filter(lambda entry: not entry.tail))
    def test_an_entry_is_found_where_it_was_put(self, number: int, entry: Entry) -> None:
        before = table()

        after = before.with_entry(number, entry)

        assert after.entry(number) == entry
        assert after.entries[number:] == before.entries[number:]
        assert after.entries[: number - 1] == before.entries[: number - 1]
        assert after.with_entry(number, None).entries[number - 1] is None

    @given(st.integers(1, 10), st.integers(0, (1 << 64) - 1))
    def test_attributes_change_nothing_else(self, number: int, attributes: int) -> None:
        before = table()

        after = before.with_attributes(number, attributes)

        start = (number - 1) * 128 + 48
        assert after.array[start : start + 8] == struct.pack("<Q", attributes)
        assert after.array[:start] + after.array[start + 8 :] == (
            before.array[:start] + before.array[start + 8 :]
        )
        assert (after.primary, after.backup) == (before.primary, before.backup)

    @pytest.mark.parametrize("number", [-1, 0, 11, 256, 257])
    def test_there_is_no_such_partition(self, number: int) -> None:
        for ask in (table().entry, table().extent, lambda n: table().with_attributes(n, 0)):
            with pytest.raises(KeyError):
                ask(number)

    def test_an_entry_of_another_length_is_refused(self) -> None:
        entry = Entry(UUID(int=1), UUID(int=2), 2048, 4095, 0, "", tail=bytes(128))
        with pytest.raises(ValueError, match="entry has 256 bytes, 128 expected"):
            table().with_entry(1, entry)


class TestAnyBytes:
    """Whatever is on a disk, reading ends in a table or in InvalidTable; a table has a plan."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["primary header", "primary array", "backup header", "backup array"]
                ),
                st.integers(0, 511),
                st.binary(min_size=1, max_size=16),
            ),
            max_size=4,
        ),
        st.sets(st.sampled_from(["primary", "backup"])),
    )
    def test_in_headers_and_arrays_sealed_or_not(
        self, patches: list[tuple[str, int, bytes]], sealed: set[str]
    ) -> None:
        disk = bytearray(DISK)
        last = last_lba(disk)
        places = {
            "primary header": 512,
            "primary array": field(disk, 1, "entries_lba") * 512,
            "backup header": last * 512,
            "backup array": field(disk, last, "entries_lba") * 512,
        }
        for where, offset, data in patches:
            start = places[where] + offset
            disk[start : start + len(data)] = data
        del disk[len(DISK) :]
        for copy, lba in (("primary", 1), ("backup", last)):
            if copy in sealed and field(disk, lba, "entries_count") < 1 << 16:
                seal(disk, lba)

        for sector_size in (512, 4096, None):
            try:
                found = read_table(
                    lambda start, n: bytes(disk[start : start + n]), len(disk), sector_size
                )
            except InvalidTable:
                continue
            assert len(write_plan(found.table)) in {6, 7}

    @given(st.binary(max_size=4096))
    def test_of_a_disk_of_noise(self, noise: bytes) -> None:
        for start in (b"", bytes(512) + b"EFI PART"):
            disk = start + noise
            with pytest.raises(InvalidTable):
                read_table(lambda at, n: disk[at : at + n], len(disk), None)  # noqa: B023


LBAS = st.one_of(
    st.integers(0, 200),
    st.integers(24300, 24600),
    st.sampled_from([1 << 31, 1 << 62, (1 << 64) - 1]),
)
FIELDS = st.dictionaries(
    st.sampled_from(["alternate_lba", "first_usable_lba", "last_usable_lba", "entries_lba"]),
    LBAS,
    max_size=2,
)


class TestRepair:
    """Whatever the headers declare: what can be read can be written, and is then without fault."""

    @given(FIELDS, FIELDS, st.integers(-60, 60), st.sampled_from(["", "primary", "backup"]))
    def test_any_table_that_reads_is_whole_after_writing_it(
        self, primary: dict[str, int], backup: dict[str, int], growth: int, damaged: str
    ) -> None:
        disk = bytearray(DISK)
        for lba, fields in ((1, primary), (last_lba(disk), backup)):
            patch(disk, lba, **{name: min(value, MAX_LBA[name]) for name, value in fields.items()})
        if damaged:
            flip(disk, 512 + 60 if damaged == "primary" else len(disk) - 512 + 60)
        if growth < 0:
            del disk[growth * 512 :]
        disk.extend(bytes(max(0, growth) * 512))

        def read(start: int, length: int) -> bytes:
            return bytes(disk[start : start + length])

        try:
            before = read_table(read, len(disk), 512)
            plan = write_plan(before.table)
        except (InvalidTable, WriteFailed):
            return
        mbr, partitions = bytes(disk[:512]), partition_bytes(disk)
        for step in plan:
            if isinstance(step, Write):
                assert 0 < step.offset <= len(disk) - len(step.data)
                disk[step.offset : step.offset + len(step.data)] = step.data
        after = read_table(read, len(disk), 512)
        assert after.problems == ()
        assert after.table.entries == before.table.entries
        assert (bytes(disk[:512]), partition_bytes(disk)) == (mbr, partitions)


MAX_LBA = {
    "alternate_lba": (1 << 64) - 1,
    "first_usable_lba": (1 << 64) - 1,
    "last_usable_lba": (1 << 64) - 1,
    # Where the array is sealed must be within the disk of the fixture.
    "entries_lba": 24500,
}


def partition_bytes(disk: bytearray) -> bytes:
    """From the first sector of the first partition to the last of the last one."""
    return bytes(disk[2048 * 512 : 22528 * 512])
