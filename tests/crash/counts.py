"""The table of counts in docs/crash-safety.md: read as floors, and written by a test run.

    UPDOG_WRITE_COUNTS=1 pytest tests/crash

writes what that run counted.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/crash-safety.md"
COLUMNS = ("changes", "states", "migrated", "updated again")

_BEGIN = "| what is done while the power may fail |"
_ROW = re.compile(r"\| (?P<name>[^|]+) \|(?P<numbers>(?: *[\d,]+ \|)+)")


def documented() -> dict[str, dict[str, int]]:
    """Return the counts of each scenario as documented."""
    rows: dict[str, dict[str, int]] = {}
    for line in _lines_of_table(DOCUMENT.read_text()):
        match = _ROW.fullmatch(line)
        if match and match["name"] != "together":
            numbers = [int(word.replace(",", "")) for word in match["numbers"].split("|")[:-1]]
            rows[match["name"]] = dict(zip(COLUMNS, numbers, strict=True))
    return rows


def table(rows: dict[str, dict[str, int]]) -> str:
    """Return the table as Markdown."""
    together = {what: sum(row[what] for row in rows.values()) for what in COLUMNS}
    lines = [f"{_BEGIN} {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    for name, row in {**rows, "together": together}.items():
        lines.append(f"| {name} | {' | '.join(f'{row[what]:,}' for what in COLUMNS)} |")
    return "\n".join(lines)


def write(rows: dict[str, dict[str, int]]) -> None:
    """Replace what was counted anew in the document's table, which keeps its order."""
    text = DOCUMENT.read_text()
    old = "\n".join(_lines_of_table(text))
    counted = {**documented(), **rows}
    DOCUMENT.write_text(text.replace(old, table(counted)))


def _lines_of_table(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(_BEGIN))
    end = start
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return lines[start:end]
