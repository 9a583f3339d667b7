"""Any sequence of commands, boots and updates, on a disk image, beside a boot loader of its own.

What always holds: a set will boot, one of them however often it is tried; what status says boots
next is what the boot loader boots; a set that failed is not tried again without a new image; and
sgdisk finds no fault.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from signpost.device import BootDisk
from signpost.errors import Refused
from signpost.layout import Slot
from signpost.location import Location
from signpost.state import BootState
from tests.support import bootloader
from tests.support.disks import BOOT_A, BOOT_B, assert_sound
from tests.support.gptbytes import fixture

ACTIONS = {
    "clear-inactive": BootState.clear_inactive,
    "mark-inactive-valid": BootState.mark_inactive_valid,
    "upgrade-to-inactive": BootState.upgrade_to_inactive,
    "cancel-upgrade": BootState.cancel_upgrade,
    "rollback-to-inactive": BootState.rollback_to_inactive,
    "mark-successful-boot": BootState.mark_successful_boot,
    "mark-failed-boot": BootState.mark_failed_boot,
}


class Host(RuleBasedStateMachine):
    """A host and its disk. `running` is None while it is switched off."""

    @initialize()
    def install(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.disk = self.directory / "disk.img"
        self.disk.write_bytes(fixture("sgdisk-fresh"))
        self.running = Slot.A
        self.failed: set[Slot] = set()
        self.written = 0

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            assert_sound(self.disk)
            shutil.rmtree(self.directory)

    def table(self) -> tuple[bytes, bytes]:
        """Both ends of the disk: all that signpost may write."""
        with self.disk.open("rb") as image:
            head = image.read(34 * 512)
            image.seek(-33 * 512, 2)
            return head, image.read()

    def change(self, action: str) -> bool:
        """Give a command; whether it was carried out. A refused one leaves every byte."""
        before = self.table()
        location = Location(self.disk, self.running, is_image=True)
        with BootDisk.open(location, writable=True) as disk:
            try:
                disk.store(ACTIONS[action](disk.state))
            except Refused:
                assert self.table() == before
                return False
            return True

    @rule(action=st.sampled_from(sorted(ACTIONS)))
    def give_a_command(self, action: str) -> None:
        done = self.change(action)
        if done and action == "clear-inactive":
            # A new image follows.
            self.failed.discard(self.running.other)
        if done and action == "mark-failed-boot":
            self.failed.add(self.running)
        if action == "mark-successful-boot":
            assert done
            self.failed.discard(self.running)

    @rule(goes_well=st.booleans())
    def update(self, goes_well: bool) -> None:  # noqa: FBT001
        if self.change("clear-inactive"):
            self.failed.discard(self.running.other)
            if goes_well:
                assert self.change("mark-inactive-valid")
                assert self.change("upgrade-to-inactive")

    @rule(comes_up=st.booleans())
    def restart(self, comes_up: bool) -> None:  # noqa: FBT001
        """A set that does not come up, and was not confirmed, has failed; the next boot follows."""
        location = Location(self.disk, self.running, is_image=True)
        with BootDisk.open(location, writable=False) as disk:
            expected = disk.state.boot()
        booted = Slot(bootloader.boot(self.disk))
        assert booted is expected.active
        with BootDisk.open(location, writable=False) as disk:
            assert disk.flags == expected.sets
        assert booted not in self.failed
        self.running = booted
        flags = expected.sets[booted]
        if not comes_up and not flags.successful and not flags.tries_left:
            self.failed.add(booted)
            self.restart(comes_up=True)

    @invariant()
    @precondition(lambda self: hasattr(self, "disk"))
    def a_set_will_boot_for_sure(self) -> None:
        primary, _ = self.table()
        places = [1024 + (number - 1) * 128 + 48 for number in (BOOT_A, BOOT_B)]
        found = [int.from_bytes(primary[place : place + 8], "little") for place in places]
        assert any(bits >> 48 & 15 and bits >> 56 & 1 for bits in found)
        assert bootloader.next_boot(self.disk) is not None

    @invariant()
    @precondition(lambda self: hasattr(self, "disk"))
    def status_tells_what_boots(self) -> None:
        location = Location(self.disk, self.running, is_image=True)
        with BootDisk.open(location, writable=False) as disk:
            chosen = disk.state.next_slot()
            assert disk.problems == ()
        assert chosen is not None
        assert chosen.value == bootloader.next_boot(self.disk)


TestHost = Host.TestCase
TestHost.settings = settings(max_examples=25, stateful_step_count=25)
