"""Three real images of one update, and transports that hand them out, well or badly.

update = make_update(tmp_path, root_mib=24)        # mkfs, veritysetup and lz4 made these
install_images(update.jobs(disk), update.transport(), …)
assert update.is_on(disk)
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from demo.images import make_root
from partition.region import Region
from signpost.layout import Part
from updog.errors import CannotResume, DownloadFailed
from updog.pipeline import ImageJob
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MIB = 1 << 20
PARTS = (Part.HASH, Part.BOOT, Part.ROOT)


@dataclass(frozen=True)
class Update:
    """Images as files, by part: as they go to the partition, and as they are downloaded."""

    images: dict[Part, Path]
    targets: dict[Part, Path]
    root_hash: str

    def target(self, part: Part) -> Target:
        path = self.targets[part]
        data = path.read_bytes()
        return Target(path.name, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def with_target(self, part: Part, data: bytes, name: str) -> Update:
        """The same with another file for one part."""
        path = self.targets[part].with_name(name)
        path.write_bytes(data)
        return replace(self, targets={**self.targets, part: path})

    def jobs(self, disk: Path, **room_mib: int) -> list[ImageJob]:
        """Jobs for a disk image, which is made if it is not there; 1 MiB between partitions."""
        jobs: list[ImageJob] = []
        offset = MIB
        for part in (Part.BOOT, Part.ROOT, Part.HASH):
            size = -(-self.images[part].stat().st_size // MIB) * MIB
            size = room_mib.get(part.value, size // MIB) * MIB
            region = Region(disk, offset, size, len(jobs) + 1, is_node=False)
            jobs.append(ImageJob(part, self.target(part), region))
            offset += size + MIB
        if not disk.exists():
            disk.touch()
            os.truncate(disk, offset)
        return jobs

    def transport(self) -> Files:
        return Files({self.target(part).name: self.targets[part] for part in PARTS})

    def is_on(self, disk: Path) -> bool:
        """Whether all three are on the disk, bit by bit, and nothing anywhere else."""
        expected = bytearray(disk.stat().st_size)
        for job in self.jobs(disk):
            image = self.images[job.part].read_bytes()
            start = job.region.offset_bytes
            expected[start : start + len(image)] = image
        return disk.read_bytes() == expected


def make_update(
    directory: Path,
    *,
    root_mib: int = 24,
    filesystem: Literal["ext4", "erofs", "squashfs"] = "ext4",
    options: Sequence[str] = ("-B7", "-BI"),
) -> Update:
    """Make file systems of real files, the hash tree of the root, and LZ4 streams of all."""
    images = {part: directory / f"{part.value}.img" for part in PARTS}
    make_root(
        images[Part.ROOT], version="1.2.3", variant="v", filesystem=filesystem, size_mib=root_mib
    )
    make_root(images[Part.BOOT], version="1.2.3", variant="v", filesystem="ext4", size_mib=6)
    root_hash = make_tree(images[Part.ROOT], images[Part.HASH])
    targets = {part: lz4(path, *options) for part, path in images.items()}
    return Update(images, targets, root_hash)


def make_tree(root: Path, tree: Path) -> str:
    """Have veritysetup make the hash image; return the root hash."""
    tree.unlink(missing_ok=True)
    command = ["veritysetup", "format", str(root), str(tree)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    tree.chmod(0o644)
    return next(line.split()[-1] for line in output.splitlines() if line.startswith("Root hash"))


def lz4(path: Path, *options: str) -> Path:
    """Compress a file with the tool, to `<name>.lz4` beside it."""
    target = path.with_name(f"{path.name}.lz4")
    subprocess.run(["lz4", "-q", "-f", *options, str(path), str(target)], check=True)
    return target


@dataclass
class Files:
    """A transport over local files that counts, breaks off and stalls as told.

    Attributes:
        paths: File by target name.
        opened: Name and first byte of every target that was opened.
        sent: Bytes handed out, by name.
        break_at: Fail with DownloadFailed once so many bytes of a target were sent.
        stall_at: Block there until the source is closed.
        refuse_to_resume: Raise CannotResume when asked for a later start.
        change_at: Raise CannotResume in the middle of a transfer, once.
        portion: The most that one read returns.
        between: Called with the position before each read.
        open_sources: How many are open now.
        cut_off: Whether it was closed.
    """

    paths: dict[str, Path]
    opened: list[tuple[str, int]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    break_at: dict[str, int] = field(default_factory=dict)
    stall_at: dict[str, int] = field(default_factory=dict)
    refuse_to_resume: bool = False
    change_at: dict[str, int] = field(default_factory=dict)
    portion: int = 100_000
    between: Callable[[str, int], None] = lambda _name, _at: None
    stalled: threading.Event = field(default_factory=threading.Event)
    open_sources: int = 0
    cut_off: bool = False

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> FileSource:
        self.opened.append((target.name, start_bytes))
        if start_bytes:
            assert validator == f"tag of {target.name}"
            if self.refuse_to_resume:
                raise CannotResume(target.name, "no ranges here")
        return FileSource(self, target.name, start_bytes)

    def close(self) -> None:
        self.cut_off = True


class FileSource:
    """One target of `Files`."""

    def __init__(self, files: Files, name: str, start_bytes: int) -> None:
        self.validator: str | None = f"tag of {name}"
        self._files = files
        self._name = name
        self._position = start_bytes
        self._file = files.paths[name].open("rb", buffering=0)
        self._file.seek(start_bytes)
        self._closed = threading.Event()
        files.open_sources += 1

    def readinto(self, buffer: memoryview) -> int:
        files, name = self._files, self._name
        assert len(buffer)
        files.between(name, self._position)
        limit = len(buffer)
        for stops in (files.break_at, files.stall_at, files.change_at):
            if name in stops:
                limit = min(limit, stops[name] - self._position)
        if limit <= 0:
            self._fail()
        count = self._file.readinto(buffer[: min(limit, files.portion)])
        self._position += count
        files.sent[name] = files.sent.get(name, 0) + count
        return count

    def _fail(self) -> None:
        files, name = self._files, self._name
        if name in files.change_at:
            del files.change_at[name]
            raise CannotResume(name, "it is another file now")
        if name in files.stall_at:
            files.stalled.set()
            assert self._closed.wait(30), "a stalled read was never ended"
            raise DownloadFailed(name, "closed")
        raise DownloadFailed(name, "the connection broke")

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._file.close()
            self._files.open_sources -= 1
