"""Writing and reading a region: never created, never past its end, past the page cache."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from partition.errors import DeviceBusy, DeviceNotFound, DeviceTooSmall, ReadFailed, WriteFailed
from partition.kernel import Kernel, StrPath
from partition.reader import RegionReader
from partition.region import Region
from partition.writer import RegionWriter, require_room

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

MIB = 1 << 20


def aligned(data: bytes) -> memoryview:
    """Memory as the pipeline has it: page-aligned."""
    view = memoryview(mmap.mmap(-1, len(data)))
    view[:] = data
    return view


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)  # noqa: S311 (not a secret)


@pytest.fixture
def region(tmp_path: Path) -> Region:
    """A partition of 2 MiB in the middle of an image of 4 MiB, all filled with 0xEE."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"\xee" * (4 * MIB))
    return Region(path, MIB, 2 * MIB, 3, is_node=False)


class Recorder(Kernel):
    """Passes everything on, and remembers which calls wrote how."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.refuse_direct_open = False
        self.refuse_direct_write = False
        self.failure: int | None = None
        self.most = 1 << 40

    def open(
        self, path: StrPath, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        self.calls.append(("open", flags & os.O_DIRECT, 0))
        if self.refuse_direct_open and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct I/O here")
        return super().open(path, flags, mode, dir_fd=dir_fd)

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        view = memoryview(data)[: self.most]
        direct = fcntl_flags(fd) & os.O_DIRECT
        if direct and self.refuse_direct_write:
            raise OSError(errno.EINVAL, "not with this alignment")
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        self.calls.append(("direct" if direct else "cached", offset_bytes, len(view)))
        return super().pwrite(fd, view, offset_bytes)

    def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
        if fcntl_flags(fd) & os.O_DIRECT and self.refuse_direct_write:
            raise OSError(errno.EINVAL, "not with this alignment")
        return super().preadv(fd, buffers, offset_bytes)

    def fdatasync(self, fd: int) -> None:
        self.calls.append(("flush", 0, 0))
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        super().fdatasync(fd)

    def drop_cache(self, fd: int, offset_bytes: int, length_bytes: int) -> None:
        self.calls.append(("drop", offset_bytes, length_bytes))
        super().drop_cache(fd, offset_bytes, length_bytes)

    def of(self, *names: str) -> list[tuple[str, int, int]]:
        return [call for call in self.calls if call[0] in names]


def fcntl_flags(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    raise AssertionError(fd)


def expect_disk(region: Region, content: bytes) -> None:
    """The partition starts with `content`; every other byte of the disk is as it was."""
    disk = region.path.read_bytes()
    start, stop = region.offset_bytes, region.offset_bytes + len(content)
    assert len(disk) == 4 * MIB
    assert disk[start:stop] == content
    assert set(disk[:start] + disk[stop:]) == {0xEE}


def test_pieces_of_whole_blocks_go_past_the_page_cache(region: Region) -> None:
    image, kernel = noise(MIB + 8192), Recorder()
    with RegionWriter(region, kernel=kernel) as writer:
        writer.write(aligned(image[:MIB]))
        writer.write(aligned(image[MIB:]))
        writer.flush()
        assert writer.position == len(image)
    expect_disk(region, image)
    assert kernel.of("direct", "cached", "drop", "flush") == [
        ("direct", MIB, MIB),
        ("direct", 2 * MIB, 8192),
        ("flush", 0, 0),
    ]


def test_the_odd_end_of_an_image_goes_through_the_cache(region: Region) -> None:
    image, kernel = noise(MIB + 5000), Recorder()
    with RegionWriter(region, kernel=kernel) as writer:
        writer.write(aligned(image))
        writer.flush()
    expect_disk(region, image)
    assert kernel.of("direct", "cached", "drop") == [
        ("direct", MIB, MIB + 4096),
        ("cached", 2 * MIB + 4096, 904),
        ("drop", 2 * MIB + 4096, 904),
    ]


def test_odd_pieces_are_written_as_they_come(region: Region) -> None:
    image, pieces = noise(200_000), [1, 4095, 4096, 70_000, 100, 121_708]
    assert sum(pieces) == len(image)
    with RegionWriter(region) as writer:
        at = 0
        for length in pieces:
            writer.write(memoryview(image)[at : at + length])  # not even aligned in memory
            at += length
        writer.flush()
    expect_disk(region, image)


@pytest.mark.parametrize("which", ["refuse_direct_open", "refuse_direct_write"])
def test_without_direct_io_write_back_starts_at_once(region: Region, which: str) -> None:
    image, kernel = noise(MIB), Recorder()
    setattr(kernel, which, True)
    with RegionWriter(region, kernel=kernel) as writer:
        writer.write(aligned(image))
        writer.flush()
    expect_disk(region, image)
    assert kernel.of("direct", "cached", "drop") == [("cached", MIB, MIB), ("drop", MIB, MIB)]


def test_a_region_off_the_grid_is_written_through_the_cache(region: Region) -> None:
    off = Region(region.path, MIB + 512, MIB, 3, is_node=False)
    image, kernel = noise(8192), Recorder()
    with RegionWriter(off, kernel=kernel) as writer:
        writer.write(aligned(image))
    expect_disk(off, image)
    assert kernel.of("direct", "cached") == [("cached", MIB + 512, 8192)]
    with RegionReader(off) as reader:
        assert reader.read(0, 8192) == image


def test_short_writes_are_continued(region: Region) -> None:
    image, kernel = noise(64 << 10), Recorder()
    kernel.most = 4096 * 3
    with RegionWriter(region, kernel=kernel) as writer:
        writer.write(aligned(image))
    expect_disk(region, image)
    assert len(kernel.of("direct")) == 6


def test_writing_goes_on_in_the_middle(region: Region) -> None:
    image = noise(3 * 4096)
    with RegionWriter(region) as writer:
        writer.write(aligned(image[:8192]))
    with RegionWriter(region, start=8192) as writer:
        writer.write(aligned(image[8192:]))
    expect_disk(region, image)


def test_an_image_that_cannot_fit_is_refused_before_the_first_byte(region: Region) -> None:
    require_room(region, 2 * MIB)
    with pytest.raises(DeviceTooSmall) as refused:
        require_room(region, 2 * MIB + 1)
    assert (refused.value.capacity_bytes, refused.value.needed_bytes) == (2 * MIB, 2 * MIB + 1)
    expect_disk(region, b"")


def test_not_a_byte_goes_past_the_end(region: Region) -> None:
    image = noise(2 * MIB)
    with RegionWriter(region) as writer:
        writer.write(aligned(image))
        with pytest.raises(DeviceTooSmall):
            writer.write(memoryview(b"!"))
    expect_disk(region, image)


def test_a_mistyped_path_does_not_become_a_file(region: Region) -> None:
    absent = Region(region.path.with_name("sda4"), 0, MIB, 4, is_node=True)
    with pytest.raises(DeviceNotFound, match="sda4: No such file"):
        RegionWriter(absent)
    with pytest.raises(DeviceNotFound, match="sda4: No such file"):
        RegionReader(absent)
    assert not absent.path.exists()


def test_a_directory_is_no_device(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed, match="Is a directory"):
        RegionWriter(Region(tmp_path, 0, MIB, 4, is_node=True))
    with (
        RegionReader(Region(tmp_path, 0, MIB, 4, is_node=True)) as reader,
        pytest.raises(ReadFailed, match="Is a directory"),
    ):
        reader.read(0, 1)


class Claimed(Kernel):
    """A block device that is mounted."""

    def open(
        self, path: StrPath, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        assert flags & os.O_EXCL
        assert not flags & os.O_CREAT
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fspath(path), mode, dir_fd)


def test_a_device_in_use_is_refused(region: Region) -> None:
    with pytest.raises(DeviceBusy, match="it is mounted or in use"):
        RegionWriter(region, kernel=Claimed())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_the_device_refuses_is_told(region: Region, number: int) -> None:
    kernel = Recorder()
    with RegionWriter(region, kernel=kernel) as writer:
        kernel.failure = number
        with pytest.raises(WriteFailed, match=os.strerror(number)):
            writer.write(aligned(bytes(4096)))
        with pytest.raises(WriteFailed, match=os.strerror(number)):
            writer.flush()
    expect_disk(region, b"")


class TestReader:
    """Reading asks the device, and gives exactly the range asked for."""

    @pytest.mark.parametrize(
        "start,stop",
        [(0, 0), (0, 1), (0, 2 * MIB), (5, 9), (4095, 4097), (MIB - 1, 2 * MIB - 1)],
    )
    @pytest.mark.parametrize("direct", [True, False])
    def test_any_range(self, region: Region, start: int, stop: int, *, direct: bool) -> None:
        content = noise(2 * MIB)
        with RegionWriter(region) as writer:
            writer.write(memoryview(content))
            writer.flush()
        kernel = Recorder()
        kernel.refuse_direct_write = not direct
        with RegionReader(region, kernel=kernel) as reader:
            assert reader.read(start, stop) == content[start:stop]
        dropped = kernel.of("drop")
        assert dropped == ([] if direct else [("drop", MIB + start, stop - start)])

    def test_a_region_past_the_end_of_its_file(self, region: Region) -> None:
        beyond = Region(region.path, 3 * MIB, 2 * MIB, 4, is_node=False)
        with RegionReader(beyond) as reader:
            assert reader.read(0, MIB) == b"\xee" * MIB
            with pytest.raises(ReadFailed, match=f"it ends at byte {MIB}"):
                reader.read(0, MIB + 1)

    def test_a_read_error_is_told(self, region: Region) -> None:
        class Dying(Kernel):
            reads = 0

            def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
                self.reads += 1
                if self.reads > 1:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return super().preadv(fd, buffers, offset_bytes)

        with (
            RegionReader(region, kernel=Dying()) as reader,
            pytest.raises(ReadFailed, match="Input/output error"),
        ):
            reader.read(0, 4096)


def loop_device(backing: Path) -> str | None:
    """Attach a file; None where this machine, or this user, has no loop devices."""
    command = ["losetup", "--find", "--show", str(backing)]
    attached = subprocess.run(command, check=False, capture_output=True, text=True)
    return attached.stdout.strip() or None


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Region]:
    """A real block device where there are loop devices, else a file of the same size."""
    backing = tmp_path / "backing"
    backing.write_bytes(bytes(4 * MIB))
    node = loop_device(backing)
    yield Region(Path(node) if node else backing, 0, 4 * MIB, 1, is_node=True)
    if node:
        subprocess.run(["losetup", "--detach", node], check=True)


def test_a_whole_device_is_claimed_while_it_is_written(device: Region) -> None:
    image = noise(MIB)
    with RegionWriter(device) as writer:
        if device.path.is_block_device():
            with pytest.raises(DeviceBusy):
                RegionWriter(device)
        writer.write(aligned(image))
        writer.flush()
        with RegionReader(device) as reader:
            assert reader.read(0, MIB) == image
    RegionWriter(device).close()  # and free again afterwards
