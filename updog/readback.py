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
from typing import TYPE_CHECKING, Protocol, Self

from partition.blockhash import BlockHasher
from partition.errors import ReadFailed, VerityError, reason
from partition.kernel import KERNEL, Kernel
from partition.reader import RegionReader
from partition.verity import BLOCK_SIZE, DIGEST_SIZE
from partition.verity_image import TreeOnDisk, expect_data_length, helpers_for
from updog.errors import ImageMismatch

if TYPE_CHECKING:
    from types import TracebackType

    from partition.region import Region
    from updog.journal import Span


class Checker(Protocol):
    """Knows what one partition must hold."""

    @property
    def wants_digests(self) -> bool:
        """Whether spans must carry a digest of what was written."""

    def check(self, span: Span) -> None:
        """Read a span back and check it; spans come in order, without gaps.

        Raises:
            ImageMismatch: The device gives back something else.
            ReadFailed: The device fails.
        """

    def finish(self, length_bytes: int) -> None:
        """Check what can only be said of the whole image, once its length is known.

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

    wants_digests = True

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

    def finish(self, length_bytes: int) -> None:
        """Nothing is left to say."""

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

    wants_digests = False

    def __init__(
        self, image: str, region: Region, tree: InstalledTree, *, kernel: Kernel = KERNEL
    ) -> None:
        self._image = image
        self._tree = tree
        self._reader = RegionReader(region, kernel=kernel)
        superblock = tree.on_disk.superblock
        self._hasher = BlockHasher(
            self._reader.fd,
            superblock.salt,
            helpers=helpers_for(superblock.data_length_bytes),
        )

    def check(self, span: Span) -> None:
        """See `Checker`. A block that goes on in the next span is checked with that one."""
        region, superblock = self._reader.region, self._tree.on_disk.superblock
        start = span.start - span.start % BLOCK_SIZE
        stop = span.stop - span.stop % BLOCK_SIZE
        try:
            if stop > superblock.data_length_bytes:
                expect_data_length(superblock, stop)
            self._reader.forget_cached(start, stop)
            for digests in self._hasher.in_order(region.offset_bytes + start, stop - start):
                self._tree.on_disk.check_digests(start // BLOCK_SIZE, digests)
                start += len(digests) // DIGEST_SIZE * BLOCK_SIZE
        except VerityError as error:
            where = f"{region.label} with its tree on {self._tree.label}"
            raise ImageMismatch(self._image, where, str(error)) from error
        except OSError as error:
            raise ReadFailed(region.label, reason(error)) from error

    def finish(self, length_bytes: int) -> None:
        """See `Checker`: the tree covers this image, all of it and nothing else."""
        try:
            expect_data_length(self._tree.on_disk.superblock, length_bytes)
        except VerityError as error:
            raise ImageMismatch(self._image, self._reader.region.label, str(error)) from error

    def close(self) -> None:
        """See `Checker`."""
        self._hasher.close()
        self._reader.close()


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
