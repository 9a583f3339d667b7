"""Hashing by block in helper processes: always the right digests, and nothing left running."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from partition.blockhash import PIECE, BlockHasher, hash_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

SALT = b"pepper"
BLOCKS = 3 * PIECE // 4096 + 5


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """An open file of three and a bit pieces, and the digests of its blocks."""
    data = random.Random(1).randbytes(BLOCKS * 4096)  # noqa: S311 (not a secret)
    path = tmp_path / "data"
    path.write_bytes(data)
    digests = b"".join(
        hashlib.sha256(SALT + data[start : start + 4096]).digest()
        for start in range(0, len(data), 4096)
    )
    fd = os.open(path, os.O_RDONLY)
    yield fd, digests
    os.close(fd)


def children() -> set[int]:
    """Process ids of this process's children, as the kernel lists them."""
    return {
        int(child)
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text().split()
    }


def test_blocks_are_hashed_after_the_salt(file: tuple[int, bytes]) -> None:
    fd, digests = file
    assert hash_blocks(memoryview(os.pread(fd, 3 * 4096, 4096)), SALT) == digests[32 : 4 * 32]
    assert hash_blocks(memoryview(b""), SALT) == b""


@pytest.mark.parametrize("blocks", [1, 15, 16, 17, 32, 40])
@pytest.mark.parametrize("salt", [b"", SALT])
def test_zeros_have_the_digest_of_zeros(blocks: int, salt: bytes) -> None:
    """Whole runs, runs with one other byte anywhere, and runs that are cut off."""
    for touched in (None, 0, blocks * 4096 // 2 + 5, blocks * 4096 - 1):
        data = bytearray(blocks * 4096)
        if touched is not None:
            data[touched] = 1
        expected = b"".join(
            hashlib.sha256(salt + data[start : start + 4096]).digest()
            for start in range(0, len(data), 4096)
        )
        assert hash_blocks(memoryview(data), salt) == expected


@pytest.mark.parametrize("helpers", [0, 1, 2])
def test_digests_come_in_order_and_nothing_is_left(file: tuple[int, bytes], helpers: int) -> None:
    fd, digests = file
    before = children(), threading.active_count()
    with BlockHasher(fd, SALT, helpers=helpers) as hasher:
        assert len(children() - before[0]) == helpers
        assert b"".join(hasher.in_order(0, BLOCKS * 4096)) == digests
        assert hasher.submit(4096, 8192).result() == digests[32:96]
    assert (children(), threading.active_count()) == before


def test_work_goes_on_here_when_helpers_are_killed(file: tuple[int, bytes]) -> None:
    fd, digests = file
    before = children()
    with BlockHasher(fd, SALT, helpers=2) as hasher:
        for helper in children() - before:
            os.kill(helper, signal.SIGKILL)
        assert b"".join(hasher.in_order(0, BLOCKS * 4096)) == digests
    assert children() == before


@pytest.mark.parametrize("helpers", [0, 1])
def test_a_file_that_ends_early_is_an_error(file: tuple[int, bytes], helpers: int) -> None:
    fd, digests = file
    with BlockHasher(fd, SALT, helpers=helpers) as hasher:
        with pytest.raises(OSError, match=r"Input/output error|ends early"):
            hasher.submit((BLOCKS - 1) * 4096, 8192).result()
        # An error concerns one request, not the hasher.
        assert hasher.submit(0, 4096).result() == digests[:32]


def test_closing_drops_what_is_queued(file: tuple[int, bytes]) -> None:
    fd, _ = file
    hasher = BlockHasher(fd, SALT, helpers=0)
    futures = [hasher.submit(0, PIECE) for _ in range(200)]
    hasher.close()
    assert sum(future.cancelled() for future in futures) > 100
    with pytest.raises(CancelledError):
        futures[-1].result()
