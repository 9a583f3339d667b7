"""Images on their way into a repository: LZ4 frames in which any block can be decoded alone.

An image becomes one LZ4 frame of independent 4 MiB blocks, with the content's size in its header
and without checksums (the targets metadata holds a real digest). Such a frame is what `lz4 -BI`
writes, every LZ4 tool reads it, and updog decodes it block by block into the partition. Blocks are
compressed on all processors; memory stays at a few blocks whatever the image's size. The output
depends on the input and the level alone, so building again gives the same file.

An image that comes as an LZ4 frame already is taken as it is, once it has been decoded to its end.

Whoever needs the content too (the hash tree of a root image) gets it in passing, so that the image
is read once.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import lz4.block
import lz4.frame

from partition.kernel import KERNEL, Kernel
from repo_tools.errors import ImageInvalid
from repo_tools.staged import Write, staged_file

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES: Final = 4 << 20
DEFAULT_LEVEL: Final = 9
_FRAME_MAGIC: Final = b"\x04\x22\x4d\x18"
_HEADER_MAX_BYTES: Final = 19
_FAST_LEVEL: Final = 0
# LZ4 frame format 1.6.1, "Data Blocks": the highest bit marks a block stored as it is; a size of 0
# ends the frame.
_STORED: Final = 1 << 31
_END_MARK: Final = bytes(4)

OnContent = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Compressed:
    """A file ready to become a target."""

    path: Path
    length_bytes: int
    sha256: str
    content_bytes: int


def take_in(
    source: Path,
    out: Path,
    *,
    level: int = DEFAULT_LEVEL,
    on_content: OnContent | None = None,
    workers: int | None = None,
    kernel: Kernel = KERNEL,
) -> Compressed:
    """Write an image as an LZ4 frame; copy it if it is one already.

    Args:
        source: A plain image, or a complete LZ4 frame.
        out: The file to write.
        level: 0 (fast) to 12 (smallest).
        on_content: Is given the image's plain bytes in order, in pieces of up to 4 MiB.
        workers: Threads that compress; by default one per processor.
        kernel: The way to the disk.

    Raises:
        ImageInvalid: Empty, unreadable, or a frame that is damaged or followed by something else.
    """
    try:
        with source.open("rb") as file:
            framed = file.read(len(_FRAME_MAGIC)) == _FRAME_MAGIC
            file.seek(0)
            with staged_file(out, kernel) as write:
                if framed:
                    digest, length, size = _copy_frame(file, write, str(source), on_content)
                else:
                    size = os.fstat(file.fileno()).st_size
                    blocks = _blocks(file, size, str(source), on_content)
                    frame = _frame(blocks, size, level, workers or os.cpu_count() or 1)
                    digest, length = _write(frame, write)
    except OSError as exc:
        raise ImageInvalid(str(source), exc.strerror or str(exc)) from exc
    return Compressed(out, length, digest, size)


def compress_bytes(
    content: bytes, out: Path, *, level: int = DEFAULT_LEVEL, kernel: Kernel = KERNEL
) -> Compressed:
    """Write contents that are in memory as an LZ4 frame."""
    blocks = (content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES))
    with staged_file(out, kernel) as write:
        digest, length = _write(_frame(blocks, len(content), level, workers=1), write)
    return Compressed(out, length, digest, len(content))


def content(path: Path) -> Iterator[bytes]:
    """Give an image's plain bytes in pieces, decoding it if it is an LZ4 frame.

    Raises:
        ImageInvalid: Unreadable, or a damaged frame.
    """
    try:
        with path.open("rb") as file:
            framed = file.read(len(_FRAME_MAGIC)) == _FRAME_MAGIC
            file.seek(0)
            pieces = iter(lambda: file.read(1 << 20), b"")
            yield from decoded(pieces, str(path)) if framed else pieces
    except OSError as exc:
        raise ImageInvalid(str(path), exc.strerror or str(exc)) from exc


def declared_bytes(path: Path) -> int | None:
    """The content's length as the file's own length or the frame's header tells it.

    Returns:
        `None` for a frame that does not tell.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_MAX_BYTES)
            if not head.startswith(_FRAME_MAGIC):
                return os.fstat(file.fileno()).st_size
    except OSError as exc:
        raise ImageInvalid(str(path), exc.strerror or str(exc)) from exc
    try:
        info = lz4.frame.get_frame_info(head)
    except RuntimeError as exc:
        raise ImageInvalid(str(path), f"its LZ4 frame is damaged ({exc})") from exc
    size: int = info["content_size"]
    return size or None


