"""dm-verity hash trees: the superblock, where each level lies, how a tree grows from its leaves.

Decided here: which parameters are accepted (format 1, sha256, 4096-byte data and hash blocks, a
salt of 0 to 256 bytes), the byte layout that ``veritysetup format`` writes, and the digests of the
upper levels. Not here: reading files or devices (``partition.verity_image``) and hashing many data
blocks quickly (``partition.blockhash``).

A block's digest is ``sha256(salt + block)``. 128 digests fill one hash block; the last block of a
level is filled up with zeros. Level 0 holds the digests of data blocks, level n those of the blocks
of level n - 1, the top level is a single block, and its digest is the root hash. On disk block 0 is
the superblock, then come the levels, top first and level 0 last. A single data block has no levels
at all: its digest is the root hash.

Source: cryptsetup's wiki page DMVerity and the kernel's admin-guide/device-mapper/verity.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from partition.errors import InvalidSuperblock, InvalidTreeSize, TreeMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_SIZE: Final = 4096
"""Bytes of a data block and of a hash block; the only size accepted."""

DIGEST_SIZE: Final = 32
DIGESTS_PER_BLOCK: Final = BLOCK_SIZE // DIGEST_SIZE
SUPERBLOCK_SIZE: Final = 512
MAX_SALT_SIZE: Final = 256

# signature, version, hash type, uuid, algorithm, data block size, hash block size, data blocks,
# salt size, padding, salt, padding: `struct verity_sb` of cryptsetup's lib/verity/verity.c.
_LAYOUT: Final = struct.Struct("<8sII16s32sIIQH6x256s168x")
_SIGNATURE: Final = b"verity\0\0"
_ALGORITHM: Final = "sha256"
# The kernel's block numbers are signed 64-bit sector counts; more data blocks cannot be mapped.
_MAX_DATA_BLOCKS: Final = (1 << 63) // BLOCK_SIZE


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the superblock says of a tree; only accepted parameters can be represented.

    Attributes:
        data_blocks: Blocks of 4096 bytes that the tree covers, at least 1.
        salt: 0 to 256 bytes, hashed before every block.
        uuid: Identifies the hash device, as ``veritysetup`` prints it.
    """

    data_blocks: int
    salt: bytes
    uuid: UUID

    def __post_init__(self) -> None:
        """Refuse, as a caller's mistake, what could not be packed."""
        if not 1 <= self.data_blocks <= _MAX_DATA_BLOCKS:
            raise ValueError(f"data_blocks: {self.data_blocks}, expected 1 to {_MAX_DATA_BLOCKS}")
        if len(self.salt) > MAX_SALT_SIZE:
            raise ValueError(f"salt: {len(self.salt)} bytes, expected at most {MAX_SALT_SIZE}")

    @property
    def data_length_bytes(self) -> int:
        """Length of the data that the tree covers."""
        return self.data_blocks * BLOCK_SIZE

    @classmethod
    def parse(cls, data: bytes) -> Superblock:
        """Read the superblock from the first bytes of a hash image.

        Args:
            data: At least 512 bytes; the rest is ignored.

        Raises:
            InvalidSuperblock: Not a superblock, or one with parameters other than ours.
        """
        if len(data) < SUPERBLOCK_SIZE:
            raise InvalidSuperblock("length", f"{len(data)} bytes", f"at least {SUPERBLOCK_SIZE}")
        (
            signature,
            version,
            hash_type,
            uuid,
            algorithm,
            data_block_size,
            hash_block_size,
            data_blocks,
            salt_size,
            salt,
        ) = _LAYOUT.unpack_from(data)
        _expect("signature", signature, _SIGNATURE)
        _expect("version", version, 1)
        _expect("hash type", hash_type, 1)
        _expect("algorithm", algorithm.rstrip(b"\0"), _ALGORITHM.encode())
        _expect("data block size", data_block_size, BLOCK_SIZE)
        _expect("hash block size", hash_block_size, BLOCK_SIZE)
        if salt_size > MAX_SALT_SIZE:
            raise InvalidSuperblock("salt size", f"{salt_size}", f"0 to {MAX_SALT_SIZE}")
        if not 1 <= data_blocks <= _MAX_DATA_BLOCKS:
            raise InvalidSuperblock("data blocks", f"{data_blocks}", f"1 to {_MAX_DATA_BLOCKS}")
        superblock = cls(data_blocks, salt[:salt_size], UUID(bytes=uuid))
        if superblock.pack() != data[:SUPERBLOCK_SIZE]:
            raise InvalidSuperblock("padding", "bytes other than zero", "zeros")
        return superblock

    def pack(self) -> bytes:
        """The 512 bytes that ``veritysetup format`` writes for these parameters."""
        return _LAYOUT.pack(
            _SIGNATURE,
            1,
            1,
            self.uuid.bytes,
            _ALGORITHM.encode(),
            BLOCK_SIZE,
            BLOCK_SIZE,
            self.data_blocks,
            len(self.salt),
            self.salt,
        )


