"""Three images onto a disk: everything that has to hold, and everything that can go wrong.

The images are real file systems; mkfs, veritysetup and lz4 made them.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from partition.errors import DeviceNotFound, DeviceTooSmall, PartitionError, WriteFailed
from partition.kernel import KERNEL, Kernel
from partition.verity_image import check_tree
from signpost.layout import Part
from tests.support.images import MIB, Files, Update, lz4, make_tree, make_update
from updog.errors import DownloadFailed, ImageMismatch, Interrupted, StreamInvalid, UpdogError
from updog.pipeline import ImageJob, install_images
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer


@pytest.fixture(scope="module")
def update(tmp_path_factory: pytest.TempPathFactory) -> Update:
    return make_update(tmp_path_factory.mktemp("update"))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread, no child process and no open file outlives an installation."""
    threads, processes, files = set(threading.enumerate()), children(), open_files()
    yield
    # Fewer is fine: something that another test had left may have ended meanwhile.
    assert set(threading.enumerate()) <= threads
    assert children() <= processes
    assert open_files() <= files


def children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that is just ending
            found.update((task / "children").read_text().split())
    return found


def open_files() -> set[tuple[str, str]]:
    """Numbers of descriptors, and what they lead to; not the one that lists them."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add((path.name, str(path.readlink())))
    return found


@dataclass
class Told:
    """A progress that remembers."""

    events: list[tuple[str, str, int]] = field(default_factory=list)

    def phase(self, text: str) -> None:
        self.events.append(("phase", text, 0))

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        assert done_bytes <= total_bytes
        self.events.append(("started", image, done_bytes))

    def advanced(self, image: str, done_bytes: int) -> None:
        self.events.append(("advanced", image, done_bytes))

    def finished(self, image: str) -> None:
        self.events.append(("finished", image, 0))


def install(
    jobs: Sequence[ImageJob],
    transport: Files,
    *,
    progress: Told | None = None,
    cancel: threading.Event | None = None,
    kernel: Kernel = KERNEL,
) -> None:
    install_images(
        jobs,
        transport,
        journal=None,
        progress=progress or Told(),
        cancel=cancel or threading.Event(),
        kernel=kernel,
    )
    assert transport.open_sources == 0


def test_what_was_published_is_on_the_disk(update: Update, disk: Path) -> None:
    told, transport = Told(), update.transport()

    install(update.jobs(disk), transport, progress=told)

    assert update.is_on(disk)
    boot, root, tree = update.jobs(disk)
    root_length = update.images[Part.ROOT].stat().st_size
    tree_length = update.images[Part.HASH].stat().st_size
    root_hash = check_tree(root.region, root_length, tree.region, tree_length)
    assert root_hash.hex() == update.root_hash  # as veritysetup printed it
    # The hash image first, so that root can be checked against it while it arrives.
    assert transport.opened == [(job.target.name, 0) for job in (tree, boot, root)]
    lengths = {job.part.value: job.target.length_bytes for job in (tree, boot, root)}
    for name, length in lengths.items():
        mine = [event for event in told.events if event[1] == name]
        assert mine[0] == ("started", name, 0)
        assert mine[-2:] == [("advanced", name, length), ("finished", name, 0)]
        amounts = [event[2] for event in mine[1:-1]]
        assert amounts == sorted(amounts)


@pytest.mark.parametrize("filesystem", ["erofs", "squashfs"])
def test_other_file_systems(tmp_path: Path, disk: Path, filesystem: str) -> None:
    update = make_update(tmp_path, root_mib=8, filesystem=filesystem)  # type: ignore[arg-type]
    install(update.jobs(disk), update.transport())
    assert update.is_on(disk)


@pytest.mark.parametrize(
    "options",
    [
        ["-B4", "-BD", "-BX", "--content-size"],
        ["-B6", "--no-frame-crc"],
        ["-l"],
    ],
    ids=" ".join,
)
def test_other_streams(update: Update, disk: Path, options: list[str], tmp_path: Path) -> None:
    """Linked and small blocks, checksums, sizes, legacy; and a stream of several frames."""
    path = tmp_path / "root"
    path.write_bytes(update.images[Part.ROOT].read_bytes())
    half = path.stat().st_size // 2 + 1000  # frames need not end where blocks do
    front, back = tmp_path / "front", tmp_path / "back"
    front.write_bytes(path.read_bytes()[:half])
    back.write_bytes(path.read_bytes()[half:])
    skippable = b"\x50\x2a\x4d\x18\x05\0\0\0hello"
    streams = lz4(front, *options).read_bytes(), lz4(back, *options).read_bytes()
    changed = update.with_target(Part.ROOT, skippable + streams[0] + streams[1], f"{tmp_path.name}")
    install(changed.jobs(disk), changed.transport())
    assert update.is_on(disk)


def test_bytes_may_arrive_in_any_portions(tmp_path: Path, disk: Path) -> None:
    update = make_update(tmp_path, root_mib=4)
    transport = update.transport()
    transport.portion = 997
    install(update.jobs(disk), transport)
    assert update.is_on(disk)


def test_a_slow_stream_is_written_as_it_comes(update: Update, disk: Path, tmp_path: Path) -> None:
    """What is whole does not wait for a megabyte to come together: at the end little is left."""
    boot = tmp_path / "boot"
    boot.write_bytes(update.images[Part.BOOT].read_bytes())
    slow = update.with_target(Part.BOOT, lz4(boot, "-B4", "-BI").read_bytes(), "boot")
    target, transport = slow.target(Part.BOOT), slow.transport()
    region = next(job.region for job in slow.jobs(disk) if job.part is Part.BOOT)
    beginning = boot.read_bytes()[: 64 << 10]
    written = []

    def look(name: str, at: int) -> None:
        if name == target.name and at < 900_000:
            time.sleep(0.05)
            with disk.open("rb") as file:
                file.seek(region.offset_bytes)
                written.append(file.read(len(beginning)) == beginning)

    transport.between = look
    install(slow.jobs(disk), transport)
    assert target.length_bytes > 1 << 20
    assert len(written) >= 9
    assert written[-1]
    assert slow.is_on(disk)


def test_an_update_is_three_images(update: Update, disk: Path) -> None:
    jobs = update.jobs(disk)
    for wrong in (jobs[:2], [*jobs, jobs[0]], []):
        with pytest.raises(ValueError, match="one boot, one root and one hash image"):
            install(wrong, update.transport())


class TestBadStream:
    """Whether or not LZ4 notices: one error, and nobody is told that the image is good."""

    def expect(
        self, update: Update, disk: Path, why: str, kind: type[UpdogError] = StreamInvalid
    ) -> str:
        told = Told()
        transport = update.transport()
        with pytest.raises(kind, match=why) as refused:
            install(update.jobs(disk), transport, progress=told)
        assert ("finished", "root", 0) not in told.events
        assert transport.open_sources == 0
        return str(refused.value)

    def serve_instead(
        self, update: Update, disk: Path, part: Part, served: bytes
    ) -> tuple[list[ImageJob], Files]:
        """Jobs for the true target, a transport that serves something else under its name."""
        jobs, transport = update.jobs(disk), update.transport()
        path = disk.with_name("served")
        path.write_bytes(served)
        transport.paths[update.target(part).name] = path
        return jobs, transport

    @pytest.mark.parametrize("part", [Part.HASH, Part.BOOT, Part.ROOT])
    def test_cut_off(self, update: Update, disk: Path, part: Part) -> None:
        good = update.targets[part].read_bytes()
        for length in (0, 3, len(good) // 2, len(good) - 1):
            jobs, transport = self.serve_instead(update, disk, part, good[:length])
            with pytest.raises(StreamInvalid, match=f"it ends after {length} bytes, expected"):
                install(jobs, transport)

    def test_going_on_behind_its_end(self, update: Update, disk: Path) -> None:
        good = update.targets[Part.BOOT].read_bytes()
        jobs, transport = self.serve_instead(update, disk, Part.BOOT, good + b"x")
        with pytest.raises(StreamInvalid, match=f"it goes on after {len(good)} bytes"):
            install(jobs, transport)

    def test_a_flipped_bit_that_lz4_notices(self, update: Update, disk: Path) -> None:
        data = bytearray(update.targets[Part.ROOT].read_bytes())
        data[8] ^= 0x40  # the size of the first block
        jobs, transport = self.serve_instead(update, disk, Part.ROOT, bytes(data))
        with pytest.raises(StreamInvalid, match="LZ4"):
            install(jobs, transport)

    def test_a_flipped_bit_that_only_the_digest_sees(
        self, update: Update, disk: Path, tmp_path: Path
    ) -> None:
        """A block stored as it is: any content decodes. In boot, which has no hash tree."""
        noise = tmp_path / "noise"
        noise.write_bytes(os.urandom(2 * MIB))
        stored = bytearray(lz4(noise, "-B7", "--no-frame-crc").read_bytes())
        noisy = update.with_target(Part.BOOT, bytes(stored), "noisy-boot.lz4")
        stored[1_000_000] ^= 1
        jobs, transport = self.serve_instead(noisy, disk, Part.BOOT, bytes(stored))
        with pytest.raises(StreamInvalid, match=r"its sha256 digest is .*, expected"):
            install(jobs, transport)

    def test_bytes_between_frames_that_decode_to_nothing(self, update: Update, disk: Path) -> None:
        """The very content, in another stream: the digest is of the stream."""
        good = update.targets[Part.ROOT].read_bytes()
        jobs, transport = self.serve_instead(
            update, disk, Part.ROOT, b"\x50\x2a\x4d\x18\0\0\0\0" + good
        )
        with pytest.raises(StreamInvalid, match="it goes on after"):
            install(jobs, transport)

    def test_trailing_bytes_that_the_metadata_covers(self, update: Update, disk: Path) -> None:
        good = update.targets[Part.BOOT].read_bytes()
        for trailing in (b"\0", b"trailing"):
            changed = update.with_target(Part.BOOT, good + trailing, "trailing.lz4")
            self.expect(changed, disk, "refusing trailing.lz4: ")

    def test_no_lz4_at_all(self, update: Update, disk: Path) -> None:
        changed = update.with_target(Part.BOOT, update.images[Part.BOOT].read_bytes(), "raw.img")
        self.expect(changed, disk, "refusing raw.img: it starts with 00000000, not an LZ4 frame")

    def test_nothing_inside(self, update: Update, disk: Path, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.touch()
        changed = update.with_target(Part.BOOT, lz4(empty).read_bytes(), "empty.lz4")
        self.expect(changed, disk, "refusing empty.lz4: it decodes to nothing")


class TestDigests:
    """All listed digests that are known have to match; at least one must be known."""

    def with_hashes(self, jobs: list[ImageJob], hashes: dict[str, str]) -> list[ImageJob]:
        boot, root, tree = jobs
        target = Target(boot.target.name, boot.target.length_bytes, hashes)
        return [ImageJob(boot.part, target, boot.region), root, tree]

    def hashes(self, update: Update) -> dict[str, str]:
        data = update.targets[Part.BOOT].read_bytes()
        return {
            "sha256": hashlib.sha256(data).hexdigest(),
            "sha512": hashlib.sha512(data).hexdigest(),
        }

    def test_either_and_both(self, update: Update, disk: Path) -> None:
        known = self.hashes(update)
        for hashes in (
            known,
            {"sha512": known["sha512"]},
            {**known, "blake2b-256": "00" * 32},  # unknown here, so not looked at
            {"sha256": known["sha256"].upper()},
        ):
            install(self.with_hashes(update.jobs(disk), hashes), update.transport())
            assert update.is_on(disk)

    @pytest.mark.parametrize("wrong", ["sha256", "sha512"])
    def test_one_of_two_does_not_match(self, update: Update, disk: Path, wrong: str) -> None:
        known = self.hashes(update)
        known[wrong] = known[wrong][:-1] + ("0" if known[wrong][-1] != "0" else "1")
        with pytest.raises(StreamInvalid, match=f"its {wrong} digest is"):
            install(self.with_hashes(update.jobs(disk), known), update.transport())

    def test_none_is_known(self, update: Update, disk: Path) -> None:
        jobs = self.with_hashes(update.jobs(disk), {"md5": "0" * 32, "sha1": "0" * 40})
        with pytest.raises(StreamInvalid, match="lists no digest known here: md5, sha1"):
            install(jobs, update.transport())


class TestTooLarge:
    """An image that does not fit, by what is known when."""

    def partition_is_empty(self, job: ImageJob) -> bool:
        with job.region.path.open("rb") as file:
            file.seek(job.region.offset_bytes)
            return not file.read(job.region.length_bytes).strip(b"\0")

    def test_a_root_image_by_its_hash_tree(self, update: Update, disk: Path) -> None:
        jobs = update.jobs(disk, root=23)
        with pytest.raises(DeviceTooSmall) as refused:
            install(jobs, update.transport())
        assert (refused.value.capacity_bytes, refused.value.needed_bytes) == (23 * MIB, 24 * MIB)
        assert self.partition_is_empty(jobs[1])

    def test_a_boot_image_by_its_lz4_header(self, update: Update, disk: Path) -> None:
        sized = lz4(update.images[Part.BOOT], "--content-size").read_bytes()
        update = update.with_target(Part.BOOT, sized, "sized-boot.lz4")
        jobs = update.jobs(disk, boot=5)
        with pytest.raises(DeviceTooSmall, match=r"it holds 5.0 MiB .*the image needs 6.0 MiB"):
            install(jobs, update.transport())
        assert self.partition_is_empty(jobs[0])

    def test_a_boot_image_of_unknown_size_at_the_first_byte_too_many(
        self, update: Update, disk: Path
    ) -> None:
        jobs = update.jobs(disk, boot=5)
        with pytest.raises(DeviceTooSmall):
            install(jobs, update.transport())
        with disk.open("rb") as file:
            file.seek(jobs[0].region.offset_bytes + 5 * MIB)
            assert not file.read(MIB).strip(b"\0")  # not a byte in the gap behind it

    def test_a_decompression_bomb(self, update: Update, disk: Path, tmp_path: Path) -> None:
        bomb = tmp_path / "bomb"
        bomb.touch()
        os.truncate(bomb, 256 * MIB)
        stream = lz4(bomb, "-B7").read_bytes()
        assert len(stream) < 2 * MIB
        update = update.with_target(Part.BOOT, stream, "bomb.lz4")
        with pytest.raises(DeviceTooSmall):
            install(update.jobs(disk), update.transport())
        assert disk.stat().st_size < 64 * MIB


class TestImagesThatDoNotGoTogether:
    """The hash image must be the tree of this root image: all of it and nothing else."""

    def expect(self, update: Update, disk: Path, why: str) -> None:
        with pytest.raises(ImageMismatch, match=why):
            install(update.jobs(disk), update.transport())

    def other_tree(self, update: Update, root: Path) -> Update:
        """An update whose hash image belongs to another file."""
        tree = root.with_name("other-tree")
        make_tree(root, tree)
        return update.with_target(Part.HASH, lz4(tree).read_bytes(), "other-tree.lz4")

    def changed_root(self, update: Update, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        root.write_bytes(update.images[Part.ROOT].read_bytes())
        return root

    def test_one_block_differs(self, update: Update, disk: Path, tmp_path: Path) -> None:
        root = self.changed_root(update, tmp_path)
        with root.open("r+b") as file:
            file.seek(17 * MIB + 5)
            file.write(b"!")
        self.expect(
            self.other_tree(update, root), disk, f"the digest of data block {17 * 256} differs"
        )

    def test_root_is_longer_than_its_tree_covers(
        self, update: Update, disk: Path, tmp_path: Path
    ) -> None:
        root = self.changed_root(update, tmp_path)
        os.truncate(root, 20 * MIB)
        why = f"it is longer than the {20 * MIB} bytes that its tree covers"
        self.expect(self.other_tree(update, root), disk, why)

    def test_root_ends_before_its_tree(self, update: Update, disk: Path, tmp_path: Path) -> None:
        root = self.changed_root(update, tmp_path)
        os.truncate(root, 24 * MIB + 4096)
        other = self.other_tree(update, root)
        with pytest.raises(ImageMismatch, match=r"has 24.0 MiB .*expected 25169920, as the super"):
            install(other.jobs(disk, root=25), other.transport())

    def test_the_hash_image_is_no_tree(self, update: Update, disk: Path, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_bytes(b"#!/bin/sh" * 9999)
        self.expect(
            update.with_target(Part.HASH, lz4(script).read_bytes(), "script.lz4"),
            disk,
            "cannot use the dm-verity superblock: signature is",
        )

    def test_the_tree_contradicts_itself(self, update: Update, disk: Path, tmp_path: Path) -> None:
        tree = bytearray(update.images[Part.HASH].read_bytes())
        tree[-1] ^= 1
        path = tmp_path / "tree"
        path.write_bytes(tree)
        changed = update.with_target(Part.HASH, lz4(path).read_bytes(), "bad-tree.lz4")
        self.expect(changed, disk, "hash tree does not match: level 1, block ")

    def test_a_tree_without_levels_says_nothing(
        self, update: Update, disk: Path, tmp_path: Path
    ) -> None:
        root = self.changed_root(update, tmp_path)
        os.truncate(root, 4096)
        why = "a tree over one block holds no digest of it"
        self.expect(self.other_tree(update, root), disk, why)


class Lying(Kernel):
    """A disk that says that it wrote, and did not, or wrote one bit of it wrong."""

    def __init__(self, start: int, stop: int, *, lose: bool) -> None:
        self.range = range(start, stop)
        self.lose = lose
        self.lies = 0

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        view = memoryview(data)
        if self.lies or offset_bytes not in self.range or len(view) < 8192:
            return super().pwrite(fd, data, offset_bytes)
        self.lies += 1
        if self.lose:
            return len(view)
        changed = mmap.mmap(-1, len(view))  # aligned, as direct I/O wants it
        changed[:] = view
        changed[5000] ^= 1
        return super().pwrite(fd, changed, offset_bytes)


@pytest.mark.parametrize("part", [Part.BOOT, Part.ROOT, Part.HASH])
@pytest.mark.parametrize("lose", [True, False], ids=["lost", "changed"])
def test_a_device_that_lies_is_found_out(
    update: Update, disk: Path, part: Part, *, lose: bool
) -> None:
    region = next(job.region for job in update.jobs(disk) if job.part is part)
    start = region.offset_bytes
    kernel = Lying(start, start + region.length_bytes, lose=lose)
    with pytest.raises(ImageMismatch, match=r"cannot trust .* on .*disk.img"):
        install(update.jobs(disk), update.transport(), kernel=kernel)
    assert kernel.lies == 1


class TestDevice:
    """What the device refuses is told once, and everything ends."""

    def test_it_is_not_there(self, update: Update, tmp_path: Path) -> None:
        jobs = update.jobs(tmp_path / "disk.img")
        (tmp_path / "disk.img").unlink()
        with pytest.raises(DeviceNotFound):
            install(jobs, update.transport())

    @pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
    @pytest.mark.parametrize("good", [0, 3])
    def test_it_fails(self, update: Update, disk: Path, call: str, good: int) -> None:
        class Failing(Kernel):
            calls = 0

            def _call(self) -> None:
                self.calls += 1
                if self.calls > good:
                    raise OSError(5, "Input/output error")

            def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
                if call == "pwrite":
                    self._call()
                return super().pwrite(fd, data, offset_bytes)

            def fdatasync(self, fd: int) -> None:
                if call == "fdatasync":
                    self._call()
                super().fdatasync(fd)

        with pytest.raises(WriteFailed, match="Input/output error"):
            install(update.jobs(disk), update.transport(), kernel=Failing())

    def test_nothing_is_read_back_before_it_was_flushed(self, update: Update, disk: Path) -> None:
        """Every read of a partition asks for a range that a flush came after."""

        @dataclass
        class Ordered(Kernel):
            written: dict[int, int] = field(default_factory=dict)
            flushed: dict[int, int] = field(default_factory=dict)
            reads: int = 0
            lock: threading.Lock = field(default_factory=threading.Lock)

            def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
                count = super().pwrite(fd, data, offset_bytes)
                with self.lock:
                    self.written[offset_bytes] = count
                return count

            def fdatasync(self, fd: int) -> None:
                with self.lock:
                    before = dict(self.written)
                super().fdatasync(fd)
                with self.lock:
                    self.flushed.update(before)

            def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
                count = super().preadv(fd, buffers, offset_bytes)
                # The first 4096 bytes are read when a reader is opened, to try direct I/O.
                if count > 4096:
                    with self.lock:
                        self.reads += 1
                        unflushed = self.written.keys() - self.flushed.keys()
                        end = offset_bytes + count
                        assert not [start for start in unflushed if offset_bytes <= start < end]
                return count

        kernel = Ordered()
        install(update.jobs(disk), update.transport(), kernel=kernel)
        assert kernel.reads > 5


class TestStopping:
    """Cancelled or broken off: everything ends soon, and the error says why."""

    def test_cancelled_while_the_network_stalls(self, update: Update, disk: Path) -> None:
        transport, cancel = update.transport(), threading.Event()
        transport.stall_at[update.target(Part.ROOT).name] = 3 * MIB

        def cancel_soon() -> None:
            transport.stalled.wait(30)
            cancel.set()

        canceller = threading.Thread(target=cancel_soon)
        canceller.start()
        started = time.monotonic()
        with pytest.raises(Interrupted, match=r"interrupted while writing root.img.lz4 to .*disk"):
            install(update.jobs(disk), transport, cancel=cancel)
        assert time.monotonic() - started < 30  # the stall itself would never end
        canceller.join()
        assert transport.open_sources == 0

    def test_cancelled_while_it_is_read_back(self, update: Update, disk: Path) -> None:
        """Everything was received; the device is slow to give it back."""
        cancel, boot = threading.Event(), update.jobs(disk)[0].region
        reads = 0

        class Slow(Kernel):
            def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
                nonlocal reads
                count = super().preadv(fd, buffers, offset_bytes)
                if boot.offset_bytes <= offset_bytes < boot.offset_bytes + MIB and count > 4096:
                    reads += 1
                    cancel.set()
                    time.sleep(2.0)
                return count

        with pytest.raises(Interrupted):
            install(update.jobs(disk), update.transport(), cancel=cancel, kernel=Slow())
        assert reads == 1

    def test_cancelled_before_it_begins(self, update: Update, disk: Path) -> None:
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(Interrupted):
            install(update.jobs(disk), update.transport(), cancel=cancel)

    def test_the_download_fails(self, update: Update, disk: Path) -> None:
        for part in (Part.HASH, Part.BOOT, Part.ROOT):
            transport = update.transport()
            name = update.target(part).name
            transport.break_at[name] = update.target(part).length_bytes // 2
            with pytest.raises(DownloadFailed, match=f"cannot download {name}: the connection"):
                install(update.jobs(disk), transport)
            assert transport.open_sources == 0

    def test_whoever_shows_progress_fails(self, update: Update, disk: Path) -> None:
        class Broken(Told):
            def advanced(self, image: str, _done_bytes: int) -> None:
                if image == "root":
                    raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            install(update.jobs(disk), update.transport(), progress=Broken())

    def test_ctrl_c_where_no_handler_is_set(self, update: Update, disk: Path) -> None:
        class Impatient(Told):
            def advanced(self, _image: str, _done_bytes: int) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            install(update.jobs(disk), update.transport(), progress=Impatient())


MEASURE = """
import resource, sys, threading
from pathlib import Path
import http.client, lz4.block
from signpost.layout import Part
from tests.support.images import Files, Update
from tests.updog.test_pipeline import Told
from updog.pipeline import install_images
directory, disk = Path(sys.argv[1]), Path(sys.argv[2])
names = {part: part.value for part in Part}
update = Update(
    {part: directory / f"{name}.img" for part, name in names.items()},
    {part: directory / f"{name}.img.lz4" for part, name in names.items()}, "")
jobs = update.jobs(disk)
before = int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
install_images(jobs, update.transport(), journal=None, progress=Told(), cancel=threading.Event())
after = int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
print(after - before)
"""


@pytest.mark.parametrize("options", [["-B7", "-1"], ["-B4", "-BD"], ["-l"]], ids=" ".join)
def test_memory_does_not_grow_with_the_image(
    tmp_path: Path, disk: Path, options: list[str]
) -> None:
    """160 MiB, a third of it incompressible, in less than 64 MiB, helpers aside."""
    images = {part: tmp_path / f"{part.value}.img" for part in Part}
    with images[Part.ROOT].open("wb") as root:
        for piece in range(20):
            root.write(os.urandom(3 * MIB) + bytes([piece]) * (5 * MIB))
    images[Part.BOOT].write_bytes(os.urandom(9 * MIB))
    make_tree(images[Part.ROOT], images[Part.HASH])
    for image in images.values():
        lz4(image, *options)
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), str(disk)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert 0 < int(measured.stdout) < 64 * 1024


def test_every_error_is_one_line_with_an_exit_code(update: Update, disk: Path) -> None:
    jobs = update.jobs(disk, root=23)
    with pytest.raises(PartitionError) as refused:
        install(jobs, update.transport())
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 1
