"""The procedure: from verified metadata to a set that boots next, in the one safe order.

    verify metadata; choose; find the migration path          nothing written yet but trust
    cache migrations, manifest and metadata                   for the migrator
    clear the inactive set and flush                          from here on it cannot boot
    stream the images; fsync; read back; compare              `updog.pipeline`
    rehearse the migrations                                   on a copy of the settings
    record what is staged; mark valid                         whole, but not next
    record the attempt; flip                                  the commit point: one table write

Whatever is refused is refused as early as it can be known: what needs no network before the
network, what needs no write before the first write. The choice is made once; what was announced is
what is installed. After an error the inactive set is cleared, or untouched if nothing was written.

The disk's lock is held from the first write to the last, so that `signpost` cannot change flags
meanwhile (`signpost status` needs no lock).

An update that is staged already is not downloaded again; one that another one replaces is cleared,
pending flip and all. One that boots next is not replaced by an older one, unless it was recalled.
While a flip is pending, or the inactive set is the system to fall back to, an update goes ahead as
long as the running system is confirmed; if it is not, it is refused, for the other set may be the
only way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from signpost.layout import Part
from updog import cache
from updog.attempts import Staged
from updog.attempts_file import load_attempts, remember
from updog.errors import NoSuchUpdate
from updog.exclusion import only_updater
from updog.explain import summary
from updog.journal import Journal
from updog.lookup import MAX_MANIFEST_BYTES, choose_from, evidence_of
from updog.manifest import MANIFEST_NAME
from updog.migrations import find_path, targets
from updog.os_disk import locate_disk, open_disk
from updog.pipeline import ImageJob
from updog.staging import flip, refuse_reboot_of_image
from updog.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signpost.device import BootDisk
    from signpost.location import Location
    from updog.environment import Environment
    from updog.lookup import Request
    from updog.manifest import Update
    from updog.targets import Target
    from updog.tools import Repository


__all__ = ["Outcome", "Result", "Tools", "update"]


class Result(Enum):
    """How an update ended, if not in an error."""

    NOTHING = "nothing to do"
    ALREADY = "already in place"
    STAGED = "staged"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update came to.

    Attributes:
        result: How it ended.
        update: The one chosen, if any.
        note: A line for the user, where the result alone does not say it.
    """

    result: Result
    update: Update | None = None
    note: str = ""

    @property
    def was_written(self) -> bool:
        """Whether this run changed which system is on the other set, or which boots next."""
        return self.result in {Result.STAGED, Result.APPLIED}


