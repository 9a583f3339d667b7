"""The rehearsal: another program, a clean environment, and its last words."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from updog.environment import Paths
from updog.errors import Interrupted, RehearsalFailed
from updog.rehearsal import rehearse
from updog.versions import parse_version

if TYPE_CHECKING:
    from pathlib import Path

VERSION = parse_version("1.1.0-rc.1+b")


def migrator(directory: Path, body: str) -> tuple[str, ...]:
    """A program in place of the migrator."""
    script = directory / "migrator.py"
    script.write_text(f"import os, signal, sys, time\n{body}\n")
    return (sys.executable, str(script))


def run(directory: Path, body: str) -> None:
    program = migrator(directory, body)
    rehearse(Paths(directory), VERSION, cancel=threading.Event(), program=program)


def test_the_migrator_is_told_where_everything_is(tmp_path: Path) -> None:
    run(tmp_path, f"open({str(tmp_path / 'words')!r}, 'w').write('\\n'.join(sys.argv[1:]))")
    assert (tmp_path / "words").read_text().splitlines() == [
        "rehearse",
        f"--datastore-path={tmp_path}/var/lib/bottlerocket/datastore/current",
        f"--migration-directory={tmp_path}/var/lib/bottlerocket-migrations",
        f"--root-path={tmp_path}/usr/share/updog/root.json",
        f"--metadata-directory={tmp_path}/var/cache/bottlerocket-metadata",
        "--migrate-to-version=1.1.0-rc.1+b",
    ]


def test_nothing_of_our_environment_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy/")
    run(tmp_path, f"open({str(tmp_path / 'names')!r}, 'w').write(' '.join(sorted(os.environ)))")
    names = set((tmp_path / "names").read_text().split())
    # LC_CTYPE is Python's own doing (PEP 538).
    assert names - {"LC_CTYPE"} == {"LANG", "PATH"}


@pytest.mark.parametrize(
    "body, told",
    [
        (
            (
                "print('migrator: refusing migrate_v1.lz4: it crashed', file=sys.stderr)\n"
                "print('hint: look at it', file=sys.stderr); sys.exit(1)"
            ),
            "refusing migrate_v1.lz4: it crashed",
        ),
        ("print('Traceback', file=sys.stderr); sys.exit(1)", "Traceback"),
        ("sys.exit(2)", "the migrator ended with 2"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the migrator ended with -9"),
        ("sys.stderr.buffer.write(b'migrator: \\xff\\n'); sys.exit(1)", "\ufffd"),
    ],
)
def test_its_last_words_are_the_reason(body: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(RehearsalFailed) as caught:
        run(tmp_path, body)
    assert str(caught.value) == (
        f"refusing to update to 1.1.0-rc.1+b: rehearsing its migrations: {told}"
    )
    assert caught.value.hint is not None
    assert "rehearse_migrations = false" in caught.value.hint


def test_a_migrator_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    with pytest.raises(RehearsalFailed, match="cannot start /no/such/python: No such file"):
        rehearse(Paths(tmp_path), VERSION, cancel=threading.Event(), program=("/no/such/python",))


@pytest.mark.parametrize("deaf", [False, True])
def test_a_signal_ends_it(deaf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Politely first; a migrator that does not listen is killed."""
    monkeypatch.setattr("updog.rehearsal._GRACE_SECONDS", 0.2)
    started = tmp_path / "started"
    ears = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
    program = migrator(tmp_path, f"{ears}open({str(started)!r}, 'w').close(); time.sleep(600)")
    cancel = threading.Event()

    def stop() -> None:
        while not started.exists():
            time.sleep(0.01)
        cancel.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Interrupted, match="rehearsing the migrations"):
        rehearse(Paths(tmp_path), VERSION, cancel=cancel, program=program)
    thread.join()