def content_bytes(path: Path) -> int:
    """The content's length, found by decoding where nothing tells it."""
    declared = declared_bytes(path)
    return declared if declared is not None else sum(map(len, content(path)))


def decoded(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decode one LZ4 frame in bounded memory, checking that it ends where the input does.

    Args:
        pieces: The frame, in pieces of any size.
        name: The image, for messages.

    Raises:
        ImageInvalid: Not a frame, cut off, damaged, or followed by something else.
    """
    decoder = lz4.frame.LZ4FrameDecompressor()
    for piece in pieces:
        data = piece
        while data or not (decoder.needs_input or decoder.eof):
            if decoder.eof:
                raise ImageInvalid(name, "something follows the end of its LZ4 frame")
            try:
                content = decoder.decompress(data, max_length=BLOCK_BYTES)
            except RuntimeError as exc:
                raise ImageInvalid(name, f"its LZ4 frame is damaged ({exc})") from exc
            data = b""
            if content:
                yield content
        if decoder.eof and decoder.unused_data:
            raise ImageInvalid(name, "something follows the end of its LZ4 frame")
    if not decoder.eof:
        raise ImageInvalid(name, "its LZ4 frame is cut off")


def _blocks(file: BinaryIO, size: int, name: str, on_content: OnContent | None) -> Iterator[bytes]:
    """Read a plain image in blocks.

    Raises:
        ImageInvalid: It is empty, or grows or shrinks while it is read.
    """
    seen = 0
    while block := file.read(BLOCK_BYTES):
        seen += len(block)
        yield block
        if on_content is not None:
            on_content(block)
    if seen != size:
        raise ImageInvalid(name, f"it changed while it was read: {seen} bytes, not {size}")
    if not size:
        raise ImageInvalid(name, "it is empty")


def _write(pieces: Iterator[bytes], write: Write) -> tuple[str, int]:
    """Write pieces; give their SHA-256 in hex, and their length."""
    digest = hashlib.sha256()
    length = 0
    for piece in pieces:
        digest.update(piece)
        write(piece)
        length += len(piece)
    return digest.hexdigest(), length


def _frame(blocks: Iterator[bytes], size: int, level: int, workers: int) -> Iterator[bytes]:
    """Turn blocks into the parts of one frame, compressing several at a time, in order."""
    header = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX4MB, block_linked=False)
    yield header.begin(source_size=size)
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for block in blocks:
            waiting.append(pool.submit(_block, block, level))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield _END_MARK


def _block(content: bytes, level: int) -> bytes:
    """One data block of a frame: its size, then the compressed bytes, or the content itself."""
    packed: bytes = (
        lz4.block.compress(content, mode="default", store_size=False)
        if level == _FAST_LEVEL
        else lz4.block.compress(
            content, mode="high_compression", compression=level, store_size=False
        )
    )
    if len(packed) >= len(content):
        return (len(content) | _STORED).to_bytes(4, "little") + content
    return len(packed).to_bytes(4, "little") + packed


def _copy_frame(
    file: BinaryIO, write: Write, name: str, on_content: OnContent | None
) -> tuple[str, int, int]:
    """Copy a frame while decoding it; give digest and length of the frame, and its content's."""
    digest = hashlib.sha256()
    length = size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal length
        while piece := file.read(1 << 20):
            digest.update(piece)
            write(piece)
            length += len(piece)
            yield piece

    for piece in decoded(pieces(), name):
        size += len(piece)
        if on_content is not None:
            on_content(piece)
    return digest.hexdigest(), length, size
