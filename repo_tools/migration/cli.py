"""`repo-tools migration`: migrations for updates that are to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from partition import durable
from repo_tools.clickgroup import INPUT_FILE, OUTPUT, answer
from signpost.cli_support import Cli, json_option

if TYPE_CHECKING:
    from pathlib import Path

_EXECUTABLE = 0o755


@click.group(cls=Cli)
def migration() -> None:
    """Migrations: pack an author's Python class into a program."""


@migration.command()
@click.argument("file", type=INPUT_FILE)
@click.argument("out", type=OUTPUT)
@json_option
def pack(file: Path, out: Path) -> None:
    """Write the program OUT, such as migrate_v1.5.0_split-endpoint, from the Python FILE.

    FILE holds one class that derives from migrator's `Migration`; it is read, not run. The same
    FILE gives the same program. Try it with `migrator test`, publish it with `repo publish`.
    """
    from migrator.pack import describe, pack  # noqa: PLC0415  other commands need none of it

    program = pack(file)
    about = describe(file.name, file.read_bytes())
    durable.write_file(out, program, mode=_EXECUTABLE, private=False)
    value = {"program": str(out), "class": about.name, "lossy": list(about.lossy)}
    answer(f"{out}: {about.name}, {len(program)} bytes", value)
