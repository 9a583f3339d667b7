"""Join what LZ4 blocks decode to into large pieces, in memory that goes round.

Decided here: where a decoded block is put, what a linked block may refer to, and that a frame holds
exactly what its header promises. `updog.lz4frame` finds the blocks, `updog.lz4block` decodes one.

A piece starts 64 KiB into its memory. The space in front holds the end of the piece before, so that
the first block of a piece finds its history at the same place as every other: right in front of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from updog.errors import StreamInvalid
from updog.lz4block import HISTORY_SIZE, Encoded, Memory, UndecodableBlock, block_decoder
from updog.lz4frame import Block, Event, Frame, FrameEnd

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_SIZE: Final = 4 << 20
"""The most that a piece holds, but for legacy frames, whose blocks are larger."""


class Decoder:
    """Turn the events of one stream into pieces of its content.

    Args:
        image: The target's name, for messages.
        take: Gives memory for the next piece; may wait.
        give: Gets a finished piece, the memory and how many bytes of it from `HISTORY_SIZE` on.
        announce: Told how much content there will be at least, as soon as a frame header says so.
        total: Bytes of content that were decoded before, when going on after a restart.
        frame: The frame that is open, when going on after a restart.
        produced: What of that frame was decoded before.
        history: The last of it, as much as `history_needed` said.

    Attributes:
        total: Bytes of content so far, handed over or not.
        produced: Those of the open frame.
    """

    def __init__(
        self,
        image: str,
        take: Callable[[], Memory],
        give: Callable[[Memory, int], None],
        announce: Callable[[int], None],
        *,
        total: int = 0,
        frame: Frame | None = None,
        produced: int = 0,
        history: bytes = b"",
    ) -> None:
        self.total = total
        self.produced = produced
        self._image = image
        self._take = take
        self._give = give
        self._announce = announce
        self._frame = frame
        self._history = history
        self._decode = block_decoder()
        self._memory: Memory | None = None
        self._end = HISTORY_SIZE

    def feed(self, source: Memory, events: list[Event]) -> None:
        """Decode the blocks among `events`, which lie in `source`.

        Raises:
            StreamInvalid: A block is damaged, or a frame's content is not as long as promised.
        """
        for event in events:
            if isinstance(event, Block):
                self._block(source, event)
            elif isinstance(event, Frame):
                self._frame, self.produced = event, 0
                if event.content_size is not None:
                    self._announce(self.total + event.content_size)
            else:
                self._finish_frame(event)

    def flush(self) -> None:
        """Hand over the piece that is being filled, if there is one."""
        memory, self._memory = self._memory, None
        if memory is None:
            return
        if self._frame is not None and self._frame.linked:
            kept = history_needed(self._frame, self.produced)
            self._history = bytes(memory.view[self._end - kept : self._end])
        self._give(memory, self._end - HISTORY_SIZE)

    def _finish_frame(self, _: FrameEnd) -> None:
        size = self._frame.content_size if self._frame else None
        if size is not None and size != self.produced:
            raise StreamInvalid(
                self._image, f"an LZ4 frame holds {self.produced} bytes, its header says {size}"
            )
        self._frame = None

    def _block(self, source: Memory, block: Block) -> None:
        frame = self._frame
        if frame is None:
            raise ValueError("a block outside a frame")
        memory = self._place(frame)
        if block.stored:
            data = source.view[block.start : block.start + block.length]
            memory.view[self._end : self._end + block.length] = data
            count = block.length
        else:
            try:
                count = self._decode(
                    Encoded(source, block.start, block.length),
                    memory,
                    self._end,
                    room=frame.block_size,
                    history=history_needed(frame, self.produced),
                )
            except UndecodableBlock as error:
                raise StreamInvalid(self._image, "an LZ4 block in it is damaged") from error
        self._end += count
        self.produced += count
        self.total += count

    def _place(self, frame: Frame) -> Memory:
        """Memory with room for one more block of this frame."""
        size = HISTORY_SIZE + max(PIECE_SIZE, frame.block_size)
        if self._memory is not None and self._end + frame.block_size > size:
            self.flush()
        if self._memory is None:
            self._memory = self._take()
            self._end = HISTORY_SIZE
            if frame.linked:
                self._memory.view[HISTORY_SIZE - len(self._history) : HISTORY_SIZE] = self._history
        self._memory.ensure(size)
        return self._memory


def history_needed(frame: Frame, produced: int) -> int:
    """How many bytes in front of a frame's next block it may refer to."""
    return min(HISTORY_SIZE, produced) if frame.linked else 0
