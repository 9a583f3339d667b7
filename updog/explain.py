"""A choice in words, and as JSON: why each update is or is not taken, and when its turn comes.

chosen   aws-k8s-1.15 1.2.0 x86_64
not now  aws-k8s-1.15 1.3.0 x86_64: this host's turn comes at 2020-07-01T12:00:00Z (seed 7)
no       aws-k8s-1.15 1.1.0 x86_64: this host runs 1.1.5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from updog.choose import Obstacle
from updog.waves import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from updog.choose import Choice, Finding, Wish

_OTHER_HOSTS = frozenset({Obstacle.VARIANT, Obstacle.ARCH})
_NOT_NEWER = frozenset({Obstacle.OLDER, Obstacle.RUNNING})


def lines(choice: Choice) -> Iterator[str]:
    """One line for each update, newest first."""
    for finding in choice.findings:
        update = finding.update
        verdict = "no"
        if not finding.obstacles:
            verdict = "chosen"
        elif finding.obstacles == (Obstacle.WAVE,):
            verdict = "not now"
        reasons = "; ".join(sentence(each, finding, choice) for each in finding.obstacles)
        told = f": {reasons}" if reasons else ""
        yield f"{verdict:8} {update.label} {update.arch}{told}"


def sentence(obstacle: Obstacle, finding: Finding, choice: Choice) -> str:
    """Put into words why an update is not taken."""
    return _WORDS[obstacle](finding, choice)


def summary(choice: Choice) -> str:
    """Say in one line why nothing is taken."""
    wish = choice.wish
    ours = [finding for finding in choice.findings if _OTHER_HOSTS.isdisjoint(finding.obstacles)]
    if not ours:
        return f"the repository has nothing for {wish.release.variant} on {wish.release.arch}"
    if wish.image is not None:
        named = [each for each in ours if Obstacle.IMAGE not in each.obstacles]
        if not named:
            return f"the repository does not have {wish.image}"
        return sentence(named[0].obstacles[0], named[0], choice)
    if wish.version_lock is not None:
        return _locked_summary(ours, choice)
    # Older ones are in nobody's way. What will pass is told before what will not.
    newer = [each for each in ours if _NOT_NEWER.isdisjoint(each.obstacles)]
    for telling in (Obstacle.WAVE, Obstacle.FAILED, Obstacle.MAX_VERSION):
        for finding in newer:
            if telling in finding.obstacles and (
                telling is Obstacle.MAX_VERSION or Obstacle.MAX_VERSION not in finding.obstacles
            ):
                return f"{finding.update.version}: {sentence(telling, finding, choice)}"
    return f"this host runs {wish.release.version}, there is none newer"


def to_json(choice: Choice) -> dict[str, object]:
    """Return all of it: what was asked, what was chosen, and the reasons for each update."""
    wish = choice.wish
    return {
        "now": format_time(wish.now),
        "running": {
            "variant": wish.release.variant,
            "arch": wish.release.arch,
            "version": str(wish.release.version),
        },
        "seed": wish.seed,
        "version_lock": str(wish.version_lock) if wish.version_lock else "latest",
        "ignore_waves": wish.ignore_waves,
        "image": str(wish.image) if wish.image else None,
        "chosen": choice.update.to_json() if choice.update else None,
        "summary": summary(choice) if choice.update is None else f"{choice.update.label} is chosen",
        "updates": [_finding_to_json(finding, choice) for finding in choice.findings],
    }


def _finding_to_json(finding: Finding, choice: Choice) -> dict[str, object]:
    update = finding.update
    return {
        "variant": update.variant,
        "arch": update.arch,
        "version": str(update.version),
        "max_version": str(update.max_version),
        "chosen": not finding.obstacles,
        "candidate": finding.is_candidate,
        "ready_at": format_time(finding.ready_at) if finding.ready_at else None,
        "reasons": [
            {"code": each.value, "text": sentence(each, finding, choice)}
            for each in finding.obstacles
        ],
    }


def _locked_summary(ours: list[Finding], choice: Choice) -> str:
    lock = choice.wish.version_lock
    for finding in ours:
        if Obstacle.VERSION_LOCK not in finding.obstacles:
            return f"version_lock is {lock}: {sentence(finding.obstacles[0], finding, choice)}"
    return f"version_lock is {lock}, which the repository does not have"


def _turn(finding: Finding) -> str:
    return format_time(finding.ready_at) if finding.ready_at else "once"


def _failure(version: str, wish: Wish) -> str:
    failure = wish.failed[version]
    times = "once" if failure.count == 1 else f"{failure.count} times"
    why = f" ({failure.reason})" if failure.reason else ""
    last = format_time(failure.last.replace(microsecond=0))
    return f"it failed to boot {times}, last noticed {last}{why}; --image {version} tries it again"


def _superseded(_: Finding, choice: Choice) -> str:
    return f"{choice.update.version} is newer" if choice.update else "there is a newer one"


_WORDS: Final[Mapping[Obstacle, Callable[[Finding, Choice], str]]] = {
    Obstacle.VARIANT: lambda _, choice: f"this host's variant is {choice.wish.release.variant}",
    Obstacle.ARCH: lambda _, choice: f"this host is {choice.wish.release.arch}",
    Obstacle.MAX_VERSION: lambda found, _: f"it is above max_version {found.update.max_version}",
    Obstacle.WAVE: lambda found, choice: (
        f"this host's turn comes at {_turn(found)} (seed {choice.wish.seed})"
    ),
    Obstacle.IMAGE: lambda _, choice: f"--image asks for {choice.wish.image}",
    Obstacle.VERSION_LOCK: lambda _, choice: f"version_lock is {choice.wish.version_lock}",
    Obstacle.RUNNING: lambda _found, _choice: "this host runs it",
    Obstacle.OLDER: lambda _, choice: f"this host runs {choice.wish.release.version}",
    Obstacle.FAILED: lambda found, choice: _failure(str(found.update.version), choice.wish),
    Obstacle.SUPERSEDED: _superseded,
}
