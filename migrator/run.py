"""One migration from beginning to end: find, verify, carry, check, write, flush, flip, collect.

    lock -> links -> cached repository -> route -> all migrations verified
         -> settings read -> carried in memory -> checked -> new copy written and flushed
         -> links flipped, `current` last -> old copies removed

Until the first link is flipped nothing that `current` leads to has changed, and whatever fails
leaves it so. Once `current` leads to the new copy, failing to remove old ones is only logged.
"""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from migrator import chain, copies, files, schema
from migrator.carry import Program, carry
from migrator.executable import Limits
from migrator.plan import Change, Route, changes, find_route
from migrator.workshop import Workshop, remove_leftovers
from partition import durable
from partition.errors import PartitionError
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from semver import Version

    from migrator.cached import Cache
    from migrator.carry import Body
    from migrator.chain import Chain
    from migrator.copies import Space
    from migrator.tree import State

LOCK = ".migrator.lock"
_log = logging.getLogger("migrator")


class Outcome(Enum):
    """How a run ended that did not fail."""

    NO_DATASTORE = "there is no datastore yet"
    SAME_VERSION = "the datastore has that version already"
    RELINKED = "nothing to migrate; the new version uses the same settings"
    MIGRATED = "migrated"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a run takes place, and with what.

    Attributes:
        datastore: The path of the link `current`, or of the directory that holds it.
        open_cache: Verifies the cached repository; called only when there is something to do.
        limits: For each executable migration.
        schema: The JSON Schema of the version that is booted; None: the settings are not checked.
        kernel: Where the calls go.
        suffix: Gives the random part of names.
        space: How much room a file system has.
    """

    datastore: Path
    open_cache: Callable[[], Cache]
    limits: Limits = field(default_factory=Limits)
    schema: Path | None = None
    kernel: Kernel = KERNEL
    suffix: Callable[[], str] = copies.random_suffix
    space: Space = os.statvfs

    @property
    def base(self) -> Path:
        """The directory that holds links and copies."""
        return chain.base_of(self.datastore)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a migration would do.

    Attributes:
        route: The way it takes.
        changes: What would differ in the settings.
    """

    route: Route
    changes: tuple[Change, ...]


def migrate(setting: Setting, wanted: Version) -> Outcome:
    """Bring the datastore to a version.

    Raises:
        ChainBroken, StoreCorrupt: The datastore is not as it should be.
        LockHeld: Another migrator is at work.
        MigratorError, UpdogError, PartitionError: The message says what; `current` is untouched.
    """
    outcome = _nothing_to_do(chain.read(setting.base), wanted)
    if outcome is not None:
        return outcome
    with durable.exclusive_lock(setting.base / LOCK, kernel=setting.kernel):
        # Another migrator may have been at work until now.
        current = chain.read(setting.base)
        outcome = _nothing_to_do(current, wanted)
        if outcome is not None or current is None:
            return outcome or Outcome.NO_DATASTORE
        route, bodies = _prepare(setting, current, wanted)
        _clear(setting)
        copy = current.copy
        if bodies:
            copy = _migrated(setting, current, route, bodies)
        chain.flip(setting.base, wanted, copy, setting.kernel)
        _collect(setting, current, wanted)
    return Outcome.MIGRATED if bodies else Outcome.RELINKED


def rehearse(setting: Setting, wanted: Version) -> Preview:
    """Do all of a migration but writing to the datastore; executables run in a temporary directory.

    The schema of the version that is being left is not applied to the one that is to come.

    Raises:
        StoreError: There is no datastore, or it is not as it should be.
        MigratorError, UpdogError: As `migrate` would fail.
    """
    current = chain.read(setting.base)
    if current is None:
        return Preview(Route(wanted, wanted, ()), ())
    route, bodies = _prepare(setting, current, wanted)
    before = files.read_copy(current.path)
    after = _carried(setting, before.copy(), route, bodies, Path(tempfile.gettempdir()))
    copies.check_space(setting.base, after, setting.space)
    return Preview(route, tuple(changes(before, after)))


def rehearse_both_ways(setting: Setting, wanted: Version) -> tuple[Preview, tuple[Change, ...]]:
    """As `rehearse`, and back again; also return what would not be as before.

    Raises:
        As `rehearse`.
    """
    current = chain.read(setting.base)
    if current is None:
        return Preview(Route(wanted, wanted, ()), ()), ()
    route, bodies = _prepare(setting, current, wanted)
    before, place = files.read_copy(current.path), Path(tempfile.gettempdir())
    there = _carried(setting, before.copy(), route, bodies, place)
    back = _carried(setting, there.copy(), route.back(), bodies, place)
    return Preview(route, tuple(changes(before, there))), tuple(changes(before, back))


def _nothing_to_do(current: Chain | None, wanted: Version) -> Outcome | None:
    if current is None:
        return Outcome.NO_DATASTORE
    return Outcome.SAME_VERSION if str(current.version) == str(wanted) else None


def _prepare(setting: Setting, current: Chain, wanted: Version) -> tuple[Route, Mapping[str, Body]]:
    if current.version == wanted:  # but for the build
        return Route(current.version, wanted, ()), {}
    cache = setting.open_cache()
    route = find_route(cache.manifest().migrations, current.version, wanted)
    return route, cache.bodies(route)


def _clear(setting: Setting) -> None:
    """Remove what a run left that came to no end; it may be what fills the disk."""
    remove_leftovers(setting.base)
    with _only_logged("clean up after an earlier run"):
        chain.collect(setting.base, None, setting.kernel)


def _migrated(setting: Setting, current: Chain, route: Route, bodies: Mapping[str, Body]) -> str:
    """Carry the settings and write them; return the new copy's name."""
    before = files.read_copy(current.path)
    if any(isinstance(body, Program) for body in bodies.values()):
        # What one of them reads, what it writes, and the new copy. Without executables nothing is
        # written before the new copy, and its room is looked for then.
        copies.check_space(setting.base, before, setting.space, count=3)
    after = _carried(setting, before, route, bodies, setting.base)
    if setting.schema is not None:
        schema.check(after, setting.schema)
    return copies.write_new(
        setting.base,
        route.target,
        after,
        setting.kernel,
        like=current.path,
        suffix=setting.suffix,
        space=setting.space,
    )


def _carried(
    setting: Setting, state: State, route: Route, bodies: Mapping[str, Body], place: Path
) -> State:
    with Workshop(place, setting.limits, setting.suffix) as workshop:
        return carry(state, route, bodies, workshop)


def _collect(setting: Setting, previous: Chain, wanted: Version) -> None:
    with _only_logged("remove old copies"):
        chain.collect(setting.base, (wanted, previous.version), setting.kernel)


@contextmanager
def _only_logged(doing: str) -> Iterator[None]:
    """Failing here does not undo what has been done."""
    try:
        yield
    except PartitionError as error:
        _log.warning("cannot %s: %s", doing, error)
