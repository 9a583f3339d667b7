"""What happened in a run: rows for the table, commands with their output for the transcript."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.boot.machine import Result


class Failed(Exception):
    """Something is not as it has to be; the message says what was expected and what was seen."""


@dataclass(slots=True)
class Step:
    """One row: what was done, what was seen, how long it took."""

    scenario: str
    what: str
    seen: str
    seconds: float
    good: bool = True


@dataclass(slots=True)
class Journal:
    """The record of one scenario.

    Attributes:
        scenario: Its name.
        steps: The rows.
        transcript: Lines as in a terminal, with headings.
    """

    scenario: str
    steps: list[Step] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """The first step starts now."""
        self._since = time.monotonic()

    def step(self, what: str, seen: str, *, good: bool = True) -> None:
        """Add a row, and say it."""
        now = time.monotonic()
        row = Step(self.scenario, what, seen, now - self._since, good)
        self._since = now
        self.steps.append(row)
        say(row)

    def expect(self, what: str, actual: object, expected: object) -> None:
        """Raise Failed, with a row, unless both are equal."""
        if actual != expected:
            raise Failed(f"{what}: {actual!r}, expected {expected!r}")

    def heading(self, text: str) -> None:
        """Start a part of the transcript."""
        self.transcript.append(f"\n# {text}")

    def command(self, result: Result) -> None:
        """Add a command and its output to the transcript."""
        self.transcript.append(f"$ {result.command}")
        for text in (result.stdout, result.stderr):
            self.transcript += text.rstrip().splitlines()
        if result.status:
            self.transcript.append(f"(exit code {result.status})")


_SAYING = threading.Lock()


def say(row: Step) -> None:
    """Print a row as it happens; scenarios run side by side."""
    mark = "ok  " if row.good else "FAIL"
    with _SAYING:
        sys.stdout.write(f"{mark} {row.seconds:6.1f} s  {row.scenario:16} {row.what}: {row.seen}\n")
        sys.stdout.flush()


def table(steps: list[Step]) -> str:
    """All rows as a Markdown table."""
    lines = ["| | scenario | what | what was seen | s |", "|---|---|---|---|---|"]
    for row in steps:
        mark = "ok" if row.good else "**failed**"
        seen = row.seen.replace("|", "\\|")
        lines.append(f"| {mark} | {row.scenario} | {row.what} | {seen} | {row.seconds:.0f} |")
    return "\n".join(lines)
