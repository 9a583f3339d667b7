"""Log lines, on stderr: `updog: warning: …`, or JSON where progress is JSON.

Bottlerocket's names of levels; `trace` is `debug` with the lines of the libraries that we use.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Final

LEVELS: Final = ("trace", "debug", "info", "warn", "error")
_OURS: Final = ("partition", "signpost", "updog")
_NUMBERS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at that moment: a progress bar may have put itself there."""

    as_json = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        text = record.getMessage()
        if self.as_json:
            level = record.levelname.lower()
            line = json.dumps({"event": "log", "level": level, "text": text}, ensure_ascii=False)
        elif record.levelno == logging.INFO:
            line = f"updog: {text}"
        else:
            line = f"updog: {record.levelname.lower()}: {text}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201  a log handler is for printing


_HANDLER: Final = _Stderr()


def configure(level: str) -> None:
    """Show log lines from this level on; may be called again."""
    number = _NUMBERS[level]
    root = logging.getLogger()
    if _HANDLER not in root.handlers:
        root.addHandler(_HANDLER)
    root.setLevel(number if level == "trace" else max(number, logging.WARNING))
    for name in _OURS:
        logging.getLogger(name).setLevel(number)


def as_json(wanted: bool) -> None:  # noqa: FBT001  reads as a sentence
    """Write lines as JSON objects, or as text."""
    _HANDLER.as_json = wanted
