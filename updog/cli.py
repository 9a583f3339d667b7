"""`updog`: check for updates, install them, take them back."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signpost.cli_support import (
    Cli,
    echo_json,
    json_option,
    json_wanted,
    printable,
    verbose_option,
    version_option,
)
from signpost.layout import Slot
from updog.cli_options import (
    App,
    bundle_option,
    image_option,
    log_level_option,
    now_option,
    progress_option,
    reboot_option,
)
from updog.environment import Environment, Host, Paths
from updog.errors import NoUpdateAvailable
from updog.interrupt import Interrupt
from updog.lookup import Request, check
from updog.progress_display import displaying
from updog.versions import Version

if TYPE_CHECKING:
    from updog.choose import Choice
    from updog.install import Outcome
    from updog.transport import Transport


@click.group(cls=Cli)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"),
    help="All paths are below this directory.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file. Default: /etc/updog.toml below the root.",
)
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
@log_level_option
@verbose_option
@version_option
@click.pass_context
def cli(
    ctx: click.Context,
    root: Path,
    config: Path | None,
    os_disk: Path | None,
    active_set: str | None,
) -> None:
    """Update this host from a signed repository, onto the partition set that does not run.

    Power may fail at any point: the host boots the old system or the new one, whole. Answers go to
    stdout, everything else to stderr. Exit codes: 0 done, or nothing to do; 1 failed; 2 usage;
    3 (check-update alone) no update available.
    """
    if ctx.obj is None:
        paths = Paths(root.absolute(), config)
        active = Slot(active_set) if active_set else None
        ctx.obj = Host.read(paths, os_disk=os_disk, active=active)
    interrupt = Interrupt(f"running {ctx.invoked_subcommand}")
    ctx.with_resource(interrupt.handling_signals())
    ctx.obj = App(ctx.obj, interrupt)


@cli.command()
@click.option("-a", "--all", "show_all", is_flag=True, help="Every candidate, newest first.")
@now_option
@image_option
@click.option("--explain", is_flag=True, help="Say of every update why it is or is not taken.")
@bundle_option
@json_option
@log_level_option
@click.pass_obj
def check_update(
    app: App,
    *,
    show_all: bool,
    now: bool,
    image: Version | None,
    explain: bool,
    bundle: Path | None,
) -> None:
    """Print the update that would be installed now.

    Nothing is installed; trusted metadata is brought up to date. Exit code 3 if there is none.
    """
    env = app.env
    with (
        closing(_transport(env, bundle)) as transport,
        app.interrupt.cutting_off(transport.close),
    ):
        choice = check(env, transport, Request(image, now))
    _print_choice(choice, show_all=show_all, explain=explain)


cli.add_command(check_update, "whats")


@cli.command()
@image_option
@now_option
@reboot_option
@bundle_option
@progress_option
@json_option
@log_level_option
@click.pass_obj
def update(
    app: App, *, image: Version | None, now: bool, reboot: bool, bundle: Path | None, progress: str
) -> None:
    """Install the update and let it boot next.

    Only the set that does not run is written, and it boots only if all of it was read back and
    verified. An interrupted update goes on where it was when it is started again.
    """
    request = Request(image, now)
    _run_update(app, request, bundle=bundle, progress=progress, apply=True, reboot=reboot)


@cli.command()
@image_option
@now_option
@bundle_option
@progress_option
@json_option
@log_level_option
@click.pass_obj
def update_image(
    app: App, *, image: Version | None, now: bool, bundle: Path | None, progress: str
) -> None:
    """Install the update, but do not boot it next.

    update-apply does that.
    """
    request = Request(image, now)
    _run_update(app, request, bundle=bundle, progress=progress, apply=False, reboot=False)


@cli.command()
@reboot_option
@log_level_option
@click.pass_obj
def update_apply(app: App, *, reboot: bool) -> None:
    """Boot the installed update next.

    Needs no network. Refused unless update-image left a whole update, not tried before.
    """
    from updog.staging import apply_staged  # noqa: PLC0415  each command loads what it needs

    click.echo(apply_staged(app.host, reboot=reboot), err=True)
    _reboot_if(app, wanted=reboot)


@cli.command()
@log_level_option
@click.pass_obj
def update_revert(app: App) -> None:
    """Boot the running system next after all.

    Takes back what update or update-apply did, as long as the host was not rebooted. Needs no
    network; the update stays installed.
    """
    from updog.staging import revert  # noqa: PLC0415  as above

    click.echo(revert(app.host), err=True)


@cli.command()
@json_option
@log_level_option
@click.pass_obj
def status(app: App) -> None:
    """Show a running update, what is installed but not booted, and what failed to boot.

    Changes nothing, and can be asked while an update runs.
    """
    from updog.status import read_status  # noqa: PLC0415  as above

    report = read_status(app.host)
    if json_wanted():
        echo_json(report.to_json())
    else:
        click.echo("\n".join(map(printable, report.lines())))


def _transport(env: Environment, bundle: Path | None) -> Transport:
    """The way to the repository, or to what stands for it."""
    if bundle is not None:
        from updog.bundle import open_bundle  # noqa: PLC0415  as above

        return open_bundle(bundle)
    from updog.connect import make_transport  # noqa: PLC0415  as above

    return make_transport(env.config, env.release, env.environ)


def _print_choice(choice: Choice, *, show_all: bool, explain: bool) -> None:
    """Print the answer of check-update; what is asked for decides the shape of its JSON."""
    from updog import explain as words  # noqa: PLC0415  as above

    updates = choice.candidates if show_all else tuple(filter(None, [choice.update]))
    if not json_wanted():
        told = words.lines(choice) if explain else ()
        for line in (*(update.label for update in updates), *told):
            click.echo(printable(line))
    elif explain:
        echo_json(words.to_json(choice))
    elif show_all or updates:
        found = [update.to_json() for update in updates]
        echo_json(found if show_all else found[0])
    if not updates:
        raise NoUpdateAvailable(words.summary(choice))


def _run_update(
    app: App, request: Request, *, bundle: Path | None, progress: str, apply: bool, reboot: bool
) -> None:
    """Run the procedure, and tell how it ended."""
    from updog.activity import ActivityFile  # noqa: PLC0415  as above
    from updog.install import Tools, update  # noqa: PLC0415
    from updog.pipeline import install_images  # noqa: PLC0415
    from updog.progress import Everybody  # noqa: PLC0415
    from updog.rehearsal import rehearse  # noqa: PLC0415
    from updog.trust import refresh  # noqa: PLC0415

    env = app.env
    with (
        closing(_transport(env, bundle)) as transport,
        app.interrupt.cutting_off(transport.close),
        closing(ActivityFile(env.paths.activity, kernel=env.kernel)) as activity,
        displaying(progress, sys.stderr) as display,
    ):
        tools = Tools(
            transport=transport,
            refresh=refresh,
            install_images=install_images,
            rehearse=rehearse,
            progress=Everybody([display, activity]),
            say=display.say,
            interrupt=app.interrupt,
        )
        outcome = update(env, request, tools, apply=apply, reboot=reboot)
    _print_outcome(outcome)
    _reboot_if(app, wanted=reboot and outcome.update is not None)


def _print_outcome(outcome: Outcome) -> None:
    """Print what was done on stdout; that nothing was, on stderr."""
    if outcome.note:
        click.echo(printable(outcome.note), err=True)
    if outcome.update is None or not outcome.was_written:
        return
    if json_wanted():
        echo_json(outcome.update.to_json())
    else:
        click.echo(f"Update applied: {outcome.update.label}")


def _reboot_if(app: App, *, wanted: bool) -> None:
    from updog.reboot import reboot  # noqa: PLC0415  as above

    if wanted:
        app.interrupt.doing = "about to reboot"
        app.interrupt.stop_if_asked()
        reboot()
