"""The disk of the boot tests, spoken to over NBD: what a power cut may take, and what not."""

from __future__ import annotations

import random
import socket
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.boot.volatile_disk import VolatileDisk

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 4096
COUNT = 16
FORCE_UNIT_ACCESS = 1
# Numbers of the NBD protocol's document: requests, and the option that starts transmission.
READ, WRITE, FLUSH = 0, 1, 3
GO = 7


class Client:
    """As little of an NBD client as a test needs."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        assert self.receive(18)[:16] == b"NBDMAGICIHAVEOPT"
        payload = struct.pack(">IH", 0, 0)
        self.socket.sendall(
            struct.pack(">I", 1) + b"IHAVEOPT" + struct.pack(">II", GO, len(payload)) + payload
        )
        _, _, kind, length = struct.unpack(">QIII", self.receive(20))
        assert kind == 3
        self.size_bytes = struct.unpack(">HQH", self.receive(length))[1]
        assert struct.unpack(">QIII", self.receive(20))[2:] == (1, 0)

    def request(
        self, kind: int, offset: int, length: int, data: bytes = b"", flags: int = 0
    ) -> bytes:
        header = struct.pack(">IHHQQI", 0x25609513, flags, kind, 7, offset, length)
        self.socket.sendall(header + data)
        assert struct.unpack(">IIQ", self.receive(16)) == (0x67446698, 0, 7)
        return self.receive(length) if kind == READ else b""

    def write(self, block: int, value: int, flags: int = 0) -> None:
        self.request(WRITE, block * BLOCK, BLOCK, bytes([value]) * BLOCK, flags)

    def flush(self) -> None:
        self.request(FLUSH, 0, 0)

    def receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            chunk = self.socket.recv(length - len(data))
            assert chunk
            data += chunk
        return data


class Plugged:
    """A disk with its client."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "disk.img"
        self.image.write_bytes(bytes(COUNT * BLOCK))
        self.disk = VolatileDisk(self.image, directory / "socket")
        self.disk.serve()
        self.client = Client(directory / "socket")

    def after_cut(self, seed: int) -> list[set[int]]:
        """The values that each block consists of when the power has gone."""
        self.disk.cut_power(random.Random(seed))  # noqa: S311
        data = self.image.read_bytes()
        return [set(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK)]


@pytest.fixture
def directory() -> Iterator[Path]:
    # Socket paths are limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="disk-") as name:
        yield Path(name)


@pytest.fixture
def plugged(directory: Path) -> Iterator[Plugged]:
    plugged = Plugged(directory)
    yield plugged
    plugged.client.socket.close()
    plugged.disk.close()


def test_what_was_written_is_read_at_once(plugged: Plugged) -> None:
    plugged.client.write(3, 0xAB)
    assert plugged.client.size_bytes == COUNT * BLOCK
    assert plugged.client.request(READ, 3 * BLOCK, BLOCK) == b"\xab" * BLOCK


def test_what_was_flushed_survives(plugged: Plugged) -> None:
    for block in range(COUNT):
        plugged.client.write(block, 1)
    plugged.client.flush()
    assert plugged.after_cut(seed=1) == [{1}] * COUNT


def test_what_was_forced_out_survives_without_a_flush(plugged: Plugged) -> None:
    for block in range(COUNT):
        plugged.client.write(block, 1, FORCE_UNIT_ACCESS)
    assert plugged.after_cut(seed=1) == [{1}] * COUNT


def test_what_was_not_flushed_is_kept_lost_or_torn(directory: Path) -> None:
    seen: set[frozenset[int]] = set()
    for seed in range(20):
        place = directory / f"{seed}"
        place.mkdir()
        plugged = Plugged(place)
        for block in range(COUNT):
            plugged.client.write(block, 1)
        plugged.client.flush()
        for block in range(COUNT):
            plugged.client.write(block, 2)
        seen |= {frozenset(values) for values in plugged.after_cut(seed)}
        plugged.client.socket.close()
        plugged.disk.close()
    assert seen == {frozenset({1}), frozenset({2}), frozenset({1, 2})}


def test_a_later_write_may_last_where_an_earlier_one_is_lost(directory: Path) -> None:
    """The order between two flushes is not kept: that is what flushes are for."""
    reordered = 0
    for seed in range(20):
        place = directory / f"{seed}"
        place.mkdir()
        plugged = Plugged(place)
        plugged.client.write(0, 1)
        plugged.client.write(1, 2)
        blocks = plugged.after_cut(seed)
        reordered += blocks[0] == {0} and blocks[1] == {2}
        plugged.client.socket.close()
        plugged.disk.close()
    assert 0 < reordered < 20


def test_the_power_can_go_after_a_number_of_writes(plugged: Plugged) -> None:
    plugged.disk.call_after_writes(2, lambda: plugged.disk.cut_power(random.Random(1)))  # noqa: S311
    plugged.client.write(0, 1)
    plugged.client.write(1, 1)
    with pytest.raises((AssertionError, OSError)):
        plugged.client.write(2, 1)
    assert set(plugged.image.read_bytes()[2 * BLOCK :]) == {0}
