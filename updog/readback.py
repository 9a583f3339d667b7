"""Read what was written back from the device, and check it.

Decided here: what a partition's content is compared with, once it has been flushed and is read past
the page cache (`partition.reader`).

- The root image: with the hash image, block by block. The hash image lies on its own partition by
  then, checked itself, and belongs to the same signed update. Helper processes do the hashing,
  while the rest of the image still downloads.
- Any other image: with a digest of what was handed to the kernel, taken while it was written.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, Self

from partition.blockhash import PIECE, BlockHasher
from partition.errors import ReadFailed, VerityError, reason
from partition.kernel import KERNEL, Kernel
from partition.reader import RegionReader
from partition.verity import BLOCK_SIZE
from partition.verity_image import TreeOnDisk, expect_data_length, helpers_for
from updog.errors import ImageMismatch

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from partition.region import Region
    from updog.journal import Span


_ASK_AHEAD: Final = 256
"""Pieces that may be waiting to be hashed; each costs a few hundred bytes here."""


class Checker(Protocol):
    """Knows what one partition must hold."""

    def check(self, span: Span) -> None:
        """Read a span back and check it, now or later; spans come in order, without gaps.

        Raises:
            ImageMismatch: The device gives back something else, here or in an earlier span.
            ReadFailed: The device fails.
        """

    def catch_up(self) -> None:
        """Return when every span has been checked; errors as `check`."""

    def finish(self, length_bytes: int) -> None:
        """Catch up, then check what can only be said of the whole image, given its length.

        Raises:
            ImageMismatch: It is not what it has to be.
        """

    def close(self) -> None:
        """Let go of devices and helpers."""


class DigestChecker:
    """Compares what comes back with the digest of what was written.

    Args:
        image: The target's name, for messages.
        region: Where it was written.
        kernel: The system calls.
    """

    def __init__(self, image: str, region: Region, *, kernel: Kernel = KERNEL) -> None:
        self._image = image
        self._reader = RegionReader(region, kernel=kernel)

    def check(self, span: Span) -> None:
        """See `Checker`."""
        digest = hashlib.sha256()
        for chunk in self._reader.chunks(span.start, span.stop):
            digest.update(chunk)
        if digest.hexdigest() != span.sha256:
            raise ImageMismatch(
                self._image,
                self._reader.region.label,
                f"bytes {span.start} to {span.stop} read back differ from what was written",
            )

    def catch_up(self) -> None:
        """See `Checker`; nothing was put off."""

    def finish(self, length_bytes: int) -> None:
        """See `Checker`; nothing is left to say."""

    def close(self) -> None:
        """See `Checker`."""
        self._reader.close()


class RootChecker:
    """Compares a root image with its hash tree.

    Args:
        image: The root target's name, for messages.
        region: Where the root image is being written.
        tree: The hash image, written and checked.
        kernel: The system calls.
    """

    def __init__(
        self, image: str, region: Region, tree: InstalledTree, *, kernel: Kernel = KERNEL
    ) -> None:
        self._image = image
        self._tree = tree
        self._reader = RegionReader(region, kernel=kernel)
        self._asked: deque[tuple[int, Future[bytes]]] = deque()
        superblock = tree.on_disk.superblock
        self._hasher = BlockHasher(
            self._reader.fd,
            superblock.salt,
            helpers=helpers_for(superblock.data_length_bytes),
        )

    def check(self, span: Span) -> None:
        """See `Checker`. A block that goes on in the next span is checked with that one."""
        covered = self._tree.on_disk.superblock.data_length_bytes
        start, stop = _whole_blocks(span)
        if stop > covered:
            raise self._mismatch(f"it is longer than the {covered} bytes that its tree covers")
        self._reader.forget_cached(start, stop)
        for piece in range(start, stop, PIECE):
            length = min(PIECE, stop - piece)
            future = self._hasher.submit(self._reader.region.offset_bytes + piece, length)
            self._asked.append((piece // BLOCK_SIZE, future))
        self._compare(leave=_ASK_AHEAD)

    def catch_up(self) -> None:
        """See `Checker`."""
        self._compare(leave=0)

    def _compare(self, leave: int) -> None:
        """Take what the hasher has done; wait for it where more than `leave` pieces are open."""
        while self._asked and (len(self._asked) > leave or self._asked[0][1].done()):
            first_block, future = self._asked.popleft()
            try:
                self._tree.on_disk.check_digests(first_block, future.result())
            except VerityError as error:
                raise self._mismatch(str(error)) from error
            except OSError as error:
                raise ReadFailed(self._reader.region.label, reason(error)) from error

    def _mismatch(self, why: str) -> ImageMismatch:
        where = f"{self._reader.region.label} with its tree on {self._tree.label}"
        return ImageMismatch(self._image, where, why)

    def finish(self, length_bytes: int) -> None:
        """See `Checker`: the tree covers this image, all of it and nothing else."""
        self.catch_up()
        try:
            expect_data_length(self._tree.on_disk.superblock, length_bytes)
        except VerityError as error:
            raise self._mismatch(str(error)) from error

    def close(self) -> None:
        """See `Checker`."""
        self._hasher.close()
        self._reader.close()


def _whole_blocks(span: Span) -> tuple[int, int]:
    return span.start - span.start % BLOCK_SIZE, span.stop - span.stop % BLOCK_SIZE


class InstalledTree:
    """The hash image on its partition; opening it checks it in itself.

    Args:
        image: The hash target's name, for messages.
        region: Where it was written.
        length_bytes: Its length.
        kernel: The system calls.

    Attributes:
        on_disk: The tree, to check data against.

    Raises:
        ImageMismatch: It is no hash tree that we accept, or contradicts itself.
    """

    def __init__(
        self, image: str, region: Region, length_bytes: int, *, kernel: Kernel = KERNEL
    ) -> None:
        self._reader = RegionReader(region, kernel=kernel)
        self.label = region.label
        try:
            self.on_disk = TreeOnDisk(self._reader, length_bytes)
            self.on_disk.check_upper_levels()
        except VerityError as error:
            self._reader.close()
            raise ImageMismatch(image, region.label, str(error)) from error
        except BaseException:
            self._reader.close()
            raise
        if self.on_disk.superblock.data_blocks == 1:
            self._reader.close()
            raise ImageMismatch(image, region.label, "a tree over one block holds no digest of it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()
