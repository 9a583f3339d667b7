"""`repo-tools rollout`: see, pause, resume, speed up and recall what is being rolled out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import click

from repo_tools.clickgroup import (
    TIME,
    VERSION,
    ChangeOptions,
    RepositoryOptions,
    SigningOptions,
    answer,
    proposing_options,
    report,
    repository_options,
    signing_options,
)
from repo_tools.environment import Environment
from repo_tools.publish.manifest_edit import existing_update, replace_update, set_waves
from repo_tools.rollout import recall as recall_
from repo_tools.rollout import schedule
from repo_tools.rollout.state import rollout_states
from repo_tools.waves.curve import curve_of
from repo_tools.waves.render import terminal
from repo_tools.waves.source import waves_for
from signpost.cli_support import Cli, json_option
from updog.manifest import Manifest, Update
from updog.versions import Version


@click.group(cls=Cli)
def rollout() -> None:
    """Rollouts under way: see, pause, resume, speed up, recall."""


def _editing(function: Any) -> Any:
    """The options that every change of a rollout takes."""
    for option in (
        click.pass_obj,
        json_option,
        proposing_options,
        click.option("--version", required=True, type=VERSION, help="Version of the update."),
        signing_options("targets", "snapshot", "timestamp"),
        repository_options,
    ):
        function = option(function)
    return function


@rollout.command("show")
@repository_options
@click.option("--version", type=VERSION, help="Show the schedule of this update, with its curve.")
@click.option(
    "--fleet",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="With --version: number of hosts.",
)
@json_option
@click.pass_obj
def show(
    env: Environment, repository: RepositoryOptions, version: Version | None, fleet: int
) -> None:
    """Show how far each update is, or the schedule of one."""
    from repo_tools.publish.published import load_published  # noqa: PLC0415

    manifest = load_published(repository.transport(env), repository.trusted()).manifest
    if version is not None:
        update = existing_update(manifest, repository.line, version, "show the rollout of")
        curve = curve_of(update.waves, env.now)
        share = f"{curve.share_at(env.now):.1%} of the fleet have had their turn"
        answer(f"{terminal(curve, fleet)}\n\n{share}", curve.to_json(fleet))
        return
    states = rollout_states(manifest, repository.line, env.now)
    answer(
        "\n".join(each.text for each in states) or "no updates",
        {"updates": [each.to_json() for each in states]},
    )


@rollout.command("pause")
@_editing
def pause(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    change: ChangeOptions,
) -> None:
    """Stop a rollout where it is: nobody's turn comes any more.

    Hosts whose turn has come keep it, and will update when they next look. To take an update back
    from those too, recall it.
    """
    now = env.now.replace(microsecond=0)
    edit = _on_update(repository, version, lambda update: schedule.pause(update, now))
    _carry_out(env, repository, signing, change, edit)


@rollout.command("resume")
@_editing
def resume(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    change: ChangeOptions,
) -> None:
    """Let a paused rollout go on where it stopped, later by the length of the pause."""
    now = env.now.replace(microsecond=0)
    edit = _on_update(repository, version, lambda update: schedule.resume(update, now))
    _carry_out(env, repository, signing, change, edit)


@rollout.command("speed-up")
@_editing
@click.option(
    "--factor",
    type=click.FloatRange(min=1, min_open=True),
    default=2.0,
    show_default=True,
    help="How many times as fast the rest goes.",
)
def speed_up(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    factor: float,
    change: ChangeOptions,
) -> None:
    """Let the rest of a rollout go faster."""
    now = env.now.replace(microsecond=0)
    edit = _on_update(repository, version, lambda update: schedule.speed_up(update, now, factor))
    _carry_out(env, repository, signing, change, edit)


@rollout.command("set-waves")
@_editing
@click.option("--waves", "policy", required=True, help="Policy name, TOML file, or `none`.")
@click.option("--start-at", type=TIME, help="Count from this time instead of from now.")
def set_waves_(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    policy: str,
    start_at: datetime | None,
    change: ChangeOptions,
) -> None:
    """Start a rollout anew with another policy, or let it reach every host at once (`none`)."""
    waves = waves_for(policy, start_at or env.now)
    _carry_out(
        env,
        repository,
        signing,
        change,
        lambda manifest: set_waves(manifest, repository.line, version, waves),
    )


@rollout.command("recall")
@_editing
@click.option("--to", type=VERSION, help="Version to go back to; by default the one before.")
def recall(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    version: Version,
    to: Version | None,
    change: ChangeOptions,
) -> None:
    """Take an update back: hosts that run it, or anything newer, go down to an older version.

    Sets the maximum version; hosts go back when their turn for the older version comes. Refused
    where there is nothing to go back to, or no migration path.
    """
    _carry_out(
        env,
        repository,
        signing,
        change,
        lambda manifest: recall_.recall(manifest, repository.line, version, to),
        notes=lambda after: recall_.recall_notes(after, repository.line, env.now),
    )


def _on_update(
    repository: RepositoryOptions, version: Version, edit: Callable[[Update], Update]
) -> Callable[[Manifest], Manifest]:
    """An edit of the manifest from an edit of one update."""

    def edited(manifest: Manifest) -> Manifest:
        update = existing_update(manifest, repository.line, version, "change the rollout of")
        return replace_update(manifest, update, edit(update))

    return edited


def _carry_out(
    env: Environment,
    repository: RepositoryOptions,
    signing: SigningOptions,
    change: ChangeOptions,
    edit: Callable[[Manifest], Manifest],
    *,
    notes: Callable[[Manifest], Iterable[str]] = lambda _: (),
) -> None:
    from repo_tools.publish.session import edit_manifest, session  # noqa: PLC0415

    with session(repository.store(env), repository.prefix, repository.trusted()) as open_session:
        outcome = edit_manifest(
            open_session, edit, signing.signing(env), change.how(env), notes=notes
        )
        report(outcome)
