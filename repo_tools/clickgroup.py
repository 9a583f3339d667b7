"""What the commands of `repo-tools` share: groups that load late, kinds of value, common options.

Options that always come together become one argument: `--repo`, `--variant`, `--arch` and `--root`
are a `RepositoryOptions`, `--key` and validity a `SigningOptions`, `--dry-run` and `--yes` a
`ChangeOptions`. Each has an environment variable, `REPO_TOOLS_…`, and may stand in
`repo-tools.toml`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repo_tools.errors import ExtraMissing
from repo_tools.sizes import parse_size
from signpost.cli_support import Cli, echo_json, json_wanted, printable
from updog.versions import parse_version
from updog.waves import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from repo_tools.environment import Environment
    from repo_tools.publish.how import How
    from repo_tools.publish.manifest_edit import Line
    from repo_tools.publish.release import Outcome
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store
    from updog.transport import Transport

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_HELP_WIDTH = 200
"""First sentences are short; none is cut."""

F = TypeVar("F", bound=Callable[..., Any])


class LazyGroup(Cli):
    """A group whose commands are imported when they are needed."""

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        """`lazy` maps a command to `module:attribute`."""
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which they were given."""
        return [*super().list_commands(ctx), *self._lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class MapGroup(LazyGroup):
    """A group of groups whose help shows every command under it."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group, and one for commands on their own."""
        alone = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None:
                continue
            if not isinstance(command, click.Group):
                alone.append((name, command.get_short_help_str(_HELP_WIDTH)))
                continue
            rows = [
                (f"{name} {verb}", found.get_short_help_str(_HELP_WIDTH))
                for verb in command.list_commands(ctx)
                if (found := command.get_command(ctx, verb)) is not None
            ]
            with formatter.section(command.get_short_help_str(_HELP_WIDTH).rstrip(".")):
                formatter.write_dl(rows)
        if alone:
            with formatter.section("Other commands"):
                formatter.write_dl(alone)


class _Parsed(click.ParamType[Any]):
    """A value that a function of ours parses; its ValueError is a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse text; let a parsed value pass."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def _duration(text: str) -> timedelta:
    from repo_tools.waves.policy import parse_offset  # noqa: PLC0415

    return parse_offset(text)


def parse_name(text: str) -> str:
    """A variant or an architecture: it names a directory, and must not leave it.

    Raises:
        ValueError: It could.
    """
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no plain name (letters, digits, '-', '_' and '.')")
    return text


NAME = _Parsed("name", parse_name)
VERSION = _Parsed("version", parse_version)
TIME = _Parsed("time", parse_time)
DURATION = _Parsed("duration", _duration)
SIZE = _Parsed("size", parse_size)
HEX = _Parsed("hex", bytes.fromhex)
INPUT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
INPUT = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """Which repository: its place, variant, architecture, and the root that is trusted."""

    location: str
    variant: str
    arch: str
    root: Path

    @property
    def prefix(self) -> str:
        """Directory of the metadata in the store."""
        return f"{self.variant}/{self.arch}"

    @property
    def line(self) -> Line:
        """The line of updates."""
        from repo_tools.publish.manifest_edit import Line  # noqa: PLC0415

        return Line(self.variant, self.arch)

    def store(self, env: Environment) -> Store:
        """Open the place."""
        from repo_tools.store.location import open_store  # noqa: PLC0415

        return open_store(self.location, kernel=env.kernel)

    def transport(self, env: Environment) -> Transport:
        """Open the repository for reading; it may be at a web address too."""
        from repo_tools.store.location import open_transport  # noqa: PLC0415

        return open_transport(self.location, self.prefix, kernel=env.kernel)

    def trusted(self) -> bytes:
        """Read the trusted root."""
        return self.root.read_bytes()


@dataclass(frozen=True, slots=True)
class SigningOptions:
    """Keys, and how long their signatures are good."""

    keys: tuple[Path, ...]
    validity: Mapping[str, timedelta]

    def signing(self, env: Environment) -> Signing:
        """Load the keys' public halves."""
        from repo_tools.keys.keyfile import load_key_ring  # noqa: PLC0415
        from repo_tools.publish.signing import Signing  # noqa: PLC0415

        return Signing(load_key_ring(self.keys), env.secrets, env.now, self.validity)


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """Whether to do it or only to propose it, and whether to ask."""

    dry_run: bool
    yes: bool
    proposal: Path | None = None

    def how(self, env: Environment) -> How:
        """How a change is to be carried out."""
        from repo_tools.publish.how import How  # noqa: PLC0415

        confirm = (lambda _: True) if self.yes else env.confirm
        return How(note, confirm, self.dry_run, self.proposal)


def repository_options(function: F) -> F:
    """`--repo`, `--variant`, `--arch`, `--root`, as the argument `repository`."""

    @click.option(
        "--repo", envvar="REPO_TOOLS_REPO", required=True, help="Directory, or s3://bucket/prefix."
    )
    @click.option(
        "--variant",
        envvar="REPO_TOOLS_VARIANT",
        required=True,
        type=NAME,
        help="Variant of the operating system.",
    )
    @click.option(
        "--arch",
        envvar="REPO_TOOLS_ARCH",
        required=True,
        type=NAME,
        help="Architecture, as `uname -m` names it.",
    )
    @click.option(
        "--root",
        envvar="REPO_TOOLS_ROOT",
        required=True,
        type=INPUT_FILE,
        help="A root that you trust: any published one.",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, repo: str, variant: str, arch: str, root: Path, **kwargs: Any) -> Any:
        repository = RepositoryOptions(repo, variant, arch, root)
        return function(*args, repository=repository, **kwargs)

    return wrapped  # type: ignore[return-value]


def signing_options(*roles: str) -> Callable[[F], F]:
    """`--key`, and `--ROLE-valid` for each role, as the argument `signing`."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, key: tuple[Path, ...], **kwargs: Any) -> Any:
            if not key and not kwargs.get("propose"):
                raise click.UsageError("Missing option '--key'.")
            given = {role: kwargs.pop(f"{role}_valid") for role in roles}
            validity = {role: value for role, value in given.items() if value is not None}
            return function(*args, signing=SigningOptions(key, validity), **kwargs)

        for role in reversed(roles):
            help_text = f"How long new {role} metadata is good, such as '7 days'."
            wrapped = click.option(f"--{role}-valid", type=DURATION, help=help_text)(wrapped)
        return click.option(
            "--key",
            "key",
            envvar="REPO_TOOLS_KEY",
            multiple=True,
            type=INPUT,
            help="Key file, or a directory of them. May be repeated.",
        )(wrapped)  # type: ignore[return-value]

    return decorate


def change_options(function: F) -> F:
    """`--dry-run` and `--yes`, as the argument `change`."""

    @click.option("--dry-run", is_flag=True, help="Show what would change, and stop.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @functools.wraps(function)
    def wrapped(*args: Any, dry_run: bool, yes: bool, **kwargs: Any) -> Any:
        return function(*args, change=ChangeOptions(dry_run, yes), **kwargs)

    return wrapped  # type: ignore[return-value]


def proposing_options(function: F) -> F:
    """`--propose` beside those of `change_options`, as the argument `change`."""

    @click.option(
        "--propose",
        type=OUTPUT,
        help="Write a proposal for others to sign into this file, and publish nothing.",
    )
    @change_options
    @functools.wraps(function)
    def wrapped(*args: Any, propose: Path | None, change: ChangeOptions, **kwargs: Any) -> Any:
        return function(*args, change=replace(change, proposal=propose), **kwargs)

    return wrapped  # type: ignore[return-value]


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around an import: tell the user which extra is missing.

    Raises:
        ExtraMissing: A library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise ExtraMissing(extra, exc.name or extra) from exc


def note(line: str) -> None:
    """Tell the user something, beside the answer."""
    click.echo(printable(line), err=True)


def answer(text: str, value: Mapping[str, Any]) -> None:
    """Print the answer: the text, or the JSON if that was asked for."""
    if json_wanted():
        echo_json(value)
    else:
        click.echo(text)


def report(outcome: Outcome) -> None:
    """Print what a publishing command has done."""
    if outcome.proposal is not None:
        answer(f"Proposed in {outcome.proposal}: nothing is published", outcome.to_json())
        return
    done = "Published" if outcome.published else "Nothing published"
    versions = ", ".join(f"{role} {version}" for role, version in outcome.versions.items())
    detail = f" ({versions})" if versions and outcome.published else ""
    answer(f"{done}: {outcome.repository}{detail}", outcome.to_json())
