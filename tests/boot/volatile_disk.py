"""A disk with a volatile write cache: pulling its plug loses what a real disk would lose.

QEMU's own caches lose nothing when the emulator is killed: the host's page cache survives. So the
disk is served by this module over NBD (a protocol of a few fixed-size messages, see
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md) with a cache that behaves like a
drive's: a write is answered at once, and is only certain after a flush or with "force unit access".
When the power is cut, each write since the last flush is kept, lost, or torn at a sector boundary,
each on its own, as a seeded generator says.

    disk = VolatileDisk(image, socket)
    disk.serve()
    ...                                  # the emulator runs
    disk.cut_power(random.Random(7))     # nothing that comes later counts
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

SECTOR_BYTES: Final = 512
# As much as drives have: what is older is taken to have been written out.
CACHE_BYTES: Final = 64 << 20

_NBD_MAGIC: Final = 0x4E42444D41474943
_OPTION_MAGIC: Final = 0x49484156454F5054
_REPLY_MAGIC: Final = 0x3E889045565A9
_REQUEST_MAGIC: Final = 0x25609513
_SIMPLE_REPLY_MAGIC: Final = 0x67446698
_FIXED_NEWSTYLE: Final = 1
_OPTION_ABORT: Final = 2
_OPTION_GO: Final = 7
_REPLY_ACK: Final = 1
_REPLY_INFO: Final = 3
_REPLY_UNSUPPORTED: Final = (1 << 31) | 1
_INFO_EXPORT: Final = 0
_FLAGS: Final = 0b1101  # has flags, flush, force unit access
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_FORCE_UNIT_ACCESS: Final = 1
_EIO: Final = 5


@dataclass(frozen=True, slots=True)
class _Pending:
    """A write that a power cut may undo; `before` is what it overwrote."""

    offset_bytes: int
    data: bytes
    before: bytes
    certain: bool


@dataclass(frozen=True, slots=True)
class PowerCut:
    """What a cut did to the writes since the last flush."""

    kept: int
    lost: int
    torn: int

    def __str__(self) -> str:
        return f"{self.kept} kept, {self.lost} lost, {self.torn} torn"


class VolatileDisk:
    """A disk image behind an NBD socket.

    Attributes:
        writes: Writes so far.
        flushes: Flushes so far.
        written_bytes: Bytes written so far.
    """

    def __init__(self, image: Path, socket_path: Path) -> None:
        self.image = image
        self.socket_path = socket_path
        self.writes = 0
        self.flushes = 0
        self.written_bytes = 0
        self._fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self._size_bytes = os.fstat(self._fd).st_size
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._lock = threading.Lock()
        self._off = False
        self._when_written: Callable[[int], None] | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(socket_path))
        self._listener.listen(1)

    def serve(self) -> None:
        """Answer one client, in a thread of its own, until it goes or the disk is closed."""
        threading.Thread(target=self._accept, name=f"disk {self.image.name}", daemon=True).start()

    def call_after_writes(self, count: int, call: Callable[[], object]) -> None:
        """Call `call` once when `count` more writes have been answered; from the disk's thread."""
        target = self.writes + count

        def watch(writes: int) -> None:
            if writes >= target:
                self._when_written = None
                call()

        self._when_written = watch

    def cut_power(self, rng: random.Random) -> PowerCut:
        """Take away the power: decide what became of the unflushed writes, and answer no more."""
        with self._lock:
            self._off = True
            for write in reversed(self._pending):
                os.pwrite(self._fd, write.before, write.offset_bytes)
            kept = lost = torn = 0
            for write in self._pending:
                fate = rng.randrange(10)
                if write.certain or fate < 5:
                    os.pwrite(self._fd, write.data, write.offset_bytes)
                    kept += 1
                elif fate < 9 or len(write.data) <= SECTOR_BYTES:
                    lost += 1
                else:
                    sectors = rng.randrange(1, len(write.data) // SECTOR_BYTES)
                    os.pwrite(self._fd, write.data[: sectors * SECTOR_BYTES], write.offset_bytes)
                    torn += 1
            self._pending = []
        return PowerCut(kept, lost, torn)

    def close(self) -> None:
        """End the service; what was written stays, as after a clean end of the emulator."""
        with self._lock:
            self._off = True
            self._pending = []
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.socket_path.unlink(missing_ok=True)
        os.close(self._fd)

    def _accept(self) -> None:
        with suppress(OSError, EOFError, struct.error):
            connection, _ = self._listener.accept()
            with connection:
                _negotiate(connection, self._size_bytes)
                while self._answer(connection):
                    pass

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one request; False at the end."""
        magic, flags, kind, cookie, offset, length = struct.unpack(
            ">IHHQQI", _receive(connection, 28)
        )
        if magic != _REQUEST_MAGIC or kind == _DISCONNECT:
            return False
        data = _receive(connection, length) if kind == _WRITE else b""
        with self._lock:
            if self._off:
                return False
            error, answer = 0, b""
            if kind == _READ:
                answer = os.pread(self._fd, length, offset)
            elif kind == _WRITE:
                self._write(offset, data, certain=bool(flags & _FORCE_UNIT_ACCESS))
            elif kind == _FLUSH:
                self._pending, self._pending_bytes = [], 0
                self.flushes += 1
            else:
                error = _EIO
        connection.sendall(struct.pack(">IIQ", _SIMPLE_REPLY_MAGIC, error, cookie) + answer)
        if self._when_written is not None:
            self._when_written(self.writes)
        return True

    def _write(self, offset: int, data: bytes, *, certain: bool) -> None:
        before = os.pread(self._fd, len(data), offset)
        os.pwrite(self._fd, data, offset)
        self.writes += 1
        self.written_bytes += len(data)
        self._pending.append(_Pending(offset, data, before, certain))
        self._pending_bytes += len(data)
        while self._pending_bytes > CACHE_BYTES:
            self._pending_bytes -= len(self._pending.pop(0).data)


def _negotiate(connection: socket.socket, size_bytes: int) -> None:
    """Fixed newstyle negotiation; every export name is this disk."""
    connection.sendall(struct.pack(">QQH", _NBD_MAGIC, _OPTION_MAGIC, _FIXED_NEWSTYLE))
    _receive(connection, 4)
    while True:
        magic, option, length = struct.unpack(">QII", _receive(connection, 16))
        _receive(connection, length)
        if magic != _OPTION_MAGIC or option == _OPTION_ABORT:
            raise EOFError
        if option == _OPTION_GO:
            break
        _reply(connection, option, _REPLY_UNSUPPORTED, b"")
    export = struct.pack(">HQH", _INFO_EXPORT, size_bytes, _FLAGS)
    _reply(connection, _OPTION_GO, _REPLY_INFO, export)
    _reply(connection, _OPTION_GO, _REPLY_ACK, b"")


def _reply(connection: socket.socket, option: int, kind: int, data: bytes) -> None:
    connection.sendall(struct.pack(">QIII", _REPLY_MAGIC, option, kind, len(data)) + data)


def _receive(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(length - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)
