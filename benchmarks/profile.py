"""Where the time of an update goes, stage by stage."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from updog.conveyor import Belt, Conveyor

if TYPE_CHECKING:
    from collections.abc import Callable


class Profile:
    """Watches every stage of every conveyor from now on.

    A stage's time is: computing (its thread's own CPU time), waiting for the stages before and
    after it, and the rest, which is waiting for the socket, the disk, or a processor.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, float] = defaultdict(float)
        self._rows: list[dict[str, Any]] = []
        get, work = Belt.get, Conveyor._work  # noqa: SLF001

        def timed_get(belt: Belt[Any]) -> object:
            started = time.perf_counter()
            try:
                return get(belt)
            finally:
                name = threading.current_thread().name
                self._waiting[name] += time.perf_counter() - started

        def timed_work(conveyor: Conveyor, function: Callable[[], None]) -> None:
            started = time.perf_counter()
            try:
                work(conveyor, function)
            finally:
                name = threading.current_thread().name
                wall, cpu = time.perf_counter() - started, time.thread_time()
                waiting = self._waiting[name]
                self._rows.append(
                    {
                        "stage": name,
                        "computing": cpu,
                        "waiting for stages": waiting,
                        "other": max(wall - cpu - waiting, 0.0),
                    }
                )

        setattr(Belt, "get", timed_get)  # noqa: B010 (mypy rightly objects to the plain form)
        setattr(Conveyor, "_work", timed_work)  # noqa: B010

    def rows(self) -> list[dict[str, Any]]:
        """One row a stage, in seconds, in the order of the work."""
        order = ["receive", "hash", "decode", "write", "flush", "check"]
        return sorted(self._rows, key=lambda row: order.index(row["stage"]))
