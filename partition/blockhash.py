"""Hash a region block by block, on as many processors as there are.

Decided here: how 4096-byte blocks become digests quickly, and how that work is shared with helper
processes. Not here: what the digests are compared with (`partition.verity_image`,
`updog.readback`).

Why processes: a digest of 4096 bytes takes a few microseconds, about as long as Python takes around
it while it holds the interpreter lock, so threads of one interpreter hardly run side by side here,
and they would slow the threads that download and write. A helper process is this very file, run as
a script with nothing but the standard library; it starts in some 20 ms and weighs about 12 MiB. It
is given open descriptors, so it never opens a path, and it ends when the pipes to it close, which
also happens when the parent dies.

Each helper has two lanes, a thread and a pair of pipes each: while one hashes, the other waits for
the device. Only one of them hashes at a time, since two would do nothing but fight for their
interpreter's lock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import queue
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
PIECE: Final = 2 << 20
"""Bytes of data that one request covers, and that are read at once."""

_RUN_SIZE: Final = 64 << 10
_ZEROS: Final = memoryview(bytes(_RUN_SIZE)).cast("Q")

_LANES: Final = 2

# A lane's protocol: a request is an offset and a length in bytes; an answer is a status, the length
# of what follows, and digests (status 0) or an errno as text (status 1).
_REQUEST: Final = struct.Struct("<QQ")
_ANSWER: Final = struct.Struct("<BI")


def hash_blocks(data: memoryview, salt: bytes) -> bytes:
    """The digests of consecutive 4096-byte blocks, 32 bytes each, one after the other.

    Args:
        data: Bytes; a whole number of blocks.
        salt: Hashed before each block.
    """
    salted = hashlib.sha256(salt)
    of_zeros = salted.copy()
    of_zeros.update(bytes(_BLOCK_SIZE))
    words = data.cast("Q")
    digests = []
    for start in range(0, len(data), _RUN_SIZE):
        stop = min(start + _RUN_SIZE, len(data))
        # Free space in a file system is long runs of zeros. To compare a run as words takes nothing
        # where the first one differs, and a quarter of the digests' time or less where none does.
        if words[start // 8 : stop // 8] == _ZEROS[: (stop - start) // 8]:
            digests.append(of_zeros.digest() * ((stop - start) // _BLOCK_SIZE))
            continue
        for block in range(start, stop, _BLOCK_SIZE):
            digest = salted.copy()
            digest.update(data[block : block + _BLOCK_SIZE])
            digests.append(digest.digest())
    return b"".join(digests)


class _RangeHasher:
    """Reads ranges of an open file into memory of its own, and hashes them.

    Args:
        fd: Readable; with O_DIRECT the offsets must suit the device.
        salt: Hashed before each block.
        hashing: Held while hashing, so that threads that share it only read side by side.
    """

    def __init__(self, fd: int, salt: bytes, hashing: threading.Lock) -> None:
        self._fd = fd
        self._salt = salt
        self._hashing = hashing
        self._view = memoryview(mmap.mmap(-1, PIECE))  # page-aligned, as O_DIRECT wants it

    def digests(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Read and hash a whole number of blocks, `PIECE` bytes at most.

        Raises:
            OSError: The read failed, or the file ends early (EIO).
        """
        filled = 0
        while filled < length_bytes:
            count = os.preadv(self._fd, [self._view[filled:length_bytes]], offset_bytes + filled)
            if not count:
                raise OSError(errno.EIO, "the device ends early")
            filled += count
        with self._hashing:
            return hash_blocks(self._view[:length_bytes], self._salt)


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
        helpers: Helper processes to start; 0 hashes in this process, which is right for small data.
            Where a helper cannot be started, or dies, this process does its work.
    """

    def __init__(self, fd: int, salt: bytes, *, helpers: int) -> None:
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._helpers = [
            helper for _ in range(helpers) if (helper := _Helper.start(fd, salt)) is not None
        ]
        lanes: list[_Lane | None] = [lane for helper in self._helpers for lane in helper.lanes]
        here = threading.Lock()
        self._threads = [
            threading.Thread(
                target=self._work,
                args=(lane, _RangeHasher(fd, salt, here)),
                name=f"block-hasher-{number}",
            )
            for number, lane in enumerate(lanes or [None] * _LANES)
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
        """Queue a part of the file, `PIECE` bytes at most.

        Returns:
            The digests, 32 bytes a block; or OSError.
        """
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
        for helper in self._helpers:
            helper.stop()

    def _work(self, lane: _Lane | None, here: _RangeHasher) -> None:
        while (request := self._requests.get()) is not None:
            if self._closed.is_set():
                request.answer.cancel()
            if not request.answer.set_running_or_notify_cancel():
                continue
            where = request.offset_bytes, request.length_bytes
            try:
                digests = lane.ask(*where) if lane else None
                if digests is None:
                    lane = None
                    digests = here.digests(*where)
            except Exception as error:  # noqa: BLE001 (handed to who waits for the future)
                request.answer.set_exception(error)
            else:
                request.answer.set_result(digests)


class _Lane:
    """The parent's end of one pair of pipes."""

    def __init__(self, requests_fd: int, answers_fd: int) -> None:
        self._requests = os.fdopen(requests_fd, "wb", buffering=0)
        self._answers = os.fdopen(answers_fd, "rb")

    def ask(self, offset_bytes: int, length_bytes: int) -> bytes | None:
        """Have a part hashed; None if the helper is gone.

        Raises:
            OSError: The helper could not read.
        """
        try:
            self._requests.write(_REQUEST.pack(offset_bytes, length_bytes))
        except BrokenPipeError:
            return None
        head = self._answers.read(_ANSWER.size)
        if len(head) < _ANSWER.size:
            return None
        status, length = _ANSWER.unpack(head)
        body = self._answers.read(length)
        if len(body) < length:
            return None
        if status:
            raise OSError(int(body), os.strerror(int(body)))
        return body

    def close(self) -> None:
        self._requests.close()
        self._answers.close()


