"""How large the partitions of a disk are: a TOML file that publishing and disk making share.

    [partitions]
    boot = "64 MiB"       # of each set
    root = "1 GiB"
    hash = "16 MiB"
    reserved = "0 MiB"    # of each set; 0 leaves the partition out
    private = "16 MiB"
    data = "64 MiB"

Every partition starts at a multiple of 1 MiB and is a multiple of 1 MiB long. What is not named has
the size shown here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from repo_tools.errors import LayoutInvalid
from repo_tools.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB: Final = 1 << 20
_MAY_BE_ABSENT: Final = {"reserved", "data"}


@dataclass(frozen=True, slots=True)
class DiskLayout:
    """Sizes of partitions in bytes."""

    boot: int = 64 * MIB
    root: int = 1024 * MIB
    hash: int = 16 * MIB
    reserved: int = 0
    private: int = 16 * MIB
    data: int = 64 * MIB

    @property
    def set_bytes(self) -> Mapping[str, int]:
        """Image to the size of its partition, for the check before publishing."""
        return {"boot": self.boot, "root": self.root, "hash": self.hash}


PARTITIONS: Final = tuple(field.name for field in fields(DiskLayout))


def make_layout(sizes: Mapping[str, int], what: str) -> DiskLayout:
    """A layout of the given sizes.

    Raises:
        LayoutInvalid: An unknown partition, or a size that is no multiple of 1 MiB.
    """
    for name, size in sizes.items():
        if name not in PARTITIONS:
            raise LayoutInvalid(what, f"it names an unknown partition {name!r}")
        if size % MIB or (size == 0 and name not in _MAY_BE_ABSENT):
            raise LayoutInvalid(what, f"the size of {name} is {size} bytes, not whole MiB")
    return DiskLayout(**sizes)


def load_layout(path: Path) -> DiskLayout:
    """Read a layout file.

    Raises:
        LayoutInvalid: It is not one.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise LayoutInvalid(str(path), f"{exc}") from exc
    partitions = document.pop("partitions", None)
    if document or not isinstance(partitions, dict):
        raise LayoutInvalid(str(path), "it needs a table [partitions], only")
    try:
        sizes = {name: parse_size(str(size)) for name, size in partitions.items()}
    except ValueError as exc:
        raise LayoutInvalid(str(path), f"{exc}") from exc
    return make_layout(sizes, str(path))
