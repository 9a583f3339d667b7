"""Make a hash image for a data image, and check one image against the other.

Decided here: in which order files are read, hashed and compared. The format is in
``partition.verity``, fast hashing in ``partition.blockhash``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from partition import verity
from partition.blockhash import BlockHasher, hash_blocks
from partition.errors import (
    InvalidSuperblock,
    InvalidTreeSize,
    ReadFailed,
    TreeMismatch,
    reason,
)
from partition.reader import RegionReader
from partition.verity import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    DIGESTS_PER_BLOCK,
    SUPERBLOCK_SIZE,
    Level,
    Superblock,
    TreeBuilder,
    expect_block,
    image_length_bytes,
    levels,
)

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from partition.region import Region

_WORTH_HELPERS: Final = 64 << 20
"""From this much data on, helper processes save more than their start costs."""


_WINDOW: Final = 256 << 10
"""Bytes of level 0 to keep at hand: the digests of 32 MiB of data."""


class BuiltTree(NamedTuple):
    """A hash image, byte for byte what ``veritysetup format`` writes, and the root hash."""

    image: bytes
    root_hash: bytes


def helpers_for(data_length_bytes: int) -> int:
    """How many helper processes to hash this much data with: one per processor, none for little."""
    if data_length_bytes < _WORTH_HELPERS:
        return 0
    return len(os.sched_getaffinity(0))


def build_tree(data: Path, *, salt: bytes, uuid: UUID, data_blocks: int | None = None) -> BuiltTree:
    """Build the hash image of a data file, on all processors.

    Args:
        data: A file or device.
        salt: 0 to 256 bytes, hashed before every block.
        uuid: Identifies the hash device.
        data_blocks: Cover only so many 4096-byte blocks, as ``veritysetup --data-blocks`` does; by
            default all of the file.

    Returns:
        The image, 1/127 of the data's length, in memory.

    Raises:
        InvalidTreeSize: The file is not a whole number of blocks, or has none.
        ReadFailed: The file cannot be read, or is shorter than asked for.
    """
    try:
        fd = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
        try:
            length_bytes = os.lseek(fd, 0, os.SEEK_END)
            blocks = verity.data_blocks(length_bytes) if data_blocks is None else data_blocks
            return _build(fd, Superblock(blocks, salt, uuid))
        finally:
            os.close(fd)
    except OSError as error:
        raise ReadFailed(data, reason(error)) from error


def _build(fd: int, superblock: Superblock) -> BuiltTree:
    image = bytearray(image_length_bytes(superblock.data_blocks))
    packed = superblock.pack()
    image[: len(packed)] = packed

    def put(level: Level, index: int, block: bytes) -> None:
        start = (level.first_block + index) * BLOCK_SIZE
        image[start : start + BLOCK_SIZE] = block

    builder = TreeBuilder(superblock.data_blocks, superblock.salt, put)
    with BlockHasher(
        fd, superblock.salt, helpers=helpers_for(superblock.data_length_bytes)
    ) as hasher:
        for digests in hasher.in_order(0, superblock.data_length_bytes):
            builder.add_digests(digests)
    root_hash = builder.finish()  # the last blocks are put only now
    return BuiltTree(bytes(image), root_hash)


class TreeOnDisk:
    """A hash image in its region, to check data against.

    What is compared is read from the device each time, so memory does not grow with the tree.

    Args:
        reader: The hash region, open.
        length_bytes: Length of the hash image that was written there. The tree may be shorter,
            where the rest is zeros: images may fill their partition.

    Attributes:
        superblock: Its parameters.

    Raises:
        InvalidSuperblock: It does not start with a superblock that we accept.
        InvalidTreeSize: It is shorter than its tree.
        ReadFailed: The device failed.
    """

    def __init__(self, reader: RegionReader, length_bytes: int) -> None:
        self._reader = reader
        self._length_bytes = length_bytes
        self.superblock = Superblock.parse(reader.read(0, min(length_bytes, SUPERBLOCK_SIZE)))
        needed = image_length_bytes(self.superblock.data_blocks)
        if length_bytes < needed:
            expected = f"{needed} for {self.superblock.data_blocks} data blocks"
            raise InvalidTreeSize("the hash image", length_bytes, expected)
        self._levels = levels(self.superblock.data_blocks)
        self._window = 0, b""

    def check_upper_levels(self) -> bytes:
        """Check all of the image but what level 0 says of the data; return the root hash.

        Padding, everything behind the tree included, has to be zero.

        Raises:
            TreeMismatch: A block is not what the blocks below it ask for.
            InvalidSuperblock: Something hides between superblock and tree, or behind the tree.
            ReadFailed: The device failed.
        """
        self._expect_zeros(SUPERBLOCK_SIZE, BLOCK_SIZE)
        self._expect_zeros(image_length_bytes(self.superblock.data_blocks), self._length_bytes)
        if not self._levels:
            return b""
        builder = TreeBuilder(
            self.superblock.data_blocks, self.superblock.salt, self._expect_block, from_level=1
        )
        leaves = self._levels[0]
        used = self.superblock.data_blocks % DIGESTS_PER_BLOCK * DIGEST_SIZE
        start = leaves.first_block * BLOCK_SIZE
        for chunk in self._reader.chunks(start, start + leaves.blocks * BLOCK_SIZE):
            builder.add_digests(hash_blocks(chunk, self.superblock.salt))
        if used:
            stop = start + leaves.blocks * BLOCK_SIZE
            padding = self._reader.read(stop - BLOCK_SIZE + used, stop)
            if padding.strip(b"\0"):
                raise TreeMismatch(
                    level=0,
                    hash_block=leaves.first_block + leaves.blocks - 1,
                    covered_block=None,
                )
        return builder.finish()

    def _expect_zeros(self, start: int, stop: int) -> None:
        for chunk in self._reader.chunks(start, stop):
            if bytes(chunk).strip(b"\0"):
                raise InvalidSuperblock("padding", "bytes other than zero", "zeros")

    def _expect_block(self, level: Level, index: int, block: bytes) -> None:
        start = (level.first_block + index) * BLOCK_SIZE
        below = self._levels[level.number - 1].blocks
        entries = min(DIGESTS_PER_BLOCK, below - index * DIGESTS_PER_BLOCK)
        actual = self._reader.read(start, start + BLOCK_SIZE)
        expect_block(level, index, actual, block, entries=entries)

    def check_digests(self, first_data_block: int, digests: bytes) -> None:
        """Compare digests of data blocks with level 0.

        Args:
            first_data_block: The number of the block that the first digest belongs to.
            digests: 32 bytes a block; none of a block behind the covered data.

        Raises:
            TreeMismatch: The first block that differs.
            ReadFailed: The device failed.
        """
        count = len(digests) // DIGEST_SIZE
        if not self._levels:  # a single data block; its digest is the root hash, kept elsewhere
            return
        expected = self._leaves(first_data_block * DIGEST_SIZE, len(digests))
        if expected == digests:
            return
        differs = next(
            block
            for block in range(count)
            if expected[block * DIGEST_SIZE :][:DIGEST_SIZE]
            != digests[block * DIGEST_SIZE :][:DIGEST_SIZE]
        )
        data_block = first_data_block + differs
        raise TreeMismatch(
            level=0,
            hash_block=self._levels[0].first_block + data_block // DIGESTS_PER_BLOCK,
            covered_block=data_block,
        )

    def _leaves(self, start: int, length: int) -> bytes:
        """Part of level 0; read a good deal at once, since most callers go on where they were."""
        window_start, window = self._window
        if not window_start <= start <= start + length <= window_start + len(window):
            first = self._levels[0].first_block * BLOCK_SIZE
            size = self._levels[0].blocks * BLOCK_SIZE
            window = self._reader.read(
                first + start, first + min(size, max(start + length, start + _WINDOW))
            )
            window_start = start
            self._window = window_start, window
        return window[start - window_start :][:length]


def check_tree(data: Region, data_length_bytes: int, tree: Region, tree_length_bytes: int) -> bytes:
    """Check a data image against its hash image, both as they are on disk; return the root hash.

    Raises:
        InvalidSuperblock, InvalidTreeSize: The hash image is not one for data of this length.
        TreeMismatch: A block, with its level, that does not fit.
        ReadFailed: A device failed.
    """
    with RegionReader(tree) as tree_reader, RegionReader(data) as reader:
        on_disk = TreeOnDisk(tree_reader, tree_length_bytes)
        expect_data_length(on_disk.superblock, data_length_bytes)
        root_hash = on_disk.check_upper_levels()
        reader.forget_cached(0, data_length_bytes)
        salt = on_disk.superblock.salt
        with BlockHasher(reader.fd, salt, helpers=helpers_for(data_length_bytes)) as hasher:
            block = 0
            for digests in hasher.in_order(data.offset_bytes, data_length_bytes):
                on_disk.check_digests(block, digests)
                block += len(digests) // DIGEST_SIZE
                root_hash = root_hash or digests
        return root_hash


def expect_data_length(superblock: Superblock, length_bytes: int) -> None:
    """Refuse data that the tree covers only in part, or that ends before the tree does.

    Raises:
        InvalidTreeSize: The lengths differ.
    """
    if length_bytes != superblock.data_length_bytes:
        expected = f"{superblock.data_length_bytes}, as the superblock of its hash tree says"
        raise InvalidTreeSize("the data under the hash tree", length_bytes, expected)
