"""Images on their way from the repository to their partitions, one after the other.

Each stage is a thread of its own that takes image after image; so the next image is received while
the last one is still being written and checked.

- receive: bytes from the transport into memory that goes round, cut where LZ4 blocks end, so that a
  block lies in one piece and is never copied; counts them against the target's length.
- hash: every received byte, in order; the digests are compared at the end.
- decode: LZ4 blocks into large aligned pieces.
- write: pieces to the partition.
- flush: makes what was written last, and saves how far that is.
- check: reads it back from the device (`updog.readback`).

A stage that has seen the end of an image, and found all well, passes the end on; so an image is
good exactly when `check` has come to its end. Where the download breaks off, that is passed on too,
and ends in `flush`: everything received until then is on the partition, and saved.

All heavy calls (socket, digest, LZ4, disk) release the interpreter lock, so the stages run side by
side. What lies between them, and how much memory that takes, is in `updog.line`.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from updog.conveyor import Belt, Stopped
from updog.decoder import Decoder
from updog.digests import Digest, known_digests, open_digest
from updog.errors import (
    CannotResume,
    DownloadFailed,
    ImageMismatch,
    Interrupted,
    StreamInvalid,
)
from updog.journal import Mark, Span
from updog.line import End, Line, Piece, Received, Written
from updog.lz4block import HISTORY_SIZE
from updog.lz4frame import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from partition.writer import RegionWriter
    from updog.readback import Checker
    from updog.targets import Target
    from updog.transport import Source

_READ_SIZE: Final = 1 << 20
_LOOKAHEAD: Final = 4  # the size of the next block, read along with this one
_PATIENCE_SECONDS: Final = 0.01
"""Longer than this a whole unit does not wait for more to go along with it. A megabyte of a slow
stream may be blocks of zeros that decode to much more, all of it left to do at the end."""
_SPAN_SIZE: Final = 16 << 20
"""So much is flushed and checked at a time, or less on a slow link:"""
_SPAN_SECONDS: Final = 2.0


class Plan(Protocol):
    """What a stream has to know of its image. Each call comes from the stage that needs it."""

    @property
    def target(self) -> Target:
        """What verified metadata says of it."""

    @property
    def start(self) -> Mark:
        """Where an earlier run stopped."""

    @property
    def wants_digests(self) -> bool:
        """Whether the checker compares with digests of what was written."""

    def open_source(self) -> Source:
        """Its bytes, from `start` on."""

    def cut_off(self) -> None:
        """End a call of `open_source` in another thread; there will be none after it."""

    def history(self) -> bytes:
        """The last bytes before `start` that the next LZ4 block may refer to."""

    def require_room(self, length_bytes: int) -> None:
        """Refuse an image of this length if its partition is smaller."""

    def open_writer(self) -> RegionWriter:
        """Its partition, at `start`; refuses an image that is known not to fit."""

    def open_checker(self) -> Checker:
        """What looks at its partition."""

    def save(self, mark: Mark, spans: Sequence[Span]) -> None:
        """Everything before `mark` is on the medium; `spans` were flushed by this stream."""

    def finished(self, mark: Mark, spans: Sequence[Span]) -> None:
        """All of it was received, written, flushed, read back and found right."""


class ImageStream:
    """Moves one image; used once. Each method but `break_off` is a stage.

    Args:
        plan: What to move, and where.
        line: Shared with the streams before and after.

    Attributes:
        received_bytes: So far, those of earlier runs included.
        is_worthless: What there is of the image must not be gone on with.

    Raises:
        StreamInvalid: No digest of the target is known here.
    """

    def __init__(self, plan: Plan, line: Line) -> None:
        self.plan = plan
        self.received_bytes = plan.start.received_bytes
        self.is_worthless = False
        self._target = plan.target
        self._line = line
        self._source: Source | None = None
        self._is_opening = False
        self._broken: Exception | None = None
        self._writer: RegionWriter | None = None
        # Of what was written: the last mark, the end of the last span, and all spans.
        self._mark = self._span_end = plan.start
        self._span_digest = hashlib.sha256()
        self._spans: list[Span] = []
        self._digests: dict[str, Digest] = {
            name: open_digest(name, plan.start.digests.get(name))
            for name in known_digests(self._target.hashes)
        }
        if not self._digests:
            listed = ", ".join(sorted(self._target.hashes))
            raise self._invalid(f"its metadata lists no digest known here: {listed}")

    @property
    def has_begun(self) -> bool:
        """Whether something of it was received."""
        return self.received_bytes > self.plan.start.received_bytes

    def _invalid(self, why: str) -> StreamInvalid:
        return StreamInvalid(self._target.name, why)

    def break_off(self, error: Exception) -> None:
        """Receive no more, and have this error raised once what was received is saved."""
        self._broken = self._broken or error
        self.interrupt()

    def interrupt(self) -> None:
        """End a wait for the network, from another thread."""
        if self._source is not None:
            self._source.close()
        elif self._is_opening:
            self.plan.cut_off()

    def close(self) -> None:
        """Let go of what a stage that was stopped left open."""
        if self._source is not None:
            self._source.close()
        if self._writer is not None:
            self._writer.close()

    # receive

    def receive(self) -> None:
        """Pass on whole units of the LZ4 format, then the end."""
        end = End()
        try:
            self._receive_all()
        except (Stopped, CannotResume):
            raise
        except Exception as error:
            # A source that was closed under a read may fail in any way.
            if not self._broken and not isinstance(error, DownloadFailed | Interrupted):
                raise
            end = End(self._broken or error)
        _pass_on(end, self._line.received)

    def _receive_all(self) -> None:
        self._stop_if_broken()
        self._is_opening = True
        try:
            self._source = self.plan.open_source()
        finally:
            self._is_opening = False
        scanner = Scanner(self._target.name, self.plan.start.position)
        received = self.plan.start.received_bytes
        rest, needed = b"", 1
        ended = False
        while not ended:
            memory = self._line.free_received.get()
            wanted = max(needed + _LOOKAHEAD, _READ_SIZE)
            memory.ensure(wanted)
            filled = len(rest)
            memory.view[:filled] = rest
            began = time.monotonic()
            while filled < wanted and not ended:
                self._stop_if_broken()
                count = self._source.readinto(memory.view[filled:wanted])
                filled += count
                ended = not count
                self._count(count)
                if filled >= needed and time.monotonic() - began > _PATIENCE_SECONDS:
                    break
            scan = scanner.scan(memory.view[:filled])
            # Copied before the memory goes on; at most the start of one small block.
            rest, needed = bytes(memory.view[scan.consumed : filled]), scan.needed
            received += scan.consumed
            end = Mark(received_bytes=received, position=scanner.position)
            self._line.received.put(Received(memory, scan.consumed, scan.events, end))
        if self.received_bytes != self._target.length_bytes:
            raise self._invalid(
                f"it ends after {self.received_bytes} bytes, expected {self._target.length_bytes}"
            )
        scanner.finish(len(rest))
        self._source.close()

    def _stop_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _count(self, count: int) -> None:
        self.received_bytes += count
        if self.received_bytes > self._target.length_bytes:
            raise self._invalid(f"it goes on after {self._target.length_bytes} bytes")

    # hash

    def hash(self) -> None:
        """Compute the digests; pass on what they were computed of, and their states."""
        while isinstance(item := self._line.received.get(), Received):
            data = item.memory.view[: item.length]
            for digest in self._digests.values():
                digest.update(data)
            states = {name: digest.state() for name, digest in self._digests.items()}
            known = {name: state for name, state in states.items() if state is not None}
            self._line.hashed.put(replace(item, end=replace(item.end, digests=known)))
        if not item.error:
            self._compare_digests()
        _pass_on(item, self._line.hashed)

    def _compare_digests(self) -> None:
        for name, expected in known_digests(self._target.hashes).items():
            actual = self._digests[name].hexdigest()
            if actual != expected:
                raise self._invalid(f"its {name} digest is {actual}, expected {expected}")

    # decode

    def decode(self) -> None:
        """Pass on decoded pieces, and a mark behind the last piece of what came in."""
        line, start = self._line, self.plan.start
        decoder = Decoder(
            self._target.name,
            line.free_decoded.get,
            lambda memory, length: line.decoded.put(Piece(memory, length)),
            self.plan.require_room,
            total=start.written_bytes,
            frame=start.position.frame,
            produced=start.produced,
            history=self.plan.history(),
        )
        while isinstance(item := line.hashed.get(), Received):
            decoder.feed(item.memory, item.events)
            decoder.flush()
            line.free_received.put(item.memory)
            total, produced = decoder.total, decoder.produced
            line.decoded.put(replace(item.end, written_bytes=total, produced=produced))
        if not decoder.total and not item.error:
            raise self._invalid("it decodes to nothing")
        _pass_on(item, line.decoded)

    # write

    def write(self) -> None:
        """Write, and pass on spans of a good size."""
        line = self._line
        line.closed.get()
        writer = self._writer = self.plan.open_writer()
        span_began = time.monotonic()
        while not isinstance(item := line.decoded.get(), End):
            if isinstance(item, Piece):
                data = item.memory.view[HISTORY_SIZE : HISTORY_SIZE + item.length]
                writer.write(data)
                if self.plan.wants_digests:
                    self._span_digest.update(data)
                line.free_decoded.put(item.memory)
                continue
            self._mark = item
            size, now = item.written_bytes - self._span_end.written_bytes, time.monotonic()
            if size >= _SPAN_SIZE or (size and now - span_began >= _SPAN_SECONDS):
                self._close_span()
                span_began = now
        if self._mark.written_bytes > self._span_end.written_bytes:
            self._close_span()
        _pass_on(item, line.written)

    def _close_span(self) -> None:
        sha256 = self._span_digest.hexdigest() if self.plan.wants_digests else None
        span = Span(self._span_end.written_bytes, self._mark.written_bytes, sha256)
        self._line.written.put(Written(self._mark, span))
        self._span_end, self._span_digest = self._mark, hashlib.sha256()

    # flush

    def flush(self) -> None:
        """Flush, save, and pass on what can be read back now."""
        line, end = self._line, None
        while end is None:
            # Whatever has come together meanwhile is flushed in one go. Nothing lies behind an
            # end: the write stage waits until this image is closed.
            items = [line.written.get(), *line.written.waiting()]
            batch = [item for item in items if isinstance(item, Written)]
            end = next((item for item in items if isinstance(item, End)), None)
            if not batch or self._writer is None:
                continue
            self._writer.flush()
            self._spans += [written.span for written in batch]
            self.plan.save(batch[-1].mark, self._spans)
            for written in batch:
                line.flushed.put(written.span)
        if end.error:
            raise end.error
        if self._writer is not None:
            self._writer.close()
        line.closed.put(end)
        line.flushed.put(end)

    # check

    def check(self) -> None:
        """Read back, and tell when all of it was found right."""
        with closing(self.plan.open_checker()) as checker:
            while isinstance(span := self._line.flushed.get(), Span):
                checker.check(span)
            checker.finish(self._mark.written_bytes)
        self.plan.finished(self._mark, self._spans)


def _pass_on(
    end: End, belt: Belt[Received | End] | Belt[Piece | Mark | End] | Belt[Written | End]
) -> None:
    """Pass the end of an image on; after a break nothing follows."""
    belt.put(end)
    if end.error:
        raise Stopped


def run(streams: Sequence[ImageStream], line: Line, tick: Callable[[], None]) -> None:
    """Move all images, in order; return when each is on its partition and was found right.

    Args:
        streams: On one line.
        line: Used once.
        tick: Called in this thread some twenty times a second; may raise, or call `break_off`.

    Raises:
        StreamInvalid: What was received is not the target.
        ImageMismatch: What was read back is not what it has to be.
        CannotResume: The server has another file by now. Start this image over.
        DownloadFailed, PartitionError: As sources, writers and checkers say.
    """

    def stage(step: Callable[[ImageStream], None]) -> Callable[[], None]:
        def work() -> None:
            for stream in streams:
                try:
                    step(stream)
                except (StreamInvalid, ImageMismatch, CannotResume):
                    stream.is_worthless = True
                    raise

        return work

    conveyor = line.conveyor
    for step in (
        ImageStream.receive,
        ImageStream.hash,
        ImageStream.decode,
        ImageStream.write,
        ImageStream.flush,
        ImageStream.check,
    ):
        conveyor.stage(step.__name__, stage(step))

    def wake() -> None:
        for stream in streams:
            stream.interrupt()

    try:
        conveyor.run(tick, wake)
    finally:
        for stream in streams:
            stream.close()
