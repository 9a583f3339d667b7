"""Making a disk image as a host's disk is after its first good boot: set A installed, set B empty.

The file is sparse: what is not written takes no space. Its size and geometry come from the layout
(`repo_tools.disk.layout_file`), its table from `repo_tools.disk.table`; images are written with the
writer that updates use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partition.disk import Disk
from partition.errors import DeviceTooSmall
from partition.geometry import disk_bytes, make_table
from partition.kernel import KERNEL, Kernel
from partition.writer import RegionWriter
from repo_tools.disk.table import DATA_LABEL, PRIVATE_LABEL, partitions
from repo_tools.errors import LayoutInvalid, StoreFailed
from repo_tools.hash_tree import TreeComparison, passing_tree
from repo_tools.images import content
from signpost.layout import Part, find_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from partition.region import Region
    from repo_tools.disk.layout_file import DiskLayout


@dataclass(frozen=True, slots=True)
class Installed:
    """A disk image that was made; sizes in bytes, `root_hash` in hex."""

    path: Path
    size_bytes: int
    root_hash: str
    partitions: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "root_hash": self.root_hash,
            "partitions": dict(self.partitions),
        }


def create_disk(
    path: Path,
    layout: DiskLayout,
    images: Mapping[str, Path],
    *,
    sector_size: int = 512,
    salt: bytes | None = None,
    kernel: Kernel = KERNEL,
) -> Installed:
    """Make a disk image and install set A.

    Args:
        path: The file to make.
        layout: Sizes of the partitions.
        images: `boot` and `root`, and perhaps `hash` (made from `root` if missing), `private` and
            `data`; plain or LZ4 frames.
        sector_size: 512 or 4096 bytes.
        salt: Salt of the hash image that is made.
        kernel: The way to the disk.

    Raises:
        StoreFailed: The file exists, or cannot be written.
        LayoutInvalid: An image does not fit its partition.
        ImageInvalid: An image is damaged.
    """
    planned = partitions(layout)
    size = disk_bytes(planned)
    _new_file(path, size, kernel)
    make_table(path, planned, sector_size=sector_size, kernel=kernel)
    regions = _regions(path, kernel)
    tree = passing_tree(images["root"], images.get("hash"), salt=salt, identity="set A")
    for name, image in images.items():
        if name not in regions:
            raise LayoutInvalid(str(path), f"it has no {name} partition for {image}")
        pieces = content(image)
        if name == "root":
            pieces = _passed_on(pieces, tree.add)
        _install(regions[name], name, pieces, kernel)
    hash_image, root_hash = tree.finish()
    if "hash" in images:
        comparison = TreeComparison(str(images["hash"]), str(images["root"]), hash_image)
        for piece in content(images["hash"]):
            comparison.add(piece)
        comparison.finish()
    else:
        _install(regions["hash"], "hash", iter([hash_image]), kernel)
    labels = {each.label: number for number, each in enumerate(planned, 1)}
    return Installed(path, size, root_hash.hex(), labels)


def _new_file(path: Path, size_bytes: int, kernel: Kernel) -> None:
    """Make a sparse file.

    Raises:
        StoreFailed: It exists, or cannot be made.
    """
    try:
        fd = kernel.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            kernel.ftruncate(fd, size_bytes)
        finally:
            kernel.close(fd)
    except OSError as exc:
        raise StoreFailed("make disk image", str(path), exc.strerror or str(exc)) from exc


def _regions(path: Path, kernel: Kernel) -> dict[str, Region]:
    """Where images go: the partitions of set A, private and data."""
    with Disk.open(path, kernel=kernel) as disk:
        table = disk.read_table().table
        slot_a = find_layout(table, disk=str(path)).a
        regions = {part.value: disk.region(slot_a.number(part)) for part in Part}
        names = {PRIVATE_LABEL: "private", DATA_LABEL: "data"}
        for number, entry in enumerate(table.entries, start=1):
            if entry and entry.label in names:
                regions[names[entry.label]] = disk.region(number)
        return regions


def _install(region: Region, name: str, pieces: Iterator[bytes], kernel: Kernel) -> None:
    """Write an image to its partition, and flush."""
    with RegionWriter(region, kernel=kernel) as writer:
        try:
            for piece in pieces:
                writer.write(memoryview(piece))
        except DeviceTooSmall as exc:
            capacity = f"{region.length_bytes >> 20} MiB"
            raise LayoutInvalid(
                str(region.path), f"the {name} image does not fit its partition of {capacity}"
            ) from exc
        writer.flush()


def _passed_on(pieces: Iterator[bytes], on_content: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        on_content(piece)
        yield piece
