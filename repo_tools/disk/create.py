"""Making a disk image as a host's disk is after its first good boot: set A installed, set B empty.

The file is sparse: what is not written takes no space. Its size and geometry come from the layout
(`repo_tools.disk.layout_file`), its table from `repo_tools.disk.table`; images are written with the
writer that updates use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from partition.disk import Disk
from partition.errors import DeviceTooSmall
from partition.kernel import KERNEL, Kernel
from partition.writer import RegionWriter
from repo_tools.disk.table import disk_bytes, new_table, protective_mbr
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
    size = disk_bytes(layout)
    _new_file(path, size, sector_size, kernel)
    with Disk.open(path, writable=True, kernel=kernel) as disk:
        table = new_table(layout, sector_size, uuid4)
        disk.write_table(table)
        labels = {entry.label: number for number, entry in enumerate(table.entries, 1) if entry}
        slot_a = find_layout(table, disk=str(path)).a
        number = {part.value: slot_a.number(part) for part in Part}
        number["private"] = labels["BOTTLEROCKET-PRIVATE"]
        if "BOTTLEROCKET-DATA" in labels:
            number["data"] = labels["BOTTLEROCKET-DATA"]
        regions = {name: disk.region(index) for name, index in number.items()}
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
    return Installed(path, size, root_hash.hex(), labels)


def _new_file(path: Path, size_bytes: int, sector_size: int, kernel: Kernel) -> None:
    """Make a sparse file with a protective MBR.

    Raises:
        StoreFailed: It exists, or cannot be made.
    """
    try:
        fd = kernel.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            kernel.ftruncate(fd, size_bytes)
            kernel.pwrite(fd, protective_mbr(size_bytes, sector_size), 0)
        finally:
            kernel.close(fd)
    except OSError as exc:
        raise StoreFailed("make disk image", str(path), exc.strerror or str(exc)) from exc


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
