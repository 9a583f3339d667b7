"""The benchmark of migrations runs; how fast anything is, nobody asserts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_measures_every_contender(tmp_path: Path) -> None:
    options = ["--keys", "40", "--migrations", "16", "--rounds", "4", "--directory", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.migrations", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    title, header, *rows = done.stdout.splitlines()
    assert title == "40 keys, 16 migrations, 4 rounds, medians"
    assert header.split() == ["seconds", "/", "plain", "/", "store", "/", "set"]
    assert [row.split()[0] for row in rows] == ["plain", "store", "set", "forward", "backward"]
    assert all(float(number) > 0 for row in rows for number in row.split()[1:])
    assert list(tmp_path.iterdir()) == []