def update(
    env: Environment, request: Request, tools: Tools, *, apply: bool, reboot: bool = False
) -> Outcome:
    """Bring the chosen update onto the inactive set, and let it boot next.

    Args:
        env: The host.
        request: What the user asks for.
        tools: Who does the work.
        apply: Let it boot next; otherwise it is only staged.
        reboot: The caller wants to reboot afterwards; refused at once where that makes no sense.

    Raises:
        UpdateInProgress: Another updater runs.
        RebootRefused: The disk is an image.
        NoSuchUpdate: The version asked for cannot be had.
        NoMigrationPath: The settings could not follow.
        ActiveNotConfirmed: The running system is not known to boot again.
        UpdogError, SignpostError, PartitionError: Anything else that fails or is refused.
    """
    location = locate_disk(env)
    refuse_reboot_of_image(location, reboot=reboot)
    with only_updater(env):
        with open_disk(env, location) as disk:
            staged = load_attempts(env.paths.attempts).staged
            evidence = evidence_of(env, disk, staged)
            pending = disk.state.upgrade_pending
        attempts = remember(env, lambda before: before.judge(evidence))
        _start(tools, "checking metadata")
        repository = tools.refresh(env, tools.transport)
        data = repository.read_target(MANIFEST_NAME, MAX_MANIFEST_BYTES)
        manifest, choice = choose_from(env, data, attempts, request, repository.now)
        if choice.update is None:
            if request.image is not None:
                raise NoSuchUpdate(request.image, summary(choice))
            note = f"No update required: {summary(choice)}"
            if attempts.staged and pending:
                note += f"; {attempts.staged.label} was applied before and boots next"
            return Outcome(Result.NOTHING, note=note)
        if attempts.staged and pending and request.image is None:
            better = choice.outdone_by(attempts.staged.version)
            if better is not None:
                note = f"{better.label} was applied before, boots next, and is newer"
                return Outcome(Result.ALREADY, better, note)
        path = find_path(manifest.migrations, env.release.version, choice.update.version)
        plan = _Plan(choice.update, targets(path), _images(choice.update, repository))
        return _Run(env, tools, repository, location, plan).run(apply=apply)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was chosen: nothing of it is decided again."""

    update: Update
    migrations: tuple[str, ...]
    images: Mapping[Part, Target]


def _images(chosen: Update, repository: Repository) -> Mapping[Part, Target]:
    names = chosen.images
    return {
        Part.BOOT: repository.target(names.boot),
        Part.ROOT: repository.target(names.root),
        Part.HASH: repository.target(names.hash),
    }


class _Run:
    """One chosen update on its way to the disk."""

    def __init__(
        self,
        env: Environment,
        tools: Tools,
        repository: Repository,
        location: Location,
        plan: _Plan,
    ) -> None:
        self._env = env
        self._tools = tools
        self._repository = repository
        self._location = location
        self._chosen = plan.update
        self._migrations = plan.migrations
        self._images = plan.images

    def run(self, *, apply: bool) -> Outcome:
        with open_disk(self._env, self._location) as disk:
            state = disk.state
            staged = self._is_staged(disk)
        if staged and (state.upgrade_pending or not apply):
            with open_disk(self._env, self._location, writable=True) as disk:
                # Flushed, should the run that left it so have been killed before it could.
                disk.store(disk.state)
            what = "boots next" if state.upgrade_pending else "is staged"
            note = f"{self._chosen.label} {what} already, on set {state.inactive.value}"
            return Outcome(Result.ALREADY, self._chosen, note)
        if not staged:
            # Refused before the first write; asked again when the disk is locked.
            state.clear_inactive()
        self._tools.say(f"Starting update to {self._chosen.version}")
        if staged:
            with open_disk(self._env, self._location, writable=True) as disk:
                flip(self._env, disk)
            return Outcome(Result.APPLIED, self._chosen)
        self._install(apply=apply)
        if apply:
            return Outcome(Result.APPLIED, self._chosen)
        note = f"set {state.inactive.value} is whole; updog update-apply lets it boot next"
        return Outcome(Result.STAGED, self._chosen, note)

    def _is_staged(self, disk: BootDisk) -> bool:
        """Whether the inactive set holds these very images already, whole and not tried yet."""
        staged = load_attempts(self._env.paths.attempts).staged
        if staged is None:
            return False
        same = self._record(disk).images == staged.images and staged.label == self._chosen.label
        flags = disk.state.sets.get(staged.slot)
        return (
            same
            and staged.slot is disk.state.inactive
            and flags is not None
            and (staged.is_whole(flags))
        )

    def _record(self, disk: BootDisk) -> Staged:
        return Staged(
            variant=self._chosen.variant,
            version=self._chosen.version,
            slot=disk.state.inactive,
            tries=self._env.config.tries,
            images={part.value: target.digest for part, target in self._images.items()},
        )

    def _install(self, *, apply: bool) -> None:
        env, interrupt = self._env, self._tools.interrupt
        cached = self._cache()
        with open_disk(env, self._location, writable=True) as disk:
            interrupt.stop_if_asked()
            self._clear(disk)
            cache.prune(env.paths, cached, kernel=env.kernel)
            self._write_images(disk)
            self._rehearse()
            interrupt.stop_if_asked()
            self._mark_valid(disk)
            if apply:
                flip(env, disk)

    def _cache(self) -> frozenset[str]:
        _start(self._tools, "caching migrations")
        self._tools.transport.announce(
            target=str(self._chosen.version), migrations=(*self._migrations, MANIFEST_NAME)
        )
        return cache.store_for_migrator(
            self._env.paths, self._repository, self._migrations, kernel=self._env.kernel
        )

    def _clear(self, disk: BootDisk) -> None:
        cleared = disk.state.clear_inactive()
        # The record first: to know nothing of a set is better than to be wrong about it.
        remember(self._env, lambda attempts: attempts.discard())
        disk.store(cleared)

    def _write_images(self, disk: BootDisk) -> None:
        slot = disk.state.inactive
        _start(self._tools, f"writing {self._chosen.label} to set {slot.value}")
        jobs = [
            ImageJob(part, target, disk.region(slot, part)) for part, target in self._images.items()
        ]
        self._tools.install_images(
            jobs,
            self._tools.transport,
            journal=Journal(self._env.paths.journal, kernel=self._env.kernel),
            progress=self._tools.progress,
            cancel=self._tools.interrupt.event,
            kernel=self._env.kernel,
        )

    def _rehearse(self) -> None:
        env = self._env
        wanted = env.config.rehearse_migrations and self._migrations
        if not wanted or not env.paths.datastore.is_symlink():
            return
        _start(self._tools, "rehearsing migrations")
        self._tools.rehearse(env.paths, self._chosen.version, cancel=self._tools.interrupt.event)

    def _mark_valid(self, disk: BootDisk) -> None:
        valid = disk.state.mark_inactive_valid(self._env.config.tries)
        remember(self._env, lambda attempts: attempts.stage(self._record(disk)))
        disk.store(valid)
        Journal(self._env.paths.journal, kernel=self._env.kernel).clear()


def _start(tools: Tools, text: str) -> None:
    """A step begins: said to the user, and named if the run is interrupted."""
    tools.interrupt.stop_if_asked()
    tools.interrupt.doing = text
    tools.progress.phase(text)
