"""`python -m updog`, and the `updog` command."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from partition.streams import standard_streams

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command line."""
    # Loading it takes a while; until then a signal has nothing to undo.
    signal.signal(signal.SIGTERM, _end_early)
    from updog.cli import cli  # noqa: PLC0415  see above

    try:
        with standard_streams():
            cli(prog_name="updog")
    finally:
        # The exit code is decided; nothing that happens while Python ends should change it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_early(_number: int, _frame: FrameType | None) -> None:
    sys.stderr.write("updog: interrupted while starting\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
