"""Hash trees, with `veritysetup` as the witness."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition import verity
from partition.errors import InvalidSuperblock, InvalidTreeSize, ReadFailed, TreeMismatch
from partition.region import Region
from partition.verity import Superblock, TreeBuilder
from partition.verity_image import build_tree, check_tree

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 4096
IDENTITY = UUID("9a6b4c55-0b3c-4cb1-9f38-1b3b1f0d7a11")
SALT = bytes.fromhex("5a17") * 16


def random_file(path: Path, blocks: int) -> Path:
    path.write_bytes(random.Random(blocks).randbytes(blocks * BLOCK))  # noqa: S311 (not a secret)
    return path


def veritysetup_format(data: Path, tree: Path, *options: str, salt: bytes = SALT) -> str:
    """Format with the tool; return the root hash that it prints."""
    tree.unlink(missing_ok=True)
    command = ["veritysetup", "format", str(data), str(tree), "--uuid", str(IDENTITY)]
    command += ["--salt", salt.hex() or "-", *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return next(line.split()[-1] for line in output.splitlines() if line.startswith("Root hash"))


def whole(path: Path) -> tuple[Region, int]:
    length = path.stat().st_size
    return Region(path, 0, length, 1, is_node=False), length


def check(data: Path, tree: Path) -> bytes:
    return check_tree(*whole(data), *whole(tree))


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, Path]:
    """200 random blocks, and the tree that veritysetup made of them: two levels."""
    data, tree = random_file(tmp_path / "data", 200), tmp_path / "tree"
    veritysetup_format(data, tree)
    return data, tree


@pytest.mark.parametrize(
    "blocks,salt",
    [
        pytest.param(1, SALT, id="a single block, no level"),
        pytest.param(2, SALT, id="one level"),
        pytest.param(127, b"", id="one level, almost full, no salt"),
        pytest.param(128, bytes(range(256)), id="one full level, the longest salt"),
        pytest.param(129, SALT, id="two levels"),
        pytest.param(129, b"", id="two levels, no salt"),
        pytest.param(128 * 128, SALT, id="two full levels"),
        pytest.param(128 * 128 + 1, b"s", id="three levels"),
    ],
)
def test_a_tree_is_what_veritysetup_writes(tmp_path: Path, blocks: int, salt: bytes) -> None:
    data, tree = random_file(tmp_path / "data", blocks), tmp_path / "tree"
    root_hash = veritysetup_format(data, tree, salt=salt)

    built = build_tree(data, salt=salt, uuid=IDENTITY)

    assert built.root_hash.hex() == root_hash
    assert built.image == tree.read_bytes()
    assert check(data, tree).hex() == root_hash


def test_veritysetup_verifies_a_tree_made_with_helper_processes(tmp_path: Path) -> None:
    data, tree = tmp_path / "data", tmp_path / "tree"
    with data.open("wb") as file:
        for piece in range(72):  # MiB: enough to be worth helpers
            file.write(piece.to_bytes(4, "big") * (1 << 18))
    built = build_tree(data, salt=SALT, uuid=IDENTITY)
    tree.write_bytes(built.image)

    command = ["veritysetup", "verify", str(data), str(tree), built.root_hash.hex()]
    assert subprocess.run(command, check=False).returncode == 0
    assert check(data, tree) == built.root_hash


def test_a_tree_may_cover_the_first_blocks_of_a_file_only(tmp_path: Path) -> None:
    data, tree = random_file(tmp_path / "data", 300), tmp_path / "tree"
    root_hash = veritysetup_format(data, tree, "--data-blocks", "150")

    built = build_tree(data, salt=SALT, uuid=IDENTITY, data_blocks=150)

    assert (built.root_hash.hex(), built.image) == (root_hash, tree.read_bytes())


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK + 512])
def test_data_that_is_no_whole_number_of_blocks_is_refused(tmp_path: Path, length: int) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(length))
    with pytest.raises(InvalidTreeSize, match="a whole number of 4096-byte blocks"):
        build_tree(data, salt=b"", uuid=IDENTITY)


def test_a_file_shorter_than_asked_for_is_refused(tmp_path: Path) -> None:
    data = random_file(tmp_path / "data", 3)
    with pytest.raises(ReadFailed, match="Input/output error"):
        build_tree(data, salt=b"", uuid=IDENTITY, data_blocks=4)
    with pytest.raises(ReadFailed, match="No such file"):
        build_tree(tmp_path / "absent", salt=b"", uuid=IDENTITY)


@pytest.mark.parametrize(
    "options,field",
    [
        (["--hash", "sha512"], "algorithm"),
        (["--data-block-size", "1024"], "data block size"),
        (["--hash-block-size", "1024"], "hash block size"),
        (["--format", "0"], "hash type"),
    ],
)
def test_trees_of_other_kinds_are_refused_by_name(
    image: tuple[Path, Path], options: list[str], field: str
) -> None:
    data, tree = image
    veritysetup_format(data, tree, *options)
    with pytest.raises(InvalidSuperblock) as refused:
        check(data, tree)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "offset,value,field",
    [
        (0, b"verify", "signature"),
        (8, struct.pack("<I", 2), "version"),
        (72, struct.pack("<Q", 0), "data blocks"),
        (72, struct.pack("<Q", 1 << 63), "data blocks"),
        (80, struct.pack("<H", 257), "salt size"),
        (82, b"\1", "padding"),
        (88 + 32, b"\1", "padding"),  # behind a salt of 32 bytes
        (511, b"\1", "padding"),
        (512, b"\1", "padding"),  # between superblock and tree
        (BLOCK - 1, b"\1", "padding"),
    ],
)
def test_a_changed_superblock_is_refused_by_field(
    image: tuple[Path, Path], offset: int, value: bytes, field: str
) -> None:
    data, tree = image
    with tree.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    with pytest.raises(InvalidSuperblock) as refused:
        check(data, tree)
    assert refused.value.field == field


def test_a_hash_image_that_is_cut_off_is_refused(image: tuple[Path, Path]) -> None:
    data, tree = image
    whole_tree = tree.read_bytes()
    tree.write_bytes(whole_tree[:-BLOCK])
    with pytest.raises(InvalidTreeSize, match="the hash image has"):
        check(data, tree)
    tree.write_bytes(whole_tree[:511])
    with pytest.raises(InvalidSuperblock, match="length is 511 bytes"):
        check(data, tree)


def test_zeros_behind_the_tree_are_allowed_and_nothing_else(image: tuple[Path, Path]) -> None:
    data, tree = image
    with tree.open("ab") as file:
        file.write(bytes(3 * BLOCK))
    check(data, tree)
    with tree.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    with pytest.raises(InvalidSuperblock, match="padding is bytes other than zero"):
        check(data, tree)


# The image of 200 blocks: superblock, level 1 in block 1 (two digests), level 0 in blocks 2 and 3.
@pytest.mark.parametrize(
    "offset,level,hash_block,covered_block",
    [
        (1 * BLOCK + 0, 1, 1, 0),
        (1 * BLOCK + 63, 1, 1, 1),
        (1 * BLOCK + 64, 1, 1, None),
        (2 * BLOCK - 1, 1, 1, None),
        (2 * BLOCK, 1, 1, 0),  # a changed digest of data shows one level up first
        (3 * BLOCK + 71 * 32, 1, 1, 1),
        (3 * BLOCK + 72 * 32, 0, 3, None),
    ],
)
def test_a_damaged_tree_is_named_by_level_and_block(
    image: tuple[Path, Path], offset: int, level: int, hash_block: int, covered_block: int | None
) -> None:
    data, tree = image
    damage(tree, offset)
    with pytest.raises(TreeMismatch) as refused:
        check(data, tree)
    error = refused.value
    assert (error.level, error.hash_block, error.covered_block) == (
        level,
        hash_block,
        covered_block,
    )


@pytest.mark.parametrize("block", [0, 127, 128, 199])
def test_damaged_data_is_named_by_block(image: tuple[Path, Path], block: int) -> None:
    data, tree = image
    damage(data, block * BLOCK + 4095)
    with pytest.raises(TreeMismatch, match=f"the digest of data block {block} differs") as refused:
        check(data, tree)
    assert (refused.value.level, refused.value.hash_block) == (0, 2 + block // 128)


def test_padding_of_level_0_must_be_zeros_even_if_the_level_above_agrees(tmp_path: Path) -> None:
    """A tree that was made to hide bytes: consistent upwards, but not what veritysetup writes."""
    data, tree = random_file(tmp_path / "data", 5), tmp_path / "tree"
    veritysetup_format(data, tree)
    damage(tree, 2 * BLOCK - 1)
    with pytest.raises(TreeMismatch) as refused:
        check(data, tree)
    assert (refused.value.level, refused.value.covered_block) == (0, None)


def test_data_of_another_length_than_the_tree_covers_is_refused(image: tuple[Path, Path]) -> None:
    data, tree = image
    with data.open("ab") as file:
        file.write(bytes(BLOCK))
    with pytest.raises(InvalidTreeSize, match="as the superblock of its hash tree says"):
        check(data, tree)


def damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


SUPERBLOCKS = st.builds(
    Superblock,
    data_blocks=st.integers(1, 1 << 40),
    salt=st.binary(max_size=256),
    uuid=st.uuids(),
)


class TestSuperblock:
    """Struct verity_sb: 512 bytes, one meaning each way."""

    @given(SUPERBLOCKS)
    def test_what_is_packed_is_parsed(self, superblock: Superblock) -> None:
        packed = superblock.pack()
        assert len(packed) == 512
        assert Superblock.parse(packed + b"anything") == superblock

    @given(SUPERBLOCKS, st.integers(0, 511), st.integers(1, 255))
    def test_no_changed_byte_goes_unnoticed(
        self, superblock: Superblock, offset: int, change: int
    ) -> None:
        packed = bytearray(superblock.pack())
        packed[offset] ^= change
        try:
            parsed = Superblock.parse(bytes(packed))
        except InvalidSuperblock:
            return
        assert parsed != superblock
        assert parsed.pack() == packed

    @given(st.binary(max_size=600))
    def test_noise_is_refused(self, noise: bytes) -> None:
        with pytest.raises(InvalidSuperblock):
            Superblock.parse(noise)

    @pytest.mark.parametrize("blocks", [0, -1, 1 << 60])
    def test_what_cannot_be_packed_cannot_be_made(self, blocks: int) -> None:
        with pytest.raises(ValueError, match="data_blocks"):
            Superblock(blocks, b"", IDENTITY)
        with pytest.raises(ValueError, match="salt"):
            Superblock(1, bytes(257), IDENTITY)


class TestTreeBuilder:
    """A tree does not depend on how its digests arrive."""

    @given(st.integers(1, 600), st.data())
    def test_digests_may_come_in_any_portions(self, blocks: int, data: st.DataObject) -> None:
        digests = random.Random(blocks).randbytes(blocks * 32)  # noqa: S311
        at_once, in_portions = [], []
        one = TreeBuilder(blocks, SALT, lambda *block: at_once.append(block))
        one.add_digests(digests)
        other = TreeBuilder(blocks, SALT, lambda *block: in_portions.append(block))
        while digests:
            count = 32 * data.draw(st.integers(1, 200))
            other.add_digests(digests[:count])
            digests = digests[count:]
        assert one.finish() == other.finish()
        assert sorted(map(repr, at_once)) == sorted(map(repr, in_portions))
        assert len(at_once) == sum(level.blocks for level in verity.levels(blocks))

    def test_missing_and_surplus_digests_are_mistakes(self) -> None:
        builder = TreeBuilder(3, b"", lambda *_: None)
        with pytest.raises(ValueError, match="33 bytes of digests for 3 blocks"):
            builder.add_digests(bytes(33))
        builder.add_digests(bytes(64))
        with pytest.raises(ValueError, match="digests of 1 blocks are missing"):
            builder.finish()
        with pytest.raises(ValueError, match="64 bytes of digests for 1 blocks"):
            builder.add_digests(bytes(64))
