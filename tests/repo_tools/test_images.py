"""Frames that the lz4 tool reads, trees that veritysetup writes, damage that is named."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from repo_tools.errors import ImageInvalid
from repo_tools.hash_tree import PassingTree, derived_parameters, tree_of_hash_image
from repo_tools.images import (
    BLOCK_BYTES,
    compress_bytes,
    content,
    content_bytes,
    declared_bytes,
    decoded,
    take_in,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo_tools.owner import Owner

TEXT = b"".join(b"line %d of some text\n" % number for number in range(250_000))


def contents() -> dict[str, bytes]:
    return {
        "one byte": b"x",
        "a block": TEXT[:BLOCK_BYTES],
        "a block and a byte": TEXT[: BLOCK_BYTES + 1],
        "several blocks": TEXT,
        "zeros": bytes(9 << 20),
        "what does not compress": os.urandom((4 << 20) + 5),
    }


@pytest.mark.parametrize("name", contents())
def test_the_tool_reads_what_is_written(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "image", tmp_path / "image.lz4"
    source.write_bytes(contents()[name])
    made = take_in(source, out)
    subprocess.run(["lz4", "-t", "-q", out], check=True)
    plain = subprocess.run(["lz4", "-dc", out], check=True, capture_output=True).stdout
    assert plain == source.read_bytes()
    digest = subprocess.run(["sha256sum", out], check=True, capture_output=True, text=True).stdout
    assert made.sha256 == digest.split()[0]
    assert made.length_bytes == out.stat().st_size
    assert made.content_bytes == declared_bytes(out) == len(plain)


def test_blocks_are_independent_and_their_size_is_told(tmp_path: Path) -> None:
    """LZ4 frame format 1.6.1: version 01, independent, no checksums, content size; 4 MiB blocks."""
    source, out = tmp_path / "image", tmp_path / "image.lz4"
    source.write_bytes(TEXT)
    take_in(source, out)
    magic, flags, block = struct.unpack_from("<IBB", out.read_bytes())
    assert magic == 0x184D2204
    assert flags == 0b01101000
    assert block >> 4 & 7 == 7


@pytest.mark.parametrize("level", [0, 1, 9, 12])
def test_levels(tmp_path: Path, level: int) -> None:
    source, out = tmp_path / "image", tmp_path / "image.lz4"
    source.write_bytes(TEXT[: 1 << 20])
    take_in(source, out, level=level)
    assert b"".join(content(out)) == source.read_bytes()


def test_the_same_each_time_whatever_the_processors(tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.write_bytes(TEXT)
    digests = {take_in(source, tmp_path / f"{n}.lz4", workers=n).sha256 for n in (1, 2, 5)}
    digests.add(compress_bytes(TEXT, tmp_path / "memory.lz4").sha256)
    assert len(digests) == 1


def test_the_content_passes_by(tmp_path: Path) -> None:
    source, packed = tmp_path / "image", tmp_path / "image.lz4"
    source.write_bytes(TEXT)
    seen: list[bytes] = []
    take_in(source, packed, on_content=seen.append)
    again: list[bytes] = []
    taken = take_in(packed, tmp_path / "copy.lz4", on_content=again.append)
    assert b"".join(seen) == b"".join(again) == TEXT
    assert (tmp_path / "copy.lz4").read_bytes() == packed.read_bytes()
    assert taken.content_bytes == len(TEXT)
    assert max(map(len, seen + again)) <= BLOCK_BYTES


@pytest.mark.parametrize(
    "options", [["-BD"], ["-B4", "-BX"], ["--no-frame-crc"], ["-1", "-B5", "-BI"]]
)
def test_frames_of_any_kind_are_taken_as_they_are(tmp_path: Path, options: list[str]) -> None:
    packed = tmp_path / "image.lz4"
    packed.write_bytes(
        subprocess.run(["lz4", *options, "-c"], input=TEXT, check=True, capture_output=True).stdout
    )
    made = take_in(packed, tmp_path / "copy.lz4")
    assert made.content_bytes == content_bytes(packed) == len(TEXT)
    assert declared_bytes(packed) is None


def frame() -> bytes:
    return subprocess.run(["lz4", "-c", "-B4"], input=TEXT[:300_000], check=True,
                          capture_output=True).stdout  # fmt: skip


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda data: data[:-9], "its LZ4 frame is cut off"),
        (lambda data: data[:5], "its LZ4 frame is cut off"),
        (lambda data: data + b"x", "something follows the end of its LZ4 frame"),
        (lambda data: data + frame(), "something follows the end of its LZ4 frame"),
        (lambda data: data[:5000] + b"????????" + data[5008:], "its LZ4 frame is damaged"),
    ],
    ids=["cut", "cut in the header", "a byte more", "another frame", "changed"],
)
def test_damaged_frames(tmp_path: Path, damage: object, says: str) -> None:
    packed = tmp_path / "image.lz4"
    packed.write_bytes(damage(frame()))  # type: ignore[operator]
    with pytest.raises(ImageInvalid, match=says):
        take_in(packed, tmp_path / "copy.lz4")
    for size in (1, 7, 1 << 20):
        data = packed.read_bytes()
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        with pytest.raises(ImageInvalid, match=says):
            for _ in decoded(pieces, "image"):
                pass
        if size == 1:
            assert len(data) < 1_000_000


def test_a_bomb_is_decoded_in_pieces() -> None:
    bomb = subprocess.run(["lz4", "-c", "-9"], input=bytes(64 << 20), check=True,
                          capture_output=True).stdout  # fmt: skip
    sizes = [len(piece) for piece in decoded(iter([bomb]), "bomb")]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= BLOCK_BYTES


def test_what_cannot_be_an_image(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(ImageInvalid, match="it is empty"):
        take_in(empty, tmp_path / "out")
    with pytest.raises(ImageInvalid, match="No such file"):
        take_in(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ImageInvalid, match="Is a directory"):
        take_in(tmp_path, tmp_path / "out")
    bad = tmp_path / "bad"
    bad.write_bytes(b"\x04\x22\x4d\x18\xff\xff\xff\xff")
    with pytest.raises(ImageInvalid, match="its LZ4 frame is damaged"):
        declared_bytes(bad)


class TestHashTree:
    """The tree grows while the image passes by, in pieces of any size."""

    def veritysetup(self, image: Path, tree: Path, salt: bytes, uuid: str) -> str:
        told = subprocess.run(
            ["veritysetup", "format", "--salt", salt.hex(), "--uuid", uuid, image, tree],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        return next(line.split()[-1] for line in told.splitlines() if "Root hash" in line)

    @pytest.mark.parametrize("blocks", [1, 2, 128, 129, 130, 1000])
    def test_it_is_veritysetups(self, tmp_path: Path, blocks: int) -> None:
        image, tree = tmp_path / "image", tmp_path / "tree"
        image.write_bytes(hashlib.shake_128(b"x").digest(4096 * blocks))
        salt, uuid = derived_parameters("demo x86_64 1.0.0")
        root_hash = self.veritysetup(image, tree, salt, str(uuid))
        for step in (4096, 1000, 5000, 1 << 22):
            passing = PassingTree("image", 4096 * blocks, salt, uuid)
            data = image.read_bytes()
            for at in range(0, len(data), step):
                passing.add(data[at : at + step])
            grown, digest = passing.finish()
            assert digest.hex() == root_hash
            assert grown == tree.read_bytes()

    def test_it_is_for_one_length(self) -> None:
        salt, uuid = derived_parameters("x")
        with pytest.raises(ImageInvalid, match="not a multiple of 4096"):
            PassingTree("image", 5000, salt, uuid)
        tree = PassingTree("image", 8192, salt, uuid)
        tree.add(bytes(8192))
        with pytest.raises(ImageInvalid, match="its hash tree is for 8192"):
            tree.add(b"x")
        tree = PassingTree("image", 8192, salt, uuid)
        tree.add(bytes(4096))
        with pytest.raises(ImageInvalid, match="its hash tree is for 8192"):
            tree.finish()

    def test_what_is_no_hash_image(self) -> None:
        with pytest.raises(ImageInvalid, match="superblock"):
            tree_of_hash_image(bytes(4096), "hash", "root")


def test_building_without_publishing(newcomer: Owner, tmp_path: Path) -> None:
    boot, root = newcomer.images("1.0.0")
    out = tmp_path / "out"
    built = newcomer.do("image", "build", out, "--boot", boot, "--root-image", root, "--name", "os",
                        "--salt", "aabbcc")  # fmt: skip
    assert {path.name for path in out.iterdir()} == {
        "os-boot.ext4.lz4", "os-root.ext4.lz4", "os-root.verity.lz4", "os-root.verity",
    }  # fmt: skip
    subprocess.run(
        ["veritysetup", "verify", root, out / "os-root.verity", built["root_hash"]], check=True
    )
    shown = subprocess.run(
        ["veritysetup", "dump", out / "os-root.verity"], check=True, capture_output=True, text=True
    ).stdout
    assert "aabbcc" in shown
    assert newcomer.run("image", "build", out, "--boot", boot, "--root-image", root,
                        "--salt", "xyz").exit_code == 2  # fmt: skip
