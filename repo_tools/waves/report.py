"""A simulation as text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repo_tools.waves.render import chart, duration_text
from updog.waves import format_time

if TYPE_CHECKING:
    from repo_tools.waves.simulate import Simulation


def simulation_text(result: Simulation) -> str:
    """A row for each bin, a chart of hosts updated, and what interventions would leave."""
    titles = ("after", "updated", "share", "failed", "peak req/s", "peak bytes/s")
    lines = ["{:>9}  {:>11}  {:>6}  {:>9}  {:>11}  {:>12}".format(*titles)]
    points = list(result.points())
    for end, updated, failed, requests, rate in points:
        after, share = duration_text(end - result.start), updated / result.fleet
        lines.append(
            f"{after:>9}  {updated:>11,}  {share:>6.1%}  {failed:>9,}"
            f"  {requests:>11,.1f}  {_rate(rate):>12}"
        )
    lines += ["", chart([(end, updated / result.fleet) for end, updated, *_ in points], height=8)]
    for reach in result.reaches:
        lines.append(
            f"at {format_time(reach.at)} (+{duration_text(reach.at - result.start)}):"
            f" {reach.updated:,} hosts have updated, {reach.failed:,} of them failed;"
            f" a pause then still reaches {reach.pause_adds:,} more,"
            " a recall none, and brings the others back"
        )
    return "\n".join(lines)


def _rate(bytes_per_second: float) -> str:
    """A rate in decimal units, as networks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if bytes_per_second < 1000 or unit == "TB":  # noqa: PLR2004
            return f"{bytes_per_second:.1f} {unit}"
        bytes_per_second /= 1000
    raise AssertionError
