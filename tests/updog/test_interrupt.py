"""Signals: at once where that is harmless, later where it is not; and the reboot at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from updog.errors import DownloadFailed, Interrupted, RebootFailed
from updog.interrupt import Interrupt

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks(number: signal.Signals) -> None:
    """It cuts off what may block, and the run ends where it looks next."""
    interrupt = Interrupt("checking metadata")
    before = signal.getsignal(number)
    cut_off = threading.Event()
    with interrupt.handling_signals(), interrupt.cutting_off(cut_off.set):
        signal.raise_signal(number)
        assert cut_off.wait(10)
        assert interrupt.event.is_set()
        with pytest.raises(Interrupted, match="interrupted while checking metadata"):
            interrupt.stop_if_asked()
    assert signal.getsignal(number) is before


def test_the_second_signal_insists() -> None:
    interrupt = Interrupt("writing")
    with interrupt.handling_signals():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="interrupted while writing"):
            signal.raise_signal(signal.SIGTERM)


def test_a_download_that_was_cut_off_was_interrupted() -> None:
    interrupt = Interrupt("checking metadata")
    with pytest.raises(DownloadFailed), interrupt.cutting_off(lambda: None):
        raise DownloadFailed("https://example.com/", "it stalled")
    interrupt.event.set()
    with (
        pytest.raises(Interrupted, match="interrupted while checking metadata"),
        interrupt.cutting_off(lambda: None),
    ):
        raise DownloadFailed("https://example.com/", "the connection was closed")


def test_what_is_over_is_not_cut_off() -> None:
    interrupt = Interrupt()
    cut_off: list[str] = []
    running = threading.Event()

    def fails() -> None:
        cut_off.append("fails")
        raise OSError

    def last() -> None:
        cut_off.append("last")
        running.set()

    with interrupt.handling_signals():
        with interrupt.cutting_off(lambda: cut_off.append("over")):
            pass
        with interrupt.cutting_off(fails), interrupt.cutting_off(last):
            signal.raise_signal(signal.SIGTERM)
            assert running.wait(10)
    assert cut_off == ["fails", "last"]


def test_what_was_ignored_before_stays_ignored() -> None:
    """As nohup starts a program: the end of the session does not stop it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt = Interrupt()
        with interrupt.handling_signals():
            signal.raise_signal(signal.SIGHUP)
        assert not interrupt.event.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nobody_asked_to_stop() -> None:
    Interrupt().stop_if_asked()


def test_outside_the_main_thread_nothing_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with Interrupt().handling_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


# The reboot. The commands are scripts that a test puts where PATH looks.


def reboot_with(directory: Path, **scripts: str) -> tuple[int, str]:
    """Run `reboot()` as its own process; returns its exit code and what was called."""
    log = directory / "called"
    log.touch()
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    for name, body in scripts.items():
        script = bin_directory / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{body}\n')
        script.chmod(0o755)
    program = (
        "from updog.reboot import reboot\n"
        "from updog.errors import RebootFailed\n"
        "try: reboot()\n"
        "except RebootFailed as error: raise SystemExit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": str(bin_directory), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, log.read_text() + done.stderr


def test_systemd_is_asked_first(tmp_path: Path) -> None:
    assert reboot_with(tmp_path, systemctl="exit 0", shutdown="exit 0") == (
        0, "systemctl reboot\n",
    )  # fmt: skip


def test_without_systemd_there_is_shutdown(tmp_path: Path) -> None:
    assert reboot_with(tmp_path, shutdown="exit 0") == (0, "shutdown -r now\n")


def test_if_systemd_refuses_shutdown_is_tried(tmp_path: Path) -> None:
    code, told = reboot_with(tmp_path, systemctl="echo no bus >&2; exit 1", shutdown="exit 0")
    assert (code, told) == (0, "systemctl reboot\nshutdown -r now\n")


def test_a_refusal_is_told(tmp_path: Path) -> None:
    code, told = reboot_with(tmp_path, shutdown="echo only root may do that >&2; exit 4")
    assert code == 1
    assert told.splitlines()[-1] == (
        "cannot reboot: shutdown -r now ended with 4: only root may do that"
    )


def test_no_way_to_reboot_is_told(tmp_path: Path) -> None:
    code, told = reboot_with(tmp_path)
    assert (code, told) == (1, "cannot reboot: found neither systemctl nor shutdown\n")
    assert RebootFailed("x").hint == "reboot the host to run the update"
    assert os.environ["PATH"] != str(tmp_path / "bin")
