"""Drawing a curve: in a terminal, and as SVG. Pure, from points to text.

Times are shown relative to the begin of the curve, as policies write them, and absolute at both
ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from repo_tools.rollout.schedule import NEVER
from repo_tools.waves.curve import STEP_WARNING, length, samples
from updog.waves import MAX_SEED, format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from repo_tools.waves.curve import Curve, WaveRow

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
# Where the curve lies in the picture.
_LEFT, _TOP, _WIDTH, _HEIGHT = 70, 50, 720, 320
_BOTTOM: Final = _TOP + _HEIGHT
_LINE: Final = 18


def table(curve: Curve, fleet: int) -> str:
    """A row for every wave."""
    lines = [f"{'wave':>4}  {'seeds':>11}  {'hosts':>11}  {'by then':>7}  starts"]
    for row in curve.rows():
        seeds = f"{row.first_seed}-{row.last_seed}"
        pace = _pace(row, curve)
        when = f"{format_time(row.start)} ({pace})" if row.start < NEVER else pace
        lines.append(
            f"{row.number:>4}  {seeds:>11}  {round(row.share * fleet):>11,}"
            f"  {row.share_after:>7.1%}  {when}"
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
    """The curve as an SVG document: every seed a vertex, steps in red, the waves in a list."""
    rows = curve.rows()
    height = _BOTTOM + 80 + _LINE * len(rows)
    end = f"{format_time(curve.end)} (+{duration_text(curve.end - curve.begin)})"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="860" height="{height}" fill="white"/>',
        _label(_LEFT, 28, title, size=16),
        *_grid(curve, rows),
        _line(curve),
        *_steps(curve, fleet),
        _label(_LEFT, _BOTTOM + 36, format_time(curve.begin)),
        _label(_LEFT + _WIDTH, _BOTTOM + 36, end, anchor="end"),
        *_legend(curve, rows, fleet),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(curve: Curve, moment: datetime) -> float:
    return _LEFT + _WIDTH * min(1.0, (moment - curve.begin) / length(curve))


def _y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)


def _grid(curve: Curve, rows: Sequence[WaveRow]) -> Iterator[str]:
    """Levels, and the start of each wave with its number where there is room for it."""
    for percent in range(0, 101, 25):
        level = _y(percent / 100)
        yield f'<path d="M{_LEFT} {level:.1f}H{_LEFT + _WIDTH}" stroke="#ddd"/>'
        yield _label(_LEFT - 8, level + 4, f"{percent}%", anchor="end")
    free = 0.0
    for row in rows:
        if row.start >= NEVER:
            continue
        at = _x(curve, row.start)
        yield f'<path d="M{at:.1f} {_TOP}V{_BOTTOM}" stroke="#bbb" stroke-dasharray="3 3"/>'
        if at >= free:
            yield _label(at, _BOTTOM + 18, str(row.number), anchor="middle")
            free = at + 7 * (1 + len(str(row.number)))


def _line(curve: Curve) -> str:
    vertices = [f"{_x(curve, curve.begin):.2f},{_y(0):.2f}"]
    for seed, moment in enumerate(at for at in curve.ready if at < NEVER):
        # A host's turn raises the share at one instant: up, not along a slope.
        vertices.append(f"{_x(curve, moment):.2f},{_y(seed / MAX_SEED):.2f}")
        vertices.append(f"{_x(curve, moment):.2f},{_y((seed + 1) / MAX_SEED):.2f}")
    return f'<polyline fill="none" stroke="#0b62a4" points="{" ".join(vertices)}"/>'


def _steps(curve: Curve, fleet: int) -> Iterator[str]:
    """What comes at one instant; told on the side where there is room."""
    for step in curve.steps():
        at, low = _x(curve, step.at), curve.share_at(step.at) - step.share
        top, bottom = _y(low + step.share), _y(low)
        yield f'<path d="M{at:.1f} {bottom:.1f}V{top:.1f}" stroke="#c0392b" stroke-width="3"/>'
        side, anchor = (-6, "end") if at > _LEFT + _WIDTH / 2 else (6, "start")
        text = f"{round(step.share * fleet):,} hosts at once"
        yield _label(at + side, (top + bottom) / 2, text, anchor=anchor, fill="#c0392b")


def _legend(curve: Curve, rows: Sequence[WaveRow], fleet: int) -> Iterator[str]:
    red = f"red: more than {STEP_WARNING:.0%} at one instant"
    yield _label(_LEFT, _BOTTOM + 64, f"share of {fleet:,} hosts whose turn has come; {red}")
    for row in rows:
        hosts = f"{round(row.share * fleet):,} hosts, {row.share_after:.1%} of the fleet by then"
        text = f"wave {row.number}: {hosts}, {_pace(row, curve)}"
        yield _label(_LEFT, _BOTTOM + 64 + _LINE * row.number, text)


def _label(
    at: float, base: float, text: str, *, anchor: str = "start", fill: str = "black", size: int = 12
) -> str:
    """A line of text in a picture."""
    look = f'font-family="sans-serif" text-anchor="{anchor}" fill="{fill}" font-size="{size}"'
    return f'<text x="{at:.1f}" y="{base:.1f}" {look}>{escape(text)}</text>'


def _pace(row: WaveRow, curve: Curve) -> str:
    """When a wave starts, and how its hosts follow each other."""
    if row.start >= NEVER:
        return "held back"
    after = f"+{duration_text(row.start - curve.begin)}"
    if row.end >= NEVER:
        return f"{after}, the rest held back"
    spread = row.end - row.start
    return f"{after}, over {duration_text(spread)}" if spread else f"{after}, all at once"


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
