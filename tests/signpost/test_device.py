"""A boot disk: the state is loaded, stored once, flushed, and never stored for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from partition.errors import LockHeld
from signpost.device import BootDisk
from signpost.errors import ActiveSetUnknown, LayoutInvalid
from signpost.flags import BootFlags
from signpost.layout import Part, Slot
from signpost.location import Location
from tests.support.disks import BOOT_B, DATA, Flags, attributes, set_flags
from tests.support.gptbytes import fixture, flip, with_types
from tests.support.recording import RecordingKernel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(fixture("sgdisk-fresh"))
    return path


def open_disk(
    path: Path, *, active: Slot = Slot.A, kernel: RecordingKernel | None = None
) -> BootDisk:
    location = Location(path, active, is_image=True)
    return BootDisk.open(
        location, writable=True, wait_seconds=0, kernel=kernel or RecordingKernel()
    )


def test_the_state_is_what_cgpt_wrote(image: Path) -> None:
    set_flags(image, BOOT_B, Flags(3, 7, True))

    with open_disk(image, active=Slot.B) as disk:
        state = disk.state

    assert (state.active, state.inactive) == (Slot.B, Slot.A)
    flags = state.sets[Slot.B]
    assert (flags.priority, flags.tries_left, flags.successful) == (3, 7, True)


def test_a_state_that_is_stored_is_the_state_from_then_on(image: Path) -> None:
    with open_disk(image) as disk:
        disk.store(disk.state.mark_inactive_valid(4))
        disk.store(disk.state.upgrade_to_inactive())
        assert disk.state.upgrade_pending

    assert attributes(image, BOOT_B) == 0x0042 << 48


def test_what_is_already_there_is_flushed_and_not_written(image: Path) -> None:
    kernel = RecordingKernel()
    with open_disk(image, kernel=kernel) as disk:
        disk.store(disk.state)

    assert kernel.log == ["fsync disk.img"]


def test_a_damaged_copy_is_repaired_even_if_nothing_changes(image: Path) -> None:
    content = fixture("sgdisk-fresh")
    flip(content, 1024)
    image.write_bytes(content)

    with open_disk(image) as disk:
        assert "primary copy is damaged" in disk.problems[0]
        disk.store(disk.state)
        assert not disk.problems

    assert image.read_bytes() == fixture("sgdisk-fresh")


def test_regions_are_those_of_the_set(image: Path) -> None:
    with open_disk(image) as disk:
        regions = [disk.region(Slot.B, part) for part in Part]

    assert [region.offset_bytes for region in regions] == [5 << 20, 6 << 20, 7 << 20]
    assert {region.length_bytes for region in regions} == {1 << 20}


def test_two_writers_cannot_interleave(image: Path) -> None:
    with open_disk(image), pytest.raises(LockHeld):
        open_disk(image)
    with open_disk(image):
        pass


def test_without_an_active_set_there_are_flags_and_no_state(image: Path) -> None:
    with BootDisk.open_at_boot(image, writable=True) as disk:
        disk.store_flags({Slot.B: BootFlags(0x0012 << 48)})
        assert disk.flags[Slot.B].priority == 2
        with pytest.raises(ActiveSetUnknown, match="it was not named"):
            _ = disk.state


@pytest.mark.parametrize(
    "content, active, error",
    [
        (fixture("sgdisk-single-set"), Slot.B, ActiveSetUnknown),
        (with_types(DATA), Slot.A, LayoutInvalid),
    ],
    ids=["no such set", "no sets"],
)
def test_what_cannot_be_used_is_closed_and_unlocked(
    tmp_path: Path, content: bytes, active: Slot, error: type[Exception]
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(content)

    for _ in range(2):
        with pytest.raises(error):
            open_disk(path, active=active)
