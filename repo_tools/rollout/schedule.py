"""Changing the waves of a rollout under way, without taking anybody's turn back.

Hosts are in order of their seeds, so at any moment there is a first seed whose turn has not come.
Before it, hosts keep their turns; from it on, the schedule is another one:

- *pause*: nobody's turn comes any more (it comes in the year 9999);
- *resume*: the rest as it was, later by the length of the pause;
- *speed up*: the rest in a fraction of its time.

In the manifest that is a wave of its own for the last host that has had its turn, at that turn, so
that the hosts before it stay where they were; the wave of the next host starts the rest. While a
rollout is paused, its entry keeps the waves it had in a field of ours, which clients ignore:

    "paused": {"at": "2026-01-02T00:00:00Z", "waves": {"0": "…", "20": "…"}}

Turns that are in the past move by less than a second, to whole seconds. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from repo_tools.errors import ManifestEditRefused
from updog.waves import MAX_SEED, Seed, format_time, parse_key, parse_time, ready_at

if TYPE_CHECKING:
    from updog.manifest import Update
    from updog.waves import Waves

NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""When the turn of hosts comes that are held back."""

_PAUSED: Final = "paused"
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when a rollout is paused, and the waves that it had."""

    at: datetime
    waves: Waves


def pause_of(update: Update) -> Pause | None:
    """The pause that an update is in.

    Raises:
        ManifestEditRefused: Its entry says so in a way that is not ours.
    """
    value = update.unknown.get(_PAUSED)
    if value is None:
        return None
    try:
        if not isinstance(value, Mapping) or not isinstance(value["waves"], Mapping):
            raise TypeError("it is no object")  # noqa: TRY301
        waves = {parse_key(key): parse_time(start) for key, start in value["waves"].items()}
        return Pause(parse_time(value["at"]), waves)
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise ManifestEditRefused(
            f"read the pause of {update.label}", f"its field {_PAUSED!r} is damaged ({exc})"
        ) from exc


def pause(update: Update, at: datetime) -> Update:
    """Hold back all hosts whose turn has not come.

    Raises:
        ManifestEditRefused: It is paused already, or every host has had its turn.
    """
    doing = f"pause {update.label}"
    _require_running(update, doing)
    after = _served(update.waves, at, doing)
    kept = {"at": format_time(at), "waves": _to_json(update.waves)}
    return replace(
        update,
        waves={**_kept(update.waves, after), after: NEVER},
        unknown={**update.unknown, _PAUSED: kept},
    )


def resume(update: Update, at: datetime) -> Update:
    """Go on with a paused rollout where it stopped.

    Raises:
        ManifestEditRefused: It is not paused.
    """
    doing = f"resume {update.label}"
    paused = pause_of(update)
    if paused is None:
        raise ManifestEditRefused(doing, "it is not paused")
    after = _served(paused.waves, paused.at, doing)
    delay = max(at - paused.at, timedelta())
    waves = _rest(paused.waves, after, lambda start: start + delay)
    return with_waves(update, waves)


def with_waves(update: Update, waves: Waves) -> Update:
    """The update with other waves, which run: a pause of the ones before is forgotten."""
    unknown = {name: value for name, value in update.unknown.items() if name != _PAUSED}
    return replace(update, waves=dict(sorted(waves.items())), unknown=unknown)


def speed_up(update: Update, at: datetime, factor: float) -> Update:
    """Let the rest of a rollout take a fraction of its time.

    Args:
        update: Not paused.
        at: From when on.
        factor: How many times as fast; more than 1.

    Raises:
        ManifestEditRefused: It is paused, or every host has had its turn.
    """
    doing = f"speed up {update.label}"
    _require_running(update, doing)
    after = _served(update.waves, at, doing)
    return replace(update, waves=_rest(update.waves, after, lambda s: at + (s - at) / factor))


def served_seeds(waves: Waves, at: datetime) -> int:
    """How many seeds have had their turn, 0 to 2048; they are the lowest ones."""
    if not waves:
        return MAX_SEED
    return bisect_right(range(MAX_SEED), at, key=lambda seed: _turn(waves, seed))


def _require_running(update: Update, doing: str) -> None:
    paused = pause_of(update)
    if paused is not None:
        raise ManifestEditRefused(
            doing,
            f"it is paused since {format_time(paused.at)}",
            hint="`repo-tools rollout resume` lets it go on",
        )


def _served(waves: Waves, at: datetime, doing: str) -> int:
    """The first seed whose turn has not come."""
    after = served_seeds(waves, at)
    if after == MAX_SEED:
        raise ManifestEditRefused(
            doing,
            "every host has had its turn",
            hint="`repo-tools rollout recall` takes an update back",
        )
    return after


def _kept(waves: Waves, after: int) -> dict[int, datetime]:
    """Waves in which all seeds below `after` have their turns as they were."""
    if not after:
        return {}
    kept = {seed: start for seed, start in sorted(waves.items()) if seed < after}
    if not kept:  # all of them are below the first wave's first seed
        return {0: min(waves.values())}
    last_start = kept[max(kept)]
    kept.setdefault(after - 1, max(last_start, _turn(waves, after - 1).replace(microsecond=0)))
    return kept


def _rest(waves: Waves, after: int, moved: Callable[[datetime], datetime]) -> dict[int, datetime]:
    """The waves with every turn from the seed `after` on moved."""
    found = _kept(waves, after)
    found[after] = _whole_second(moved(_turn(waves, after)))
    for seed, start in sorted(waves.items()):
        if seed > after:
            found[seed] = max(found[max(found)], _whole_second(moved(start)))
    return found


def _turn(waves: Waves, seed: int) -> datetime:
    turn = ready_at(waves, Seed(seed))
    if turn is None:
        raise ValueError("there are no waves")
    return turn


def _whole_second(moment: datetime) -> datetime:
    """The moment, rounded up: nobody's turn comes early."""
    down = moment.replace(microsecond=0)
    return down if down == moment else down + _SECOND


def _to_json(waves: Waves) -> dict[str, str]:
    return {str(seed): format_time(start) for seed, start in sorted(waves.items())}
