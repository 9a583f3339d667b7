"""The attribute bits of a boot partition, as the boot loader reads them (Chrome OS layout).

    bit     63 … 58   57            56           55 … 52      51 … 48    47 … 0
            kept      booted once   successful   tries left   priority   kept

Bit 57 counts on the private partition only: some boot of this disk has succeeded once. All other
bits belong to others and are never changed. "Will boot" is defined here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PRIORITY: Final = 15
MAX_TRIES: Final = 15

# Lowest bit and number of bits of each field.
_PRIORITY: Final = (48, 4)
_TRIES_LEFT: Final = (52, 4)
_SUCCESSFUL: Final = (56, 1)
_BOOTED_ONCE: Final = (57, 1)


@dataclass(frozen=True, slots=True)
class BootFlags:
    """One partition's 64 attribute bits."""

    bits: int

    def __post_init__(self) -> None:
        if not 0 <= self.bits < 1 << 64:
            raise ValueError(f"attribute bits do not fit 64: {self.bits:#x}")

    @property
    def priority(self) -> int:
        """0 to 15; the greatest boots first, 0 never."""
        return self._get(_PRIORITY)

    @property
    def tries_left(self) -> int:
        """0 to 15; the boot loader takes one before each boot."""
        return self._get(_TRIES_LEFT)

    @property
    def successful(self) -> bool:
        """A boot of this set was confirmed."""
        return bool(self._get(_SUCCESSFUL))

    @property
    def booted_once(self) -> bool:
        """On the private partition: some boot was confirmed."""
        return bool(self._get(_BOOTED_ONCE))

    @property
    def will_boot(self) -> bool:
        """The boot loader would consider this set: GRUB's gptprio.next."""
        return self.priority > 0 and (self.tries_left > 0 or self.successful)

    @property
    def is_clear(self) -> bool:
        """Priority 0, no tries, not successful: as after `cleared`."""
        return not (self.priority or self.tries_left or self.successful)

    def with_priority(self, priority: int) -> BootFlags:
        """The same with another priority, 0 to 15."""
        return self._with(_PRIORITY, priority)

    def with_tries_left(self, tries_left: int) -> BootFlags:
        """The same with another number of tries, 0 to 15."""
        return self._with(_TRIES_LEFT, tries_left)

    def with_successful(self, successful: bool) -> BootFlags:  # noqa: FBT001  with_ names it
        """The same, confirmed or not."""
        return self._with(_SUCCESSFUL, int(successful))

    def with_booted_once(self) -> BootFlags:
        """The same, with bit 57."""
        return self._with(_BOOTED_ONCE, 1)

    def cleared(self) -> BootFlags:
        """The same with priority 0, no tries, not successful."""
        return self.with_priority(0).with_tries_left(0).with_successful(False)

    def __str__(self) -> str:
        successful = "true" if self.successful else "false"
        return f"priority={self.priority} tries_left={self.tries_left} successful={successful}"

    def _get(self, field: tuple[int, int]) -> int:
        shift, width = field
        return self.bits >> shift & ((1 << width) - 1)

    def _with(self, field: tuple[int, int], value: int) -> BootFlags:
        shift, width = field
        largest = (1 << width) - 1
        if not 0 <= value <= largest:
            raise ValueError(f"{value} does not fit: expected 0 to {largest}")
        return BootFlags(self.bits & ~(largest << shift) | value << shift)
