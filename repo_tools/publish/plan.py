"""The order in which a publish is written, as a value.

A reader may come at any moment, and the writer may stop at any moment. Nothing may refer to what is
not there yet, so files are written in this order:

    targets, the manifest last among them    nothing refers to them yet
    N.root.json, ascending                   each is followed by its successor
    N.targets.json                           snapshot does not list it yet
    N.snapshot.json                          timestamp does not list it yet
    timestamp.json                           the one file that is replaced: the commit point

Whatever prefix of that order is on disk, the old timestamp still leads to the old, complete state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repo_tools.store.base import Contents, Store

TIMESTAMP: Final = "timestamp.json"
_METADATA_ORDER: Final = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class Write:
    """One file to write.

    Attributes:
        name: Its path in the store.
        contents: Bytes, or the path of a large file.
        replacing: For `timestamp.json` alone: what it holds now; `None` for a file that is new.
    """

    name: str
    contents: Contents
    replacing: bytes | None = None

    @property
    def moves_on(self) -> bool:
        """Whether this is the one file whose contents change."""
        return self.name.rpartition("/")[2] == TIMESTAMP


Plan = tuple[Write, ...]


def publish_plan(
    prefix: str,
    *,
    targets: Mapping[str, Contents],
    metadata: Mapping[str, bytes],
    replacing: bytes | None,
) -> Plan:
    """Put the files of a publish in order.

    Args:
        prefix: Directory of the metadata in the store.
        targets: Path in the store to contents.
        metadata: File name to contents; `N.root.json` and so on, and `timestamp.json`.
        replacing: The timestamp that is published now.
    """
    files = sorted(targets.items(), key=lambda item: item[0].endswith(".manifest.json"))
    return (
        *(Write(name, contents) for name, contents in files),
        *(
            Write(f"{prefix}/{name}", metadata[name], replacing if name == TIMESTAMP else None)
            for name in sorted(metadata, key=metadata_order)
        ),
    )


def apply(store: Store, plan: Iterable[Write]) -> tuple[str, ...]:
    """Write the files, in order.

    Returns:
        The names of those that were not there yet.
    """
    written = []
    for write in plan:
        if write.moves_on:
            data = write.contents
            if not isinstance(data, bytes):
                raise TypeError("timestamp metadata is small")
            store.write_current(write.name, data, replacing=write.replacing)
        elif not store.write_new(write.name, write.contents):
            continue
        written.append(write.name)
    return tuple(written)


def metadata_order(name: str) -> tuple[int, int]:
    """Where a metadata file comes in the order of writes: by role, then by version."""
    if name == TIMESTAMP:
        return len(_METADATA_ORDER), 0
    version, role, _ = name.split(".")
    return _METADATA_ORDER.index(role), int(version)
