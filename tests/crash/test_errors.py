"""The medium says no, once or from then on, at every moment of an update.

A full disk, a bad sector, a file system that turned read-only: each call of the kernel fails in
turn, reads too. What must hold is what must hold after a power cut, and that the run ends with one
line; from there, on a medium that works again, the host updates.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from partition.errors import PartitionError
from signpost.errors import SignpostError
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.support import bootloader
from tests.support.examiner import marked_valid
from tests.support.host import Host, Quiet, chosen, content
from updog.errors import UpdogError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

    from partition.kernel import StrPath
    from tests.support.repository import Repository

IS_DEEP = os.environ.get("UPDOG_CRASH") == "deep"
STEP = 1 if IS_DEEP else 11
# The flip, what comes before it and what is read after it: all of these are tried.
LAST = 36
NAMES = {"a first update", "an update over the former system"}


class Refusing(Quiet):
    """Fails one call, or all from there on, as a full or broken medium does.

    Args:
        at: The number of the first call that fails.
        for_good: All after it fail, too.

    Attributes:
        calls: How many there were.
    """

    def __init__(self, at: int, *, for_good: bool) -> None:
        self.at = at
        self.for_good = for_good
        self.calls = 0

    def _ask(self, number: int) -> None:
        self.calls += 1
        if self.calls - 1 == self.at or (self.for_good and self.calls > self.at):
            raise OSError(number, os.strerror(number))

    def open(
        self, path: StrPath, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        """Fails where a file might have to be made."""
        if flags & os.O_CREAT:
            self._ask(errno.ENOSPC)
        return super().open(path, flags, mode, dir_fd=dir_fd)

    def pread(self, fd: int, length_bytes: int, offset_bytes: int) -> bytes:
        """Fails as a bad sector does."""
        self._ask(errno.EIO)
        return super().pread(fd, length_bytes, offset_bytes)

    def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
        """Fails as a bad sector does."""
        self._ask(errno.EIO)
        return super().preadv(fd, buffers, offset_bytes)

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        """Fails as a bad sector does."""
        self._ask(errno.EIO)
        return super().pwrite(fd, data, offset_bytes)

    def write(self, fd: int, data: Buffer) -> int:
        """Fails as a full disk does."""
        self._ask(errno.ENOSPC)
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        """Fails as a disk does that cannot write what it took."""
        self._ask(errno.EIO)
        super().fsync(fd)

    def fdatasync(self, fd: int) -> None:
        """As `fsync`."""
        self.fsync(fd)

    def ftruncate(self, fd: int, length_bytes: int) -> None:
        """Fails as a read-only file system does."""
        self._ask(errno.EROFS)
        super().ftruncate(fd, length_bytes)

    def replace(self, source: StrPath, target: StrPath) -> None:
        """Fails as a read-only file system does."""
        self._ask(errno.EROFS)
        super().replace(source, target)

    def exchange(self, one: StrPath, other: StrPath) -> None:
        """Fails as a read-only file system does."""
        self._ask(errno.EROFS)
        super().exchange(one, other)

    def unlink(self, path: StrPath) -> None:
        """Fails as a read-only file system does."""
        self._ask(errno.EROFS)
        super().unlink(path)

    def mkdir(self, path: StrPath, mode: int = 0o700) -> None:
        """Fails as a full disk does."""
        self._ask(errno.ENOSPC)
        super().mkdir(path, mode)


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if each.name in NAMES], ids=lambda each: each.name
)
def test_an_error_at_every_moment(
    scenario: Scenario,
    place: Path,
    record_property: Callable[[str, object], None],
    *,
    for_good: bool,
) -> None:
    host, repository = scenario.begin(place / "host")
    whole = host.copy(place / "whole")
    whole.kernel = kernel = Refusing(1 << 30, for_good=False)
    scenario.act(whole, repository)
    total = kernel.calls

    refused = 0
    for moment in sorted({*range(0, total, STEP), *range(total - LAST, total)}):
        again = host.copy(place / "again")
        again.kernel = Refusing(moment, for_good=for_good)
        said = ended_with(again, repository, scenario)
        refused += bool(said)
        assert len(said.splitlines()) <= 1
        disk = bootloader.Image(again.disk)
        assert chosen(disk)[1] in scenario.may_boot
        for slot in marked_valid(disk):
            assert content(disk, slot) is not None, f"set {slot} is marked valid and not whole"
        again.kernel = Quiet()
        again.update(repository)
        assert again.boot() == scenario.ends_as
        shutil.rmtree(place / "again")
    assert refused >= 25
    record_property("errors", [scenario.name, total, refused])


def ended_with(host: Host, repository: Repository, scenario: Scenario) -> str:
    """The line that the run ends with; "" if it came to a good end all the same."""
    try:
        scenario.act(host, repository)
    except (UpdogError, PartitionError, SignpostError) as error:
        return str(error)
    return ""
