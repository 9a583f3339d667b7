"""The command line of signpost: typed arguments in, one decision, one answer out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from partition.disk import is_image
from signpost.cli_support import (
    Cli,
    echo_json,
    json_option,
    json_wanted,
    verbose_option,
    version_option,
)
from signpost.environment import Environment
from signpost.health_cli import health_check, mark_failed_boot, restore_try
from signpost.layout import Slot
from signpost.report import Status
from signpost.state import BootState, boot


@click.group(cls=Cli)
@click.option(
    "--os-disk",
    type=click.Path(path_type=Path),
    envvar="SIGNPOST_OS_DISK",
    show_envvar=True,
    help="Disk or disk image. Default: the disk under the root file system.",
)
@click.option(
    "--active-set",
    type=click.Choice([slot.value for slot in Slot]),
    envvar="SIGNPOST_ACTIVE_SET",
    show_envvar=True,
    help="The set that the system runs from. Default: found out; needed for an image.",
)
@json_option
@verbose_option
@version_option
@click.pass_context
def cli(ctx: click.Context, os_disk: Path | None, active_set: str | None) -> None:
    """Show and change which partition set boots next.

    Only the partition table is written, never a partition. A refused command (exit code 1) has
    written nothing.
    """
    if ctx.obj is None:
        ctx.obj = Environment(os_disk, Slot(active_set) if active_set else None)


@cli.command()
@json_option
@click.pass_obj
def status(environment: Environment) -> None:
    """Show the sets and which one boots next.

    Changes nothing, and can be asked while an update runs.
    """
    with environment.open(writable=False) as disk:
        report = Status.of(disk, last_failure=_last_failure(environment))
    if json_wanted():
        echo_json(report.to_json())
    else:
        click.echo("\n".join(report.lines()))


@cli.command()
@json_option
@click.pass_obj
def clear_inactive(environment: Environment) -> None:
    """Make the inactive set unbootable.

    To be done before it is written. Refused unless the running set is confirmed: it must be able
    to boot again.
    """
    _change(environment, BootState.clear_inactive)


@cli.command()
@json_option
@click.option(
    "--tries",
    type=click.IntRange(1, 15),
    default=1,
    show_default=True,
    help="How often the set may be tried.",
)
@click.pass_obj
def mark_inactive_valid(environment: Environment, tries: int) -> None:
    """Say that the inactive set is whole.

    It does not boot yet. Refused unless the set was cleared before.
    """
    _change(environment, lambda state: state.mark_inactive_valid(tries))


@cli.command()
@json_option
@click.pass_obj
def upgrade_to_inactive(environment: Environment) -> None:
    """Boot the inactive set next.

    Refused unless it was marked valid, and not used since.
    """
    _change(environment, BootState.upgrade_to_inactive)


@cli.command()
@json_option
@click.pass_obj
def cancel_upgrade(environment: Environment) -> None:
    """Take a pending upgrade back.

    The running set boots next; the other one stays valid. Refused if no upgrade is pending.
    """
    _change(environment, BootState.cancel_upgrade)


@cli.command()
@json_option
@click.pass_obj
def rollback_to_inactive(environment: Environment) -> None:
    """Boot the former system next.

    The inactive set gets one try. Refused unless it would boot.
    """
    _change(environment, BootState.rollback_to_inactive)


@cli.command()
@json_option
@click.pass_obj
def mark_successful_boot(environment: Environment) -> None:
    """Confirm the running set.

    From now on it boots without counting tries.
    """
    _change(environment, BootState.mark_successful_boot)


@cli.command()
@json_option
@click.pass_obj
def has_boot_ever_succeeded(environment: Environment) -> None:
    """Print whether any boot was ever confirmed.

    The answer is true or false. Changes nothing.
    """
    with environment.open_at_boot(writable=False) as disk:
        click.echo("true" if disk.private.booted_once else "false")


@cli.command()
@json_option
@click.pass_obj
def rewrite_table(environment: Environment) -> None:
    """Write the partition table again.

    Both copies are written, which repairs a damaged one.
    """
    with environment.open_at_boot(writable=True) as disk:
        disk.rewrite()
        if json_wanted():
            echo_json(
                {
                    "os_disk": str(disk.os_disk),
                    "table_source": disk.table_source.value,
                    "problems": list(disk.problems),
                }
            )


@cli.command()
@json_option
@click.pass_obj
def choose_boot(environment: Environment) -> None:
    """Choose the set to boot, as a boot loader.

    Spends its try and prints A or B. For a boot stage whose boot loader does not know these flags;
    once for each boot.
    """
    with environment.open_at_boot(writable=True) as disk:
        chosen, flags = boot(disk.flags)
        disk.store_flags(flags)
    if json_wanted():
        echo_json(chosen.value)
    else:
        click.echo(chosen.value)


cli.add_command(health_check)
cli.add_command(mark_failed_boot)
cli.add_command(restore_try)


def _last_failure(environment: Environment) -> str | None:
    """What this host remembers of its boots; of a disk image that was named it knows nothing."""
    if environment.os_disk is not None and is_image(environment.os_disk):
        return None
    if not (environment.root / "var/lib/signpost/health.json").exists():
        return None
    from signpost.health_files import last_failure  # noqa: PLC0415  slow to import, seldom needed

    return last_failure(environment.root)


def _change(environment: Environment, transition: Callable[[BootState], BootState]) -> None:
    with environment.open(writable=True) as disk:
        disk.store(transition(disk.state))
        if json_wanted():
            echo_json(Status.of(disk).to_json())
