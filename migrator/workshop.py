"""Where executable migrations run: a scratch directory with the settings before and after.

Data migrations work in memory. An executable is given a copy of the settings on disk, and an empty
place for its own; what it writes there is read back at once and checked as strictly as a real
datastore. If the next migration is an executable too, and nothing changed in between, what the
last one wrote is its copy to read. Nothing here has to survive a power cut: the scratch directory
is removed at the end, and by the next run if there was no end.
"""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING, Self

from migrator import copies, executable, files, tree
from migrator.errors import MigrationFailed, ResultInvalid, StoreCorrupt, StoreUnwritable
from migrator.tree import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from migrator.executable import Limits

_PREFIX = ".migrating_"
_log = logging.getLogger("migrator")


class Workshop:
    """A scratch directory, made when it is first needed and removed on leaving.

    Args:
        parent: Where to make it.
        limits: For each executable.
        suffix: Gives the random part of its name.
    """

    def __init__(
        self,
        parent: Path,
        limits: Limits,
        suffix: Callable[[], str] = copies.random_suffix,
    ) -> None:
        self._place = parent / f"{_PREFIX}{suffix()}"
        self._limits = limits
        self._count = 0
        self._on_disk: tuple[Path, State] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def run(self, name: str, program: bytes, direction: str, state: State) -> State:
        """Run an executable migration on a state and return what it makes of it.

        Raises:
            MigrationFailed: It did not succeed, or what it wrote is no datastore.
            StoreUnwritable: The scratch directory cannot be written.
        """
        source = self._materialised(state)
        target = self._fresh()
        executable.run(name, program, direction, source=source, target=target, limits=self._limits)
        try:
            result = self._read(target, state)
        except (StoreCorrupt, ResultInvalid) as error:
            reason = f"what it wrote is no datastore: {error}"
            raise MigrationFailed(name, direction, reason) from error
        shutil.rmtree(source, ignore_errors=True)
        self._on_disk = (target, result.copy())
        return result

    def _read(self, target: Path, state: State) -> State:
        if not state.live.data and not state.live.metadata:
            # A program that writes file by file makes no directory for settings there are none of.
            (target / files.LIVE).mkdir(parents=True, exist_ok=True)
        result = files.read_copy(target)
        result.kept = None
        tree.check(result, unchanged=state)
        return result

    def _materialised(self, state: State) -> Path:
        content = State(state.live, state.pending)
        if self._on_disk is not None and self._on_disk[1] == content:
            return self._on_disk[0]
        # On the way back, a data migration may have left what cannot be stored.
        tree.check(content)
        path = self._fresh()
        try:
            files.write_copy(path, content, files.PlainWriter())
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise StoreUnwritable("write settings for a migration to", str(path), reason) from error
        return path

    def _fresh(self) -> Path:
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise StoreUnwritable("make a scratch directory", str(self._place), reason) from error
        self._count += 1
        return self._place / str(self._count)


def remove_leftovers(parent: Path) -> None:
    """Remove scratch directories of runs that did not come to their end."""
    for path in parent.glob(f"{_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
