"""Decode single LZ4 blocks into reused memory, and that memory.

Decided here: how a block is decoded. liblz4 is reached through the extension module of python-lz4,
which either contains it or is linked with it, so its version is the one that was installed with the
package; decoding into memory that exists already takes half the time of making a new `bytes`. Where
the function cannot be reached, python-lz4's own call is used and its result copied.

Memory safety: `LZ4_decompress_safe_usingDict` never reads or writes outside the ranges it is given,
and the ranges are checked against the memory here, whoever asks.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from typing import Final, NamedTuple, Protocol

HISTORY_SIZE: Final = 64 << 10
"""How far back a linked block may refer."""


class Memory:
    """Page-aligned memory outside the Python heap; pages that are never touched cost nothing.

    Attributes:
        view: All of it.
        size: Its length in bytes.
    """

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, size)
        self.view = memoryview(self._map)
        self.size = size
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def ensure(self, size: int) -> None:
        """Grow to at least `size`; the contents stay."""
        if size > self.size:
            larger = Memory(size)
            larger.view[: self.size] = self.view
            self._map, self.view, self.size = larger._map, larger.view, larger.size
            self.address = larger.address


class UndecodableBlock(Exception):
    """The data is not an LZ4 block that fits its place."""


class Encoded(NamedTuple):
    """Where an encoded block lies."""

    memory: Memory
    start: int
    length: int


class DecodeBlock(Protocol):
    """Decode one block."""

    def __call__(self, block: Encoded, target: Memory, at: int, *, room: int, history: int) -> int:
        """Decode a block from one memory into another.

        Args:
            block: What to decode.
            target: Where it is decoded to.
            at: The place in `target`.
            room: The most that may be written there.
            history: How many bytes right in front of `at` the block may refer to.

        Returns:
            How many bytes it decoded to.

        Raises:
            UndecodableBlock: The data is damaged, or decodes to more than `room`.
        """


def _check_ranges(block: Encoded, target: Memory, at: int, room: int, history: int) -> None:
    if not (
        0 <= block.start <= block.start + block.length <= block.memory.size
        and 0 <= history <= at <= at + room <= target.size
    ):
        raise ValueError("an LZ4 block outside its memory")


@functools.cache
def block_decoder() -> DecodeBlock:
    """The fastest way to decode blocks that this machine has."""
    return _native_decoder() or _portable


def _native_decoder() -> DecodeBlock | None:
    # Commands that decode nothing should not wait for this import.
    from lz4.block import _block  # noqa: PLC0415

    try:
        function = ctypes.CDLL(_block.__file__).LZ4_decompress_safe_usingDict
    except (AttributeError, OSError):
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    function.argtypes = (pointer, pointer, integer, integer, pointer, integer)
    function.restype = integer

    def native(block: Encoded, target: Memory, at: int, *, room: int, history: int) -> int:
        _check_ranges(block, target, at, room, history)
        source, here = block.memory.address + block.start, target.address + at
        count: int = function(source, here, block.length, room, here - history, history)
        if count < 0:
            raise UndecodableBlock
        return count

    return native


def _portable(block: Encoded, target: Memory, at: int, *, room: int, history: int) -> int:
    import lz4.block  # noqa: PLC0415 (as above)

    _check_ranges(block, target, at, room, history)
    try:
        data = lz4.block.decompress(
            block.memory.view[block.start : block.start + block.length],
            uncompressed_size=room,
            dict=target.view[at - history : at],
        )
    except lz4.block.LZ4BlockError as error:
        raise UndecodableBlock from error
    target.view[at : at + len(data)] = data
    return len(data)
