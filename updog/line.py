"""The belts between the stages of a run, what lies on them, and the memory that goes round.

    receive -> hash -> decode -> write -> flush -> check
       ^                 |  ^       |
       +-- memory back --+  +-------+

What the stages do is in `updog.stream`; how threads wait and end in `updog.conveyor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from updog.conveyor import Belt, Conveyor
from updog.decoder import PIECE_SIZE
from updog.lz4block import HISTORY_SIZE, Memory

if TYPE_CHECKING:
    from updog.journal import Mark, Span
    from updog.lz4frame import Event

# One piece is being filled and one is in each stage that uses it; one more evens out the pace.
_RECEIVED_STOCK: Final = 4
_DECODED_STOCK: Final = 3


@dataclass(frozen=True, slots=True)
class Received:
    """Memory that starts with whole units of the LZ4 format.

    Attributes:
        memory: Goes back to the stock after decoding.
        length: How much of it the units take up.
        events: The blocks in it, and what is between them.
        end: The place right after it; filled in on the way.
    """

    memory: Memory
    length: int
    events: list[Event]
    end: Mark


@dataclass(frozen=True, slots=True)
class Piece:
    """Decoded bytes, from `HISTORY_SIZE` on in memory that goes back after writing."""

    memory: Memory
    length: int


@dataclass(frozen=True, slots=True)
class Written:
    """A span that was written, and the mark at its end."""

    mark: Mark
    span: Span


@dataclass(frozen=True, slots=True)
class End:
    """An image ends here. Passed on by each stage that has seen it and found all well.

    Attributes:
        error: The download was broken off here. What came before it is written, flushed and saved
            all the same, so that the next run can go on from there; nothing follows.
    """

    error: Exception | None = None


class Line:
    """One run's belts and memory: 28 MiB at most, unless the image is made of legacy frames."""

    def __init__(self) -> None:
        self.conveyor = belts = Conveyor()
        self.free_received = belts.belt(Memory(PIECE_SIZE) for _ in range(_RECEIVED_STOCK))
        self.received: Belt[Received | End] = belts.belt()
        self.hashed: Belt[Received | End] = belts.belt()
        self.free_decoded = belts.belt(
            Memory(HISTORY_SIZE + PIECE_SIZE) for _ in range(_DECODED_STOCK)
        )
        self.decoded: Belt[Piece | Mark | End] = belts.belt()
        self.written: Belt[Written | End] = belts.belt()
        self.flushed: Belt[Span | End] = belts.belt()
        # Back from flush to write: the partition before is closed.
        self.closed: Belt[End] = belts.belt([End()])
