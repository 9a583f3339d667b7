"""Root files on their way from person to person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from partition.durable import write_file
from partition.kernel import KERNEL, Kernel
from repo_tools.errors import InputInvalid
from repo_tools.root.ceremony import parse_root, to_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tuf.api.metadata import Metadata, Root


def read_root(path: Path) -> Metadata[Root]:
    """Read a root file, complete or not."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputInvalid(f"root {path}", exc.strerror or str(exc)) from exc
    return parse_root(data, str(path))


def store_root(path: Path, metadata: Metadata[Root], *, kernel: Kernel = KERNEL) -> None:
    """Write a root file in one step: an interrupted signing leaves the file as it was."""
    write_file(path, to_bytes(metadata), mode=0o644, private=False, kernel=kernel)
