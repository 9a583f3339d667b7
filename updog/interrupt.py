"""How a signal stops an update: at once where that is harmless, a little later where it is not.

The first SIGTERM, SIGINT or SIGHUP sets an event, which long-running work looks at, and raises
`Interrupted` in the main thread, which ends a blocking call. Inside `deferred` it only sets the
event: threads are to be stopped in order, or a few writes belong together. Everything is safe
against being killed at any instant anyway; this is about one clear line and an exit code.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from updog.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        self._deferred = 0

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
    def deferred(self) -> Iterator[None]:
        """Let no signal raise inside the block; who can stop looks at `event`."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def stop_if_asked(self) -> None:
        """Raise if the run was asked to stop.

        Raises:
            Interrupted: It was.
        """
        if self.event.is_set():
            raise Interrupted(self.doing)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()
        if not self._deferred:
            raise Interrupted(self.doing)