class _Helper:
    """One helper process."""

    def __init__(self, process: subprocess.Popen[bytes], lanes: Sequence[_Lane]) -> None:
        self._process = process
        self.lanes = lanes

    @classmethod
    def start(cls, fd: int, salt: bytes) -> _Helper | None:
        """Start a helper, or return None where this interpreter cannot be started again."""
        if not sys.executable or not Path(__file__).is_file():
            return None
        theirs: list[int] = []
        lanes = []
        for _ in range(_LANES):
            requests, answers = os.pipe(), os.pipe()
            theirs += requests[0], answers[1]
            lanes.append(_Lane(requests[1], answers[0]))
        try:
            process = subprocess.Popen(
                # Isolated, without site-packages: the standard library alone, and a fast start.
                [sys.executable, "-I", "-S", __file__, salt.hex(), str(fd), *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[fd, *theirs],
                # A Ctrl-C in the terminal is for the parent, which then closes the pipes.
                process_group=0,
            )
        except OSError:
            for lane in lanes:
                lane.close()
            return None
        finally:
            for end in theirs:
                os.close(end)
        return cls(process, lanes)

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.terminate()
        self._process.wait()
        for lane in self.lanes:
            lane.close()


def _serve(requests_fd: int, answers_fd: int, hasher: _RangeHasher) -> None:
    """Be one lane of a helper: answer requests until there are no more."""
    requests, answers = os.fdopen(requests_fd, "rb"), os.fdopen(answers_fd, "wb", buffering=0)
    # A parent that is gone wants no answer.
    with requests, answers, contextlib.suppress(BrokenPipeError):
        while len(head := requests.read(_REQUEST.size)) == _REQUEST.size:
            try:
                status, body = 0, hasher.digests(*_REQUEST.unpack(head))
            except OSError as error:
                status, body = 1, str(error.errno or errno.EIO).encode()
            answers.write(_ANSWER.pack(status, len(body)) + body)


def _main(salt: str, fd: str, *lanes: str) -> None:
    hashing = threading.Lock()
    ends = [int(end) for end in lanes]
    for requests_fd, answers_fd in zip(ends[::2], ends[1::2], strict=True):
        hasher = _RangeHasher(int(fd), bytes.fromhex(salt), hashing)
        threading.Thread(target=_serve, args=(requests_fd, answers_fd, hasher)).start()


if __name__ == "__main__":
    _main(*sys.argv[1:])
