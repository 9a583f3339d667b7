"""A byte range that holds one partition.

A partition of a block device is a device node from byte 0 on; a partition of a disk image is a
range of the file. Everything that reads or writes partitions takes a Region and need not know
which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Region(NamedTuple):
    """One partition's bytes.

    Attributes:
        path: Device node of the partition, or the disk (image) that contains it.
        offset_bytes: First byte of the partition in `path`.
        length_bytes: Size of the partition.
        number: Its number in the partition table, from 1.
        is_node: `path` is the partition's own device node, and `offset_bytes` is 0.
    """

    path: Path
    offset_bytes: int
    length_bytes: int
    number: int
    is_node: bool

    @property
    def name(self) -> str:
        """A word without spaces: `/dev/nvme0n1p4`, or `disk.img#4`."""
        return str(self.path) if self.is_node else f"{self.path}#{self.number}"

    @property
    def label(self) -> str:
        """For messages: `/dev/nvme0n1p4`, or `disk.img (partition 4 at 269484032)`."""
        if self.is_node:
            return str(self.path)
        return f"{self.path} (partition {self.number} at {self.offset_bytes})"

    def __str__(self) -> str:
        return self.label
