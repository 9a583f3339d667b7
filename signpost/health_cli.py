"""The commands of signpost that judge a boot.

What they need is imported when they run: everything else that signpost does starts faster without.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from partition.disk import is_image
from partition.errors import PartitionError
from signpost.cli_support import echo_json, json_option, json_wanted, printable, warn

if TYPE_CHECKING:
    from signpost.environment import Environment
    from signpost.health import Boot
    from signpost.health_policy import CheckResult, Decision, Policy
    from signpost.health_record import BootRecord, History


@click.command()
@json_option
@click.option(
    "--failed", metavar="REASON", help="Run no checks: the boot has failed, for this reason."
)
@click.option(
    "--no-mark", is_flag=True, help="Leave it to mark-successful-boot to confirm the set."
)
@click.pass_obj
def health_check(environment: Environment, *, failed: str | None, no_mark: bool) -> None:
    """Judge this boot, and act on it.

    Runs the executables in required.d and wanted.d of /usr/lib/signpost/health and
    /etc/signpost/health. When all required ones pass, the running set is confirmed. When one
    fails, or they take too long, the reason is stored where `status` shows it; a set that was not
    confirmed before is given up, and the machine restarts into the other one. What is to happen is
    set in /etc/signpost/health.toml.
    """
    from signpost.health import standing_of  # noqa: PLC0415
    from signpost.health_policy import decide, failure  # noqa: PLC0415

    boot, history = _known(environment)
    earlier = history.verdict_of(boot.boot_id, boot.active)
    if failed is not None and earlier is not None and earlier.passed:
        click.echo(f"{boot.name}: this boot has passed, too late for: {failed}")
        return
    policy, problem = _policy(environment)
    checks: tuple[CheckResult, ...] = ()
    reason = failed or problem
    if failed is not None and earlier is not None:
        # Said again because the checks failed: they know better why.
        reason, checks = earlier.reason, earlier.checks
    elif reason is None:
        checks = _run_checks(environment, boot, policy)
        reason = failure(checks)
    with environment.open(writable=False) as disk:
        decision = decide(standing_of(disk.state), reason, policy)
    record = boot.verdict(reason, decision, checks)
    _store(environment, history.with_boot(record))
    _change(environment, decision, mark=not no_mark)
    _tell(record, decision)
    if decision.restarts:
        _restart(environment)
    if reason is not None and failed is None:
        click.get_current_context().exit(1)


@click.command()
@json_option
@click.pass_obj
def mark_failed_boot(environment: Environment) -> None:
    """Give the running set up.

    It does not boot again until it is written anew. Refused unless the other set will boot.
    """
    with environment.open(writable=True) as disk:
        disk.store(disk.state.mark_failed_boot())


@click.command()
@json_option
@click.option("--at-shutdown", is_flag=True, help="Do nothing unless the system is shutting down.")
@click.pass_obj
def restore_try(environment: Environment, *, at_shutdown: bool) -> None:
    """Give back the try that this boot spent.

    For a clean shutdown: such a boot has not failed. A set that is not confirmed gets its try back
    a limited number of times (/etc/signpost/health.toml), and not after its checks failed.
    """
    from signpost.health import end_cleanly, system_is_stopping  # noqa: PLC0415

    if at_shutdown and not system_is_stopping():
        return
    boot, history = _known(environment)
    policy, _ = _policy(environment)
    with environment.open(writable=True) as disk:
        state, history, why = end_cleanly(disk.state, history, boot, policy)
        # First the count: a try too few is an early way back, a try too many may be a loop.
        _store(environment, history)
        disk.store(state)
    if why is None:
        click.echo(f"{boot.name}: clean end, the try is given back")
    else:
        click.echo(f"{boot.name}: the try stays spent: {why}")


def _known(environment: Environment) -> tuple[Boot, History]:
    """The running boot, and the record with what earlier boots could not write."""
    from signpost.health import Boot, with_what_was_missed  # noqa: PLC0415
    from signpost.health_files import load_history  # noqa: PLC0415
    from signpost.health_record import History  # noqa: PLC0415

    with environment.open(writable=False) as disk:
        active = disk.state.active
    boot = Boot.running(active, root=environment.root, proc=environment.proc, now=datetime.now(UTC))
    try:
        stored = load_history(environment.root)
    except PartitionError as error:
        # Notes for people: no reason to let a machine down.
        warn(f"{error}; starting a new record")
        stored = History()
    history = with_what_was_missed(stored, boot, environment.root)
    for record in history.boots:
        if record not in stored.boots:
            click.echo(printable(record.sentence()), err=True)
    return boot, history


def _policy(environment: Environment) -> tuple[Policy, str | None]:
    """The policy, and what is wrong with the configuration; with its defaults then."""
    from signpost.errors import HealthConfigInvalid  # noqa: PLC0415
    from signpost.health_files import load_policy  # noqa: PLC0415
    from signpost.health_policy import Policy  # noqa: PLC0415

    try:
        return load_policy(environment.root), None
    except HealthConfigInvalid as error:
        return Policy(), str(error)


def _run_checks(environment: Environment, boot: Boot, policy: Policy) -> tuple[CheckResult, ...]:
    from signpost.health import run_all_checks  # noqa: PLC0415

    variables = {"SIGNPOST_ACTIVE_SET": boot.active}
    return run_all_checks(environment.root, policy, variables)


def _store(environment: Environment, history: History) -> None:
    """Keep the record; a machine whose /var is broken must get away from it all the same."""
    from signpost.health_files import store_history  # noqa: PLC0415

    try:
        store_history(environment.root, history)
    except PartitionError as error:
        warn(f"the verdict is not kept: {error}")


def _change(environment: Environment, decision: Decision, *, mark: bool) -> None:
    """Change the boot flags as decided."""
    from signpost.health_policy import Action  # noqa: PLC0415

    if decision.action is Action.MARK_SUCCESSFUL and mark:
        with environment.open(writable=True) as disk:
            disk.store(disk.state.mark_successful_boot())
    elif decision.action is Action.GIVE_UP_AND_RESTART:
        with environment.open(writable=True) as disk:
            disk.store(disk.state.mark_failed_boot())


def _tell(record: BootRecord, decision: Decision) -> None:
    if json_wanted():
        echo_json(record.to_json())
        return
    for check in record.checks:
        click.echo(printable(check.sentence()))
    click.echo(printable(record.sentence()))
    click.echo(f"{decision.action.value}: {decision.because}")


def _restart(environment: Environment) -> None:
    from signpost.health import restart_host  # noqa: PLC0415

    if environment.os_disk is not None and is_image(environment.os_disk):
        warn(f"not restarting: {environment.os_disk} is a disk image")
    else:
        restart_host()
