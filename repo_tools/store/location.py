"""From what a user types to the place that it names.

/srv/updates, updates/, file:///srv/updates     a directory
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from partition.kernel import KERNEL, Kernel
from repo_tools.errors import InputInvalid
from repo_tools.store.directory import DirectoryStore

if TYPE_CHECKING:
    from repo_tools.store.base import Store


def open_store(location: str, *, kernel: Kernel = KERNEL) -> Store:
    """Open a place that can be published to.

    Raises:
        InputInvalid: The location names no such place.
    """
    parts = urlsplit(location)
    if parts.scheme == "file":
        return DirectoryStore(Path(unquote(parts.path)), kernel=kernel)
    if "://" in location:
        raise InputInvalid(
            f"location {location}",
            f"nothing can be published to {parts.scheme}:",
            hint="give a directory",
        )
    return DirectoryStore(Path(location), kernel=kernel)
