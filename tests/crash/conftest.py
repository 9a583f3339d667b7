"""Prints how many states the power-cut suite looked at, and keeps the documented numbers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.crash import counts
from tests.support.places import place

if TYPE_CHECKING:
    import pytest

__all__ = ["place"]


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
