"""`repo-tools bundle`, and the `mirror` command of `repo-tools repo`."""

from __future__ import annotations

from pathlib import Path

import click

from repo_tools.clickgroup import (
    OUTPUT,
    VERSION,
    RepositoryOptions,
    answer,
    note,
    repository_options,
)
from repo_tools.environment import Environment
from signpost.cli_support import Cli, json_option
from updog.versions import Version


@click.group(cls=Cli)
def bundle() -> None:
    """Bundles: an update in one file, to carry across an air gap."""


@bundle.command("create")
@click.argument("out", type=OUTPUT)
@repository_options
@click.option(
    "--version",
    "versions",
    multiple=True,
    type=VERSION,
    help="Take this update along; by default all. May be repeated.",
)
@json_option
@click.pass_obj
def create(
    env: Environment, out: Path, repository: RepositoryOptions, versions: tuple[Version, ...]
) -> None:
    """Write the bundle OUT, for `updog update --bundle OUT`.

    It holds the metadata, the manifest, all migrations, and the images of the updates.
    """
    from repo_tools.mirror.bundle import create_bundle  # noqa: PLC0415
    from repo_tools.mirror.select import needed_targets  # noqa: PLC0415
    from repo_tools.mirror.source import open_source  # noqa: PLC0415

    source = open_source(repository.transport(env), repository.trusted())
    names = needed_targets(source.published.manifest, repository.line, versions)
    made = create_bundle(source, names, out, kernel=env.kernel)
    answer(f"{made.path}: {len(made.members)} files, {made.size_bytes:,} bytes", made.to_json())


@click.command("mirror")
@click.argument("to")
@repository_options
@click.option(
    "--version",
    "versions",
    multiple=True,
    type=VERSION,
    help="Copy only the images of this update. May be repeated.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 32),
    default=4,
    show_default=True,
    help="Targets fetched at a time.",
)
@click.option("--recheck", is_flag=True, help="Read what is there, and fetch what is damaged.")
@click.option("--dry-run", is_flag=True, help="Say what would be copied, and stop.")
@json_option
@click.pass_obj
def mirror(
    env: Environment,
    to: str,
    repository: RepositoryOptions,
    versions: tuple[Version, ...],
    jobs: int,
    recheck: bool,
    dry_run: bool,
) -> None:
    """Copy a repository to TO: a directory, or s3://bucket/prefix.

    The source may be a directory, an object store, a web address or a bundle. Everything is
    verified from --root on the way. The mirror can be served while it runs; an interrupted copy
    goes on where it stopped; nothing is removed, and the mirror never goes back to an older state.
    """
    from repo_tools.mirror.copy import mirror as copy  # noqa: PLC0415
    from repo_tools.mirror.select import needed_targets  # noqa: PLC0415
    from repo_tools.mirror.source import open_source  # noqa: PLC0415
    from repo_tools.store.location import open_store  # noqa: PLC0415

    source = open_source(repository.transport(env), repository.trusted())
    names = needed_targets(source.published.manifest, repository.line, versions)
    if dry_run:
        total = sum(target.length_bytes for target in source.targets(names))
        answer(f"{len(names)} targets, {total:,} bytes", {"targets": names, "bytes": total})
        return
    store = open_store(to, kernel=env.kernel)
    done = copy(source, names, store, repository.prefix, jobs=jobs, recheck=recheck, show=note)
    answer(done.text, done.to_json())
