"""How progress looks: bars on a terminal, lines in a pipe, objects for a program; all on stderr.

bar      one bar per image, with rate and remaining time
plain    a line when something begins or ends, and one every ten seconds in between
json     one JSON object a line: {"event": "progress", "image": "root", "done_bytes": …}
none     nothing
auto     bar on a terminal, else plain
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from partition.errors import size_text
from updog import logs
from updog.progress import NoProgress, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID


MODES: Final = ("auto", "bar", "plain", "json", "none")
_PLAIN_SECONDS: Final = 10.0
_JSON_SECONDS: Final = 0.5


class Display(Progress, Protocol):
    """Progress, and lines that are shown however it looks."""

    def say(self, text: str) -> None:
        """A line for the user."""


@contextmanager
def displaying(mode: str, stream: TextIO) -> Iterator[Display]:
    """Show progress in one of the `MODES` for the time of a `with` block.

    Args:
        mode: One of `MODES`.
        stream: Standard error.
    """
    if mode == "auto":
        mode = "bar" if stream.isatty() else "plain"
    if mode == "bar":
        bars = Bars(stream)
        try:
            yield bars
        finally:
            bars.close()
    elif mode == "json":
        # Who reads objects should not find other lines among them.
        logs.as_json(True)
        try:
            yield JsonLines(stream)
        finally:
            logs.as_json(False)
    else:
        yield PlainLines(stream) if mode == "plain" else Quiet(stream)


class Pace:
    """When a figure that changes all the time is worth telling again; and its rate.

    Args:
        seconds: Between two tellings.
        clock: Seconds from any start, never backwards.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._started = self._told = clock()
        self._first_byte = 0

    def start(self, done_bytes: int) -> None:
        """Something begins, with so much done already."""
        self._started = self._told = self._clock()
        self._first_byte = done_bytes

    def due(self) -> bool:
        """Whether it is time to tell; if so, the next time is counted from now."""
        now = self._clock()
        if now - self._told < self._seconds:
            return False
        self._told = now
        return True

    def bytes_per_second(self, done_bytes: int) -> float:
        """The rate since the start."""
        elapsed = self._clock() - self._started
        return (done_bytes - self._first_byte) / elapsed if elapsed > 0 else 0.0


class Quiet(NoProgress):
    """Nothing but what must be said."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """One line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()


class PlainLines(Quiet):
    """Lines for a log."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._pace = Pace(_PLAIN_SECONDS, clock)
        self._total_bytes: dict[str, int] = {}
        self._done_bytes: dict[str, int] = {}

    def phase(self, text: str) -> None:
        """One line."""
        self.say(text)

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """One line."""
        self._total_bytes[image] = total_bytes
        self._done_bytes[image] = done_bytes
        self._pace.start(done_bytes)
        already = f", {size_text(done_bytes)} are here already" if done_bytes else ""
        self.say(f"{image}: {size_text(total_bytes)} to download{already}")

    def advanced(self, image: str, done_bytes: int) -> None:
        """A line every ten seconds."""
        self._done_bytes[image] = done_bytes
        if not self._pace.due():
            return
        total = self._total_bytes[image]
        rate = self._pace.bytes_per_second(done_bytes)
        left = f", {_duration((total - done_bytes) / rate)} left" if rate > 0 else ""
        percent = 100 * done_bytes // total if total else 100
        self.say(f"{image}: {percent} %, {_rate(rate)}{left}")

    def finished(self, image: str) -> None:
        """One line."""
        rate = self._pace.bytes_per_second(self._done_bytes[image])
        self.say(f"{image}: written and verified{f', {_rate(rate)}' if rate > 0 else ''}")


class JsonLines:
    """One JSON object a line."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._pace = Pace(_JSON_SECONDS, clock)
        self._total_bytes: dict[str, int] = {}

    def say(self, text: str) -> None:
        """`{"event": "message", "text": …}`."""
        self._say({"event": "message", "text": text})

    def phase(self, text: str) -> None:
        """`{"event": "phase", "text": …}`."""
        self._say({"event": "phase", "text": text})

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """`{"event": "started", "image": …, "done_bytes": …, "total_bytes": …}`."""
        self._total_bytes[image] = total_bytes
        self._pace.start(done_bytes)
        self._image("started", image, done_bytes)

    def advanced(self, image: str, done_bytes: int) -> None:
        """`{"event": "progress", …, "bytes_per_second": …}`, twice a second at most."""
        if self._pace.due():
            rate = round(self._pace.bytes_per_second(done_bytes))
            self._image("progress", image, done_bytes, bytes_per_second=rate)

    def finished(self, image: str) -> None:
        """`{"event": "finished", …}`."""
        self._image("finished", image, self._total_bytes[image])

    def _image(self, event: str, image: str, done_bytes: int, **more: int) -> None:
        total_bytes = self._total_bytes[image]
        value = {"event": event, "image": image, "done_bytes": done_bytes}
        self._say({**value, "total_bytes": total_bytes, **more})

    def _say(self, value: dict[str, object]) -> None:
        self._stream.write(json.dumps(value, ensure_ascii=False) + "\n")
        self._stream.flush()


class Bars:
    """One bar for each image, drawn by rich, which only a terminal needs."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415  slow to import
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._console = Console(file=stream)
        self._bars = Progress(
            TextColumn("{task.description:>5}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            redirect_stdout=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def phase(self, text: str) -> None:
        """A line above the bars."""
        self.say(text)

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """A new bar, or the image's bar from its beginning."""
        if image in self._tasks:
            self._bars.reset(self._tasks[image], total=total_bytes, completed=done_bytes)
        else:
            self._tasks[image] = self._bars.add_task(image, total=total_bytes, completed=done_bytes)

    def advanced(self, image: str, done_bytes: int) -> None:
        """The bar grows."""
        self._bars.update(self._tasks[image], completed=done_bytes)

    def finished(self, image: str) -> None:
        """The bar is full."""
        self._bars.stop_task(self._tasks[image])

    def close(self) -> None:
        """Leave the bars as they are and give the terminal back."""
        self._bars.stop()


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / (1 << 20):.1f} MiB/s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
