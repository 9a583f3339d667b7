"""The LZ4 frame format: where blocks begin and end, and what may follow what.

Decided here: what counts as a whole, well-formed stream. A `Scanner` is given bytes as they arrive
and says which complete units they hold: frame headers, blocks, end marks. Not here: any I/O,
decoding a block (`updog.lz4block`) and joining what blocks decode to (`updog.decoder`).

Accepted is whatever the `lz4` tool writes: frames with independent or linked blocks, of any of the
four block sizes, with or without block checksums, content checksum and content size; skippable
frames; legacy frames (`lz4 -l`); any number of these one after the other. Refused: dictionary ids
(there is no dictionary), reserved bits, blocks larger than the frame declares, anything that is not
a frame, a stream that ends inside a frame or holds none.

The checksum of a frame header is checked. Those of blocks and contents are passed over: every byte
of the stream is covered by a real digest already, and XXH32 would cost as much as decoding does.

Source: LZ4 Frame Format Description 1.6.2, sections "General Structure" to "Legacy frame".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from updog.errors import StreamInvalid

_MAGIC: Final = 0x184D2204
_LEGACY_MAGIC: Final = 0x184C2102
_SKIPPABLE_MAGICS: Final = range(0x184D2A50, 0x184D2A60)

_BLOCK_SIZES: Final = {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}
_LEGACY_BLOCK_SIZE: Final = 8 << 20
# LZ4_COMPRESSBOUND: what 8 MiB that do not compress become.
_LEGACY_COMPRESSED_MAX: Final = _LEGACY_BLOCK_SIZE + _LEGACY_BLOCK_SIZE // 255 + 16
_STORED: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of a frame.

    Attributes:
        block_size: The most that one block decodes to.
        linked: Blocks refer to the 64 KiB before them.
        block_checksum: Four more bytes after each block.
        content_checksum: Four more bytes after the end mark.
        content_size: What the frame decodes to, where the header says so.
        legacy: Made by `lz4 -l`: no end mark, and every block compressed.
    """

    block_size: int
    linked: bool = False
    block_checksum: bool = False
    content_checksum: bool = False
    content_size: int | None = None
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One block's data: where it lies in the bytes that were scanned."""

    start: int
    length: int
    stored: bool


class FrameEnd(Enum):
    """The end of a frame; its content is complete."""

    FRAME_END = "frame end"


Event: TypeAlias = Frame | Block | FrameEnd


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the format the scanner is; enough to go on from there after a restart.

    Attributes:
        frame: The frame that is open, if any.
        skip_bytes: What is left of a skippable frame.
        frames: LZ4 frames seen so far, the open one included.
    """

    frame: Frame | None = None
    skip_bytes: int = 0
    frames: int = 0


START: Final = Position()


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found.

    Attributes:
        events: In order; blocks point into the scanned bytes.
        consumed: How many bytes the events, and whatever has no event, take up. The rest has to be
            given again, in front of what comes next.
        needed: How many bytes from there on the next unit takes, as far as is known; at least one.
    """

    events: list[Event]
    consumed: int
    needed: int


class _Short(Exception):
    """More bytes are needed; how many in all."""

    def __init__(self, needed: int) -> None:
        self.needed = needed


