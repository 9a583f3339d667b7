"""Prints how many states the power-cut suite looked at, and keeps the documented numbers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash import counts

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table of everything that tests recorded under `power cuts`."""
    rows: dict[str, dict[str, int]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "power cuts":
                rows[value[0]] = value[1]
    if not rows:
        return
    terminalreporter.section("power cuts")
    for line in counts.table(rows).splitlines():
        terminalreporter.line(line)
    if os.environ.get("UPDOG_WRITE_COUNTS"):
        counts.write(rows)
        terminalreporter.line(f"written to {counts.DOCUMENT}")
