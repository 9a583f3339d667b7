"""How a signal stops a run: soon, in order, and with one line.

The first SIGTERM, SIGINT or SIGHUP *asks*: an event is set, which loops and threads look at, and
what may block is cut off (`cutting_off`), so that it fails at once. The run then ends where it
looks next, between two steps or inside one, never in the middle of a few writes that belong
together. The second one *insists*: it raises in the main thread, wherever that is. Everything is
safe against being killed at any instant anyway; this is about one clear line and an exit code.

Nothing is raised by the first, since a signal may come while Python is at work behind the scenes,
where an exception is printed and lost. Nor does its handler set the event itself: the main thread
may hold the event's lock at that moment.
"""

from __future__ import annotations

import _thread
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from updog.errors import DownloadFailed, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupt:
    """Whether this run was asked to stop.

    Attributes:
        event: Set once it was; for threads and loops to look at.
        doing: What the run is doing, for the message.
    """

    def __init__(self, doing: str = "starting") -> None:
        self.event = threading.Event()
        self.doing = doing
        self._was_asked = False
        self._cut_offs: list[Callable[[], None]] = []

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Let signals stop this run, but for those that were ignored before, as nohup does it.

        Does nothing outside the main thread, which gets no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def cutting_off(self, cut_off: Callable[[], None]) -> Iterator[None]:
        """Call `cut_off`, from another thread, if a signal comes during the block.

        Raises:
            Interrupted: The block failed to download because of it.
        """
        self._cut_offs.append(cut_off)
        try:
            yield
        except DownloadFailed:
            self.stop_if_asked()
            raise
        finally:
            self._cut_offs.remove(cut_off)

    def stop_if_asked(self) -> None:
        """Raise if the run was asked to stop.

        Raises:
            Interrupted: It was.
        """
        if self._was_asked or self.event.is_set():
            raise Interrupted(self.doing)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._was_asked:
            raise Interrupted(self.doing)
        self._was_asked = True
        # The bare function: a Thread object takes locks that the main thread may hold as well.
        _thread.start_new_thread(self._stop, ())

    def _stop(self) -> None:
        self.event.set()
        for cut_off in list(self._cut_offs):
            with suppress(Exception):
                cut_off()
