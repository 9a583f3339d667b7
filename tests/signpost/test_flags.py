"""The attribute bits: each field is where the boot loader reads it, and nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signpost.flags import BootFlags
from tests.support.disks import BOOT_B, Flags, attributes, make_disk, set_flags

if TYPE_CHECKING:
    from pathlib import Path

U64 = st.integers(0, (1 << 64) - 1)


@pytest.mark.parametrize(
    "bits, priority, tries_left, successful, booted_once",
    [
        (0x0000_0000_0000_0000, 0, 0, False, False),
        (0x0001_0000_0000_0000, 1, 0, False, False),
        (0x000F_0000_0000_0000, 15, 0, False, False),
        (0x0010_0000_0000_0000, 0, 1, False, False),
        (0x00F0_0000_0000_0000, 0, 15, False, False),
        (0x0100_0000_0000_0000, 0, 0, True, False),
        (0x0200_0000_0000_0000, 0, 0, False, True),
        (0xFC00_FFFF_FFFF_FFFF, 0, 0, False, False),
        (0x03A5_0000_0000_0001, 5, 10, True, True),
    ],
)
def test_fields_are_in_their_places(
    bits: int, *, priority: int, tries_left: int, successful: bool, booted_once: bool
) -> None:
    flags = BootFlags(bits)

    assert (flags.priority, flags.tries_left) == (priority, tries_left)
    assert (flags.successful, flags.booted_once) == (successful, booted_once)


@pytest.mark.parametrize("wanted", [Flags(1, 0, True), Flags(2, 1, False), Flags(15, 15, True)])
def test_cgpt_puts_them_in_the_same_places(tmp_path: Path, wanted: Flags) -> None:
    disk = make_disk(tmp_path / "disk.img")
    set_flags(disk, BOOT_B, wanted)

    flags = BootFlags(attributes(disk, BOOT_B))

    assert Flags(flags.priority, flags.tries_left, flags.successful) == wanted


class TestChanges:
    """Bits 48-51, 52-55, 56 and 57; bits 0-47 and 58-63 are never touched."""

    @given(U64, st.integers(0, 15))
    def test_of_the_priority_change_bits_48_to_51(self, bits: int, value: int) -> None:
        changed = BootFlags(bits).with_priority(value)

        assert changed.priority == value
        assert (changed.bits ^ bits) & ~0x000F_0000_0000_0000 == 0

    @given(U64, st.integers(0, 15))
    def test_of_the_tries_change_bits_52_to_55(self, bits: int, value: int) -> None:
        changed = BootFlags(bits).with_tries_left(value)

        assert changed.tries_left == value
        assert (changed.bits ^ bits) & ~0x00F0_0000_0000_0000 == 0

    @given(U64, st.booleans())
    def test_of_success_change_bit_56(self, bits: int, value: bool) -> None:  # noqa: FBT001
        changed = BootFlags(bits).with_successful(value)

        assert changed.successful is value
        assert (changed.bits ^ bits) & ~0x0100_0000_0000_0000 == 0

    @given(U64)
    def test_of_booted_once_set_bit_57(self, bits: int) -> None:
        assert BootFlags(bits).with_booted_once().bits == bits | 0x0200_0000_0000_0000

    @given(U64)
    def test_clearing_clears_bits_48_to_56(self, bits: int) -> None:
        cleared = BootFlags(bits).cleared()

        assert cleared.bits == bits & ~0x01FF_0000_0000_0000
        assert cleared.is_clear
        assert not cleared.will_boot

    @pytest.mark.parametrize("value", [-1, 16, 255])
    def test_what_does_not_fit_is_refused(self, value: int) -> None:
        for change in (BootFlags(0).with_priority, BootFlags(0).with_tries_left):
            with pytest.raises(ValueError, match=f"{value} does not fit: expected 0 to 15"):
                change(value)

    @pytest.mark.parametrize("bits", [-1, 1 << 64])
    def test_more_than_64_bits_are_refused(self, bits: int) -> None:
        with pytest.raises(ValueError, match="do not fit 64"):
            BootFlags(bits)


@pytest.mark.parametrize(
    "flags, will_boot",
    [
        (Flags(0, 15, True), False),
        (Flags(1, 0, False), False),
        (Flags(1, 1, False), True),
        (Flags(1, 0, True), True),
        (Flags(15, 15, True), True),
    ],
)
def test_a_set_will_boot_with_a_priority_and_a_try_or_success(
    flags: Flags, *, will_boot: bool
) -> None:
    bits = flags.priority << 48 | flags.tries_left << 52 | flags.successful << 56

    assert BootFlags(bits).will_boot is will_boot
    assert str(BootFlags(bits)) == (
        f"priority={flags.priority} tries_left={flags.tries_left} "
        f"successful={'true' if flags.successful else 'false'}"
    )
