"""Programs as migrations: how they are started, what they get, and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from migrator import executable
from migrator.errors import MigrationFailed
from migrator.executable import Limits

REPORT = b"""#!/usr/bin/env python3
import json, os, pathlib, sys
fd = sys.argv[0].rpartition("/")[2]
try:
    os.write(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"x")
    writable = True
except OSError:
    writable = False
interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
limits = {line[:25].strip(): line[26:47].strip() for line in open("/proc/self/limits")}
pathlib.Path(sys.argv[-1]).write_text(json.dumps({
    "arguments": sys.argv[1:],
    "environment": sorted(set(os.environ) - {"LC_CTYPE"}),
    "directory": os.getcwd(),
    "input": sys.stdin.read(),
    "interfaces": interfaces,
    "writable": writable,
    "user": os.geteuid(),
    "core": limits["Max core file size"],
    "file": limits["Max file size"],
    "privileges": "NoNewPrivs:\t1" in open("/proc/self/status").read(),
}))
"""


def run(
    program: bytes, tmp_path: Path, direction: str = "forward", limits: Limits | None = None
) -> str:
    return executable.run(
        "migrate_v1.0.0_x.lz4",
        program,
        direction,
        source=tmp_path / "source",
        target=tmp_path / "target",
        limits=limits or Limits(seconds=20),
    )


def test_what_a_migration_is_given(tmp_path: Path) -> None:
    os.environ["SECRET_OF_THE_HOST"] = "x"
    try:
        run(REPORT, tmp_path, "backward")
    finally:
        del os.environ["SECRET_OF_THE_HOST"]
    report = json.loads((tmp_path / "target").read_text())
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    assert report["arguments"] == [
        "--backward",
        "--source-datastore",
        source,
        "--target-datastore",
        target,
    ]
    assert report["environment"] == ["LANG", "PATH"]
    assert report["directory"] == "/"
    assert report["input"] == ""
    assert report["writable"] is False, "the program's memory is sealed"
    assert report["user"] == os.geteuid()
    assert report["core"] == "0"
    assert report["file"] == str(64 << 20)
    assert report["privileges"] is True


def namespaces_work() -> bool:
    """Ask another program than ours whether this kernel lets us have a network of our own."""
    command = ["unshare", "--net", "true"]
    alone = subprocess.run(command, check=False, capture_output=True)
    mapped = subprocess.run(
        ["unshare", "--user", "--net", "true"], check=False, capture_output=True
    )
    return alone.returncode == 0 or mapped.returncode == 0


def test_a_migration_has_no_network_where_the_kernel_allows(tmp_path: Path) -> None:
    run(REPORT, tmp_path)
    interfaces = json.loads((tmp_path / "target").read_text())["interfaces"]
    here = [
        line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]
    ]
    assert interfaces == (["lo"] if namespaces_work() else here)


def test_a_real_program_runs(tmp_path: Path) -> None:
    assert run(Path("/bin/true").read_bytes(), tmp_path) == ""


def test_the_last_line_of_its_output_is_returned(tmp_path: Path) -> None:
    assert run(b"#!/bin/sh\necho one\necho two >&2\n", tmp_path) == "two"


FAILURES: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\x00\x01garbage", "it is not an executable for this machine"),
    "nothing": (b"", "it is not an executable for this machine"),
    "no interpreter": (b"#!/no/such/interpreter\n", "it could not be started"),
    "an exit code": (b"#!/bin/sh\nexit 7\n", "it exited with 7"),
    "a reason": (
        b"#!/bin/sh\necho starting\necho 'no such \033[1m key' >&2\nexit 1\n",
        "it exited with 1; it printed: no such ?[1m key",
    ),
    "a crash": (b"#!/bin/sh\nkill -SEGV $$\n", "it was killed by SIGSEGV"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_says_which_migration_and_why(tmp_path: Path, failure: str) -> None:
    program, why = FAILURES[failure]
    with pytest.raises(MigrationFailed) as caught:
        run(program, tmp_path)
    message = str(caught.value)
    assert message.startswith("migration migrate_v1.0.0_x.lz4 failed going forward: ")
    assert why in message
    assert "\n" not in message


def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "survivor"
    script = f"#!/bin/sh\n(sleep 1; touch {marker}) &\nsleep 60\n"
    with pytest.raises(MigrationFailed, match=r"it did not end within 0.2 seconds"):
        run(script.encode(), tmp_path, limits=Limits(seconds=0.2))
    subprocess.run(["sleep", "1.3"], check=True)
    assert not marker.exists()


def test_one_that_ends_but_leaves_something_running_is_not_waited_for(tmp_path: Path) -> None:
    marker = tmp_path / "survivor"
    script = f"#!/bin/sh\n(sleep 1; touch {marker}) &\nexit 0\n"
    run(script.encode(), tmp_path, limits=Limits(seconds=20))
    subprocess.run(["sleep", "1.3"], check=True)
    assert not marker.exists()


def test_nothing_escapes_by_leaving_its_session(tmp_path: Path) -> None:
    marker = tmp_path / "survivor"
    script = f"""#!/bin/sh
setsid sh -c 'setsid sh -c "sleep 1; touch {marker}" & sleep 1; touch {marker}' &
sleep 0.3
"""
    run(script.encode(), tmp_path, limits=Limits(seconds=20))
    subprocess.run(["sleep", "1.3"], check=True)
    assert not marker.exists()


def test_children_of_ours_live_on(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "20"]) as ours:
        run(Path("/bin/true").read_bytes(), tmp_path)
        assert ours.poll() is None
        ours.kill()


def exceeding(tmp_path: Path) -> dict[str, tuple[bytes, Limits]]:
    fill = f"#!/bin/sh\nhead -c 3000000 /dev/zero > {tmp_path}/big\n".encode()
    talk = b"#!/bin/sh\nhead -c 3000000 /dev/zero\n"
    grow = b"#!/usr/bin/env python3\nx = bytearray(300 << 20)\n"
    return {
        "files": (fill, Limits(seconds=20, file_bytes=1 << 20)),
        "output": (talk, Limits(seconds=20, file_bytes=1 << 20)),
        "memory": (grow, Limits(seconds=20, memory_bytes=100 << 20)),
    }


@pytest.mark.parametrize("what", ["files", "output", "memory"])
def test_one_that_takes_too_much_fails(tmp_path: Path, what: str) -> None:
    program, limits = exceeding(tmp_path)[what]
    with pytest.raises(MigrationFailed):
        run(program, tmp_path, limits=limits)
    big = tmp_path / "big"
    assert not big.exists() or big.stat().st_size <= 1 << 20


def test_no_descriptor_of_ours_is_left_open(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    run(Path("/bin/true").read_bytes(), tmp_path)
    with pytest.raises(MigrationFailed):
        run(b"garbage", tmp_path)
    assert count() == before
