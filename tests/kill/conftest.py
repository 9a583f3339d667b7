"""Fixtures of the kill suite; prints what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.places import place

if TYPE_CHECKING:
    import pytest

__all__ = ["place"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many processes were killed."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "killed":
                terminalreporter.section("killed processes")
                terminalreporter.line(str(value))
