"""Small LZ4 targets, decoded in memory; what an LZ4 stream may be is decided in `updog`."""

from __future__ import annotations

from migrator.errors import MigrationInvalid
from updog.decoder import Decoder
from updog.errors import StreamInvalid
from updog.lz4block import HISTORY_SIZE, Memory
from updog.lz4frame import Scanner

# The largest migration of a real distribution is a few MiB.
MAX_BYTES = 256 << 20


def decompress(name: str, data: bytes, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return what an LZ4 stream holds, having seen its end.

    Raises:
        MigrationInvalid: Not LZ4 to the last byte, or larger than `max_bytes` once decoded.
    """
    if not data:
        raise MigrationInvalid(name, "it is empty")
    source, pieces = Memory(len(data)), _Pieces(name, max_bytes)
    source.view[:] = data
    scanner = Scanner(name)
    decoder = Decoder(name, lambda: Memory(HISTORY_SIZE), pieces.take, pieces.announced)
    try:
        scan = scanner.scan(source.view)
        scanner.finish(len(data) - scan.consumed)
        decoder.feed(source, scan.events)
        decoder.flush()
    except StreamInvalid as error:
        raise MigrationInvalid(name, error.reason) from error
    return b"".join(pieces.found)


class _Pieces:
    """Collects what is decoded, up to a limit."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self.found: list[bytes] = []
        self._name = name
        self._left = self._max = max_bytes

    def take(self, memory: Memory, length: int) -> None:
        """Keep a piece."""
        self._left -= length
        self._check(self._left)
        self.found.append(bytes(memory.view[HISTORY_SIZE : HISTORY_SIZE + length]))

    def announced(self, length: int) -> None:
        """Refuse before decoding what says that it is too long."""
        self._check(self._max - length)

    def _check(self, left: int) -> None:
        if left < 0:
            reason = f"decompressed it is larger than {self._max} bytes"
            raise MigrationInvalid(self._name, reason)
