"""`repo-tools repo`: make a repository, publish to it, look after it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import click

from repo_tools.clickgroup import (
    DURATION,
    HEX,
    INPUT_FILE,
    TIME,
    VERSION,
    ChangeOptions,
    LazyGroup,
    RepositoryOptions,
    SigningOptions,
    answer,
    note,
    proposing_options,
    report,
    repository_options,
    signing_options,
)
from repo_tools.environment import Environment
from signpost.cli_support import json_option
from updog.versions import Version


@click.group(cls=LazyGroup, lazy={"mirror": "repo_tools.mirror.cli:mirror"})
def repo() -> None:
    """Repositories: make one, publish to it, look after it."""


@repo.command("init")
@repository_options
@signing_options("targets", "snapshot", "timestamp")
@proposing_options
@json_option
@click.pass_obj
def init(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    change: ChangeOptions,
) -> None:
    """Make a repository: publish its first root and an empty manifest.

    Needs the keys of targets, snapshot and timestamp. Refused where there is a repository; no other
    command makes one.
    """
    from repo_tools.publish.first import make_repository  # noqa: PLC0415

    outcome = make_repository(
        repository.store(env),
        repository.prefix,
        repository.trusted(),
        signing.signing(env),
        change.how(env),
    )
    report(outcome)


@repo.command("publish")
@repository_options
@signing_options("targets", "snapshot", "timestamp")
@click.option("--version", "version", required=True, type=VERSION, help="Version of the update.")
@click.option("--boot", required=True, type=INPUT_FILE, help="Image of the boot partition.")
@click.option("--root-image", required=True, type=INPUT_FILE, help="Image of the root file system.")
@click.option("--hash", "hash_image", type=INPUT_FILE, help="Its hash image; made if not given.")
@click.option("--salt", type=HEX, help="Salt of the hash image that is made, in hex.")
@click.option(
    "--waves",
    "policy",
    default="default",
    show_default=True,
    help="Wave policy: a name (see `waves list`), a TOML file, or `none`.",
)
@click.option("--start-at", type=TIME, help="Waves count from this time instead of from now.")
@click.option("--max-version", type=VERSION, help="Maximum version; by default not lowered.")
@click.option("--migrate-from", type=VERSION, help="Version that the migrations start from.")
@click.option(
    "--migration",
    "migrations",
    multiple=True,
    type=INPUT_FILE,
    help="Migration from there, in order. May be repeated.",
)
@click.option("--release", type=INPUT_FILE, help="Release.toml with all migration steps.")
@click.option("--layout", type=INPUT_FILE, help="Layout of the disks that have to hold it.")
@click.option(
    "--level", type=click.IntRange(0, 12), default=9, show_default=True, help="LZ4 level."
)
@proposing_options
@json_option
@click.pass_obj
def publish(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    boot: Path,
    root_image: Path,
    hash_image: Path | None,
    salt: bytes | None,
    policy: str,
    start_at: datetime | None,
    max_version: Version | None,
    migrate_from: Version | None,
    migrations: tuple[Path, ...],
    release: Path | None,
    layout: Path | None,
    level: int,
    change: ChangeOptions,
) -> None:
    """Publish an update: compress, hash, check, sign, write.

    Images are plain, or LZ4 frames. The hash image is made from the root image, or checked against
    it. Everything is checked before anything is signed; the targets are written first and the
    timestamp last, so hosts see the old state or the new one. An interrupted publish can be run
    again; once it is through, nothing is done.

    An update needs a migration path from and to every version that hosts may run: `--migrate-from
    1.0.0` adds the step from there, with the migrations given, if any.
    """
    from repo_tools.build import UpdateFiles  # noqa: PLC0415
    from repo_tools.publish.session import session  # noqa: PLC0415
    from repo_tools.publish.update import NewUpdate, publish_update  # noqa: PLC0415

    update = NewUpdate(
        line=repository.line,
        version=version,
        files=UpdateFiles(boot, root_image, hash_image, migrations, salt, level),
        waves=_waves(policy, start_at or env.now),
        steps=_steps(version, migrate_from, migrations, release),
        max_version=max_version,
        capacity_bytes=_capacity(layout),
    )
    with session(repository.store(env), repository.prefix, repository.trusted()) as open_session:
        report(publish_update(open_session, update, signing.signing(env), change.how(env)))


@repo.command("remove")
@repository_options
@signing_options("targets", "snapshot", "timestamp")
@click.option("--version", "version", required=True, type=VERSION, help="Version of the update.")
@proposing_options
@json_option
@click.pass_obj
def remove(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    change: ChangeOptions,
) -> None:
    """Remove an update: it is offered no more. Hosts that run it stay.

    The maximum version and the migration steps stay too, and its files are left where they are.
    """
    from repo_tools.publish.manifest_edit import remove_update  # noqa: PLC0415
    from repo_tools.publish.session import edit_manifest, session  # noqa: PLC0415

    with session(repository.store(env), repository.prefix, repository.trusted()) as open_session:
        outcome = edit_manifest(
            open_session,
            lambda manifest: remove_update(manifest, repository.line, version),
            signing.signing(env),
            change.how(env),
        )
        report(outcome)


@repo.command("refresh")
@repository_options
@signing_options("targets", "snapshot", "timestamp")
@click.option(
    "--within",
    type=DURATION,
    help="Renew what expires within this time; by default what is past half of its validity.",
)
@proposing_options
@json_option
@click.pass_obj
def refresh(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    within: timedelta | None,
    change: ChangeOptions,
) -> None:
    """Renew metadata that expires soon; for a timer.

    Only the keys of what is renewed are needed: a machine with the timestamp key alone renews the
    timestamp, and says what it could not renew.
    """
    from repo_tools.care.refresh import refresh as renew  # noqa: PLC0415
    from repo_tools.publish.session import session  # noqa: PLC0415

    with session(repository.store(env), repository.prefix, repository.trusted()) as open_session:
        report(renew(open_session, signing.signing(env), change.how(env), within=within))


@repo.command("check")
@repository_options
@click.option(
    "--within", type=DURATION, help="Fail when anything but the root expires within this time."
)
@click.option("--root-within", type=DURATION, help="Fail when the root does; default 30 days.")
@click.option("--openmetrics", is_flag=True, help="Print OpenMetrics text for monitoring.")
@json_option
@click.pass_obj
def check(
    env: Environment,
    repository: RepositoryOptions,
    within: timedelta | None,
    root_within: timedelta | None,
    openmetrics: bool,
) -> None:
    """Report when everything expires; fail when something does soon. Needs no keys.

    By default targets are near 7 days before they expire, snapshot and timestamp 3 days, the root
    30 days. The repository may be at a web address.
    """
    from repo_tools.care.check import check_repository  # noqa: PLC0415

    found = check_repository(
        repository.transport(env),
        repository.line,
        repository.trusted(),
        env.now,
        within=within,
        root_within=root_within,
    )
    if openmetrics:
        click.echo(found.openmetrics(), nl=False)
    else:
        answer(found.text, found.to_json())
    found.fail_if_near()


@repo.command("validate")
@repository_options
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Targets that are read at a time.",
)
@click.option("--deep", is_flag=True, help="Decode images and compare their hash trees too.")
@click.option("--layout", type=INPUT_FILE, help="With --deep: what the images have to fit.")
@click.option(
    "--version",
    "versions",
    multiple=True,
    type=VERSION,
    help="For a copy with the images of this update only. May be repeated.",
)
@json_option
@click.pass_obj
def validate(
    env: Environment,
    repository: RepositoryOptions,
    jobs: int,
    deep: bool,
    layout: Path | None,
    versions: tuple[Version, ...],
) -> None:
    """Check a repository from end to end, as a client and as a linter. Changes nothing.

    Signatures, the chain of roots, expiry, length and digest of every target, the manifest, its
    migration paths both ways, its waves. The repository may be at a web address, or a bundle.
    """
    from repo_tools.care.validate import Thoroughness, validate_repository  # noqa: PLC0415

    found = validate_repository(
        repository.transport(env),
        repository.line,
        repository.trusted(),
        env.now,
        Thoroughness(jobs, deep, versions, _capacity(layout) or {}),
    )
    for warning in found.warnings:
        note(f"warning: {warning}")
    answer(found.text, found.to_json())
    found.fail_if_unsound()


@repo.command("serve")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=0, help="Port; 0, the default, takes a free one.")
@click.option("-q", "--quiet", is_flag=True, help="Do not log requests.")
@json_option
def serve(directory: Path, host: str, port: int, quiet: bool) -> None:
    """Serve DIRECTORY over HTTP for trying things out; prints the URL, runs until interrupted."""
    from repo_tools.serve import RepositoryServer  # noqa: PLC0415

    with RepositoryServer(directory, host=host, port=port) as server:
        server.quiet = quiet
        answer(server.url, {"url": server.url})
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _waves(policy: str, start_at: datetime) -> Mapping[int, datetime]:
    from repo_tools.waves.source import waves_for  # noqa: PLC0415

    return waves_for(policy, start_at)


def _steps(
    version: Version, start: Version | None, migrations: tuple[Path, ...], release: Path | None
) -> Mapping[tuple[Version, Version], tuple[str, ...]]:
    from repo_tools.publish.steps import new_steps  # noqa: PLC0415

    return new_steps(version, start, migrations, release)


def _capacity(layout: Path | None) -> Mapping[str, int] | None:
    from repo_tools.disk.layout_file import load_layout  # noqa: PLC0415

    return None if layout is None else load_layout(layout).set_bytes
