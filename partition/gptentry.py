"""One entry of a GUID partition table: UEFI specification 2.10, section 5.3.3, table 5.6.

GUIDs are mixed-endian: their first three fields little-endian, the rest as it is written
(`UUID.bytes_le`). Names are 36 code units of UTF-16LE. An entry read and packed again is the same
byte for byte, whatever a tool left behind the end of the name or of the fields.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

_FIELDS: Final = struct.Struct("<16s16sQQQ72s")
ATTRIBUTES: Final = slice(48, 56)
"""Where an entry keeps its attribute bits."""

_UNUSED: Final = bytes(16)
_NAME_BYTES: Final = 72
# A name is whatever 36 code units a tool wrote; a lone surrogate must come back as it was.
_NAME_CODEC: Final = ("utf-16-le", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Entry:
    """A used entry.

    Attributes:
        type_guid: What kind of partition; never zero.
        guid: This very partition.
        first_lba: First sector.
        last_lba: Last sector, inclusive.
        attributes: The 64 attribute bits; bits 48 to 63 belong to the partition's type.
        name: All 36 code units without the NULs at the end; at most 36 code units of UTF-16. For
            the part before the first NUL see `label`.
        tail: Bytes of the entry beyond 128, for tables with longer entries.
    """

    type_guid: UUID
    guid: UUID
    first_lba: int
    last_lba: int
    attributes: int
    name: str
    tail: bytes = b""

    def __post_init__(self) -> None:
        if not self.type_guid.int:
            raise ValueError("a used entry has a type: the zero GUID marks an unused one")
        if len(self.name.encode(*_NAME_CODEC)) > _NAME_BYTES:
            raise ValueError(f"partition name is longer than 36 code units: {self.name!r}")

    @property
    def label(self) -> str:
        """The name as tools show it, up to the first NUL."""
        return self.name.partition("\0")[0]

    @property
    def lbas(self) -> range:
        """The sectors of the partition."""
        return range(self.first_lba, self.last_lba + 1)

    def with_type(self, type_guid: UUID) -> Entry:
        """The same partition with another type."""
        return replace(self, type_guid=type_guid)

    @classmethod
    def parse(cls, data: bytes) -> Entry | None:
        """Read an entry of 128 bytes or more; None if it is unused."""
        if data.startswith(_UNUSED):
            return None
        type_guid, guid, first_lba, last_lba, attributes, name = _FIELDS.unpack_from(data)
        return cls(
            type_guid=UUID(bytes_le=type_guid),
            guid=UUID(bytes_le=guid),
            first_lba=first_lba,
            last_lba=last_lba,
            attributes=attributes,
            name=name.decode(*_NAME_CODEC).rstrip("\0"),
            tail=data[_FIELDS.size :],
        )

    def pack(self) -> bytes:
        """The entry's 128 bytes and its tail."""
        fields = _FIELDS.pack(
            self.type_guid.bytes_le,
            self.guid.bytes_le,
            self.first_lba,
            self.last_lba,
            self.attributes,
            self.name.encode(*_NAME_CODEC),
        )
        return fields + self.tail
