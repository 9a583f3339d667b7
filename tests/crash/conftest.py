"""Prints how many states the power-cut suite looked at, and keeps the documented numbers."""

from __future__ import annotations

import os

import pytest

from tests.crash import counts
from tests.support.places import eager_journal, place

__all__ = ["eager_journal", "place"]


@pytest.fixture(autouse=True)
def always(eager_journal: None) -> None:
    """The same writes in every run."""


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
