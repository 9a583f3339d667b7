"""Where tests put hundreds of small hosts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")  # noqa: S108  a private directory is made in it
_NEEDED_BYTES = 512 << 20


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for hundreds of small hosts: in memory, where there is room."""
    if not (os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="updog-tests-", dir=_MEMORY) as directory:
        yield Path(directory)
