"""Drawing a curve: in a terminal, and as SVG. Pure, from points to text.

Times are shown relative to the start, which is what a rollout is planned by, and absolute at the
start and the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from repo_tools.waves.curve import STEP_WARNING, samples
from updog.waves import MAX_SEED, format_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from repo_tools.waves.curve import Curve

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


def table(curve: Curve, fleet: int) -> str:
    """A row for every wave."""
    lines = [f"{'wave':>4}  {'seeds':>11}  {'hosts':>11}  {'by then':>7}  starts"]
    for row in curve.rows():
        seeds = f"{row.first_seed}-{row.last_seed}"
        after = duration_text(row.start - curve.start)
        spread = row.end - row.start
        over = f", over {duration_text(spread)}" if spread else ", all at once"
        lines.append(
            f"{row.number:>4}  {seeds:>11}  {round(row.share * fleet):>11,}"
            f"  {row.share_after:>7.1%}  {format_time(row.start)} (+{after}{over})"
        )
    return "\n".join(lines)


def chart(points: Sequence[tuple[datetime, float]], *, height: int = 12) -> str:
    """A curve of bars, one column for each point; the y axis is the share of the fleet."""
    lines = []
    for level in range(height, 0, -1):
        bars = "".join(_bar(share * height - (level - 1)) for _, share in points)
        label = f"{level / height:.0%}" if level * 4 % height == 0 else ""
        lines.append(f"{label:>5} │{bars.rstrip()}")
    lines.append(f"{'0%':>5} └{'─' * len(points)}")
    first, last = points[0][0], points[-1][0]
    left, right = format_time(first), f"+{duration_text(last - first)}"
    lines.append(f"{'':>7}{left} {right.rjust(len(points) - len(left) - 1)}")
    return "\n".join(lines)


def terminal(curve: Curve, fleet: int, *, width: int = 64) -> str:
    """Table and chart."""
    return f"{table(curve, fleet)}\n\n{chart(samples(curve, width))}"


def svg(curve: Curve, fleet: int, title: str) -> str:
    """The curve as an SVG document: every seed a vertex, steps in red, waves marked."""
    left, top, width, height = 70, 50, 720, 320
    span = max((curve.end - curve.start).total_seconds(), 3600.0)

    def x(moment: datetime) -> float:
        return left + width * (moment - curve.start).total_seconds() / span

    def y(share: float) -> float:
        return top + height * (1 - share)

    vertices = [f"{x(curve.start):.2f},{y(0):.2f}"]
    for seed, moment in enumerate(curve.ready):
        # A host's turn raises the share at one instant: up, not along a slope.
        vertices.append(f"{x(moment):.2f},{y(seed / MAX_SEED):.2f}")
        vertices.append(f"{x(moment):.2f},{y((seed + 1) / MAX_SEED):.2f}")
    parts = [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 460"'
            ' font-family="sans-serif" font-size="12">'
        ),
        f"<title>{escape(title)}</title>",
        '<rect width="860" height="460" fill="white"/>',
        f'<text x="{left}" y="28" font-size="16">{escape(title)}</text>',
    ]
    for percent in range(0, 101, 25):
        level = y(percent / 100)
        parts.append(
            f'<path d="M{left} {level:.1f}H{left + width}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{level + 4:.1f}" text-anchor="end">{percent}%</text>'
        )
    for row in curve.rows():
        at = x(row.start)
        parts.append(
            f'<path d="M{at:.1f} {top}V{top + height}" stroke="#bbb" stroke-dasharray="3 3"/>'
            f'<text x="{at:.1f}" y="{top + height + 18}" text-anchor="middle">'
            f"+{duration_text(row.start - curve.start)}</text>"
        )
    parts.append(f'<polyline fill="none" stroke="#0b62a4" points="{" ".join(vertices)}"/>')
    for step in curve.steps():
        low = curve.share_at(step.at) - step.share
        hosts = round(step.share * fleet)
        parts.append(
            f'<path d="M{x(step.at):.1f} {y(low):.1f}V{y(low + step.share):.1f}"'
            ' stroke="#c0392b" stroke-width="3"/>'
            f'<text x="{x(step.at) - 6:.1f}" y="{y(low + step.share / 2):.1f}" text-anchor="end"'
            f' fill="#c0392b">{hosts:,} hosts at once</text>'
        )
    parts.append(
        f'<text x="{left}" y="{top + height + 44}">share of {fleet:,} hosts whose turn has come;'
        f" from {format_time(curve.start)} to {format_time(curve.end)}"
        f"; red: more than {STEP_WARNING:.0%} at one instant</text></svg>"
    )
    return "\n".join(parts) + "\n"


def duration_text(duration: timedelta) -> str:
    """A duration in its two largest units, `6d 4h`."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _bar(eighths_above: float) -> str:
    return _EIGHTHS[max(0, min(8, round(eighths_above * 8)))]
