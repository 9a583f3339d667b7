"""Where tests put hundreds of small hosts."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from updog import journal

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")  # noqa: S108  a private directory is made in it
_NEEDED_BYTES = 512 << 20


def roomy() -> Path | None:
    """A directory in memory, if there is one with room; None: where temporary files go."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES:
        return _MEMORY
    return None


@pytest.fixture
def eager_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry of the journal is written at once, whatever that costs.

    Usually it depends on how long the last write took, and the moments to be killed at with it.
    """
    monkeypatch.setattr(journal, "_COST_SHARE", math.inf)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for hundreds of small hosts, removed after the test."""
    with tempfile.TemporaryDirectory(prefix="updog-tests-", dir=roomy()) as directory:
        yield Path(directory)