class Scanner:
    """Find the units of an LZ4 stream.

    Args:
        image: The target's name, for messages.
        position: Where an earlier scanner stopped.

    Attributes:
        position: After the bytes consumed so far.
    """

    def __init__(self, image: str, position: Position = START) -> None:
        self._image = image
        self.position = position

    def scan(self, data: memoryview) -> Scan:
        """Find all complete units in `data`.

        Args:
            data: What the last scan did not consume, then what came since. Must not be the end of
                the stream while something could follow; the end is told by `finish`.

        Raises:
            StreamInvalid: This cannot be, or become, a stream that is accepted.
        """
        events: list[Event] = []
        at = 0
        try:
            while True:
                at = self._unit(data, at, events)
        except _Short as short:
            return Scan(events, at, short.needed)

    def finish(self, unconsumed: int) -> None:
        """Check that the stream may end here.

        Args:
            unconsumed: Bytes that the last scan left.

        Raises:
            StreamInvalid: It ends inside a frame, or with bytes that belong to none.
        """
        position = self.position
        in_frame = position.frame is not None and not (position.frame.legacy and not unconsumed)
        if in_frame or position.skip_bytes:
            raise self._invalid("it ends in the middle of an LZ4 frame")
        if unconsumed and position.frames:
            raise self._invalid(f"{unconsumed} bytes follow the last LZ4 frame")
        if not position.frames:
            raise self._invalid("it holds no LZ4 frame")

    def _invalid(self, reason: str) -> StreamInvalid:
        return StreamInvalid(self._image, reason)

    def _unit(self, data: memoryview, at: int, events: list[Event]) -> int:
        """Take one unit from `at` on; return where it ends, or raise `_Short`."""
        position = self.position
        if position.skip_bytes:
            if at == len(data):
                raise _Short(1)
            count = min(position.skip_bytes, len(data) - at)
            self.position = replace(position, skip_bytes=position.skip_bytes - count)
            return at + count
        if position.frame is None:
            return self._header(data, at, events)
        return self._block(data, at, events, position.frame)

    def _header(self, data: memoryview, at: int, events: list[Event]) -> int:
        magic = _u32(data, at)
        if magic == _MAGIC:
            frame, end = self._descriptor(data, at)
        elif magic == _LEGACY_MAGIC:
            frame, end = Frame(block_size=_LEGACY_BLOCK_SIZE, legacy=True), at + 4
        elif magic in _SKIPPABLE_MAGICS:
            _require(data, at, 8)
            self.position = replace(self.position, skip_bytes=_u32(data, at + 4))
            return at + 8
        elif self.position.frames:
            raise self._invalid("after its last LZ4 frame come bytes that are no frame")
        else:
            raise self._invalid(
                f"it starts with {bytes(data[at : at + 4]).hex()}, not an LZ4 frame"
            )
        events.append(frame)
        self.position = replace(self.position, frame=frame, frames=self.position.frames + 1)
        return end

    def _descriptor(self, data: memoryview, at: int) -> tuple[Frame, int]:
        _require(data, at, 7)
        flags, block = data[at + 4], data[at + 5]
        has_size, has_dictionary = flags & 0x08, flags & 0x01
        length = 2 + (8 if has_size else 0) + (4 if has_dictionary else 0)
        _require(data, at, 4 + length + 1)
        descriptor = bytes(data[at + 4 : at + 4 + length])
        if data[at + 4 + length] != (_xxh32_short(descriptor) >> 8) & 0xFF:
            raise self._invalid("the checksum of an LZ4 frame header does not match")
        if flags >> 6 != 1 or flags & 0x02 or block & 0x8F or block >> 4 not in _BLOCK_SIZES:
            raise self._invalid(f"unknown LZ4 frame options {flags:02x} {block:02x}")
        if has_dictionary:
            raise self._invalid("its LZ4 frame needs a dictionary")
        frame = Frame(
            block_size=_BLOCK_SIZES[block >> 4],
            linked=not flags & 0x20,
            block_checksum=bool(flags & 0x10),
            content_checksum=bool(flags & 0x04),
            content_size=int.from_bytes(descriptor[2:10], "little") if has_size else None,
        )
        return frame, at + 4 + length + 1

    def _block(self, data: memoryview, at: int, events: list[Event], frame: Frame) -> int:
        word = _u32(data, at)
        if frame.legacy:
            if word in (_MAGIC, _LEGACY_MAGIC) or word in _SKIPPABLE_MAGICS:
                return self._end(events, at)
            length, limit = word, _LEGACY_COMPRESSED_MAX
        else:
            if word == 0:
                end = at + (8 if frame.content_checksum else 4)
                _require(data, at, end - at)
                return self._end(events, end)
            length, limit = word & ~_STORED, frame.block_size
        if not 0 < length <= limit:
            raise self._invalid(f"an LZ4 block of {length} bytes, expected at most {limit}")
        stored = not frame.legacy and bool(word & _STORED)
        size = 4 + length + (4 if frame.block_checksum else 0)
        _require(data, at, size)
        events.append(Block(at + 4, length, stored))
        return at + size

    def _end(self, events: list[Event], at: int) -> int:
        events.append(FrameEnd.FRAME_END)
        self.position = replace(self.position, frame=None)
        return at


def _require(data: memoryview, at: int, length: int) -> None:
    if len(data) - at < length:
        raise _Short(length)


def _u32(data: memoryview, at: int) -> int:
    _require(data, at, 4)
    return int.from_bytes(data[at : at + 4], "little")


def _xxh32_short(data: bytes) -> int:
    """XXH32 with seed 0 of fewer than 16 bytes, which is all that a frame header needs."""
    mask = 0xFFFFFFFF
    value = 374761393 + len(data)
    lanes = len(data) - len(data) % 4
    for at in range(0, lanes, 4):
        value = (value + int.from_bytes(data[at : at + 4], "little") * 3266489917) & mask
        value = (_rotated(value, 17) * 668265263) & mask
    for byte in data[lanes:]:
        value = (value + byte * 374761393) & mask
        value = (_rotated(value, 11) * 2654435761) & mask
    value = ((value ^ value >> 15) * 2246822519) & mask
    value = ((value ^ value >> 13) * 3266489917) & mask
    return value ^ value >> 16


def _rotated(value: int, count: int) -> int:
    return (value << count | value >> 32 - count) & 0xFFFFFFFF
