"""One image on its way from the repository to its partition.

The stages, each a thread of its own, and what goes between them:

    receive -> hash -> decode -> write -> flush -> check
       ^                 |  ^       |
       +-- memory back --+  +-------+

- receive: bytes from the transport into memory that goes round, cut where LZ4 blocks end, so that a
  block lies in one piece and is never copied; counts them against the target's length.
- hash: every received byte, in order; the digests are compared at the end.
- decode: LZ4 blocks into large aligned pieces.
- write: pieces to the partition.
- flush: makes what was written last, and saves how far that is.
- check: reads it back from the device (`updog.readback`).

A stage that has seen the end, and found all well, passes the end on; so the image is good exactly
when `check` has ended without an error. Where the download breaks off, that is passed on too, and
ends in `flush`: everything received until then is on the partition, and saved. All heavy calls
(socket, digest, LZ4, disk) release the interpreter lock, so the stages run side by side. Memory:
`Buffers`, however large the image is.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from updog.conveyor import Belt, Conveyor
from updog.decoder import PIECE_SIZE, Decoder
from updog.digests import known_digests, open_digest
from updog.errors import CannotResume, DownloadFailed, StreamInvalid
from updog.journal import Mark, Span
from updog.lz4block import HISTORY_SIZE, Memory
from updog.lz4frame import Event, Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from partition.writer import RegionWriter
    from updog.readback import Checker
    from updog.targets import Target
    from updog.transport import Source

_RECEIVED_STOCK: Final = 4
_DECODED_STOCK: Final = 3

_READ_SIZE: Final = 1 << 20
_LOOKAHEAD: Final = 4  # the size of the next block, read along with this one
_SPAN_SIZE: Final = 16 << 20
"""So much is flushed and checked at a time, or less on a slow link:"""
_SPAN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Received:
    """Memory that starts with whole units of the LZ4 format.

    Attributes:
        memory: Goes back to the stock after decoding.
        length: How much of it the units take up.
        events: The blocks in it, and what is between them.
        end: The place right after it; `written_bytes` and `produced` are for the decoder to fill
            in.
    """

    memory: Memory
    length: int
    events: list[Event]
    end: Mark


@dataclass(frozen=True, slots=True)
class _Piece:
    """Decoded bytes, from `HISTORY_SIZE` on in memory that goes back after writing."""

    memory: Memory
    length: int


@dataclass(frozen=True, slots=True)
class _Written:
    """A span that was written, and the mark at its end."""

    mark: Mark
    span: Span


@dataclass(frozen=True, slots=True)
class _End:
    """Nothing follows. Passed on by each stage that has seen it and found all well.

    Attributes:
        error: The download was broken off here. What came before it is written, flushed and saved
            all the same, so that the next run can go on from there.
    """

    error: Exception | None = None


class Buffers:
    """The memory that goes round; for one stream after the other.

    Attributes:
        received: Compressed data.
        decoded: Pieces of the image, with room for history in front.
    """

    def __init__(self) -> None:
        self.received = [Memory(PIECE_SIZE) for _ in range(_RECEIVED_STOCK)]
        self.decoded = [Memory(HISTORY_SIZE + PIECE_SIZE) for _ in range(_DECODED_STOCK)]


class ImageStream:
    """Move one image; used once.

    Args:
        target: What verified metadata says of it.
        source: Its bytes, from `start.received_bytes` on.
        writer: Its partition, open at `start.written_bytes`.
        checker: Looks at what was written.
        buffers: Not used by anybody else meanwhile.
        start: Where an earlier run stopped.
        history: The last bytes written before `start`, for linked blocks.
        save: Called by the flush stage, with a mark before which everything is on the medium, and
            the spans flushed by this stream.

    Attributes:
        received_bytes: So far, those of the earlier run included.
        end: The mark at the end of the last span.
        spans: Written so far.
    """

    def __init__(
        self,
        target: Target,
        source: Source,
        writer: RegionWriter,
        checker: Checker,
        buffers: Buffers,
        *,
        start: Mark,
        history: bytes,
        save: Callable[[Mark, Sequence[Span]], None],
    ) -> None:
        self.received_bytes = start.received_bytes
        self.end = self._mark = start
        self.spans: list[Span] = []
        self._span_digest = hashlib.sha256()
        self._span_sha256 = ""
        self._target = target
        self._source = source
        self._writer = writer
        self._checker = checker
        self._start = start
        self._save = save
        self._broken: Exception | None = None
        self._digests = {
            name: open_digest(name, start.digests.get(name))
            for name in known_digests(target.hashes)
        }
        if not self._digests:
            listed = ", ".join(sorted(target.hashes))
            raise StreamInvalid(target.name, f"its metadata lists no digest known here: {listed}")
        self._conveyor = conveyor = Conveyor()
        self._free_received = conveyor.belt(buffers.received)
        self._received: Belt[_Received | _End] = conveyor.belt()
        self._hashed: Belt[_Received | _End] = conveyor.belt()
        self._free_decoded = conveyor.belt(buffers.decoded)
        self._decoded: Belt[_Piece | Mark | _End] = conveyor.belt()
        self._written: Belt[_Written | _End] = conveyor.belt()
        self._flushed: Belt[Span | _End] = conveyor.belt()
        self._decoder = Decoder(
            target.name,
            self._free_decoded.get,
            lambda memory, length: self._decoded.put(_Piece(memory, length)),
            writer.require_room,
            total=start.written_bytes,
            frame=start.position.frame,
            produced=start.produced,
            history=history,
        )

    def run(self, tick: Callable[[], None]) -> None:
        """Move all of it, check it, and return when it is flushed, read back and found right.

        Args:
            tick: Called in this thread some twenty times a second; may raise, or call `break_off`.

        Raises:
            StreamInvalid: What was received is not the target.
            ImageMismatch: What was read back is not what it has to be.
            DownloadFailed, PartitionError: As source, writer and checker say.
        """
        conveyor = self._conveyor
        conveyor.stage("receive", self._receive)
        conveyor.stage("hash", self._hash)
        conveyor.stage("decode", self._decode)
        conveyor.stage("write", self._write)
        conveyor.stage("flush", self._flush)
        conveyor.stage("check", self._check)
        conveyor.run(tick, self._source.close)

    def break_off(self, error: Exception) -> None:
        """Receive no more; `run` will raise this error, after saving what was received."""
        self._broken = error
        self._source.close()

    def _receive(self) -> None:
        try:
            self._receive_all()
        except CannotResume:
            raise  # what was received is worth nothing any more
        except DownloadFailed as error:
            self._received.put(_End(self._broken or error))
        else:
            self._received.put(_End())

    def _receive_all(self) -> None:
        scanner = Scanner(self._target.name, self._start.position)
        received = self._start.received_bytes
        rest, needed = b"", 1
        ended = False
        while not ended:
            memory = self._free_received.get()
            wanted = max(needed + _LOOKAHEAD, _READ_SIZE)
            memory.ensure(wanted)
            filled = len(rest)
            memory.view[:filled] = rest
            while filled < wanted and not ended:
                if self._broken:
                    raise DownloadFailed(self._target.name, "it was broken off")
                count = self._source.readinto(memory.view[filled:wanted])
                filled += count
                ended = not count
                self._count(count)
            scan = scanner.scan(memory.view[:filled])
            # Copied before the memory goes on; at most the start of one small block.
            rest, needed = bytes(memory.view[scan.consumed : filled]), scan.needed
            received += scan.consumed
            end = Mark(received_bytes=received, position=scanner.position)
            self._received.put(_Received(memory, scan.consumed, scan.events, end))
        if self.received_bytes != self._target.length_bytes:
            raise StreamInvalid(
                self._target.name,
                f"it ends after {self.received_bytes} bytes, expected {self._target.length_bytes}",
            )
        scanner.finish(len(rest))

    def _count(self, count: int) -> None:
        self.received_bytes += count
        if self.received_bytes > self._target.length_bytes:
            raise StreamInvalid(
                self._target.name, f"it goes on after {self._target.length_bytes} bytes"
            )

    def _hash(self) -> None:
        while not isinstance(item := self._received.get(), _End):
            data = item.memory.view[: item.length]
            for digest in self._digests.values():
                digest.update(data)
            states = {name: digest.state() for name, digest in self._digests.items()}
            known = {name: state for name, state in states.items() if state is not None}
            self._hashed.put(replace(item, end=replace(item.end, digests=known)))
        if not item.error:
            self._compare_digests()
        self._hashed.put(item)

    def _compare_digests(self) -> None:
        for name, expected in known_digests(self._target.hashes).items():
            actual = self._digests[name].hexdigest()
            if actual != expected:
                raise StreamInvalid(
                    self._target.name, f"its {name} digest is {actual}, expected {expected}"
                )

    def _decode(self) -> None:
        decoder = self._decoder
        while not isinstance(item := self._hashed.get(), _End):
            decoder.feed(item.memory, item.events)
            decoder.flush()
            self._free_received.put(item.memory)
            self._decoded.put(
                replace(item.end, written_bytes=decoder.total, produced=decoder.produced)
            )
        if not decoder.total and not item.error:
            raise StreamInvalid(self._target.name, "it decodes to nothing")
        self._decoded.put(item)

    def _write(self) -> None:
        span_began = time.monotonic()
        while not isinstance(item := self._decoded.get(), _End):
            if isinstance(item, _Piece):
                data = item.memory.view[HISTORY_SIZE : HISTORY_SIZE + item.length]
                self._writer.write(data)
                if self._checker.wants_digests:
                    self._span_digest.update(data)
                self._free_decoded.put(item.memory)
                continue
            self._mark, self._span_sha256 = item, self._span_digest.hexdigest()
            size, now = item.written_bytes - self.end.written_bytes, time.monotonic()
            if size >= _SPAN_SIZE or (size and now - span_began >= _SPAN_SECONDS):
                self._written.put(self._close_span())
                span_began = now
        if self._mark.written_bytes > self.end.written_bytes:
            self._written.put(self._close_span())
        self.end = self._mark
        self._written.put(item)

    def _close_span(self) -> _Written:
        sha256 = self._span_sha256 if self._checker.wants_digests else None
        span = Span(self.end.written_bytes, self._mark.written_bytes, sha256)
        self.spans.append(span)
        self.end = self._mark
        self._span_digest = hashlib.sha256()
        return _Written(self._mark, span)

    def _flush(self) -> None:
        flushed: list[Span] = []
        end: _End | None = None
        while end is None:
            # Whatever has come together meanwhile is flushed in one go.
            items = [self._written.get(), *self._written.waiting()]
            written = [item for item in items if isinstance(item, _Written)]
            end = next((item for item in items if isinstance(item, _End)), None)
            if not written:
                continue
            self._writer.flush()
            flushed.extend(item.span for item in written)
            self._save(written[-1].mark, flushed)
            for item in written:
                self._flushed.put(item.span)
        if end.error:
            raise end.error
        self._flushed.put(end)

    def _check(self) -> None:
        while not isinstance(span := self._flushed.get(), _End):
            self._checker.check(span)
        self._checker.finish(self.end.written_bytes)
