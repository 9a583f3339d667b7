"""The command line of the migrator: at boot the bare command, for people the commands below it."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator import cli_datastore
from migrator.cli_options import DATASTORE_OPTION, Place, version, wanted_version
from migrator.executable import Limits
from signpost.cli_support import (
    Cli,
    echo_json,
    json_option,
    json_wanted,
    verbose_option,
    version_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.run import Preview, Setting

F = TypeVar("F", bound="Callable[..., Any]")

_LEVELS = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
_PATH = click.Path(path_type=Path)


def route_options(function: F) -> F:
    """Options that say where everything is and where to go; passed on as a `Place`."""

    @functools.wraps(function)
    def gathered(**options: Any) -> object:
        names = [field for field in Place.__dataclass_fields__ if field in options]
        place = Place(**{name: options.pop(name) for name in names})
        return function(place=place, **options)

    result: Any = gathered
    for option in reversed(
        (
            click.option(
                "--datastore-path",
                "--datastore",
                "datastore_path",
                type=_PATH,
                help="The link 'current'.",
            ),
            click.option(
                "--migration-directory", type=_PATH, help="Migrations, as <sha256>.<name>."
            ),
            click.option("--root-path", type=_PATH, help="The image's trusted TUF root."),
            click.option("--metadata-directory", type=_PATH, help="The metadata of the update."),
            click.option("--migrate-to-version", type=version, help="The version to go to."),
            click.option(
                "--migrate-to-version-from-os-release",
                is_flag=True,
                help="Go to the version of the booted system.",
            ),
            click.option(
                "--root",
                type=_PATH,
                default=Path("/"),
                show_default=True,
                help="Where the booted system lies: its os-release and its schema.",
            ),
            click.option(
                "--migration-timeout",
                "timeout_seconds",
                type=click.FloatRange(min=0, min_open=True),
                default=Limits().seconds,
                show_default=True,
                metavar="SECONDS",
                help="How long each executable migration may take.",
            ),
        )
    ):
        result = option(result)
    done: F = result
    return done


@click.group(cls=Cli, invoke_without_command=True)
@route_options
@click.option(
    "--log-level",
    type=click.Choice(list(_LEVELS), case_sensitive=False),
    default="info",
    show_default=True,
    help="What to log on stderr.",
)
@verbose_option
@version_option
@click.pass_context
def migrator(ctx: click.Context, place: Place, log_level: str) -> None:
    """Bring the settings datastore to the version of the booted system.

    Verifies the cached repository from the image's own trusted root, runs the migrations on a
    copy, checks and flushes the result, and flips the link 'current' to it as the last thing.
    Whatever fails leaves 'current' as it was.

    Does nothing if there is no datastore yet, or if it has that version. Exit codes: 0 migrated or
    nothing to do, 1 failed, 2 usage.
    """
    logging.basicConfig(format="%(levelname)s %(message)s", level=_LEVELS[log_level.lower()])
    if ctx.invoked_subcommand is not None:
        if place.is_given:
            raise click.UsageError(f"Options go after '{ctx.invoked_subcommand}'.")
        return
    from migrator.run import migrate  # noqa: PLC0415  people's commands start faster without

    wanted = wanted_version(place)
    outcome = migrate(_setting(place, schema=True), wanted)
    click.echo(f"{place.datastore_path}: {outcome.value} ({wanted})")


@migrator.command()
@route_options
@json_option
def plan(place: Place) -> None:
    """Show which migrations would run, and what they would change, as a diff.

    Runs them on a copy; nothing is written to the datastore.
    """
    from migrator.run import rehearse  # noqa: PLC0415

    preview = rehearse(_setting(place, schema=False), wanted_version(place))
    if json_wanted():
        echo_json(_preview_json(preview))
        return
    click.echo(_summary(preview))
    for leg in preview.route.legs:
        for name in leg.names:
            click.echo(f"  {leg.direction.value} {name}")
    for change in preview.changes:
        for line in change.lines():
            click.echo(line)


@migrator.command()
@route_options
@click.option("--and-back", is_flag=True, help="Also the way back; fails if it changes anything.")
@json_option
def rehearse(place: Place, *, and_back: bool) -> None:
    """Do everything that a migration does but writing to the datastore.

    What will fail at boot fails now. Exit code 1 if it would.
    """
    from migrator import run  # noqa: PLC0415
    from migrator.errors import RoundTripDiffers  # noqa: PLC0415

    setting, wanted = _setting(place, schema=False), wanted_version(place)
    if and_back:
        preview, differing = run.rehearse_both_ways(setting, wanted)
        if differing:
            keys = tuple(dict.fromkeys(change.key for change in differing))
            raise RoundTripDiffers(f"path to {wanted} and back", keys)
    else:
        preview = run.rehearse(setting, wanted)
    if json_wanted():
        echo_json(_preview_json(preview))
    else:
        click.echo(_summary(preview))


@migrator.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@DATASTORE_OPTION
@click.option("--declare", "declared", multiple=True, metavar="KEY", help="It may differ.")
@click.option(
    "--migration-timeout",
    "timeout_seconds",
    type=float,
    default=Limits().seconds,
    metavar="SECONDS",
)
@json_option
def test(file: Path, datastore: Path, declared: tuple[str, ...], timeout_seconds: float) -> None:
    """Try a migration FILE: forward, backward and forward again on a copy of the settings.

    FILE is a TOML document, an author's Python file, or a program; also compressed (.lz4). Fails
    if the round trip loses or invents anything that the author has not declared. Writes nothing.
    """
    from migrator import trial  # noqa: PLC0415
    from migrator.datastore import Datastore  # noqa: PLC0415
    from migrator.errors import RoundTripDiffers  # noqa: PLC0415

    body = trial.load(file)
    found = trial.run(
        body, Datastore(datastore).read(), Limits(seconds=timeout_seconds), declared=declared
    )
    if json_wanted():
        parts = {"forward": found.forward, "back": found.back, "again": found.again}
        parts["undeclared"] = found.undeclared
        echo_json({name: [each.to_json() for each in part] for name, part in parts.items()})
    else:
        for line in trial.lines(found):
            click.echo(line)
    if found.undeclared:
        keys = tuple(dict.fromkeys(change.key for change in found.undeclared))
        raise RoundTripDiffers(file.name, keys)


migrator.add_command(cli_datastore.datastore)


def _setting(place: Place, *, schema: bool) -> Setting:
    from migrator.cached import open_cache  # noqa: PLC0415
    from migrator.run import Setting  # noqa: PLC0415
    from migrator.schema import SCHEMA_PATH  # noqa: PLC0415
    from updog.rooted import resolve_inside  # noqa: PLC0415

    paths = place.needed("datastore_path", "migration_directory", "root_path", "metadata_directory")
    datastore, migrations, root, metadata = paths
    return Setting(
        datastore,
        lambda: open_cache(root, metadata, migrations),
        limits=Limits(seconds=place.timeout_seconds),
        schema=resolve_inside(place.root, SCHEMA_PATH) if schema else None,
    )


def _summary(preview: Preview) -> str:
    route, settings = preview.route, len(preview.changes)
    return (
        f"{route.source} to {route.target}: {len(route.names)} migrations succeed, "
        f"{settings} values change"
    )


def _preview_json(preview: Preview) -> dict[str, object]:
    route = preview.route
    steps = [
        {"name": name, "direction": leg.direction.value} for leg in route.legs for name in leg.names
    ]
    return {
        "from": str(route.source),
        "to": str(route.target),
        "migrations": steps,
        "changes": [change.to_json() for change in preview.changes],
    }
