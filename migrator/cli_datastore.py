"""`migrator datastore …`: the settings, for people and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator import values
from migrator.cli_options import DATASTORE_OPTION, release_version, version
from migrator.errors import KeyMissing
from signpost.cli_support import Cli, echo_json, json_option, json_wanted

if TYPE_CHECKING:
    from semver import Version

    from migrator.datastore import Datastore

_TRANSACTION = click.option(
    "-t", "--transaction", metavar="NAME", help="A pending transaction instead of what is live."
)


@click.group(cls=Cli)
def datastore() -> None:
    """Look at the settings, and change them."""


@datastore.command()
@click.argument("key")
@click.option("-m", "--metadata", metavar="NAME", help="This metadata of the setting instead.")
@DATASTORE_OPTION
@_TRANSACTION
@json_option
def get(key: str, metadata: str | None, datastore: Path, transaction: str | None) -> None:
    """Print the value of KEY.

    A string is printed as it is, anything else (or everything, with --json) as JSON. Metadata is
    inherited from the names above KEY. Exit code 1 if there is no value.
    """
    store = _open(datastore)
    if metadata is not None:
        text = store.metadata(key, transaction).get(metadata)
    else:
        text = store.get(key, transaction)
    if text is None:
        raise KeyMissing(key if metadata is None else f"{key} (metadata {metadata})")
    value = values.parse(text)
    click.echo(value if isinstance(value, str) and not json_wanted() else text)


@datastore.command("list")
@click.argument("prefix", default="")
@click.option("-m", "--metadata", is_flag=True, help="List metadata instead of values.")
@DATASTORE_OPTION
@_TRANSACTION
@json_option
def list_(prefix: str, datastore: Path, transaction: str | None, *, metadata: bool) -> None:
    """List the settings whose names start with PREFIX, with their values as JSON."""
    store = _open(datastore)
    if metadata:
        found = store.list_metadata(prefix, transaction)
        if json_wanted():
            echo_json({key: _parsed(group) for key, group in found.items()})
            return
        rows = [
            (f"{key} ({name})", text)
            for key, group in found.items()
            for name, text in group.items()
        ]
    else:
        settings = store.list(prefix, transaction)
        if json_wanted():
            echo_json(_parsed(settings))
            return
        rows = list(settings.items())
    for name, text in rows:
        click.echo(f"{name} = {text}")


@datastore.command("set")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY VALUE [KEY VALUE]...")
@click.option("--string", is_flag=True, help="Take every VALUE as a string.")
@DATASTORE_OPTION
@_TRANSACTION
@json_option
def set_(pairs: tuple[str, ...], datastore: Path, transaction: str | None, *, string: bool) -> None:
    """Set each KEY to VALUE, all of them or none.

    VALUE is JSON, or else a string; with --json it must be JSON, with --string it is a string.
    """
    if len(pairs) % 2:
        raise click.UsageError("Every KEY needs a VALUE.")
    texts = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        texts[key] = values.dump(value) if string else _json_text(value, strictly=json_wanted())
    _open(datastore).set(texts, transaction)


@datastore.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@DATASTORE_OPTION
@_TRANSACTION
def unset(keys: tuple[str, ...], datastore: Path, transaction: str | None) -> None:
    """Remove settings; removing what has no value is fine."""
    _open(datastore).set(dict.fromkeys(keys), transaction)


@datastore.command()
@click.argument("other", type=click.Path(path_type=Path))
@DATASTORE_OPTION
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are differences.")
@json_option
def diff(other: Path, datastore: Path, *, exit_code: bool) -> None:
    """Show what would change if the datastore became OTHER, another datastore or copy of it."""
    from migrator.plan import changes  # noqa: PLC0415  imports what the other commands do not need

    found = changes(_open(datastore).read(), _open(other).read())
    if json_wanted():
        echo_json([change.to_json() for change in found])
    else:
        for change in found:
            for line in change.lines():
                click.echo(line)
    if found and exit_code:
        click.get_current_context().exit(1)


@datastore.command()
@DATASTORE_OPTION
@json_option
def transactions(datastore: Path) -> None:
    """List the pending transactions."""
    names = _open(datastore).transactions()
    if json_wanted():
        echo_json(names)
        return
    for name in names:
        click.echo(name)


@datastore.command()
@click.argument("transaction")
@DATASTORE_OPTION
@json_option
def commit(transaction: str, datastore: Path) -> None:
    """Make a pending TRANSACTION live, all of it at once, and list what it changed."""
    changed = _open(datastore).commit(transaction)
    if json_wanted():
        echo_json(changed)
        return
    for name in changed:
        click.echo(name)


@datastore.command()
@click.argument("transaction")
@DATASTORE_OPTION
def discard(transaction: str, datastore: Path) -> None:
    """Drop a pending TRANSACTION."""
    _open(datastore).discard(transaction)


@datastore.command()
@click.option("--defaults", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--for-version", type=version, help="The version of the settings.")
@click.option("--for-version-from-os-release", "from_os_release", is_flag=True)
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True)
@DATASTORE_OPTION
def init(
    defaults: Path | None,
    for_version: Version | None,
    root: Path,
    datastore: Path,
    *,
    from_os_release: bool,
) -> None:
    """Create the datastore if there is none, and fill in the defaults that it lacks.

    Never overwrites a setting. May be interrupted at any moment, and run again at every boot,
    after the migrator.
    """
    from migrator import defaults as default_settings  # noqa: PLC0415
    from migrator.tree import Tree  # noqa: PLC0415

    if (for_version is None) is not from_os_release:
        raise click.UsageError("Give either '--for-version' or '--for-version-from-os-release'.")
    found = Tree()
    if defaults is not None:
        found = default_settings.parse(str(defaults), defaults.read_bytes())
    _open(datastore).prepare(for_version or release_version(root), found)


def _open(path: Path) -> Datastore:
    from migrator.datastore import Datastore  # noqa: PLC0415

    return Datastore(path)


def _json_text(value: str, *, strictly: bool) -> str:
    try:
        values.parse(value)
    except ValueError:
        return value if strictly else values.dump(value)
    return value


def _parsed(texts: dict[str, str]) -> dict[str, object]:
    return {name: values.parse(text) for name, text in texts.items()}
