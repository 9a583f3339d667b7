"""The options of `updog`'s commands, and what every command gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from updog import logs
from updog.environment import Environment, Host, load_environment
from updog.progress_display import MODES
from updog.versions import Version, parse_version

if TYPE_CHECKING:
    from updog.interrupt import Interrupt


class VersionType(click.ParamType[Version]):
    """A SemVer version, with or without a leading v."""

    name = "version"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Version:
        """Parse it; a usage error otherwise."""
        if isinstance(value, Version):
            return value
        try:
            return parse_version(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class App:
    """What every command gets.

    Attributes:
        host: Paths, clock, disk.
        interrupt: Whether a signal asked to stop.
    """

    host: Host
    interrupt: Interrupt

    @property
    def env(self) -> Environment:
        """The host with its configuration and release."""
        return load_environment(self.host)


def _log_level(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    # On the group as on each command; where it is not given, the command leaves it as it is.
    if not ctx.resilient_parsing and (value or ctx.parent is None):
        logs.configure(value or "info")


log_level_option = click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    is_eager=True,
    expose_value=False,
    callback=_log_level,
    help="Least level of log lines on stderr. Default: info.",
)
image_option = click.option(
    "-i", "--image", type=VersionType(), metavar="VERSION", help="Exactly this version."
)
now_option = click.option(
    "-n",
    "--now",
    "--ignore-waves",
    "now",
    is_flag=True,
    help="Do not wait for this host's turn in the rollout.",
)
reboot_option = click.option("-r", "--reboot", is_flag=True, help="Reboot afterwards.")
bundle_option = click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Take everything from this file instead of the repository; it is verified all the same.",
)
progress_option = click.option(
    "--progress",
    type=click.Choice(MODES),
    default="auto",
    show_default=True,
    help="How progress is shown on stderr.",
)