def _expect(field: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise InvalidSuperblock(field, _shown(actual), _shown(expected))


def _shown(value: object) -> str:
    return ascii(value)[1:] if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class Level:
    """Where one level of a tree lies in a hash image that starts with a superblock.

    Attributes:
        number: 0 for the digests of data blocks, rising towards the root.
        first_block: Its first block's number in the hash image (the superblock is block 0).
        blocks: How many blocks it has.
    """

    number: int
    first_block: int
    blocks: int


def levels(data_blocks: int) -> tuple[Level, ...]:
    """Every level of a tree over ``data_blocks``, level 0 first; none for a single data block."""
    sizes = []
    below = data_blocks
    while below > 1:
        below = -(-below // DIGESTS_PER_BLOCK)
        sizes.append(below)
    placed = []
    first_block = 1
    for number in reversed(range(len(sizes))):
        placed.append(Level(number, first_block, sizes[number]))
        first_block += sizes[number]
    return tuple(reversed(placed))


def image_length_bytes(data_blocks: int) -> int:
    """Length of a hash image: the superblock's block and all levels."""
    return (1 + sum(level.blocks for level in levels(data_blocks))) * BLOCK_SIZE


def data_blocks(length_bytes: int) -> int:
    """How many blocks a tree over all of this data has to cover.

    Raises:
        InvalidTreeSize: None, or not a whole number of 4096-byte blocks.
    """
    if length_bytes <= 0 or length_bytes % BLOCK_SIZE:
        expected = f"a whole number of {BLOCK_SIZE}-byte blocks, at least one"
        raise InvalidTreeSize("the data under the hash tree", length_bytes, expected)
    return length_bytes // BLOCK_SIZE


class TreeBuilder:
    """Grow a tree from the digests of its data blocks, with one block of memory per level.

    Example:
        >>> blocks = {}
        >>> builder = TreeBuilder(2, salt=b"", emit=lambda level, index, block: blocks.update(
        ...     {(level.number, index): block}))
        >>> builder.add_digests(block_digest(b"", bytes(4096)) * 2)
        >>> builder.finish() == block_digest(b"", blocks[0, 0])
        True

    Args:
        data_blocks: How many data blocks there will be.
        salt: 0 to 256 bytes.
        emit: Called with each finished block: its level, its index in that level, and its 4096
            bytes. A block is finished after all blocks below it.
        from_level: What the digests added are digests of: 0 for data blocks; n for the blocks of
            level n - 1, where the levels below n are known already and only those above are wanted.
    """

    def __init__(
        self,
        data_blocks: int,
        salt: bytes,
        emit: Callable[[Level, int, bytes], None],
        *,
        from_level: int = 0,
    ) -> None:
        self._salt = salt
        self._emit = emit
        self._levels = levels(data_blocks)
        self._from_level = from_level
        self._expected = (
            data_blocks if from_level == 0 else self._levels[from_level - 1].blocks
        )  # digests still to come
        self._pending = [bytearray() for _ in self._levels]
        self._emitted = [0 for _ in self._levels]
        self._root = b""

    def add_digests(self, digests: bytes) -> None:
        """Take the digests of the next blocks, in order, 32 bytes each.

        Raises:
            ValueError: More digests than blocks, or a broken one.
        """
        count, broken = divmod(len(digests), DIGEST_SIZE)
        if broken or count > self._expected:
            raise ValueError(f"{len(digests)} bytes of digests for {self._expected} blocks")
        self._expected -= count
        self._add(self._from_level, digests)

    def finish(self) -> bytes:
        """Close every level and return the root hash (32 bytes).

        Raises:
            ValueError: Digests are missing.
        """
        if self._expected:
            raise ValueError(f"digests of {self._expected} blocks are missing")
        for number in range(self._from_level, len(self._levels)):
            pending = self._pending[number]
            if pending:
                self._close_block(number, bytes(pending.ljust(BLOCK_SIZE, b"\0")))
                pending.clear()
        return self._root

    def _add(self, number: int, digests: bytes) -> None:
        if number == len(self._levels):  # the digest of the top block, or of the only data block
            self._root = digests
            return
        pending = self._pending[number]
        pending += digests
        while len(pending) >= BLOCK_SIZE:
            self._close_block(number, bytes(pending[:BLOCK_SIZE]))
            del pending[:BLOCK_SIZE]

    def _close_block(self, number: int, block: bytes) -> None:
        self._emit(self._levels[number], self._emitted[number], block)
        self._emitted[number] += 1
        self._add(number + 1, block_digest(self._salt, block))


def block_digest(salt: bytes, block: bytes) -> bytes:
    """The 32-byte digest of one block."""
    return hashlib.sha256(salt + block).digest()


def expect_block(
    level: Level, index: int, actual: bytes | memoryview, expected: bytes, *, entries: int
) -> None:
    """Compare one block of a hash image with what it has to be, and say where it differs.

    Args:
        level: The level that the block belongs to.
        index: The block's index in that level.
        actual: The block as found, 4096 bytes.
        expected: The digests that belong there, then zeros.
        entries: How many digests that is, the rest is padding.

    Raises:
        TreeMismatch: With the level, the block and the first digest that differs.
    """
    if actual == expected:
        return
    first = next(at for at in range(BLOCK_SIZE) if actual[at] != expected[at]) // DIGEST_SIZE
    raise TreeMismatch(
        level=level.number,
        hash_block=level.first_block + index,
        covered_block=index * DIGESTS_PER_BLOCK + first if first < entries else None,
    )
