"""What a power cut may leave of storage, given every change that was made to it and every flush.

The model, weaker than ext4 or XFS in their default modes and therefore safe for both:

- What was flushed has happened. A flush covers what was done before it began, and of that only the
  file, directory, partition or file system that it names.
- Of what was not flushed, any subset has happened, in whatever order: file systems keep data and
  names apart, and disks reorder what lies in their caches.
- A write may have happened in part: any of its sectors of 512 bytes. Where it made a file longer,
  the missing sectors read as zeros, for the length is metadata and may be there before the data.
- Each change of names is atomic by itself (rename, exchange, link, create, unlink): file systems
  put both halves of a rename into one transaction.
- A name that survives leads to whatever survived of its file: an empty one, if nothing did.

Pure: changes in, states out. Which states to look at is decided in `tests.support.cuts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SECTOR_BYTES = 512
ROOT = 0


class Kind(Enum):
    """What a name can lead to."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Node:
    """A file, directory or symbolic link as it was when it came to be.

    Attributes:
        kind: What it is.
        mode: Permissions.
        data: Content of a file, target of a link.
    """

    kind: Kind
    mode: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written to a file or disk; `area` is the part of a disk that flushes by itself."""

    node: int
    offset: int
    data: bytes
    area: str = ""

    @property
    def sectors(self) -> range:
        """The sectors of the file that the write touches."""
        return range(
            self.offset // SECTOR_BYTES, -(-(self.offset + len(self.data)) // SECTOR_BYTES)
        )

    def kept(self, sectors: frozenset[int] | None) -> Iterator[tuple[int, bytes]]:
        """Yield position and bytes of what is left when only `sectors` arrived; None: all."""
        if sectors is None:
            yield self.offset, self.data
            return
        for sector in sorted(sectors & set(self.sectors)):
            start = max(self.offset, sector * SECTOR_BYTES)
            stop = min(self.offset + len(self.data), (sector + 1) * SECTOR_BYTES)
            yield start, self.data[start - self.offset : stop - self.offset]


@dataclass(frozen=True, slots=True)
class Truncate:
    """A new length for a file."""

    node: int
    length: int


@dataclass(frozen=True, slots=True)
class Mode:
    """New permissions."""

    node: int
    mode: int


@dataclass(frozen=True, slots=True)
class Names:
    """One atomic change of names: (directory, name, what it leads to from now on)."""

    changes: tuple[tuple[int, str, int | None], ...]


Change: TypeAlias = Write | Truncate | Mode | Names


@dataclass(frozen=True, slots=True)
class Flush:
    """A flush that returned when `at` changes had been made; bit i of `mask` covers change i."""

    at: int
    mask: int


@dataclass(frozen=True, slots=True)
class Torn:
    """A write of which only these sectors of the file arrived."""

    change: int
    sectors: frozenset[int]


@dataclass(frozen=True, slots=True)
class State:
    """What a cut left: bit i of `mask` says whether change i happened, wholly or torn."""

    mask: int
    torn: tuple[Torn, ...] = ()


@dataclass(frozen=True)
class History:
    """Storage at rest, and all that was done to it since.

    Attributes:
        nodes: Every file, directory and link there ever was, by a number of ours.
        names: What each directory held at rest.
        changes: In the order in which they were made.
        flushes: In the order in which they returned.
    """

    nodes: Mapping[int, Node]
    names: Mapping[int, Mapping[str, int]]
    changes: Sequence[Change]
    flushes: Sequence[Flush]

    @property
    def everything(self) -> State:
        """No power cut: all changes happened."""
        return State((1 << len(self.changes)) - 1)

    @property
    def flushed(self) -> State:
        """A cut long after the end: only what was flushed happened."""
        return State(self.durable(len(self.changes)))

    def durable(self, count: int) -> int:
        """Return the mask of changes whose flush had returned when `count` changes were made."""
        mask = 0
        for flush in self.flushes:
            if flush.at <= count:
                mask |= flush.mask
        return mask

    def air(self, cut: int) -> tuple[int, list[int]]:
        """What a cut during change `cut - 1`, or after it, meets: what lasts, and what may not.

        Returns:
            The mask of what had been flushed before that change, and all others up to it.
        """
        durable = self.durable(cut - 1)
        return durable, [index for index in range(cut) if not durable >> index & 1]

    def touching(self, node: int, area: str | None = None) -> int:
        """Return the mask of changes to a node's content and permissions, or to one area of it."""
        by_area = self._touching.get(node, {})
        if area is not None:
            return by_area.get(area, 0)
        mask = 0
        for part in by_area.values():
            mask |= part
        return mask

    @cached_property
    def _touching(self) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        for index, change in enumerate(self.changes):
            if not isinstance(change, Names):
                area = change.area if isinstance(change, Write) else ""
                masks = found.setdefault(change.node, {})
                masks[area] = masks.get(area, 0) | 1 << index
        return found

    @cached_property
    def renaming(self) -> int:
        """The mask of all changes of names."""
        return sum(1 << i for i, change in enumerate(self.changes) if isinstance(change, Names))

    def content(self, node: int, state: State) -> bytes:
        """Return the bytes of a file in a state."""
        data = bytearray(self.nodes[node].data)
        for change, sectors in self._happened(node, state):
            if isinstance(change, Truncate):
                del data[change.length :]
                data.extend(bytes(change.length - len(data)))
            else:
                data.extend(bytes(max(0, change.offset + len(change.data) - len(data))))
                for offset, piece in change.kept(sectors):
                    data[offset : offset + len(piece)] = piece
        return bytes(data)

    def read(self, node: int, state: State, start: int, stop: int) -> bytes:
        """Return a range of a disk, whose length never changes, in a state."""
        data = bytearray(self.nodes[node].data[start:stop])
        for change, sectors in self._happened(node, state):
            if isinstance(change, Truncate):
                raise TypeError("a disk has one length")
            overlay(data, start, change, sectors)
        return bytes(data)

    def _happened(
        self, node: int, state: State
    ) -> Iterator[tuple[Write | Truncate, frozenset[int] | None]]:
        """Yield what changed a node's content, and of a torn write the sectors that arrived."""
        torn = {tear.change: tear.sectors for tear in state.torn}
        for index in bits(state.mask & self.touching(node)):
            change = self.changes[index]
            if isinstance(change, Write | Truncate):
                yield change, torn.get(index)

    def mode(self, node: int, state: State) -> int:
        """Return the permissions of a file or directory in a state."""
        mode = self.nodes[node].mode
        for index in bits(state.mask & self.touching(node)):
            change = self.changes[index]
            if isinstance(change, Mode):
                mode = change.mode
        return mode

    def tree(self, state: State) -> dict[str, int]:
        """Return every path that can be reached in a state, directories before their content."""
        names = {directory: dict(entries) for directory, entries in self.names.items()}
        for index in bits(state.mask & self.renaming):
            change = self.changes[index]
            if isinstance(change, Names):
                for directory, name, node in change.changes:
                    entries = names.setdefault(directory, {})
                    entries.pop(name, None)
                    if node is not None:
                        entries[name] = node
        found: dict[str, int] = {}

        def walk(directory: int, prefix: str, above: frozenset[int]) -> None:
            for name, node in sorted(names.get(directory, {}).items()):
                # Half of two moves could tie a knot; no file system would keep one.
                if node in above:
                    continue
                found[prefix + name] = node
                if self.nodes[node].kind is Kind.DIRECTORY:
                    walk(node, f"{prefix}{name}/", above | {node})

        walk(ROOT, "", frozenset({ROOT}))
        return found


def overlay(
    data: bytearray, start: int, write: Write, sectors: frozenset[int] | None = None
) -> None:
    """Put what a write left onto `data`, which begins at byte `start` of the file."""
    stop = start + len(data)
    if write.offset >= stop or start >= write.offset + len(write.data):
        return
    for offset, piece in write.kept(sectors):
        left, right = max(start, offset), min(stop, offset + len(piece))
        if left < right:
            data[left - start : right - start] = piece[left - offset : right - offset]


def bits(mask: int) -> Iterator[int]:
    """Yield the positions of the bits of `mask` that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
