"""`repo-tools.toml`: options that need not be typed each time.

    [defaults]
    repo = "s3://updates/os"
    variant = "metal"
    arch = "x86_64"
    root = "keys/1.root.json"
    key = ["keys/online"]
    layout = "layout.toml"
    timestamp-valid = "3 days"

A key is the name of an option, with hyphens, of any command; it counts for every command that has
that option. Relative paths start at the file's directory. What is typed wins over the environment,
that over the file. A key that no command knows is an error.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from repo_tools.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def load_defaults(path: Path) -> dict[str, Any]:
    """Read the file.

    Raises:
        InputInvalid: Not TOML, or more than the table of defaults.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InputInvalid(str(path), f"{exc}") from exc
    defaults = document.pop("defaults", {})
    if document or not isinstance(defaults, dict):
        raise InputInvalid(str(path), "it may hold a table [defaults], only")
    return defaults


def default_map(
    group: click.Group, context: click.Context, defaults: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Click's map of defaults for every command below a group.

    Raises:
        InputInvalid: No command has an option of some name.
    """
    used: set[str] = set()
    result = _map(group, context, defaults, path.parent, used)
    for name in defaults:
        if name not in used:
            raise InputInvalid(str(path), f"no command has an option {name!r}")
    return result


def _map(
    group: click.Group,
    context: click.Context,
    defaults: Mapping[str, Any],
    directory: Path,
    used: set[str],
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            result[name] = _map(command, context, defaults, directory, used)
        elif command is not None:
            result[name] = {}
            for option, param in _options(command):
                if option in defaults:
                    used.add(option)
                    result[name][param.name] = _placed(defaults[option], param, directory)
    return result


def _options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    for param in command.params:
        if isinstance(param, click.Option):
            for spelling in param.opts:
                if spelling.startswith("--"):
                    yield spelling.removeprefix("--"), param


def _placed(value: Any, param: click.Option, directory: Path) -> Any:  # noqa: ANN401  from TOML
    """A value, with relative paths starting at the file's directory."""
    if isinstance(value, list):
        return [_placed(each, param, directory) for each in value]
    is_path = isinstance(param.type, click.Path) or param.name == "repo"
    if is_path and isinstance(value, str) and not urlsplit(value).scheme:
        return str(directory / value)
    return value
