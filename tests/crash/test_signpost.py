"""A power cut at any moment of any change to the boot flags: the boot loader sees old or new.

The disks come from sgdisk, the witness is a boot loader that shares no code with the product. For
every state that a cut may leave: the loader chooses as it did before the command or as it does
after it, our own reader understands the table, and the same command can be given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from partition.errors import PartitionError
from signpost.device import BootDisk
from signpost.layout import Slot
from signpost.location import Location
from signpost.state import BootState
from tests.support.bootloader import next_boot
from tests.support.cuts import states
from tests.support.disks import BOOT_A, BOOT_B, Flags, assert_sound, make_disk, set_flags
from tests.support.power import DiskView, PowerKernel, materialise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from partition.kernel import Kernel

UPGRADED = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(2, 1, False)}
BOTH_GOOD = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(2, 0, True)}
PROBATION = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(2, 0, False)}
STAGED = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(0, 1, False)}
CLEARED = {BOOT_A: Flags(2, 0, True), BOOT_B: Flags(0, 0, False)}


@dataclass(frozen=True)
class Change:
    """A command, and the disk that it is given on."""

    name: str
    flags: dict[int, Flags]
    active: Slot
    transition: Callable[[BootState], BootState]

    def apply(self, path: Path, kernel: Kernel) -> None:
        with BootDisk.open(
            Location(path, self.active, is_image=True), writable=True, kernel=kernel
        ) as disk:
            disk.store(self.transition(disk.state))


CHANGES = [
    Change("clear-inactive", BOTH_GOOD, Slot.B, BootState.clear_inactive),
    Change("clear-inactive, upgrade pending", UPGRADED, Slot.A, BootState.clear_inactive),
    Change("mark-inactive-valid", CLEARED, Slot.A, BootState.mark_inactive_valid),
    Change("upgrade-to-inactive", STAGED, Slot.A, BootState.upgrade_to_inactive),
    Change("cancel-upgrade", UPGRADED, Slot.A, BootState.cancel_upgrade),
    Change("rollback-to-inactive", BOTH_GOOD, Slot.B, BootState.rollback_to_inactive),
    Change("rollback from an unconfirmed set", PROBATION, Slot.B, BootState.rollback_to_inactive),
    Change("mark-successful-boot", PROBATION, Slot.B, BootState.mark_successful_boot),
    Change("choose-boot", UPGRADED, Slot.A, BootState.boot),
]


def damage_nothing(_: Path) -> None:
    pass


def damage_primary_header(path: Path) -> None:
    with path.open("r+b") as disk:
        disk.seek(512 + 40)
        disk.write(b"\xff")


def damage_primary_entries(path: Path) -> None:
    with path.open("r+b") as disk:
        disk.seek(1024 + 200)
        disk.write(b"\xff")


def damage_backup(path: Path) -> None:
    with path.open("r+b") as disk:
        disk.seek(-512, 2)
        disk.write(bytes(512))


DAMAGES = [damage_nothing, damage_primary_header, damage_primary_entries, damage_backup]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_the_boot_loader_sees_the_old_table_or_the_new_one(
    change: Change, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    path = make_disk(host / "disk.img")
    for number, flags in change.flags.items():
        set_flags(path, number, flags)
    damage(path)
    before = next_boot(path)
    kernel = PowerKernel(host, {"disk.img": []})
    change.apply(path, kernel)
    after = next_boot(path)
    history = kernel.history()

    found = [next_boot(DiskView(history, "disk.img", state)) for state in states(history)]
    assert set(found) == {before, after}
    assert None not in {before, after}
    assert len(found) >= 80, "four writes, two of them of 32 sectors, leave more states"


def test_a_command_given_again_after_any_cut_succeeds_and_leaves_a_sound_table(
    tmp_path: Path,
) -> None:
    """For the flip, the commit point of an update; sgdisk and cgpt look at what is left."""
    host = tmp_path / "host"
    host.mkdir()
    change = next(each for each in CHANGES if each.name == "upgrade-to-inactive")
    path = make_disk(host / "disk.img")
    for number, flags in change.flags.items():
        set_flags(path, number, flags)
    kernel = PowerKernel(host, {"disk.img": []})
    change.apply(path, kernel)
    history = kernel.history()

    again = 0
    for number, state in enumerate(states(history)):
        copy = tmp_path / "copy"
        materialise(history, state, copy)
        disk = copy / "disk.img"
        if next_boot(disk) == "A":
            change.apply(disk, PowerKernel(copy, {"disk.img": []}))
            again += 1
        with BootDisk.open_at_boot(disk, writable=True) as opened:
            opened.rewrite()
        assert next_boot(disk) == "B"
        if number % 16 == 0:
            assert_sound(disk)
        disk.unlink()
        copy.rmdir()
    assert again >= 40


def test_both_copies_gone_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "disk.img")
    damage_primary_header(path)
    damage_backup(path)
    before = path.read_bytes()
    with pytest.raises(PartitionError, match="cannot read the partition table"):
        BootDisk.open_at_boot(path, writable=True)
    assert path.read_bytes() == before
