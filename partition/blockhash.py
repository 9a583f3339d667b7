"""Hash a region block by block, on as many processors as there are.

Decided here: how 4096-byte blocks become digests quickly, and how that work is shared with helper
processes. Not here: what the digests are compared with (``partition.verity_image``,
``updog.readback``).

Why processes: a digest of 4096 bytes takes a few microseconds, about as long as Python takes around
it while it holds the interpreter lock, so threads of one interpreter hardly run side by side here,
and they would slow the threads that download and write. A helper process is this very file, run as
a script with nothing but the standard library; it starts in some 15 ms and weighs about 10 MiB. It
is given an open file descriptor, so it never opens a path, and it ends when its standard input
ends, which also happens when the parent dies.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

_BLOCK_SIZE: Final = 4096
PIECE: Final = 4 << 20
"""Bytes of data that one request covers: enough that asking costs nothing, few enough to share."""

_READ_SIZE: Final = 1 << 20  # fits the second-level cache of small machines

# The helper's protocol: a request is an offset and a length in bytes; an answer is a status, the
# length of what follows, and digests (status 0) or an errno as text (status 1).
_REQUEST: Final = struct.Struct("<QQ")
_ANSWER: Final = struct.Struct("<BI")


def hash_blocks(data: memoryview, salt: bytes) -> bytes:
    """The digests of consecutive 4096-byte blocks, 32 bytes each, one after the other.

    Args:
        data: A whole number of blocks.
        salt: Hashed before each block.
    """
    salted = hashlib.sha256(salt)
    digests = []
    for start in range(0, len(data), _BLOCK_SIZE):
        digest = salted.copy()
        digest.update(data[start : start + _BLOCK_SIZE])
        digests.append(digest.digest())
    return b"".join(digests)


def hash_region(fd: int, offset_bytes: int, length_bytes: int, salt: bytes) -> bytes:
    """Read part of a file or device and hash it block by block.

    Args:
        fd: Readable; with O_DIRECT the offset must suit the device.
        offset_bytes: Where to begin in the file or device.
        length_bytes: A whole number of blocks.
        salt: Hashed before each block.

    Returns:
        32 bytes a block.

    Raises:
        OSError: The read failed, or the file ends before `length_bytes` (EIO).
    """
    digests = []
    with mmap.mmap(-1, _READ_SIZE) as buffer, memoryview(buffer) as view:
        for start, wanted in _pieces(length_bytes):
            filled = 0
            while filled < wanted:
                with view[filled:wanted] as rest:
                    count = os.preadv(fd, [rest], offset_bytes + start + filled)
                if not count:
                    raise OSError(5, "the device ends early")
                filled += count
            with view[:wanted] as data:
                digests.append(hash_blocks(data, salt))
    return b"".join(digests)


def _pieces(length_bytes: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length_bytes, _READ_SIZE):
        yield start, min(_READ_SIZE, length_bytes - start)


@dataclass(frozen=True, slots=True)
class _Request:
    offset_bytes: int
    length_bytes: int
    answer: Future[bytes]


class BlockHasher:
    """Hashes parts of one open file or device in the background.

    Args:
        fd: Readable descriptor; must stay open until `close`.
        salt: Hashed before each block.
        helpers: Helper processes to start; 0 hashes in one thread of this process, which is right
            for small data. A helper that cannot be started, or dies, is replaced by a thread of
            this process.
    """

    def __init__(self, fd: int, salt: bytes, *, helpers: int) -> None:
        self._fd = fd
        self._salt = salt
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(helpers > 0,), name=f"block-hasher-{number}")
            for number in range(max(helpers, 1))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, offset_bytes: int, length_bytes: int) -> Future[bytes]:
        """Queue a part of the file; the future gives its digests, or raises OSError."""
        request = _Request(offset_bytes, length_bytes, Future())
        self._requests.put(request)
        return request.answer

    def in_order(self, offset_bytes: int, length_bytes: int) -> Iterator[bytes]:
        """Yield the digests of a whole range, piece by piece in order, some pieces ahead.

        Raises:
            OSError: A read failed, or the file ends early.
        """
        ahead: deque[Future[bytes]] = deque()
        for start in range(0, length_bytes, PIECE):
            ahead.append(self.submit(offset_bytes + start, min(PIECE, length_bytes - start)))
            if len(ahead) > 2 * len(self._threads):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def close(self) -> None:
        """Drop what is queued, end threads and processes, and wait for them."""
        self._closed.set()
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, use_helper: bool) -> None:  # noqa: FBT001 (a thread's argument)
        helper = _Helper.start(self._fd, self._salt) if use_helper else None
        try:
            while (request := self._requests.get()) is not None:
                if self._closed.is_set() or not request.answer.set_running_or_notify_cancel():
                    continue
                try:
                    digests = helper.hash(request) if helper else None
                    if digests is None:
                        digests = hash_region(
                            self._fd, request.offset_bytes, request.length_bytes, self._salt
                        )
                except Exception as error:  # noqa: BLE001 (handed to who waits for the future)
                    request.answer.set_exception(error)
                else:
                    request.answer.set_result(digests)
        finally:
            if helper:
                helper.stop()


class _Helper:
    """One helper process and the pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, fd: int, salt: bytes) -> _Helper | None:
        """Start a helper, or return None where this interpreter cannot be started again."""
        if not sys.executable or not Path(__file__).is_file():
            return None
        try:
            process = subprocess.Popen(
                # Isolated, without site-packages: the standard library alone, and a fast start.
                [sys.executable, "-I", "-S", __file__, str(fd), salt.hex()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[fd],
                # A Ctrl-C in the terminal is for the parent, which then closes the pipe.
                start_new_session=True,
            )
        except OSError:
            return None
        return cls(process)

    def hash(self, request: _Request) -> bytes | None:
        """Have a part hashed; None if the helper is gone.

        Raises:
            OSError: The helper could not read.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return None
        try:
            stdin.write(_REQUEST.pack(request.offset_bytes, request.length_bytes))
            stdin.flush()
            head = stdout.read(_ANSWER.size)
            if len(head) < _ANSWER.size:
                return None
            status, length = _ANSWER.unpack(head)
            body = stdout.read(length)
        except BrokenPipeError:
            return None
        if len(body) < length:
            return None
        if status:
            raise OSError(int(body), os.strerror(int(body)))
        return body

    def stop(self) -> None:
        """End the process and wait for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait()


def _serve(fd: int, salt: bytes) -> None:
    """Be a helper process: answer requests until standard input ends."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while len(head := stdin.read(_REQUEST.size)) == _REQUEST.size:
        offset_bytes, length_bytes = _REQUEST.unpack(head)
        try:
            status, body = 0, hash_region(fd, offset_bytes, length_bytes, salt)
        except OSError as error:
            status, body = 1, str(error.errno or 5).encode()
        stdout.write(_ANSWER.pack(status, len(body)) + body)
        stdout.flush()


def _main(arguments: Sequence[str]) -> None:
    # Stopping is the parent's decision: it closes the pipe, also when it dies.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    fd, salt = arguments
    _serve(int(fd), bytes.fromhex(salt))


if __name__ == "__main__":
    _main(sys.argv[1:])
