"""A disk as a file: opened, never created; locked; written in order; read back from the medium."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from partition.blockdev import DeviceNumber, Devices
from partition.disk import Disk, is_image
from partition.errors import (
    DeviceBusy,
    DeviceNotFound,
    InvalidTable,
    LockHeld,
    PartitionError,
    ReadFailed,
    WriteFailed,
)
from partition.gpt import Source
from partition.kernel import KERNEL
from partition.region import Region
from tests.support.disks import assert_sound, attributes, make_disk
from tests.support.recording import RecordingKernel
from tests.support.sysfs_tree import SysfsTree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_disk(tmp_path / "disk.img")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestOpen:
    def test_never_creates_what_is_not_there(self, tmp_path: Path) -> None:
        missing = tmp_path / "dsik.img"

        with pytest.raises(DeviceNotFound) as caught:
            Disk.open(missing, writable=True)

        assert str(caught.value) == f"cannot find {missing}: No such file or directory"
        assert not missing.exists()

    @pytest.mark.parametrize("kind", ["directory", "fifo", "character device"])
    def test_refuses_what_is_no_disk(self, tmp_path: Path, kind: str) -> None:
        place = tmp_path / "disk"
        if kind == "directory":
            place.mkdir()
        elif kind == "fifo":
            os.mkfifo(place)
        else:
            place = Path("/dev/null")

        with pytest.raises(DeviceNotFound, match="neither a block device nor a disk image file"):
            Disk.open(place)

    @pytest.mark.parametrize(
        "number, writable, kind",
        [
            (errno.EBUSY, True, DeviceBusy),
            (errno.ENXIO, False, DeviceNotFound),
            (errno.EROFS, True, WriteFailed),
            (errno.EIO, False, ReadFailed),
            (errno.EACCES, True, WriteFailed),
            (errno.EACCES, False, ReadFailed),
        ],
    )
    def test_says_why_the_system_refuses(
        self, path: Path, *, number: int, writable: bool, kind: type[PartitionError]
    ) -> None:
        kernel = RecordingKernel(fail={"open": number})

        with pytest.raises(kind, match=str(path)) as caught:
            Disk.open(path, writable=writable, kernel=kernel)

        assert ("root" in (caught.value.hint or "")) == (number == errno.EACCES)

    def test_knows_what_it_opened(self, path: Path) -> None:
        with Disk.open(path) as disk:
            assert (disk.is_image, disk.size_bytes, disk.sector_size) == (True, 14 << 20, 512)
        assert is_image(path)

    def test_finds_the_sector_size_of_an_image_in_its_table(self, tmp_path: Path) -> None:
        with Disk.open(make_disk(tmp_path / "disk.img", sector_size=4096)) as disk:
            assert disk.sector_size == 4096

    def test_closes_what_it_cannot_use(self, path: Path) -> None:
        before = open_files()
        path.write_bytes(b"")

        with Disk.open(path) as disk, pytest.raises(InvalidTable, match=str(path)):
            disk.read_table()

        assert open_files() == before


class TestLock:
    def test_keeps_a_second_writer_out_and_names_the_first(self, path: Path) -> None:
        with Disk.open(path, writable=True) as first, Disk.open(path, writable=True) as second:
            first.lock()

            with pytest.raises(LockHeld) as caught:
                second.lock()

        assert caught.value.holder == os.getpid()
        assert str(caught.value) == (f"cannot lock {path}: process {os.getpid()} is at work on it")

    def test_ends_with_the_disk(self, path: Path) -> None:
        with Disk.open(path, writable=True) as first:
            first.lock()
        with Disk.open(path, writable=True) as second:
            second.lock()

    def test_does_not_keep_readers_out(self, path: Path) -> None:
        with Disk.open(path, writable=True) as writer, Disk.open(path) as reader:
            writer.lock()

            assert reader.read_table_beside_writers().source is Source.PRIMARY


class TestWriteTable:
    def test_writes_flushes_and_reads_back_in_order(self, path: Path) -> None:
        kernel = RecordingKernel()
        with Disk.open(path, writable=True, kernel=kernel) as disk:
            disk.write_table(disk.read_table().table.with_attributes(5, 0x12 << 48))

        last = (14 << 20) // 512 - 1
        assert kernel.log == [
            "fsync disk.img",  # what a killed process may have left unflushed
            f"pwrite disk.img {(last - 32) * 512} 16384",
            f"pwrite disk.img {last * 512} 512",
            "fsync disk.img",
            "pwrite disk.img 1024 16384",
            "pwrite disk.img 512 512",
            "fsync disk.img",
            f"drop_cache disk.img {(last - 32) * 512} 16384",
            f"drop_cache disk.img {last * 512} 512",
            "drop_cache disk.img 1024 16384",
            "drop_cache disk.img 512 512",
        ]
        assert attributes(path, 5) == 0x12 << 48
        assert_sound(path)

    def test_goes_on_after_short_reads_and_writes(self, path: Path) -> None:
        kernel = RecordingKernel(short=1000)
        with Disk.open(path, writable=True, kernel=kernel) as disk:
            disk.write_table(disk.read_table().table.with_attributes(5, 1 << 48))

        assert attributes(path, 5) == 1 << 48
        assert_sound(path)

    def test_a_write_that_was_lost_is_found_when_read_back(self, path: Path) -> None:
        kernel = RecordingKernel(lost={1024})
        with (
            Disk.open(path, writable=True, kernel=kernel) as disk,
            pytest.raises(WriteFailed, match="read back at byte 1024 differs"),
        ):
            disk.write_table(disk.read_table().table.with_attributes(5, 1 << 48))

    @pytest.mark.parametrize("call", ["pwrite", "fsync"])
    def test_an_error_of_the_medium_is_told_in_one_line(self, path: Path, call: str) -> None:
        kernel = RecordingKernel(fail={call: errno.EIO})
        with Disk.open(path, writable=True, kernel=kernel) as disk:
            table = disk.read_table().table
            with pytest.raises(WriteFailed) as caught:
                disk.write_table(table)

        assert str(caught.value) == f"cannot write {path}: Input/output error"

    def test_a_disk_opened_for_reading_cannot_be_written(self, path: Path) -> None:
        before = path.read_bytes()
        with Disk.open(path) as disk, pytest.raises(WriteFailed, match="Bad file descriptor"):
            disk.write_table(disk.read_table().table)

        assert path.read_bytes() == before

    def test_an_unreadable_primary_header_leads_to_the_backup(self, path: Path) -> None:
        kernel = RecordingKernel(fail={"pread 512": errno.EIO})
        with Disk.open(path, kernel=kernel) as disk:
            found = disk.read_table()

        assert found.source is Source.BACKUP
        assert "Input/output error (byte 512)" in found.problems[0]


class TestReadingBesideWriters:
    def test_a_table_half_written_at_the_first_look_is_read_again(self, path: Path) -> None:
        """The writer is between entries and header of the backup when we look."""
        with path.open("r+b") as image:
            image.seek(-16896, os.SEEK_END)
            good = image.read(512)
            image.seek(-16896, os.SEEK_END)
            image.write(b"\1" * 512)

        class Meanwhile(RecordingKernel):
            looks = 0

            def pread(self, fd: int, length_bytes: int, offset_bytes: int) -> bytes:
                data = super().pread(fd, length_bytes, offset_bytes)
                if offset_bytes == (14 << 20) - 16896:
                    self.looks += 1
                    with path.open("r+b") as image:
                        image.seek(-16896, os.SEEK_END)
                        image.write(good)
                return data

        kernel = Meanwhile()
        with Disk.open(path, kernel=kernel) as disk:
            found = disk.read_table_beside_writers()

        assert found.problems == ()
        assert kernel.looks > 1

    def test_damage_that_lasts_is_told(self, path: Path) -> None:
        with path.open("r+b") as image:
            image.seek(512)
            image.write(bytes(512))
        with Disk.open(path) as disk:
            assert disk.read_table_beside_writers().source is Source.BACKUP

    def test_damage_of_both_that_lasts_is_refused(self, path: Path) -> None:
        with path.open("r+b") as image:
            image.write(bytes(14 << 20))
        with Disk.open(path) as disk, pytest.raises(InvalidTable):
            disk.read_table_beside_writers()


class TestRegion:
    @pytest.mark.parametrize("sector_size", [512, 4096])
    def test_of_an_image_is_a_range_of_the_file(self, tmp_path: Path, sector_size: int) -> None:
        path = make_disk(tmp_path / "disk.img", sector_size=sector_size, root_mib=3)
        with Disk.open(path) as disk:
            region = disk.region(2)

        assert region == Region(path, 2 << 20, 3 << 20, 2, is_node=False)
        assert str(region) == f"{path} (partition 2 at 2097152)"
        assert region.name == f"{path}#2"

    def test_of_a_partition_that_is_not_there(self, path: Path) -> None:
        with Disk.open(path) as disk, pytest.raises(DeviceNotFound) as caught:
            disk.region(11)

        assert str(caught.value) == (
            f"cannot find partition 11 of {path}: the table has no such partition"
        )


def test_nothing_of_the_image_but_its_table_is_ever_written(path: Path) -> None:
    with path.open("r+b") as image:
        image.write(os.urandom(440))
        image.seek(1 << 20)
        image.write(os.urandom(12 << 20))
    before = path.read_bytes()
    mode = stat.S_IMODE(path.stat().st_mode)

    with Disk.open(path, writable=True) as disk:
        disk.write_table(disk.read_table().table.with_attributes(5, 0x12 << 48))

    after = path.read_bytes()
    assert after[:512] == before[:512]
    assert after[34 * 512 : -33 * 512] == before[34 * 512 : -33 * 512]
    assert stat.S_IMODE(path.stat().st_mode) == mode


class TestRegionOfABlockDevice:
    """A disk that the kernel has made partitions of; the tree is sysfs as it would show them."""

    def disk(self, path: Path, tree: SysfsTree) -> Disk:
        fd = os.open(path, os.O_RDONLY)
        devices = Devices(tree.sysfs, tree.dev, tree.proc)
        return Disk(path, fd, devices, KERNEL, device=DeviceNumber(259, 300))

    def test_is_its_own_node(self, path: Path, tmp_path: Path) -> None:
        tree = SysfsTree(tmp_path)
        shown = tree.disk("nvme0n1", 259, 300)
        tree.partition(shown, "nvme0n1p2", 2, 259, 302, start=4096, size=4096)

        with self.disk(path, tree) as disk:
            region = disk.region(2)

        node = tree.dev / "nvme0n1p2"
        assert region == Region(node, 0, 2 << 20, 2, is_node=True)
        assert (str(region), region.name) == (str(node), str(node))

    def test_is_a_range_of_the_disk_where_the_kernel_made_none(
        self, path: Path, tmp_path: Path
    ) -> None:
        tree = SysfsTree(tmp_path)
        tree.disk("nvme0n1", 259, 300)

        with self.disk(path, tree) as disk:
            assert disk.region(2) == Region(path, 2 << 20, 2 << 20, 2, is_node=False)

    @pytest.mark.parametrize("start, size", [(4096, 2048), (2048, 4096)])
    def test_is_refused_where_the_kernel_believes_something_else(
        self, path: Path, tmp_path: Path, start: int, size: int
    ) -> None:
        """The table was changed and never read again: a write would go elsewhere."""
        tree = SysfsTree(tmp_path)
        shown = tree.disk("nvme0n1", 259, 300)
        tree.partition(shown, "nvme0n1p2", 2, 259, 302, start=start, size=size)

        with self.disk(path, tree) as disk, pytest.raises(DeviceNotFound) as caught:
            disk.region(2)

        assert str(caught.value) == (
            f"cannot find partition 2 of {path}: the table has 2097152 bytes at 2097152, "
            f"the kernel {size * 512} at {start * 512} ({tree.dev}/nvme0n1p2)"
        )
