"""Running the owner's health checks: which files they are, one at a time, against one deadline.

Checks are the executables in `required.d` and `wanted.d` of two directories; a file in
`/etc/signpost/health` replaces the one of the same name in `/usr/lib/signpost/health`, and a
symlink to /dev/null there switches it off. Hidden files and editors' backups are not checks;
everything else is, and one that cannot be executed fails rather than being passed over.

A check passes by exiting 0, and asks for patience with 75 (EX_TEMPFAIL): it is then run again until
the deadline. Each runs in a process group of its own, without input, with a small environment, and
all of the group is killed when the time is up.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from signpost.health_policy import NOT_YET, CheckResult, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIRECTORIES: Final = (Path("usr/lib/signpost/health"), Path("etc/signpost/health"))
KEPT_OUTPUT_BYTES: Final = 2048
_DEV_NULL: Final = Path("/dev/null")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Check(NamedTuple):
    """One executable."""

    path: Path
    required: bool

    @property
    def name(self) -> str:
        """Its file name; checks run in the order of these."""
        return self.path.name


def find_checks(root: Path, *, required: bool) -> tuple[Check, ...]:
    """All checks of one kind under `root`, in the order in which they run."""
    kind = "required.d" if required else "wanted.d"
    found: dict[str, Path] = {}
    for directory in DIRECTORIES:
        with contextlib.suppress(FileNotFoundError):
            for path in (root / directory / kind).iterdir():
                if not path.name.startswith(".") and not path.name.endswith("~"):
                    found[path.name] = path
    return tuple(
        Check(path, required)
        for _, path in sorted(found.items())
        if not (path.is_symlink() and path.readlink() == _DEV_NULL)
    )


def run_checks(
    checks: Iterable[Check],
    *,
    deadline: float,
    retry_seconds: float,
    environment: Mapping[str, str],
) -> tuple[CheckResult, ...]:
    """Run checks one after another; all of them, so that every reason is known.

    Args:
        checks: In order.
        deadline: In the time of `time.monotonic`. What has not started by then is not run.
        retry_seconds: Pause before a check that said "not yet" is run again.
        environment: Variables for the checks, besides PATH.
    """
    full = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **environment}
    return tuple(_run_until_settled(check, deadline, retry_seconds, full) for check in checks)


def _run_until_settled(
    check: Check, deadline: float, retry_seconds: float, environment: Mapping[str, str]
) -> CheckResult:
    while True:
        if time.monotonic() >= deadline:
            return CheckResult(check.name, check.required, Outcome.NOT_RUN, "deadline passed")
        result, status = _run_once(check, deadline, environment)
        if status != NOT_YET:
            return result
        pause = min(retry_seconds, deadline - time.monotonic())
        if pause < retry_seconds:
            return CheckResult(
                check.name, check.required, Outcome.TIMED_OUT, "still not ready", result.output
            )
        time.sleep(pause)


def _run_once(
    check: Check, deadline: float, environment: Mapping[str, str]
) -> tuple[CheckResult, int | None]:
    """Run a check once; also its exit status, None if it has none."""
    try:
        process = subprocess.Popen(
            [check.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        why = f"cannot be executed: {os.strerror(error.errno or 0)}"
        return CheckResult(check.name, check.required, Outcome.FAILED, why), None
    with process:
        output, in_time = _collect(process, deadline)
        # Also when it ended by itself: what it left running is not to outlive the verdict.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    text = output.decode(errors="replace")
    if not in_time:
        return CheckResult(
            check.name, check.required, Outcome.TIMED_OUT, "killed at the deadline", text
        ), None
    if status < 0:
        why = f"killed by signal {-status}"
        return CheckResult(check.name, check.required, Outcome.FAILED, why, text), None
    if status:
        why = f"exit status {status}"
        return CheckResult(check.name, check.required, Outcome.FAILED, why, text), status
    return CheckResult(check.name, check.required, Outcome.PASSED, output=text), status


def _collect(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """Keep the end of what the process prints until it ends; False if the deadline came first."""
    if process.stdout is None:
        raise ValueError("the process has no pipe for its output")
    kept = b""
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(deadline - time.monotonic())}
                if pipe in ready:
                    chunk = os.read(pipe, 65536)
                    kept = (kept + chunk)[-KEPT_OUTPUT_BYTES:]
                    if not chunk:
                        selector.unregister(pipe)
                # Not the end of the pipe, which children of the check may hold open.
                if ended in ready:
                    # A pipe holds no more than this: all that the check itself still had to say.
                    with contextlib.suppress(BlockingIOError):
                        kept = (kept + os.read(pipe, 65536))[-KEPT_OUTPUT_BYTES:]
                    return kept, True
                if time.monotonic() >= deadline:
                    return kept, False
    finally:
        os.close(ended)
