"""Which update this host takes now: one, or none with a reason for each that there is.

Candidates are the updates for this host's variant and architecture whose version is not above
their `max_version`, and whose wave has come (unless waves are ignored). The newest first:

    image named (--image)   exactly that version, whatever waves, lock and earlier failures say
    version_lock            exactly that version; none if the host runs it
    otherwise               the first newer than the running version; any, if the running version
                            is above `max_version` (a recalled release comes down)

A version that failed to boot as often as the host allows is passed over until it is named.

A pure function of the manifest and a `Wish`. Every update gets a `Finding`: all that stands in its
way, so that nobody has to guess which of several reasons was the last one. `explain` puts it into
words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from updog.versions import is_exactly
from updog.waves import ready_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from updog.attempts import Failure
    from updog.manifest import Manifest, Update
    from updog.release import Release
    from updog.versions import Version
    from updog.waves import Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What this host is and wants.

    Attributes:
        release: What runs.
        seed: The host's place in rollouts.
        now: The time (aware, UTC).
        image: The version named by the operator.
        version_lock: The only version to go to.
        ignore_waves: Whether every wave counts as come.
        delay: To wait after the wave has come.
        failed: Versions (as text) that failed to boot too often.
    """

    release: Release
    seed: Seed
    now: datetime
    image: Version | None = None
    version_lock: Version | None = None
    ignore_waves: bool = False
    delay: timedelta = timedelta()
    failed: Mapping[str, Failure] = field(default_factory=dict)


class Obstacle(Enum):
    """Why an update is not chosen; the value is its name in JSON."""

    VARIANT = "variant"
    ARCH = "arch"
    MAX_VERSION = "max_version"
    WAVE = "wave"
    IMAGE = "image"
    VERSION_LOCK = "version_lock"
    RUNNING = "running"
    OLDER = "older"
    FAILED = "failed"
    SUPERSEDED = "superseded"


_NO_CANDIDATE = frozenset(
    {Obstacle.VARIANT, Obstacle.ARCH, Obstacle.MAX_VERSION, Obstacle.WAVE, Obstacle.IMAGE}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one update.

    Attributes:
        update: The update.
        ready_at: When this host's turn comes, delay included; None: at once.
        obstacles: What stands in its way; empty for the chosen one.
    """

    update: Update
    ready_at: datetime | None
    obstacles: tuple[Obstacle, ...]

    @property
    def is_candidate(self) -> bool:
        """Whether it could be taken now, were it asked for."""
        return not _NO_CANDIDATE.intersection(self.obstacles)


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer: findings for all updates of the manifest, newest first."""

    wish: Wish
    findings: tuple[Finding, ...]

    @property
    def update(self) -> Update | None:
        """The chosen one."""
        return next((each.update for each in self.findings if not each.obstacles), None)

    @property
    def candidates(self) -> tuple[Update, ...]:
        """All that could be taken now, newest first, whatever runs; just one, if it was named."""
        return tuple(each.update for each in self.findings if each.is_candidate)

    def outdone_by(self, applied: Version) -> Update | None:
        """What boots next already, if it is newer than the chosen one and must not be replaced.

        Somebody took it ahead of its turn, or in spite of earlier failures, and said so with a
        flag; the next run without one, a timer's say, is not to undo that. One that was recalled,
        or that a lock forbids by now, is replaced all the same.
        """
        chosen = self.update
        for each in self.findings:
            if chosen is None or each.update.version <= chosen.version:
                return None
            if each.update.version == applied and _OVERRULED.issuperset(each.obstacles):
                return each.update
        return None


_OVERRULED: Final = frozenset({Obstacle.WAVE, Obstacle.FAILED})
"""What an operator can put aside for one run."""

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


def choose(manifest: Manifest, wish: Wish) -> Choice:
    """Choose the update to take now, if there is one."""
    findings: list[Finding] = []
    chosen = False
    # Sorting is stable: of two entries for one version, the first in the manifest counts.
    for update in sorted(manifest.updates, key=lambda each: each.version, reverse=True):
        ready = ready_at(update.waves, wish.seed)
        if ready is not None:
            ready = min(ready, _END_OF_TIME - wish.delay) + wish.delay
        obstacles = _obstacles(update, ready, wish)
        if not obstacles and chosen:
            obstacles = (Obstacle.SUPERSEDED,)
        chosen = chosen or not obstacles
        findings.append(Finding(update, ready, obstacles))
    return Choice(wish, tuple(findings))


def _obstacles(update: Update, ready: datetime | None, wish: Wish) -> tuple[Obstacle, ...]:
    found: list[Obstacle] = []
    if update.variant != wish.release.variant:
        found.append(Obstacle.VARIANT)
    if update.arch != wish.release.arch:
        found.append(Obstacle.ARCH)
    if update.version > update.max_version:
        found.append(Obstacle.MAX_VERSION)
    if wish.image is not None:
        if not is_exactly(update.version, wish.image):
            found.append(Obstacle.IMAGE)
        return tuple(found)
    if ready is not None and wish.now < ready and not wish.ignore_waves:
        found.append(Obstacle.WAVE)
    found.extend(_unwanted(update, wish))
    if str(update.version) in wish.failed:
        found.append(Obstacle.FAILED)
    return tuple(found)


def _unwanted(update: Update, wish: Wish) -> tuple[Obstacle, ...]:
    """Compare with what is locked, or with what runs."""
    running = wish.release.version
    if wish.version_lock is not None:
        if not is_exactly(update.version, wish.version_lock):
            return (Obstacle.VERSION_LOCK,)
        return (Obstacle.RUNNING,) if update.version == running else ()
    if update.version > running or running > update.max_version:
        return ()
    return (Obstacle.RUNNING,) if update.version == running else (Obstacle.OLDER,)
