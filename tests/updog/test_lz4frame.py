"""Streams that the `lz4` tool writes, and what becomes of damaged ones.

The witness is the tool: it compresses, and what it was given is what has to come out.
"""

from __future__ import annotations

import random
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog import lz4block
from updog.decoder import PIECE_SIZE, Decoder, history_needed
from updog.errors import StreamInvalid
from updog.lz4block import HISTORY_SIZE, Encoded, Memory, UndecodableBlock
from updog.lz4frame import Frame, Position, Scanner

SKIPPABLE = struct.pack("<II", 0x184D2A53, 11) + b"hello world"
LEGACY_MAGIC = struct.pack("<I", 0x184C2102)


def real_content(length: int) -> bytes:
    """What images hold: programs, runs of zeros, and something that does not compress."""
    programs = Path("/usr/bin/bash").read_bytes()
    noise = random.Random(7).randbytes(length // 5)  # noqa: S311 (not a secret)
    parts = programs[: length // 2], bytes(length // 10), noise, programs[1000:]
    content = b"".join(parts)
    return (content * (length // len(content) + 1))[:length]


CONTENT = real_content(700_000)


def lz4(content: bytes, *options: str) -> bytes:
    command = ["lz4", "-q", "-c", *options]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def decode(stream: bytes, *cuts: int) -> bytes:
    """Decode a stream that arrives in portions which end at the given offsets."""
    pieces: list[bytes] = []
    free = [Memory(HISTORY_SIZE + PIECE_SIZE) for _ in range(2)]

    def give(memory: Memory, length: int) -> None:
        pieces.append(bytes(memory.view[HISTORY_SIZE : HISTORY_SIZE + length]))
        memory.view[:] = b"\xee" * memory.size  # the next user must not rely on what was there
        free.append(memory)

    scanner = Scanner("root.lz4")
    decoder = Decoder("root.lz4", lambda: free.pop(0), give, lambda _: None)
    rest = b""
    for start, stop in pairwise((0, *cuts, len(stream))):
        data = rest + stream[start:stop]
        memory = Memory(max(len(data), 1))
        memory.view[: len(data)] = data
        scan = scanner.scan(memory.view[: len(data)])
        assert 0 <= scan.consumed <= len(data)
        assert scan.needed > len(data) - scan.consumed  # never asks for what it has
        decoder.feed(memory, scan.events)
        decoder.flush()
        rest = data[scan.consumed :]
    scanner.finish(len(rest))
    assert all(len(piece) <= max(PIECE_SIZE, 8 << 20) for piece in pieces)
    assert decoder.total == sum(map(len, pieces))
    return b"".join(pieces)


OPTIONS = {
    "64 KiB blocks": ["-B4"],
    "256 KiB blocks": ["-B5"],
    "1 MiB blocks": ["-B6"],
    "4 MiB blocks": ["-B7"],
    "linked blocks": ["-B4", "-BD"],
    "linked blocks, high compression": ["-B4", "-BD", "-9"],
    "block checksums": ["-B4", "-BX"],
    "linked blocks with checksums": ["-B5", "-BD", "-BX"],
    "no content checksum": ["-B4", "--no-frame-crc"],
    "content size": ["-B4", "--content-size"],
    "everything": ["-B4", "-BD", "-BX", "--content-size", "-9"],
    "legacy": ["-l"],
}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same content by every option; from a file, or there would be no content size."""
    path = tmp_path_factory.mktemp("lz4") / "content"
    path.write_bytes(CONTENT)
    return {
        name: subprocess.run(
            ["lz4", "-q", "-c", *options, str(path)], check=True, capture_output=True
        ).stdout
        for name, options in OPTIONS.items()
    }


@pytest.mark.parametrize("name", OPTIONS)
class TestWhatTheToolWrites:
    """Each option, arriving whole, in pieces, and broken."""

    def test_whole(self, streams: dict[str, bytes], name: str) -> None:
        assert decode(streams[name]) == CONTENT

    def test_in_portions(self, streams: dict[str, bytes], name: str) -> None:
        stream = streams[name]
        assert decode(stream, *range(1, 60), *range(60, len(stream), 9973)) == CONTENT

    def test_cut_off_anywhere(self, streams: dict[str, bytes], name: str) -> None:
        stream = streams[name]
        places = [
            *range(30),
            *range(30, len(stream), 20_011),
            *range(len(stream) - 12, len(stream)),
        ]
        for length in places:
            if (
                name == "legacy" and length == 4
            ):  # no blocks: an empty legacy frame, says the format
                continue
            with pytest.raises(StreamInvalid, match=r"^refusing root.lz4: it (ends|holds|starts)"):
                decode(stream[:length])

    def test_with_something_behind_it(self, streams: dict[str, bytes], name: str) -> None:
        for trailing in (b"\1", b"abc", b"\0\0\0\1", b"garbage" * 99):
            if name == "legacy" and trailing == b"\0\0\0\1":  # the size of one more block
                continue
            with pytest.raises(StreamInvalid):
                decode(streams[name] + trailing)

    def test_with_a_damaged_byte(self, streams: dict[str, bytes], name: str) -> None:
        """No crash, and nothing but an error or other content; the digest sees the rest."""
        refused = 0
        for place in [*range(20), *range(20, len(streams[name]), 24_001)]:
            damaged = bytearray(streams[name])
            damaged[place] ^= 0x55
            try:
                decode(bytes(damaged))
            except StreamInvalid:
                refused += 1
        assert refused >= 7  # every byte of the header, at least

    def test_twice_with_other_frames_between(self, streams: dict[str, bytes], name: str) -> None:
        stream = SKIPPABLE + streams[name] + SKIPPABLE + streams["64 KiB blocks"] + streams[name]
        expected = CONTENT * 3
        assert decode(stream) == expected
        assert decode(stream, *range(7, len(stream), 65_537)) == expected

    def test_gone_on_with_after_a_restart(self, streams: dict[str, bytes], name: str) -> None:
        """Stop at many places, and go on from the position and the end of what was decoded."""
        stream = streams[name]
        places = range(5, len(stream), 50_021)
        assert len(places) > 1
        for place in places:
            scanner = Scanner("root.lz4")
            memory = Memory(len(stream))
            memory.view[: len(stream)] = stream
            scan = scanner.scan(memory.view[:place])
            produced = bytearray()
            first = decoder_into(produced)
            first.feed(memory, scan.events)
            first.flush()

            frame = scanner.position.frame
            needed = history_needed(frame, first.produced) if frame else 0
            history = bytes(produced[len(produced) - needed :])
            second = decoder_into(
                produced,
                total=first.total,
                frame=frame,
                produced=first.produced,
                history=history,
            )
            resumed = Scanner("root.lz4", scanner.position)
            rest = Memory(len(stream) - scan.consumed)
            rest.view[:] = stream[scan.consumed :]
            scan = resumed.scan(rest.view)
            second.feed(rest, scan.events)
            second.flush()
            resumed.finish(rest.size - scan.consumed)
            assert produced == CONTENT


def decoder_into(
    target: bytearray,
    *,
    total: int = 0,
    frame: Frame | None = None,
    produced: int = 0,
    history: bytes = b"",
) -> Decoder:
    def give(memory: Memory, length: int) -> None:
        target.extend(memory.view[HISTORY_SIZE : HISTORY_SIZE + length])

    return Decoder(
        "root.lz4",
        lambda: Memory(HISTORY_SIZE + PIECE_SIZE),
        give,
        lambda _: None,
        total=total,
        frame=frame,
        produced=produced,
        history=history,
    )


@pytest.mark.parametrize("options", [["-B7"], ["-B7", "-BD"], ["-l"]], ids=" ".join)
def test_content_of_several_large_blocks(options: list[str]) -> None:
    content = real_content(17 * 1000 * 1000)
    stream = lz4(content, "-1", *options)
    assert decode(stream, *range(1_000_003, len(stream), 1_000_003)) == content


def test_every_byte_may_come_alone() -> None:
    content = CONTENT[:3000]
    for options in (["-BX", "-BD"], ["-l"], ["--content-size"]):
        stream = SKIPPABLE + lz4(content, *options) + lz4(content)
        assert decode(stream, *range(1, len(stream))) == content * 2


def test_empty_content_is_a_frame_too() -> None:
    assert decode(lz4(b"")) == b""
    assert decode(lz4(b"") + lz4(b"x")) == b"x"


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        SKIPPABLE,
        b"\x1f\x8b\x08" + bytes(30),
        b"\x28\xb5\x2f\xfd" + bytes(30),
        b"<html></html>",
    ],
    ids=["nothing", "a skippable frame alone", "gzip", "zstd", "a web page"],
)
def test_what_is_no_lz4_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(StreamInvalid, match=r"it (holds no LZ4 frame|starts with \w+, not)"):
        decode(stream)


def header(flags: int, block: int, *rest: int) -> bytes:
    """A frame header with the one checksum that is not refused."""
    body = bytes([flags, block, *rest])
    magic = struct.pack("<I", 0x184D2204)
    return next(
        candidate
        for candidate in (magic + body + bytes([check]) for check in range(256))
        if accepted_header(candidate)
    )


def accepted_header(candidate: bytes) -> bool:
    try:
        Scanner("x").scan(memoryview(candidate))
    except StreamInvalid as error:
        return "checksum" not in str(error)
    return True


@pytest.mark.parametrize(
    "flags,block,rest,why",
    [
        (0x61, 0x40, (1, 0, 0, 0), "needs a dictionary"),
        (0x62, 0x40, (), "unknown LZ4 frame options 62 40"),
        (0x20, 0x40, (), "unknown LZ4 frame options 20 40"),
        (0xA0, 0x40, (), "unknown LZ4 frame options a0 40"),
        (0x60, 0x30, (), "unknown LZ4 frame options 60 30"),
        (0x60, 0xC0, (), "unknown LZ4 frame options 60 c0"),
        (0x60, 0x41, (), "unknown LZ4 frame options 60 41"),
    ],
)
def test_frames_that_cannot_be_decoded_are_refused(
    flags: int, block: int, rest: tuple[int, ...], why: str
) -> None:
    with pytest.raises(StreamInvalid, match=why):
        decode(header(flags, block, *rest) + bytes(4))


def test_the_checksum_of_a_header_is_that_of_the_tool(streams: dict[str, bytes]) -> None:
    for name in ("64 KiB blocks", "content size", "everything"):
        for check in range(256):
            length = 14 if name != "64 KiB blocks" else 6
            stream = bytearray(streams[name])
            if stream[length] == check:
                continue
            stream[length] = check
            with pytest.raises(StreamInvalid, match="the checksum of an LZ4 frame header"):
                decode(bytes(stream))


def test_blocks_larger_than_the_frame_declares_are_refused() -> None:
    start = lz4(CONTENT[:100], "-B4")[:7]
    for size in (65_537, 65_537 | 1 << 31, (1 << 31) - 1):
        with pytest.raises(StreamInvalid, match=r"an LZ4 block of .* expected at most 65536"):
            decode(start + struct.pack("<I", size) + bytes(70_000))
    with pytest.raises(StreamInvalid, match=r"an LZ4 block of .* expected at most 8421520"):
        decode(LEGACY_MAGIC + struct.pack("<I", 8_421_521))


def test_a_frame_that_holds_more_or_less_than_it_says_is_refused() -> None:
    small, large = lz4(b"A" * 1000), lz4(b"A" * 2000)
    assert small[:7] == large[:7]
    sized = bytes([0x04, 0x22, 0x4D, 0x18, 0x6C, 0x40]) + struct.pack("<Q", 1500)
    checksum = next(c for c in range(256) if accepted_header(sized + bytes([c])))
    for stream, produced in ((small, 1000), (large, 2000)):
        with pytest.raises(StreamInvalid, match=f"holds {produced} bytes, its header says 1500"):
            decode(sized + bytes([checksum]) + stream[7:])


def test_a_decompression_bomb_comes_in_pieces() -> None:
    """64 MiB of zeros are 260 KiB of LZ4; never more than one piece of it is in memory."""
    stream = lz4(bytes(64 << 20), "-B7")
    assert len(stream) < 300_000
    total, largest = 0, 0
    memory = Memory(len(stream))
    memory.view[:] = stream
    free = Memory(HISTORY_SIZE + PIECE_SIZE)

    def give(memory: Memory, length: int) -> None:
        nonlocal total, largest
        total, largest = total + length, max(largest, length)
        assert memory.size == HISTORY_SIZE + PIECE_SIZE

    decoder = Decoder("bomb", lambda: free, give, lambda _: None)
    decoder.feed(memory, Scanner("bomb").scan(memory.view).events)
    decoder.flush()
    assert (total, largest) == (64 << 20, PIECE_SIZE)


def test_the_size_in_a_header_is_announced_before_anything_is_decoded(
    streams: dict[str, bytes],
) -> None:
    class TooLarge(Exception):
        pass

    def announce(size: int) -> None:
        raise TooLarge(size)

    def give(*_: object) -> None:
        pytest.fail("something was decoded")

    memory = Memory(100)
    memory.view[:] = streams["content size"][:100]
    decoder = Decoder("root", lambda: Memory(1 << 23), give, announce, total=5)
    with pytest.raises(TooLarge, match="700005"):
        decoder.feed(memory, Scanner("root").scan(memory.view).events)


class TestScanner:
    """Nothing but its own error, whatever it is fed."""

    @given(st.binary(max_size=200))
    def test_noise(self, noise: bytes) -> None:
        self.scan_all(noise)

    @given(
        st.lists(st.sampled_from([SKIPPABLE, LEGACY_MAGIC, lz4(b"abc"), b"\0\0\0\0"])),
        st.binary(max_size=20),
    )
    def test_parts_of_streams_in_any_order(self, parts: list[bytes], noise: bytes) -> None:
        self.scan_all(b"".join(parts) + noise)

    def scan_all(self, data: bytes) -> None:
        scanner = Scanner("x")
        try:
            scan = scanner.scan(memoryview(data))
            assert scan.consumed <= len(data)
            assert scan.needed <= 8_421_524
            scanner.finish(len(data) - scan.consumed)
        except StreamInvalid:
            pass

    def test_a_huge_skippable_frame_is_not_kept(self) -> None:
        scanner = Scanner("x")
        scan = scanner.scan(memoryview(struct.pack("<II", 0x184D2A50, 0xFFFFFFFF)))
        assert (scan.consumed, scanner.position) == (8, Position(skip_bytes=0xFFFFFFFF))
        scan = scanner.scan(memoryview(bytes(1000)))
        assert (scan.consumed, scan.needed) == (1000, 1)


class TestBlocks:
    """Both ways to decode a block say the same, and neither leaves its memory."""

    DECODERS = (lz4block.block_decoder(), lz4block._portable)

    @pytest.mark.parametrize("decoder", DECODERS)
    def test_a_block_outside_its_memory_is_a_mistake(self, decoder: lz4block.DecodeBlock) -> None:
        small = Memory(100)
        for block, at, room, history in (
            (Encoded(small, 50, 51), 0, 10, 0),
            (Encoded(small, -1, 10), 0, 10, 0),
            (Encoded(small, 0, 10), 91, 10, 0),
            (Encoded(small, 0, 10), 5, 10, 6),
            (Encoded(small, 0, 10), -1, 10, 0),
        ):
            with pytest.raises(ValueError, match="outside its memory"):
                decoder(block, small, at, room=room, history=history)

    @pytest.mark.parametrize("decoder", DECODERS)
    def test_more_than_there_is_room_for_is_not_written(
        self, decoder: lz4block.DecodeBlock
    ) -> None:
        block = lz4(bytes(5000), "-B4")[11:-8]
        source, target = Memory(len(block)), Memory(6000)
        source.view[:] = block
        assert decoder(Encoded(source, 0, len(block)), target, 10, room=5000, history=0) == 5000
        target.view[:] = b"\xee" * 6000
        with pytest.raises(UndecodableBlock):
            decoder(Encoded(source, 0, len(block)), target, 10, room=4999, history=0)
        assert set(target.view[5010:]) == {0xEE}

    @given(st.binary(min_size=1, max_size=300), st.integers(0, 64))
    def test_noise_decodes_to_the_same_or_not_at_all(self, noise: bytes, history: int) -> None:
        outcomes: list[bytes | None] = []
        for decoder in self.DECODERS:
            source, target = Memory(len(noise)), Memory(4096)
            source.view[:] = noise
            target.view[:64] = bytes(range(64))
            try:
                block = Encoded(source, 0, len(noise))
                count = decoder(block, target, 64, room=1000, history=history)
                outcomes.append(bytes(target.view[64 : 64 + count]))
            except UndecodableBlock:
                outcomes.append(None)
        assert outcomes[0] == outcomes[1]
