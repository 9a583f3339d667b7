"""The dm-verity tree of a root image that passes by, made or compared.

The tree of an image is determined by its content, a salt and a UUID. Where the owner brings no hash
image of their own, both are derived from what the update is called, so that building it again gives
the same tree. The tree (0.8 % of the image) is held in memory.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from partition.blockhash import hash_blocks
from partition.errors import InvalidSuperblock
from partition.verity import (
    BLOCK_SIZE,
    SUPERBLOCK_SIZE,
    Level,
    Superblock,
    TreeBuilder,
    image_length_bytes,
)
from repo_tools.errors import ImageInvalid
from repo_tools.images import content, content_bytes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PassingTree", "TreeComparison", "passing_tree", "tree_of_hash_image"]

_NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:updog:verity")


def derived_parameters(identity: str) -> tuple[bytes, UUID]:
    """The salt (32 bytes) and UUID of a tree whose owner does not choose them."""
    return hashlib.sha256(identity.encode()).digest(), uuid5(_NAMESPACE, identity)


def passing_tree(
    root: Path, hash_image: Path | None, *, salt: bytes | None, identity: str
) -> PassingTree:
    """Get ready for a root image.

    Args:
        root: The image, plain or an LZ4 frame.
        hash_image: The hash image that the tree will be compared with; it tells salt and UUID.
        salt: Salt where there is none; `None` derives it.
        identity: What the tree is for; the same identity gives the same salt and UUID.

    Raises:
        ImageInvalid: The root image is no whole number of blocks, or the hash image no hash image.
    """
    derived, uuid = derived_parameters(identity)
    if hash_image is not None:
        superblock = _superblock(hash_image)
        return PassingTree(str(root), content_bytes(root), superblock.salt, superblock.uuid)
    return PassingTree(str(root), content_bytes(root), derived if salt is None else salt, uuid)


def tree_of_hash_image(image: bytes, name: str, root: str) -> PassingTree:
    """Get ready for the root image that a hash image says it belongs to.

    Args:
        image: The hash image.
        name: Its name, for messages.
        root: The root image's name.

    Raises:
        ImageInvalid: It is no hash image.
    """
    try:
        superblock = Superblock.parse(image[:SUPERBLOCK_SIZE])
    except InvalidSuperblock as exc:
        raise ImageInvalid(name, f"{exc}") from exc
    # Before room is made for a tree as large as it claims to be.
    if len(image) < image_length_bytes(superblock.data_length_bytes // BLOCK_SIZE):
        raise ImageInvalid(name, f"it is shorter than the hash tree of {root}")
    return PassingTree(root, superblock.data_length_bytes, superblock.salt, superblock.uuid)


class PassingTree:
    """Grows a tree while a root image's content passes by."""

    def __init__(self, name: str, content_bytes: int, salt: bytes, uuid: UUID) -> None:
        """Get ready for an image.

        Raises:
            ImageInvalid: The image is no whole number of 4096-byte blocks.
        """
        blocks, rest = divmod(content_bytes, BLOCK_SIZE)
        if rest or not blocks:
            reason = f"its length is {content_bytes} bytes, not a multiple of {BLOCK_SIZE}"
            raise ImageInvalid(name, reason)
        self._name = name
        self._salt = salt
        self._expected_bytes = content_bytes
        self._seen_bytes = 0
        self._image = bytearray(image_length_bytes(blocks))
        self._image[:512] = Superblock(blocks, salt, uuid).pack()
        self._builder = TreeBuilder(blocks, salt, self._place)
        self._partial = b""

    def add(self, content: bytes) -> None:
        """Take the next piece of the image, of any length.

        Raises:
            ImageInvalid: The image is longer than the tree is for.
        """
        self._seen_bytes += len(content)
        self._expect(self._seen_bytes <= self._expected_bytes)
        content = self._partial + content if self._partial else content
        whole = len(content) // BLOCK_SIZE * BLOCK_SIZE
        self._builder.add_digests(hash_blocks(memoryview(content)[:whole], self._salt))
        self._partial = content[whole:]

    def finish(self) -> tuple[bytes, bytes]:
        """Give the hash image and the root hash (32 bytes).

        Raises:
            ImageInvalid: The image is shorter than the tree is for.
        """
        self._expect(self._seen_bytes == self._expected_bytes)
        root_hash = self._builder.finish()
        return bytes(self._image), root_hash

    def _expect(self, holds: bool) -> None:  # noqa: FBT001  what is expected is the argument
        if not holds:
            raise ImageInvalid(
                self._name,
                f"it has {self._seen_bytes} bytes or more, its hash tree is for"
                f" {self._expected_bytes}",
            )

    def _place(self, level: Level, index: int, block: bytes) -> None:
        start = (level.first_block + index) * BLOCK_SIZE
        self._image[start : start + BLOCK_SIZE] = block


class TreeComparison:
    """Compares a hash image that passes by with the tree that it has to hold."""

    def __init__(self, name: str, root: str, expected: bytes) -> None:
        """Get ready; the names of hash image and root image are for messages."""
        self._name = name
        self._root = root
        self._expected = memoryview(expected)
        self._seen = 0

    def add(self, content: bytes) -> None:
        """Take the next piece; what follows the tree does not matter.

        Raises:
            ImageInvalid: It differs.
        """
        expected = self._expected[self._seen : self._seen + len(content)]
        if content[: len(expected)] != expected:
            raise ImageInvalid(self._name, f"it is not the hash tree of {self._root}")
        self._seen += len(content)

    def finish(self) -> None:
        """Check that all of the tree was there."""
        if self._seen < len(self._expected):
            raise ImageInvalid(self._name, f"it is shorter than the hash tree of {self._root}")


def _superblock(path: Path) -> Superblock:
    head = b""
    for piece in content(path):
        head += piece
        if len(head) >= SUPERBLOCK_SIZE:
            break
    try:
        return Superblock.parse(head[:SUPERBLOCK_SIZE])
    except InvalidSuperblock as exc:
        raise ImageInvalid(str(path), f"{exc}") from exc
