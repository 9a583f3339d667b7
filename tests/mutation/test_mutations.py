"""Tests of the tests: the product is broken on purpose, and the power-cut suite has to notice.

Each mutation is a mistake that somebody could make. A suite that passed with it would pass for the
wrong reason. That the unbroken product passes is what `tests/crash` says.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import lz4.block
import pytest

from migrator import copies
from partition import disk as disks
from partition import gpt
from partition.gpt import FLUSH, Source
from signpost.errors import SignpostError
from signpost.state import BootState
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.support import bootloader
from tests.support.cuts import Thoroughness, states
from tests.support.examiner import Examiner, settings_follow
from tests.support.host import Bricked, Host, areas, extents, release, target_name
from tests.support.power import Killed, PowerKernel
from tests.support.volume import Names, Write, bits
from updog import install, plans, readback, stream
from updog.attempts import Attempts
from updog.errors import UpdogError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Buffer

    from partition.gpt import Plan, Table
    from signpost.device import BootDisk
    from tests.support.repository import Repository
    from tests.support.volume import Change, Flush, History, State

HOW = Thoroughness(exhaustive=4, samples=4, lengths=6, scattered=2)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
OVER_FORMER = BY_NAME["an update over the former system"]
FIRST_BOOT = BY_NAME["the first boot of a new version, with its migration"]


def recorded(scenario: Scenario, host: Host, repository: Repository) -> History:
    kernel = host.record()
    scenario.act(host, repository)
    return kernel.history()


def examine(history: History, scenario: Scenario, directory: Path) -> None:
    """What the power-cut suite does with a history, but for the update that follows."""
    examiner = Examiner(history, scenario.may_boot)
    alike: dict[object, tuple[State, str]] = {}
    for state in states(history, HOW):
        version = examiner.check(state)
        alike.setdefault(examiner.likeness_to_migrator(state), (state, version))
    lasting = examiner.check(history.flushed)
    assert lasting == scenario.ends_as, f"{lasting} boots after the end"
    for state, version in alike.values():
        settings_follow(history, state, version, directory / "settings")


# A flush that is left out. What it covers is named by a change that then may be lost.


def area(name: str) -> Callable[[Change], bool]:
    return lambda change: isinstance(change, Write) and change.area == name


def name_with(part: str) -> Callable[[Change], bool]:
    return lambda change: (
        isinstance(change, Names) and any(part in name for _, name, _ in change.changes)
    )


FLUSHES: dict[str, tuple[Scenario, Callable[[Change], bool], str]] = {
    "the partition table": (OVER_FORMER, area("table"), "nothing boots|not whole"),
    "the boot image": (OVER_FORMER, area("A boot"), "not whole"),
    "the root image": (OVER_FORMER, area("A root"), "not whole"),
    "the hash image": (OVER_FORMER, area("A hash"), "not whole"),
    "the migrator's metadata": (OVER_FORMER, name_with("snapshot.json"), "cannot|refusing"),
    "the migrator's manifest": (OVER_FORMER, name_with("manifest.json"), "cannot"),
    "a new copy of the settings": (FIRST_BOOT, name_with("greeting"), "settings"),
}


@pytest.mark.parametrize("what", FLUSHES)
def test_a_flush_left_out(what: str, place: Path) -> None:
    scenario, covers, complaint = FLUSHES[what]
    history = recorded(scenario, *scenario.begin(place / "host"))
    forgotten = sum(1 << index for index, each in enumerate(history.changes) if covers(each))

    def without(flush: Flush) -> Flush:
        return dataclasses.replace(flush, mask=flush.mask & ~forgotten)

    assert any(flush.mask & forgotten for flush in history.flushes)
    careless = dataclasses.replace(history, flushes=[*map(without, history.flushes)])
    with pytest.raises(Exception, match=complaint):
        examine(careless, scenario, place)


def test_a_single_flush_left_out_of_an_update(place: Path) -> None:
    """One after the other; those that only spare a second download may be missed."""
    scenario = OVER_FORMER
    history = recorded(scenario, *scenario.begin(place / "host"))
    noticed: set[str] = set()
    for number, flush in enumerate(history.flushes):
        first = next((i for i in bits(flush.mask & ~history.durable(flush.at - 1))), None)
        change = None if first is None else history.changes[first]
        if not isinstance(change, Write) or not change.area:
            continue
        rest = [each for index, each in enumerate(history.flushes) if index != number]
        try:
            examine(dataclasses.replace(history, flushes=rest), scenario, place)
        except AssertionError:
            noticed.add(change.area)
    assert noticed >= {"A boot", "A root", "A hash", "table"}


# Mistakes in the product: each is done to it by hand.


def one_flush_for_both_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    original = gpt.write_plan

    def plan(table: Table) -> Plan:
        return (*(step for step in original(table) if step is not FLUSH), FLUSH)

    monkeypatch.setattr(gpt, "write_plan", plan)


def the_valid_copy_is_overwritten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    original = gpt.write_plan

    def plan(table: Table) -> Plan:
        other = Source.BACKUP if table.source is Source.PRIMARY else Source.PRIMARY
        return original(dataclasses.replace(table, source=other))

    monkeypatch.setattr(gpt, "write_plan", plan)


def valid_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    original = install._Run._write_images

    def write(run: install._Run, disk: BootDisk) -> None:
        run._mark_valid(disk)
        original(run, disk)

    monkeypatch.setattr(install._Run, "_write_images", write)
    monkeypatch.setattr(BootState, "mark_inactive_valid", lambda state, _tries=1: _valid(state))


def _valid(state: BootState) -> BootState:
    flags = state.sets[state.inactive]
    return dataclasses.replace(state, sets={**state.sets, state.inactive: flags.with_tries_left(1)})


def nothing_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install._Run, "_clear", lambda _run, _disk: None)


def flipped_before_it_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "flush", lambda _path, _kernel: None)


MISTAKES: dict[Callable[[pytest.MonkeyPatch], None], tuple[Scenario, str]] = {
    one_flush_for_both_copies: (OVER_FORMER, "nothing boots"),
    valid_before_it_is_written: (OVER_FORMER, "not whole"),
    nothing_is_cleared: (OVER_FORMER, "not whole"),
    flipped_before_it_is_flushed: (FIRST_BOOT, "settings"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_in_the_order_of_writes(
    mistake: Callable[[pytest.MonkeyPatch], None], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, complaint = MISTAKES[mistake]
    host, repository = scenario.begin(place / "host")
    mistake(monkeypatch)
    kernel = host.record()
    # Refused in the end, or not: what counts is what a cut before that would have left.
    with contextlib.suppress(SignpostError):
        scenario.act(host, repository)
    history = kernel.history()
    with pytest.raises(Exception, match=complaint):
        examine(history, scenario, place)


def test_the_wrong_copy_of_a_damaged_table_first(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = BY_NAME["a rollback"]
    host, repository = scenario.begin(place / "host")
    with host.disk.open("r+b") as disk:
        disk.seek(-512, 2)
        disk.write(bytes(512))
    examine(recorded(scenario, host.copy(place / "sound"), repository), scenario, place)

    the_valid_copy_is_overwritten_first(monkeypatch)
    kernel = host.record()
    scenario.act(host, repository)
    with pytest.raises(Bricked, match="nothing boots"):
        examine(kernel.history(), scenario, place)


def test_no_flush_before_a_table_write(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process left in the page cache is relied on."""
    scenario = BY_NAME["a rollback"]
    host, repository = scenario.begin(place / "host")
    monkeypatch.setattr(disks.Disk, "flush", lambda _disk: None)
    kernel = host.record()
    # Two writes and a flush for the backup copy, two writes for the primary; then no flush.
    kernel.kill_after(5)
    with pytest.raises(Killed):
        scenario.act(host, repository)
    kernel.revive()
    host.signpost(BootState.cancel_upgrade)
    history = kernel.history()
    with pytest.raises(Bricked, match="nothing boots"):
        examine(history, scenario, place)


