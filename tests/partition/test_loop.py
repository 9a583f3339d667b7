"""Loop devices are told to go past the page cache of their file, and told back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from partition import loop

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4 * MIB))
    return path


@pytest.fixture
def node(backing: Path) -> Iterator[Path]:
    yield from attached(backing)


@pytest.fixture
def direct_node(backing: Path) -> Iterator[Path]:
    yield from attached(backing, "--direct-io=on")


def attached(backing: Path, *options: str) -> Iterator[Path]:
    command = ["losetup", "--find", "--show", *options, str(backing)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"loop devices need root: {done.stderr.strip()}")
    found = Path(done.stdout.strip())
    try:
        yield found
    finally:
        subprocess.run(["losetup", "--detach", found], check=True)


def uses_direct_io(node: Path) -> bool:
    """As losetup has it."""
    command = ["losetup", "--list", "--noheadings", "--output", "DIO", str(node)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "1"


def test_direct_meanwhile_and_as_before_afterwards(node: Path) -> None:
    assert not uses_direct_io(node)
    with loop.direct([node, node]):
        assert uses_direct_io(node)
    assert not uses_direct_io(node)


def test_told_back_after_an_error(node: Path) -> None:
    with pytest.raises(KeyError), loop.direct([node]):
        raise KeyError
    assert not uses_direct_io(node)


def test_one_that_was_direct_before_stays_so(direct_node: Path) -> None:
    assert uses_direct_io(direct_node)
    with loop.direct([direct_node]):
        assert uses_direct_io(direct_node)
    assert uses_direct_io(direct_node)


def test_what_is_no_loop_device_is_left_alone(backing: Path, tmp_path: Path) -> None:
    with loop.direct([backing, tmp_path / "missing", Path("/dev/null")]):
        assert backing.read_bytes() == bytes(4 * MIB)
    assert not (tmp_path / "missing").exists()
