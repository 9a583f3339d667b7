"""Small LZ4 targets, decoded in memory; what an LZ4 stream may be is decided in `updog`."""

from __future__ import annotations

from migrator.errors import MigrationInvalid
from updog.decoder import PIECE_SIZE, Decoder
from updog.errors import StreamInvalid
from updog.lz4block import HISTORY_SIZE, Memory
from updog.lz4frame import Scanner

# The largest migration of a real distribution is a few MiB.
MAX_BYTES = 256 << 20


class Decompressor:
    """Decodes one target after the other, in the same memory.

    Args:
        max_bytes: What decodes to more is refused.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._source = Memory(1 << 16)
        self._piece = Memory(HISTORY_SIZE + PIECE_SIZE)

    def decompress(self, name: str, data: bytes) -> bytes:
        """Return what an LZ4 stream holds, having seen its end.

        Raises:
            MigrationInvalid: Not LZ4 to the last byte, or too large once decoded.
        """
        self._source.ensure(len(data))
        self._source.view[: len(data)] = data
        pieces: list[bytes] = []

        def check(total: int) -> None:
            if total > self._max_bytes:
                reason = f"decompressed it is larger than {self._max_bytes} bytes"
                raise MigrationInvalid(name, reason)

        def keep(memory: Memory, length: int) -> None:
            pieces.append(bytes(memory.view[HISTORY_SIZE : HISTORY_SIZE + length]))
            check(sum(map(len, pieces)))

        scanner, decoder = Scanner(name), Decoder(name, lambda: self._piece, keep, check)
        try:
            scan = scanner.scan(self._source.view[: len(data)])
            scanner.finish(len(data) - scan.consumed)
            decoder.feed(self._source, scan.events)
            decoder.flush()
        except StreamInvalid as error:
            raise MigrationInvalid(name, error.reason) from error
        return b"".join(pieces)
