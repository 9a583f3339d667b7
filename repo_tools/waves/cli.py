"""`repo-tools waves`: look at policies, see a rollout before it happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click

from repo_tools.clickgroup import (
    DURATION,
    INPUT_FILE,
    OUTPUT,
    SIZE,
    TIME,
    VERSION,
    answer,
    needs_extra,
    note,
)
from repo_tools.environment import Environment
from repo_tools.errors import StoreFailed
from repo_tools.waves.curve import curve_of
from repo_tools.waves.policies import named_policy, policy_names, policy_text
from repo_tools.waves.render import duration_text, svg, terminal
from repo_tools.waves.source import WaveSource, read_seeds, waves_from
from signpost.cli_support import Cli, json_option
from updog.versions import Version


@click.group(cls=Cli)
def waves() -> None:
    """Waves: look at policies, and at a rollout before it happens."""


@waves.command("list")
@json_option
def list_() -> None:
    """List the named policies."""
    rows = []
    for name in policy_names():
        policy = named_policy(name)
        last = duration_text(policy.waves[-1].start_after)
        rows.append({"name": name, "waves": len(policy.waves), "last_wave_after": last})
    text = "\n".join(
        f"{row['name']:<12} {row['waves']} waves, the last after {row['last_wave_after']}"
        for row in rows
    )
    answer(text, {"policies": rows})


@waves.command("show")
@click.argument("name", type=click.Choice(policy_names()))
@json_option
def show(name: str) -> None:
    """Print a named policy as TOML, to start one's own from."""
    answer(policy_text(name).rstrip(), {"name": name, "toml": policy_text(name)})


def _source_options(function: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--arch", help="Architecture of that update."),
        click.option("--variant", help="Variant of that update."),
        click.option("--version", type=VERSION, help="Version of that update."),
        click.option("--manifest", type=INPUT_FILE, help="Take the waves of a manifest's update."),
        click.option("--start-at", type=TIME, help="Count from this time instead of from now."),
    ):
        function = option(function)
    return click.argument("policy", required=False)(function)


@waves.command("plan")
@_source_options
@click.option(
    "--fleet", type=click.IntRange(min=1), default=1000, show_default=True, help="Number of hosts."
)
@click.option("--svg", "picture", type=OUTPUT, help="Also draw the curve into an SVG file.")
@json_option
@click.pass_obj
def plan(
    env: Environment,
    policy: str | None,
    start_at: datetime | None,
    manifest: Path | None,
    version: Version | None,
    variant: str | None,
    arch: str | None,
    fleet: int,
    picture: Path | None,
) -> None:
    """Show when which share of a fleet may update.

    POLICY is a name (see `waves list`) or a TOML file; or --manifest, --version, --variant and
    --arch name an update. Warns where many hosts get their turn at one instant.
    """
    source = WaveSource(
        policy, start_at or env.now.replace(microsecond=0), manifest, version, variant, arch
    )
    curve = curve_of(waves_from(source), source.start_at)
    if picture is not None:
        _write(picture, svg(curve, fleet, source.title))
    answer(terminal(curve, fleet), curve.to_json(fleet))
    for warning in curve.warnings(fleet):
        note(f"warning: {warning}")


@waves.command("simulate")
@_source_options
@click.option(
    "--fleet",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="Number of hosts.",
)
@click.option("--seeds", type=INPUT_FILE, help="File with the seeds of real hosts, one a line.")
@click.option(
    "--check-interval",
    type=DURATION,
    default="1 hour",
    show_default=True,
    help="Time between two checks of a host.",
)
@click.option(
    "--failure-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of hosts that fail to boot the update.",
)
@click.option(
    "--image-size",
    type=SIZE,
    default="400 MiB",
    show_default=True,
    help="What an update downloads.",
)
@click.option("--for", "span", type=DURATION, help="How long to look; by default to the end.")
@click.option(
    "--stop-at",
    "stops",
    multiple=True,
    type=DURATION,
    metavar="OFFSET",
    help="What a pause or a recall this long after the start would leave. May be repeated.",
)
@click.option(
    "--bins",
    type=click.IntRange(1, 10_000),
    default=24,
    show_default=True,
    help="Rows of the result.",
)
@click.option(
    "--random-seed", type=int, default=0, show_default=True, help="Draws seeds and phases."
)
@json_option
@click.pass_obj
def simulate(
    env: Environment,
    policy: str | None,
    start_at: datetime | None,
    manifest: Path | None,
    version: Version | None,
    variant: str | None,
    arch: str | None,
    fleet: int,
    seeds: Path | None,
    check_interval: timedelta,
    failure_rate: float,
    image_size: int,
    span: timedelta | None,
    stops: tuple[timedelta, ...],
    bins: int,
    random_seed: int,
) -> None:
    """Let a fleet go through a rollout: hosts updated, requests and bytes per second, over time.

    Where the waves come from is said as for `waves plan`. Each host checks at a random phase, once
    every interval, and takes the update the first time after its turn has come.
    """
    with needs_extra("simulate"):
        from repo_tools.waves.simulate import Fleet, roll_out  # noqa: PLC0415
    from repo_tools.waves.report import simulation_text  # noqa: PLC0415

    source = WaveSource(
        policy, start_at or env.now.replace(microsecond=0), manifest, version, variant, arch
    )
    curve = curve_of(waves_from(source), source.start_at)
    start = curve.begin
    result = roll_out(
        curve,
        Fleet(
            hosts=fleet,
            seeds=None if seeds is None else read_seeds(seeds),
            check_interval=check_interval,
            failure_rate=failure_rate,
            image_bytes=image_size,
        ),
        start=start,
        end=start + span if span else curve.end + 2 * check_interval,
        bins=bins,
        random_seed=random_seed,
        interventions=[start + stop for stop in stops],
    )
    answer(simulation_text(result), result.to_json())


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise StoreFailed("write", str(path), exc.strerror or str(exc)) from exc
