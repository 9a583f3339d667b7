"""Threads in a row that hand work on; the first error stops all of them.

Decided here: how stages wait for each other, and how they end. Not here: what they do.

Each stage is a function in a thread of its own. Stages are joined by belts; work that goes along
them is memory from a fixed stock, which comes back on another belt, so that no stage can run far
ahead and memory stays bounded. A stage ends by returning. When one fails, when the caller wants to
stop, or when the caller's own thread fails, every belt is stopped: whoever waits for work is woken,
ends, and `run` raises the first error after all threads have ended. Nothing is left running.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Work = TypeVar("Work")

_TICK_SECONDS: Final = 0.05
"""How often the caller's thread looks up while the stages work."""


class Stopped(Exception):
    """The conveyor was stopped while a stage waited, or before it went on."""


class Belt(Generic[Work]):
    """A queue between two stages. Bounded by the stock of work, not by itself."""

    def __init__(self, conveyor: Conveyor, items: Iterable[Work] = ()) -> None:
        self._conveyor = conveyor
        self._items: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        for item in items:
            self._items.put(item)

    def put(self, item: Work) -> None:
        """Hand an item on."""
        self._items.put(item)

    def get(self) -> Work:
        """Wait for the next item.

        Raises:
            Stopped: There will be none.
        """
        item = self._items.get()
        if item is None or self._conveyor.stopped:
            raise Stopped
        return item

    def waiting(self) -> list[Work]:
        """Take what is there already, without waiting.

        Raises:
            Stopped: There will be no more.
        """
        items = []
        while not self._items.empty():  # nobody else takes from this belt
            items.append(self.get())
        return items

    def wake(self) -> None:
        """Let the one stage that may be waiting see that the conveyor has stopped."""
        self._items.put(None)


class Conveyor:
    """A set of stages that succeed or end together.

    Attributes:
        stopped: Whether stages must end early.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._error: BaseException | None = None
        self._belts: list[Belt[object]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._running = 0
        self._all_ended = threading.Event()

    def belt(self, items: Iterable[Work] = ()) -> Belt[Work]:
        """Add a belt, with some items on it; one stage takes from it."""
        belt = Belt(self, items)
        self._belts.append(belt)  # type: ignore[arg-type]  # only ever woken through this list
        return belt

    def stage(self, name: str, function: Callable[[], None]) -> None:
        """Add a stage; it starts with `run`."""
        self._threads.append(threading.Thread(target=self._work, args=(function,), name=name))

    def stop(self, error: BaseException) -> None:
        """Make all stages end; the first error given is the one that `run` raises."""
        with self._lock:
            if self.stopped:
                return
            self._error = error
            self.stopped = True
        for belt in self._belts:
            belt.wake()

    def run(self, tick: Callable[[], None], wake: Callable[[], None]) -> None:
        """Run all stages to their end.

        Args:
            tick: Called in this thread every so often; may raise or call `stop`, to end early.
            wake: Called in this thread when stages must end, to end a wait that is not for a belt.

        Raises:
            BaseException: The first error of any stage, or of `tick`.
        """
        self._running = len(self._threads)
        started: list[threading.Thread] = []
        try:
            for thread in self._threads:
                thread.start()
                started.append(thread)
            while not self.stopped and not self._all_ended.is_set():
                tick()
                self._all_ended.wait(_TICK_SECONDS)
        except BaseException as error:  # noqa: BLE001 (raised again below, after the threads ended)
            self.stop(error)
        finally:
            if self.stopped:
                wake()
            for thread in started:
                thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 (raised by run)
            self.stop(error)
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._all_ended.set()
