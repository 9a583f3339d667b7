"""The `repo-tools` command: a map of groups, each in its own package."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

import click

from repo_tools.clickgroup import MapGroup
from repo_tools.environment import Environment
from signpost.cli_support import verbose_option, version_option


@click.group(
    cls=MapGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    lazy={
        "key": "repo_tools.keys.cli:key",
        "root": "repo_tools.root.cli:root",
        "repo": "repo_tools.publish.cli:repo",
        "rollout": "repo_tools.rollout.cli:rollout",
        "waves": "repo_tools.waves.cli:waves",
        "disk": "repo_tools.disk.cli:disk",
    },
)
@verbose_option
@version_option
@click.pass_context
def repo_tools(ctx: click.Context) -> None:
    """Make, publish and look after signed repositories of operating-system updates.

    A repository starts with keys and a root (`key generate`, `root init`, `root sign`), then
    `repo init` makes it and `repo publish` adds updates.
    """
    if ctx.obj is None:
        ctx.obj = Environment(now=datetime.now(UTC), secrets=ask_secret, confirm=ask)


def ask_secret(key: str, kind: str) -> str:
    """Get a passphrase or PIN: from the environment, else from the terminal.

    `REPO_TOOLS_PASSPHRASE_ALICE` is for the key `alice` alone, `REPO_TOOLS_PASSPHRASE` for any.
    """
    variable = f"REPO_TOOLS_{kind.upper()}"
    own = "".join(c if c.isalnum() else "_" for c in key.upper())
    for name in (f"{variable}_{own}", variable):
        if name in os.environ:
            return os.environ[name]
    if not sys.stdin.isatty():
        from repo_tools.errors import KeyUnavailable  # noqa: PLC0415

        raise KeyUnavailable(
            key, f"it needs a {kind}", hint=f"set {variable}_{own}, or run on a terminal"
        )
    answer: str = click.prompt(f"{kind} of key {key}", hide_input=True, err=True)
    return answer


def ask(question: str) -> bool:
    """Ask on a terminal; elsewhere go ahead, since what will happen is in the log."""
    return not sys.stdin.isatty() or click.confirm(question, err=True)
