"""The `repo-tools` command: a map of groups, each in its own package."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click
import click.shell_completion

from repo_tools.clickgroup import INPUT_FILE, OUTPUT, MapGroup, answer
from repo_tools.environment import Environment
from repo_tools.manual import PROGRAMS, man_page
from signpost.cli_support import json_option, verbose_option, version_option

_CONFIG = "repo-tools.toml"


@click.group(
    cls=MapGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    lazy={
        "key": "repo_tools.keys.cli:key",
        "root": "repo_tools.root.cli:root",
        "proposal": "repo_tools.proposal.cli:proposal",
        "repo": "repo_tools.publish.cli:repo",
        "rollout": "repo_tools.rollout.cli:rollout",
        "waves": "repo_tools.waves.cli:waves",
        "image": "repo_tools.image.cli:image",
        "migration": "repo_tools.migration.cli:migration",
        "bundle": "repo_tools.mirror.cli:bundle",
        "disk": "repo_tools.disk.cli:disk",
    },
)
@verbose_option
@version_option
@click.option(
    "--config",
    envvar="REPO_TOOLS_CONFIG",
    type=INPUT_FILE,
    help="Options that need not be typed; by default repo-tools.toml, if it is there.",
)
@click.pass_context
def repo_tools(ctx: click.Context, config: Path | None) -> None:
    """Make, publish and look after signed repositories of operating-system updates.

    A repository starts with keys and a root (`key generate`, `root init`, `root sign`), then
    `repo init` makes it and `repo publish` adds updates.
    """
    if ctx.obj is None:
        ctx.obj = Environment(now=datetime.now(UTC), secrets=ask_secret, confirm=ask)
    path = config or Path(_CONFIG)
    if path.is_file():
        from repo_tools.defaults import default_map, load_defaults  # noqa: PLC0415

        ctx.default_map = default_map(repo_tools, ctx, load_defaults(path), path)


@repo_tools.command("completion")
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.option(
    "--program",
    type=click.Choice([program.name for program in PROGRAMS]),
    default="repo-tools",
    show_default=True,
    help="The program to complete.",
)
def completion(shell: str, program: str) -> None:
    """Print a script for SHELL that completes commands and options.

    For bash: `repo-tools completion bash > /etc/bash_completion.d/repo-tools`.
    """
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    found = click.shell_completion.get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(repo_tools, {}, program, variable).source())


@repo_tools.command("manual")
@click.argument("directory", type=OUTPUT)
@json_option
def manual(directory: Path) -> None:
    """Write the manual pages of all programs into DIRECTORY."""
    from importlib.metadata import version  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    pages = []
    for program in PROGRAMS:
        module, _, attribute = program.command.partition(":")
        command = getattr(import_module(module), attribute)
        path = directory / f"{program.name}.{program.section}"
        path.write_text(man_page(program, command, version("updog")), encoding="utf-8")
        pages.append(str(path))
    answer("\n".join(pages), {"pages": pages})


def ask_secret(key: str, kind: str) -> str:
    """Get a passphrase or PIN: from the environment, else from the terminal.

    `REPO_TOOLS_PASSPHRASE_ALICE` is for the key `alice` alone, `REPO_TOOLS_PASSPHRASE` for any. A
    new passphrase has to be typed twice: nobody could use a key behind a slip.
    """
    variable = f"REPO_TOOLS_{kind.removeprefix('new ').upper()}"
    own = "".join(c if c.isalnum() else "_" for c in key.upper())
    for name in (f"{variable}_{own}", variable):
        if name in os.environ:
            return os.environ[name]
    if not sys.stdin.isatty():
        from repo_tools.errors import KeyUnavailable  # noqa: PLC0415

        raise KeyUnavailable(
            key, f"it needs a {kind}", hint=f"set {variable}_{own}, or run on a terminal"
        )
    answer: str = click.prompt(
        f"{kind} of key {key}",
        hide_input=True,
        confirmation_prompt=kind.startswith("new "),
        err=True,
    )
    return answer


def ask(question: str) -> bool:
    """Ask on a terminal; elsewhere go ahead, since what will happen is in the log."""
    return not sys.stdin.isatty() or click.confirm(question, err=True)
