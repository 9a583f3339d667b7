"""What a running update is doing, for everybody who asks meanwhile.

`/run/updog/activity.json` is written when a step begins, and every other second while bytes
arrive. It is a note, not state: it need not last, nothing is decided by it, and whether an update
runs at all is told by the updater's lock, not by the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from partition import durable
from partition.errors import PartitionError
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_SECONDS: Final = 2.0
_MAX_BYTES: Final = 1 << 16


class ActivityFile:
    """A `Progress` that keeps the file. One that cannot be written is done without.

    Args:
        path: The file.
        clock: Seconds from any start, never backwards.
        kernel: The door to the disk.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        kernel: Kernel = KERNEL,
    ) -> None:
        self._path = path
        self._kernel = kernel
        self._clock = clock
        self._written = clock() - _SECONDS
        self._is_ours = False
        self._phase = ""
        self._images: dict[str, dict[str, int]] = {}

    def phase(self, text: str) -> None:
        """Written at once."""
        self._phase = text
        self._write()

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """Written at once."""
        self._images[image] = {"done_bytes": done_bytes, "total_bytes": total_bytes}
        self._write()

    def advanced(self, image: str, done_bytes: int) -> None:
        """Written every other second."""
        self._images[image]["done_bytes"] = done_bytes
        if self._clock() - self._written >= _SECONDS:
            self._write()

    def finished(self, image: str) -> None:
        """Written at once."""
        self._images[image]["done_bytes"] = self._images[image]["total_bytes"]
        self._write()

    def close(self) -> None:
        """Remove the file; another updater's is left alone."""
        if self._is_ours:
            with suppress(OSError):
                self._kernel.unlink(self._path)

    def _write(self) -> None:
        # Called by the holder of the updater's lock only, so the file is nobody else's.
        self._is_ours = True
        self._written = self._clock()
        value = {"process": os.getpid(), "phase": self._phase, "images": self._images}
        temporary = self._path.with_name(f".{self._path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with suppress(OSError, PartitionError):
            durable.make_directory(self._path.parent, 0o755, kernel=self._kernel)
            # Not flushed: /run is memory, and the note is worth nothing after a power cut.
            fd = self._kernel.open(temporary, flags, 0o600)
            try:
                self._kernel.write(fd, json.dumps(value).encode())
            finally:
                self._kernel.close(fd)
            self._kernel.replace(temporary, self._path)


@dataclass(frozen=True, slots=True)
class Activity:
    """What the file says.

    Attributes:
        process: Id of the updater.
        phase: What it is doing, in words.
        images: `boot`, `root`, `hash` to bytes done and in total, as far as they were begun.
    """

    process: int
    phase: str
    images: Mapping[str, tuple[int, int]]


def read_activity(path: Path, lock: Path) -> Activity | None:
    """What the running updater does; None if none runs. Never waits, takes nothing away.

    Args:
        path: See `ActivityFile`.
        lock: The updater's lock file.
    """
    if not is_held(lock):
        return None
    try:
        data = durable.read_file(path, max_bytes=_MAX_BYTES)
        return _parsed(json.loads(data or b"{}"))
    except (PartitionError, ValueError, TypeError, KeyError, AttributeError):
        return Activity(0, "running", {})


def is_held(lock: Path) -> bool:
    """Whether somebody holds a lock file; taking it, if nobody does, lasts an instant."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared: two who ask at once do not see each other.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def _parsed(value: Any) -> Activity:  # noqa: ANN401  what JSON gave
    images = {
        str(name): (int(image["done_bytes"]), int(image["total_bytes"]))
        for name, image in value["images"].items()
    }
    return Activity(int(value["process"]), str(value["phase"]), images)
