"""Fuzz every parser for a while, or replay what was found.

    python -m fuzz                              # all targets, a minute each
    python -m fuzz --seconds 600 gpt lz4        # two of them, longer
    python -m fuzz --replay gpt FILE            # what the target says to one input

Needs the `fuzz` extra (atheris). Seeds are in `fuzz/corpus`, what a run learns is kept in
`.cache/fuzz/<target>`, so the next one goes on from there. Exit code 1: something was found, and
the line says where the input is.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "fuzz" / "corpus"
LEARNT = ROOT / ".cache" / "fuzz"

_TIMEOUT_SECONDS = 20
_MEMORY_MIB = 1024
_MAX_INPUT_BYTES = 256 << 10


def main() -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz every parser.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one target on one input")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.replay:
        for name in options.targets:
            TARGETS[name](options.replay.read_bytes())
            print(f"{name}: fine")
        return 0
    results = [_fuzz(name, options.seconds) for name in options.targets or TARGETS]
    return 0 if all(results) else 1


def _fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target; say how it went; return whether nothing was found."""
    learnt = LEARNT / name
    learnt.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "fuzz.one", name),
        *(str(learnt), str(SEEDS / name)),
        f"-max_total_time={seconds}",
        f"-timeout={_TIMEOUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-max_len={_MAX_INPUT_BYTES}",
        f"-artifact_prefix={LEARNT}/{name}-",
        "-print_final_stats=1",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    output = result.stdout + result.stderr
    executions = re.search(r"number_of_executed_units: (\d+)", output)
    coverage = re.findall(r"cov: (\d+)", output)
    print(
        f"{name:14} {executions[1] if executions else '?':>9} inputs, "
        f"{coverage[-1] if coverage else '?':>5} edges, "
        f"{'nothing found' if result.returncode == 0 else 'FOUND'}",
        flush=True,
    )
    if result.returncode:
        print(output[-3000:], file=sys.stderr)
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
