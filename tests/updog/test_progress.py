"""Progress: lines, objects and bars from the same events; and what status reads meanwhile."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import pty
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from updog import logs
from updog.activity import Activity, ActivityFile, is_held, read_activity
from updog.progress import Everybody, NoProgress
from updog.progress_display import Bars, JsonLines, PlainLines, displaying

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from updog.progress import Progress

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Levels are the process's own; another test's lines must not be lost to `--log-level`."""
    loggers = [logging.getLogger(name) for name in (None, "partition", "signpost", "updog")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def download(progress: Progress, clock: Clock, *, total: int, done: int = 0) -> None:
    """One image at 1 MiB a second, told a thousand times."""
    progress.started("root", total, done)
    steps = 1000
    for step in range(1, steps + 1):
        clock.now += (total - done) / MIB / steps
        progress.advanced("root", done + (total - done) * step // steps)
    progress.finished("root")


def test_lines_say_begin_and_end_and_something_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines.phase("writing demo 1.1.0 to set B")
    download(lines, clock, total=35 * MIB)
    lines.say("Starting update to 1.1.0")
    assert stream.getvalue().splitlines() == [
        "writing demo 1.1.0 to set B",
        "root: 35.0 MiB (36700160 bytes) to download",
        "root: 28 %, 1.0 MiB/s, 25 s left",
        "root: 57 %, 1.0 MiB/s, 15 s left",
        "root: 85 %, 1.0 MiB/s, 5 s left",
        "root: written and verified, 1.0 MiB/s",
        "Starting update to 1.1.0",
    ]


def test_a_resumed_download_counts_only_what_it_fetched() -> None:
    stream, clock = io.StringIO(), Clock()
    download(PlainLines(stream, clock), clock, total=400 * MIB, done=100 * MIB)
    lines = stream.getvalue().splitlines()
    assert lines[0] == (
        "root: 400.0 MiB (419430400 bytes) to download, "
        "100.0 MiB (104857600 bytes) are here already"
    )
    assert lines[1] == "root: 27 %, 1.0 MiB/s, 4 min 50 s left"
    assert len(lines) == 1 + 29 + 1


def test_an_image_that_is_here_already_has_two_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines.started("boot", MIB, MIB)
    lines.finished("boot")
    assert stream.getvalue().splitlines() == [
        "boot: 1.0 MiB (1048576 bytes) to download, 1.0 MiB (1048576 bytes) are here already",
        "boot: written and verified",
    ]


def test_slow_links_are_told_in_hours() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines.started("root", 4096 * MIB)
    clock.now += 10
    lines.advanced("root", 3 * MIB)
    assert stream.getvalue().splitlines()[1] == "root: 0 %, 0.3 MiB/s, 3 h 47 min left"
    lines.started("hash", 0)
    clock.now += 10
    lines.advanced("hash", 0)
    assert stream.getvalue().splitlines()[3] == "hash: 100 %, 0.0 MiB/s"


def test_objects_are_one_a_line() -> None:
    stream, clock = io.StringIO(), Clock()
    objects = JsonLines(stream, clock)
    objects.say("Starting update to 1.1.0")
    objects.phase("caching migrations")
    download(objects, clock, total=2 * MIB)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert events[0] == {"event": "message", "text": "Starting update to 1.1.0"}
    assert events[1] == {"event": "phase", "text": "caching migrations"}
    assert events[2] == {
        "event": "started", "image": "root", "done_bytes": 0, "total_bytes": 2 * MIB,
    }  # fmt: skip
    progress = [event for event in events if event["event"] == "progress"]
    assert 3 <= len(progress) <= 4
    assert progress[0]["total_bytes"] == 2 * MIB
    assert progress[0]["bytes_per_second"] == pytest.approx(MIB, rel=0.01)
    assert events[-1] == {
        "event": "finished", "image": "root", "done_bytes": 2 * MIB, "total_bytes": 2 * MIB,
    }  # fmt: skip


def test_log_lines_are_objects_among_objects(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    log = logging.getLogger("updog.test")
    with displaying("json", sys.stderr) as display:
        log.warning("clock is %s", "slow")
        display.say("a line")
    log.warning("clock is slow")
    log.info("all is well")
    log.debug("not told")
    told = capsys.readouterr().err.splitlines()
    assert json.loads(told[0]) == {"event": "log", "level": "warning", "text": "clock is slow"}
    assert json.loads(told[1]) == {"event": "message", "text": "a line"}
    assert told[2:] == ["updog: warning: clock is slow", "updog: all is well"]


def test_nothing_but_what_must_be_said() -> None:
    stream = io.StringIO()
    with displaying("none", stream) as display:
        download(display, Clock(), total=MIB)
        display.phase("not told")
        display.say("Starting update to 1.1.0")
    assert stream.getvalue() == "Starting update to 1.1.0\n"


def test_in_a_pipe_lines_are_chosen() -> None:
    with displaying("auto", io.StringIO()) as display:
        assert isinstance(display, PlainLines)


def _read_all(terminal: int) -> str:
    """Everything that was written to a terminal whose other end is closed."""
    data = b""
    with suppress(OSError):  # Linux says EIO at the end
        while piece := os.read(terminal, 1 << 16):
            data += piece
    os.close(terminal)
    return data.decode()


def test_on_a_terminal_bars_are_drawn() -> None:
    """A real terminal: the other end of it shows what a person sees."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(theirs, "w", encoding="utf-8") as terminal,
        displaying("auto", terminal) as display,
    ):
        assert isinstance(display, Bars)
        display.say("Starting update to 1.1.0")
        display.phase("writing [demo] 1.1.0 to set B")
        display.started("root", 10 * MIB, MIB)
        display.advanced("root", 5 * MIB)
        display.started("root", 10 * MIB)
        display.advanced("root", 10 * MIB)
        display.finished("root")
    shown = _read_all(ours)
    assert "Starting update to 1.1.0" in shown
    assert "writing [demo] 1.1.0 to set B" in shown
    assert "root" in shown
    assert "10.0/10.0" in shown
    assert "MiB" in shown


def test_everybody_is_told_in_order() -> None:
    told: list[str] = []

    class One(NoProgress):
        def __init__(self, name: str) -> None:
            self.name = name

        def phase(self, text: str) -> None:
            told.append(f"{self.name} {text}")

        def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
            told.append(f"{self.name} {image} {done_bytes}/{total_bytes}")

        def advanced(self, image: str, done_bytes: int) -> None:
            told.append(f"{self.name} {image} {done_bytes}")

        def finished(self, image: str) -> None:
            told.append(f"{self.name} {image} done")

    both = Everybody([One("a"), One("b")])
    both.phase("x")
    both.started("root", 9, 1)
    both.advanced("root", 5)
    both.finished("root")
    assert told == [
        "a x", "b x", "a root 1/9", "b root 1/9", "a root 5", "b root 5", "a root done",
        "b root done",
    ]  # fmt: skip


# What `updog status` reads while an update runs.


def test_a_running_update_can_be_watched(tmp_path: Path) -> None:
    path, lock, clock = tmp_path / "run/updog/activity.json", tmp_path / "lock", Clock()
    assert read_activity(path, lock) is None
    activity = ActivityFile(path, clock=clock)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        activity.phase("writing demo 1.1.0 to set B")
        activity.started("root", 100, 10)
        activity.advanced("root", 20)
        assert read_activity(path, lock) == Activity(
            os.getpid(), "writing demo 1.1.0 to set B", {"root": (10, 100)}
        )
        clock.now += 2
        activity.advanced("root", 30)
        watched = read_activity(path, lock)
        assert watched is not None
        assert watched.images == {"root": (30, 100)}
        activity.finished("root")
        watched = read_activity(path, lock)
        assert watched is not None
        assert watched.images == {"root": (100, 100)}
        activity.close()
        assert not path.exists()
        assert read_activity(path, lock) == Activity(0, "running", {})
    assert read_activity(path, lock) is None


def test_a_note_left_by_a_crash_is_not_a_running_update(tmp_path: Path) -> None:
    path, lock = tmp_path / "activity.json", tmp_path / "lock"
    ActivityFile(path).phase("writing")
    lock.touch()
    assert path.exists()
    assert read_activity(path, lock) is None


def test_a_note_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    activity = ActivityFile(tmp_path / "run/updog/activity.json")
    activity.phase("writing")
    activity.started("root", 1)
    activity.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"process": "x", "phase": 1, "images": {}}'])
def test_a_note_that_makes_no_sense_still_says_that_something_runs(
    text: str, tmp_path: Path
) -> None:
    path, lock = tmp_path / "activity.json", tmp_path / "lock"
    path.write_text(text)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert read_activity(path, lock) == Activity(0, "running", {})


def test_looking_takes_no_lock_away(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_held(lock)
    lock.touch()
    assert not is_held(lock)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert is_held(lock)
        assert is_held(lock)
