"""Where the partition sets are in a table.

Sets are found by partition type: A is the first of each type in table order, B the second. A boot
loader finds root and hash by counting from boot (boot + 1, boot + 2), so a table in another order
is refused, as is one in which a partition of a set shares sectors with any other: writing one would
destroy the other. Names (labels) are for people; nothing depends on them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from uuid import UUID

from signpost.errors import LayoutInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from partition.gpt import Table


class Slot(Enum):
    """One of the two partition sets."""

    A = "A"
    B = "B"

    @property
    def other(self) -> Slot:
        """The set beside this one."""
        return Slot.B if self is Slot.A else Slot.A


class Part(Enum):
    """One of the three partitions of a set; the value is how it is called."""

    BOOT = "boot"
    ROOT = "root"
    HASH = "hash"


PART_TYPES: Final = {
    Part.BOOT: UUID("6b636168-7420-6568-2070-6c616e657421"),
    Part.ROOT: UUID("5526016a-1a97-4ea4-b39a-b7c8c6ca4502"),
    Part.HASH: UUID("598f10af-c955-4456-6a99-7720068a6cea"),
}
RESERVED_TYPE: Final = UUID("0c5d99a5-d331-4147-baef-08e2b855bdc9")
PRIVATE_TYPE: Final = UUID("440408bb-eb0b-4328-a6e5-a29038fad706")
DATA_TYPE: Final = UUID("626f7474-6c65-6474-6861-726d61726b73")

_MAX_SETS: Final = 2


class PartitionSet(NamedTuple):
    """The partition numbers (from 1) of one set."""

    boot: int
    root: int
    hash: int

    def number(self, part: Part) -> int:
        """The number of one of its partitions."""
        return {Part.BOOT: self.boot, Part.ROOT: self.root, Part.HASH: self.hash}[part]

    @property
    def numbers(self) -> frozenset[int]:
        """All three."""
        return frozenset({self.boot, self.root, self.hash})


class SingleSet(NamedTuple):
    """A disk with set A alone; it cannot be updated."""

    a: PartitionSet
    private: int

    @property
    def sets(self) -> Mapping[Slot, PartitionSet]:
        """The sets there are."""
        return {Slot.A: self.a}


class DualSet(NamedTuple):
    """A disk with both sets."""

    a: PartitionSet
    b: PartitionSet
    private: int

    @property
    def sets(self) -> Mapping[Slot, PartitionSet]:
        """The sets there are."""
        return {Slot.A: self.a, Slot.B: self.b}


Layout: TypeAlias = SingleSet | DualSet


def find_layout(table: Table, *, disk: str) -> Layout:
    """Find the sets in a table; `disk` is its name, for messages.

    Raises:
        LayoutInvalid: None, one of their partitions missing, more than two, another order, or
            overlapping ones.
    """
    numbers: dict[UUID, list[int]] = {}
    for number, entry in enumerate(table.entries, start=1):
        if entry:
            numbers.setdefault(entry.type_guid, []).append(number)
    boots = numbers.get(PART_TYPES[Part.BOOT], [])
    if not 1 <= len(boots) <= _MAX_SETS:
        raise LayoutInvalid(disk, f"it has {len(boots)} boot partitions, expected 1 or 2")
    for offset, part in enumerate(Part):
        _check_order(disk, part, numbers.get(PART_TYPES[part], []), boots, offset)
    private = numbers.get(PRIVATE_TYPE, [])
    if not private:
        raise LayoutInvalid(disk, "it has no private partition, expected one")
    sets = [PartitionSet(boot, boot + 1, boot + 2) for boot in boots]
    for each in sets:
        _check_apart(disk, table, each)
    if len(sets) == 1:
        return SingleSet(sets[0], private[0])
    return DualSet(sets[0], sets[1], private[0])


def _check_order(disk: str, part: Part, found: list[int], boots: list[int], offset: int) -> None:
    expected = [boot + offset for boot in boots]
    if found != expected:
        raise LayoutInvalid(
            disk,
            f"its boot partitions are {_words(boots)} and its {part.value} partitions "
            f"{_words(found)}, expected {_words(expected)}",
        )


def _check_apart(disk: str, table: Table, partitions: PartitionSet) -> None:
    for number in sorted(partitions.numbers):
        mine = table.entry(number)
        for other_number, other in enumerate(table.entries, start=1):
            if (
                other
                and other_number != number
                and mine.first_lba <= other.last_lba
                and other.first_lba <= mine.last_lba
            ):
                raise LayoutInvalid(
                    disk, f"partitions {number} and {other_number} overlap, expected them apart"
                )


def _words(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers)) or "none"
