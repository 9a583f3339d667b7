"""Fuzz one target in this process, until libFuzzer's limits end it: started by `python -m fuzz`.

python -m fuzz.one TARGET [libFuzzer arguments and corpus directories]
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Instrument what the target imports, then hand over to libFuzzer."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["partition", "signpost", "updog", "migrator"]):
        from fuzz.targets import TARGETS

        # The targets import what they need on first use, which must happen under instrumentation.
        TARGETS[name](b"")
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
