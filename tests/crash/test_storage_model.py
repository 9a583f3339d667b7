"""The model of storage that all power cuts rest on, held against what POSIX promises and does not.

Each test writes by hand what a careless or a careful program does, and lists, by hand, what may be
found afterwards. A model that forgot to lose something would make every suite above it worthless.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.cuts import states
from tests.support.power import TABLE, Area, PowerKernel, described, described_on_disk, materialise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.volume import History

CREATE = os.O_WRONLY | os.O_CREAT


@pytest.fixture
def place(tmp_path: Path) -> Path:
    host = tmp_path / "host"
    host.mkdir()
    (host / "settings").write_bytes(b"old")
    return host


def found(history: History, path: str) -> set[bytes | None]:
    """What a file may hold after a cut; None: no such name."""
    contents: set[bytes | None] = set()
    for state in states(history):
        entry = described(history, state).get(path)
        contents.add(None if entry is None else entry[2])
    return contents


def write_beside_and_rename(kernel: PowerKernel, place: Path, *, flush: bool) -> None:
    fd = kernel.open(place / "settings.new", CREATE)
    kernel.write(fd, b"new!")
    if flush:
        kernel.fsync(fd)
    kernel.replace(place / "settings.new", place / "settings")
    kernel.close(fd)


def test_a_rename_without_a_flush_may_leave_an_empty_file_or_zeros(place: Path) -> None:
    kernel = PowerKernel(place)
    write_beside_and_rename(kernel, place, flush=False)
    # The length and the data of the new file reach the disk in any order with its name.
    assert found(kernel.history(), "settings") == {b"old", b"", b"\0\0\0\0", b"new!"}


def test_a_rename_of_a_flushed_file_is_old_or_new(place: Path) -> None:
    kernel = PowerKernel(place)
    write_beside_and_rename(kernel, place, flush=True)
    assert found(kernel.history(), "settings") == {b"old", b"new!"}


def test_a_rename_may_be_lost_until_its_directory_is_flushed(place: Path) -> None:
    kernel = PowerKernel(place)
    write_beside_and_rename(kernel, place, flush=True)
    history = kernel.history()
    assert described(history, history.flushed)["settings"][2] == b"old"

    directory = kernel.open(place, os.O_RDONLY | os.O_DIRECTORY)
    kernel.fsync(directory)
    kernel.close(directory)
    history = kernel.history()
    assert described(history, history.flushed)["settings"][2] == b"new!"


def test_a_new_file_may_have_no_name_though_it_was_flushed_itself(place: Path) -> None:
    kernel = PowerKernel(place)
    fd = kernel.open(place / "fresh", CREATE)
    kernel.write(fd, b"data")
    kernel.fsync(fd)
    kernel.close(fd)
    assert found(kernel.history(), "fresh") == {None, b"", b"\0\0\0\0", b"data"}
    history = kernel.history()
    assert "fresh" not in described(history, history.flushed)


def test_writing_in_place_may_leave_any_mixture(place: Path) -> None:
    kernel = PowerKernel(place)
    fd = kernel.open(place / "settings", os.O_WRONLY)
    kernel.pwrite(fd, b"N", 0)
    kernel.pwrite(fd, b"W", 2)
    kernel.close(fd)
    assert found(kernel.history(), "settings") == {b"old", b"Nld", b"olW", b"NlW"}


def test_truncating_first_may_leave_nothing_of_either(place: Path) -> None:
    kernel = PowerKernel(place)
    fd = kernel.open(place / "settings", os.O_WRONLY | os.O_TRUNC)
    kernel.write(fd, b"new!")
    kernel.close(fd)
    assert b"" in found(kernel.history(), "settings")


def test_a_disk_may_reorder_whatever_was_not_flushed(place: Path) -> None:
    (place / "disk").write_bytes(bytes(4 * 512))
    kernel = PowerKernel(place, {"disk": []})
    fd = kernel.open(place / "disk", os.O_RDWR)
    kernel.pwrite(fd, b"1" * 512, 0)
    kernel.pwrite(fd, b"2" * 512, 512)
    kernel.fsync(fd)
    kernel.pwrite(fd, b"3" * 512, 1024)
    kernel.close(fd)
    disks = {content[::512] for content in found(kernel.history(), "disk") if content}
    zero = b"\0"
    assert disks == {
        zero * 4,
        b"1" + zero * 3,
        zero + b"2" + zero * 2,
        b"12" + zero * 2,
        b"123" + zero,
    }


def test_a_write_is_torn_between_sectors_and_never_inside_one(place: Path) -> None:
    (place / "disk").write_bytes(bytes(8 * 512))
    kernel = PowerKernel(place, {"disk": []})
    fd = kernel.open(place / "disk", os.O_RDWR)
    kernel.pwrite(fd, b"x" * (3 * 512), 512)
    kernel.close(fd)
    disks = {content for content in found(kernel.history(), "disk") if content}
    for kept in (0, 512, 1024, 1536):
        assert bytes(512) + b"x" * kept + bytes(7 * 512 - kept) in disks
    for content in disks:
        assert all(len(set(content[at : at + 512])) == 1 for at in range(0, 8 * 512, 512))


def test_flushing_one_partition_leaves_another_in_the_air(place: Path) -> None:
    """Linux flushes what was written through the node that is flushed, not through its sisters."""
    (place / "disk").write_bytes(bytes(8 * 512))
    areas = [Area("boot", 1024, 2048), Area("root", 2048, 4096)]
    kernel = PowerKernel(place, {"disk": areas})
    boot, root = kernel.open(place / "disk", os.O_RDWR), kernel.open(place / "disk", os.O_RDWR)
    table = kernel.open(place / "disk", os.O_RDWR)
    kernel.pwrite(boot, b"b" * 512, 1024)
    kernel.pwrite(root, b"r" * 512, 2048)
    kernel.pwrite(table, b"t" * 512, 0)
    kernel.fsync(root)
    history = kernel.history()
    disk = described(history, history.flushed)["disk"][2]
    assert disk == bytes(2048) + b"r" * 512 + bytes(4096 - 2560)
    kernel.fsync(table)
    history = kernel.history()
    assert described(history, history.flushed)["disk"][2][:512] == b"t" * 512
    assert TABLE not in {area.name for area in areas}
    for fd in (boot, root, table):
        kernel.close(fd)


def test_a_flush_of_the_file_system_covers_all_but_the_disks(place: Path) -> None:
    (place / "disk").write_bytes(bytes(512))
    kernel = PowerKernel(place, {"disk": []})
    disk = kernel.open(place / "disk", os.O_RDWR)
    kernel.pwrite(disk, b"x" * 512, 0)
    write_beside_and_rename(kernel, place, flush=False)
    directory = kernel.open(place, os.O_RDONLY | os.O_DIRECTORY)
    kernel.syncfs(directory)
    history = kernel.history()
    after = described(history, history.flushed)
    assert (after["settings"][2], after["disk"][2]) == (b"new!", bytes(512))
    kernel.close(directory)
    kernel.close(disk)


def test_two_swapped_directories_are_never_both_or_neither(place: Path) -> None:
    for name in ("one", "other"):
        (place / name).mkdir()
        (place / name / "who").write_text(name)
    kernel = PowerKernel(place)
    kernel.exchange(place / "one", place / "other")
    history = kernel.history()
    pairs = {
        (described(history, state)["one/who"][2], described(history, state)["other/who"][2])
        for state in states(history)
    }
    assert pairs == {(b"one", b"other"), (b"other", b"one")}


def test_what_is_made_of_a_state_is_that_state(place: Path, tmp_path: Path) -> None:
    kernel = PowerKernel(place)
    kernel.mkdir(place / "directory", 0o750)
    kernel.symlink("../settings", place / "directory/link")
    write_beside_and_rename(kernel, place, flush=False)
    history = kernel.history()
    seen = 0
    for seen, state in enumerate(states(history), start=1):
        copy = tmp_path / f"copy{seen}"
        materialise(history, state, copy)
        assert described_on_disk(copy) == described(history, state)
    assert seen >= 16


def test_what_goes_past_the_kernel_is_noticed(place: Path) -> None:
    kernel = PowerKernel(place)
    (place / "settings").write_bytes(b"behind its back")
    with pytest.raises(AssertionError, match="settings"):
        kernel.history()
