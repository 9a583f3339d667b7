"""`python -m migrator`, and the console script."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from migrator.cli import migrator
from partition.streams import standard_streams

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _interrupt)
    with standard_streams():
        migrator(prog_name="migrator")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # As for Ctrl-C: everything is cleaned up on the way out, and the exit code is 1.
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
