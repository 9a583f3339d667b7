"""Locks: one holder, named to the other; gone with the process that held it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from partition.errors import LockHeld, StateFileUnsafe, WriteFailed
from partition.locks import exclusive_lock, holder

if TYPE_CHECKING:
    from pathlib import Path

HOLD = textwrap.dedent("""
    import sys
    from pathlib import Path
    from partition.locks import exclusive_lock
    with exclusive_lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
""")


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named_and_its_death_unlocks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as process:
        with pytest.raises(LockHeld) as caught, exclusive_lock(path):
            pass
        assert caught.value.holder == process.pid
        assert str(caught.value) == f"cannot lock {path}: process {process.pid} is at work on it"
        process.kill()

    with exclusive_lock(path):
        pass


def test_waiting_takes_it_over_from_a_holder_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as process:
        process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        with exclusive_lock(path, wait_seconds=60):
            pass


def test_the_file_stays_private_and_empty(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive_lock(path):
        pass

    assert (path.stat().st_mode & 0o777, path.read_bytes()) == (0o600, b"")


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with (
        pytest.raises(StateFileUnsafe, match="it is a symbolic link"),
        exclusive_lock(tmp_path / "lock"),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteFailed, match="No such file or directory"),
        exclusive_lock(tmp_path / "none" / "lock"),
    ):
        pass


class TestHolder:
    """/proc/locks, as proc_locks(5) describes it."""

    def locks(self, tmp_path: Path, *lines: str) -> int | None:
        path = tmp_path / "lock"
        path.touch()
        status = path.stat()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        text = "\n".join(lines).format(file=f"{device}:{status.st_ino}")
        (tmp_path / "locks").write_text(text)
        with path.open() as file:
            return holder(file.fileno(), tmp_path)

    def test_is_the_one_with_the_flock(self, tmp_path: Path) -> None:
        assert (
            self.locks(
                tmp_path,
                "1: POSIX  ADVISORY  WRITE 7 {file} 0 EOF",
                "2: FLOCK  ADVISORY  WRITE 8 00:01:1 0 EOF",
                "3: FLOCK  ADVISORY  WRITE 42 {file} 0 EOF",
                "3: -> FLOCK  ADVISORY  WRITE 9 {file} 0 EOF",
            )
            == 42
        )

    def test_is_unknown_in_another_container(self, tmp_path: Path) -> None:
        assert self.locks(tmp_path, "1: FLOCK  ADVISORY  WRITE 0 {file} 0 EOF") is None

    def test_is_unknown_without_the_file(self, tmp_path: Path) -> None:
        assert self.locks(tmp_path, "") is None
        with (tmp_path / "lock").open() as file:
            assert holder(file.fileno(), tmp_path / "no-proc") is None
