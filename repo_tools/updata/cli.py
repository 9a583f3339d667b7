"""The `updata` command: subcommands and flags of Bottlerocket's tool of that name.

What differs: an edit of an update that is not there is an error, as are an update that is there
already and a manifest that `init` would empty; `validate` looks at waves, versions and migration
paths; the default maximum version comes from the same variant and architecture.
`-m` of `set-max-version` is the flag of older releases, `-v` that of newer ones.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from partition.kernel import KERNEL
from repo_tools.clickgroup import INPUT_FILE, OUTPUT, TIME, VERSION, answer, note
from repo_tools.errors import InputInvalid, ValidationFailed
from repo_tools.publish.manifest_edit import (
    Line,
    add_update,
    default_max_version,
    remove_update,
    set_max_version,
    set_migrations,
    set_waves,
)
from repo_tools.publish.steps import load_release
from repo_tools.updata.files import Edit, create_manifest, edit_manifest, validate_manifest
from repo_tools.waves.source import load_policy
from signpost.cli_support import Cli, json_option, json_wanted, verbose_option, version_option
from updog.manifest import Images, Manifest, Update
from updog.versions import Version

FILE = click.argument("file", type=OUTPUT)
VERSION_OPTION = click.option("-v", "--version", required=True, type=VERSION, help="Image version.")
ARCH_OPTION = click.option("-a", "--arch", required=True, help="Architecture.")
VARIANT_OPTION = click.option("-l", "--variant", required=True, help="Variant.")


@click.group(cls=Cli)
@verbose_option
@version_option
def updata() -> None:
    """Edit an update manifest."""


@updata.command("init")
@FILE
@json_option
def init(file: Path) -> None:
    """Create an empty manifest."""
    create_manifest(file, KERNEL)
    answer(f"{file}: created", {"file": str(file), "changes": []})


@updata.command("add-update")
@FILE
@click.option("-f", "--variant", required=True, help="Variant, such as aws-ecs-1.")
@VERSION_OPTION
@ARCH_OPTION
@click.option("-m", "--max-version", type=VERSION, help="Maximum valid version.")
@click.option("-r", "--root", required=True, help="Target name of the root image.")
@click.option("-b", "--boot", required=True, help="Target name of the boot image.")
@click.option("-h", "--hash", "hash_", required=True, help="Target name of the hash image.")
@json_option
def add_update_(
    file: Path,
    variant: str,
    version: Version,
    arch: str,
    max_version: Version | None,
    root: str,
    boot: str,
    hash_: str,
) -> None:
    """Add a new update to the manifest, without waves."""

    def edit(manifest: Manifest) -> Manifest:
        line = Line(variant, arch)
        maximum = max_version or default_max_version(manifest, line, version)
        images = Images(boot=boot, root=root, hash=hash_)
        return add_update(manifest, Update(variant, arch, version, maximum, {}, images))

    _edit(file, edit)


@updata.command("remove-update")
@FILE
@VARIANT_OPTION
@VERSION_OPTION
@ARCH_OPTION
@json_option
def remove_update_(file: Path, variant: str, version: Version, arch: str) -> None:
    """Remove an update from the manifest, with its waves."""
    _edit(file, lambda manifest: remove_update(manifest, Line(variant, arch), version))


@updata.command("set-waves")
@FILE
@VARIANT_OPTION
@VERSION_OPTION
@ARCH_OPTION
@click.option("-w", "--wave-file", required=True, type=INPUT_FILE, help="TOML file with waves.")
@click.option("--start-at", type=TIME, help="Offsets count from this time instead of from now.")
@json_option
def set_waves_(
    file: Path,
    variant: str,
    version: Version,
    arch: str,
    wave_file: Path,
    start_at: datetime | None,
) -> None:
    """Set the waves of an update."""
    start = (start_at or datetime.now(UTC)).replace(microsecond=0)
    waves = load_policy(str(wave_file)).starting_at(start)
    _edit(file, lambda manifest: set_waves(manifest, Line(variant, arch), version, waves))


@updata.command("set-max-version")
@FILE
@click.option("-v", "-m", "--max-version", required=True, type=VERSION, help="Maximum version.")
@json_option
def set_max_version_(file: Path, max_version: Version) -> None:
    """Set the maximum version of every update."""
    _edit(file, lambda manifest: set_max_version(manifest, max_version))


@updata.command("set-migrations")
@click.option("-f", "--from", "source", required=True, type=INPUT_FILE, help="Release.toml.")
@click.option("-t", "--to", "file", required=True, type=OUTPUT, help="The manifest.")
@json_option
def set_migrations_(source: Path, file: Path) -> None:
    """Copy the migrations of a Release.toml to the manifest, in place of those that are there."""
    steps = load_release(source)
    for start, end in steps:
        if start >= end:
            raise InputInvalid(f"release {source}", f"step {start} -> {end} does not lead upwards")
    _edit(file, lambda manifest: set_migrations(manifest, steps))


@updata.command("validate")
@FILE
@json_option
def validate(file: Path) -> None:
    """Validate a manifest; changes nothing."""
    try:
        validate_manifest(file)
    except ValidationFailed as exc:
        _show_problems(file, exc.problems)
        raise
    answer(f"{file}: valid", {"file": str(file), "problems": []})


def _show_problems(file: Path, problems: tuple[str, ...]) -> None:
    if json_wanted():
        click.echo(json.dumps({"file": str(file), "problems": problems}, indent=2))
        return
    for problem in problems:
        note(problem)


def _edit(file: Path, edit: Edit) -> None:
    """Edit, and print what has changed."""
    lines = edit_manifest(file, edit, KERNEL)
    answer("\n".join(lines) or "no change", {"file": str(file), "changes": list(lines)})