# What is not compared.


def test_a_digest_that_is_not_compared(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A boot image that still decodes, to something else: only its digest knows."""
    scenario = BY_NAME["a first update"]
    host, repository = scenario.begin(place / "host")
    served = next(
        name for name in repository.target_files if name.endswith(target_name("1.1.0", "boot"))
    )
    repository.target_files[served] = decodable_but_wrong(release("1.1.0").packed["boot"])
    with pytest.raises(UpdogError, match="digest"):
        host.copy(place / "honest").update(repository)

    monkeypatch.setattr(stream.ImageStream, "_compare_digests", lambda _stream: None)
    history = recorded(scenario, host, repository)
    with pytest.raises(Bricked, match="not whole"):
        examine(history, scenario, place)


def decodable_but_wrong(packed: bytes) -> bytes:
    """Change one literal byte of the first block that has one."""
    at = 4 + 2 + 8 + 1  # magic, flags, content size, checksum of the header
    length = int.from_bytes(packed[at : at + 4], "little")
    assert length < 1 << 31, "a stored block"
    block = packed[at + 4 : at + 4 + length]
    right = lz4.block.decompress(block, uncompressed_size=64 << 10)
    for place in range(1, length):
        wrong = block[:place] + bytes([block[place] ^ 0x55]) + block[place + 1 :]
        try:
            decoded = lz4.block.decompress(wrong, uncompressed_size=64 << 10)
        except lz4.block.LZ4BlockError:
            continue
        if len(decoded) == len(right) and decoded != right:
            return packed[: at + 4] + wrong + packed[at + 4 + length :]
    raise AssertionError("no literal in the first block")


class LosesWrites(PowerKernel):
    """A disk that says yes and keeps the middle of one area as it was."""

    area = ""

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        """Report all as written; a sector of it is not."""
        count = super().pwrite(fd, data, offset_bytes)
        if self._touch(fd, offset_bytes) == self.area:
            super().pwrite(fd, b"\xa5" * 512, offset_bytes + 1024)
        return count


@pytest.mark.parametrize("part", ["boot", "root", "hash"])
def test_what_is_not_read_back(part: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that lies is found out by reading; without it, a set is valid and not whole."""
    scenario = BY_NAME["a first update"]
    host, repository = scenario.begin(place / "host")
    honest = host.copy(place / "honest")
    for each in (honest, host):
        kernel = LosesWrites(each.directory, {"disk.img": areas(bootloader.Image(each.disk))})
        kernel.area = f"B {part}"
        each.kernel = kernel
    with pytest.raises(UpdogError, match=r"read back differ|does not match|cannot trust"):
        honest.update(repository)
    assert host.boot() == "1.0.0"

    for checker in (readback.DigestChecker, readback.RootChecker):
        for step in ("check", "catch_up", "finish"):
            monkeypatch.setattr(checker, step, lambda _checker, *_: None)
    monkeypatch.setattr("partition.verity_image.TreeOnDisk.check_upper_levels", lambda _tree: None)
    host.update(repository)
    with pytest.raises(Bricked, match="whole"):
        host.boot()


def test_a_journal_that_is_believed_without_looking(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition was written to since; what the journal says of it is not true any more."""
    scenario = BY_NAME["a first update"]
    host, repository = scenario.begin(place / "host")

    def stop_before_marking(_run: install._Run, _disk: BootDisk) -> None:
        raise UpdogError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(install._Run, "_mark_valid", stop_before_marking)
        with pytest.raises(UpdogError, match="stopped"):
            host.update(repository)
    start, _ = extents(bootloader.Image(host.disk))["B", "boot"]
    with host.disk.open("r+b") as disk:
        disk.seek(start + 8192)
        disk.write(b"somebody else")
    honest = host.copy(place / "honest")
    honest.update(repository)
    assert honest.boot() == "1.1.0"

    def believe(plan: plans.ImagePlan) -> None:
        entry = plan._find()
        if entry is not None and entry.complete:
            plan._entry = entry
            plan._settle(entry.mark)

    monkeypatch.setattr(plans.ImagePlan, "look_back", believe)
    host.update(repository)
    with pytest.raises(Bricked, match="whole"):
        host.boot()


def test_an_attempt_that_is_not_recorded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that does not come up is not tried again; without a record it would be."""
    scenario = BY_NAME["a first update"]
    host, repository = scenario.begin(place / "host")

    def again_after_a_failed_boot(host: Host) -> install.Result:
        assert host.update(repository).result is install.Result.APPLIED
        assert bootloader.boot(host.disk) == "B"  # and it does not come up
        assert host.boot() == "1.0.0"
        return host.update(repository).result

    honest = host.copy(place / "honest")
    assert again_after_a_failed_boot(honest) is install.Result.NOTHING
    monkeypatch.setattr(Attempts, "stage", lambda attempts, _staged: attempts)
    assert again_after_a_failed_boot(host) is install.Result.APPLIED
