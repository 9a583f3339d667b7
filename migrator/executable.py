"""Running an executable migration: from sealed memory, alone, for a limited time.

The bytes that were verified are the bytes that run: they go into an anonymous file in memory that
is sealed against any change (memfd_create(2), F_ADD_SEALS), and are executed through it. There is
no path that somebody could replace in between.

The process gets

- the command line of the contract, and `/` as its directory;
- an environment of two variables, `PATH` and `LANG`;
- no standard input; one memory file for its output, of which the last line is shown;
- a network namespace of its own, without any network, where the kernel allows: directly, or else
  by way of a user namespace in which it keeps its identity;
- limits: wall-clock time, the size of a file, memory, no core dumps, no new privileges.

When it ends, whatever it has started ends too, in its session or out of it: orphans become our
children (PR_SET_CHILD_SUBREAPER), and are killed. If this process is killed, so is the migration.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MFD_EXEC = 0x10  # Linux 6.3; older kernels make every memfd executable and refuse the flag
_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SHOWN_BYTES = 2048
_INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class Limits:
    """What a migration may use.

    Attributes:
        seconds: Wall-clock time, until it and its process group are killed.
        file_bytes: The largest file it may write; its output counts as one.
        memory_bytes: Its data (RLIMIT_DATA).
    """

    seconds: float = 60.0
    file_bytes: int = 64 << 20
    memory_bytes: int = 1 << 30


def run(
    name: str,
    program: bytes,
    direction: str,
    *,
    source: Path,
    target: Path,
    limits: Limits | None = None,
) -> str:
    """Run a migration from a source copy to a target copy; return the last line it printed.

    Args:
        name: For messages, and as the program's own name.
        program: Verified and decompressed.
        direction: `forward` or `backward`.
        source: A copy that it may read (and spoil: it must be nobody else's).
        target: Does not exist; the migration makes it.
        limits: None: the defaults.

    Raises:
        MigrationFailed: It could not be started, took too long, or did not exit with 0.
    """
    limits = limits or Limits()
    arguments = [name, f"--{direction}"]
    arguments += ["--source-datastore", str(source), "--target-datastore", str(target)]
    image, output = _sealed(name, program), os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        problem = _run(arguments, image, output, limits)
        shown = _tail(output)
    except (OSError, subprocess.SubprocessError) as error:
        raise MigrationFailed(name, direction, _why_not_started(error)) from error
    finally:
        os.close(image)
        os.close(output)
    if problem is not None:
        raise MigrationFailed(name, direction, problem, shown)
    return shown


def _sealed(name: str, program: bytes) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(name[:200], flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.memfd_create(name[:200], flags)
    rest = memoryview(program)
    while rest:
        rest = rest[os.write(fd, rest) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def _run(arguments: list[str], image: int, output: int, limits: Limits) -> str | None:
    """Run to the end; return what went wrong, or None."""
    # A packed Python migration starts through env(1): this very Python is the host's.
    path = f"{Path(sys.executable).parent}:{_STANDARD_PATH}" if sys.executable else _STANDARD_PATH
    # Python drops exceptions from signal handlers while it forks; so signals wait until it has.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    try:
        # A script's interpreter opens the file again by this name, so the descriptor is passed on.
        with (
            _nothing_left_running(),
            subprocess.Popen(
                arguments,
                executable=f"/proc/self/fd/{image}",
                pass_fds=(image,),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": path, "LANG": "C.UTF-8"},
                start_new_session=True,
                preexec_fn=_confinement(limits, mask),  # noqa: PLW1509  this program has one thread
            ) as process,
        ):
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                code = process.wait(limits.seconds)
            except subprocess.TimeoutExpired:
                return f"it did not end within {limits.seconds:g} seconds"
            finally:
                # What it left running must not go on writing; nothing outlives an interruption.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it exited with {code}" if code else None


@contextmanager
def _nothing_left_running() -> Iterator[None]:
    """Kill every child that came to this process meanwhile, whose child it was first."""
    libc, ours = _libc(), _children()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        # What one that is killed has started comes next.
        while orphans := _children() - ours:
            for orphan in orphans:
                with suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(orphan, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _children() -> set[int]:
    """Return the ids of this process's children; none where the kernel does not list them."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.update(map(int, listing.read_text().split()))
    return found


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    # prctl(2) is variadic and takes whole words; ctypes would pass halves.
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return libc


def _confinement(limits: Limits, mask: Collection[int]) -> Callable[[], None]:
    """Return what the new process does before it becomes the migration."""
    libc = _libc()
    user, group, parent = os.geteuid(), os.getegid(), os.getpid()

    def confine() -> None:
        if libc.unshare(_CLONE_NEWNET) and not libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            for file, line in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with suppress(OSError):
                    Path("/proc/self", file).write_text(line)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # After the user namespace, which would cancel it.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        os.umask(0o022)
        for kind, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, limits.file_bytes),
            (resource.RLIMIT_DATA, limits.memory_bytes),
        ):
            hard = resource.getrlimit(kind)[1]
            allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (allowed, allowed))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return confine


def _tail(output: int) -> str:
    """Return the last line that was printed, which is where programs say why they give up."""
    size = os.fstat(output).st_size
    text = os.pread(output, _SHOWN_BYTES, max(0, size - _SHOWN_BYTES)).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return "".join(character if character.isprintable() else "?" for character in last)


def _why_not_started(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
        return "it is not an executable for this machine"
    if isinstance(error, FileNotFoundError):
        return "it could not be started: its interpreter, or /proc, is missing"
    return f"it could not be started: {error}"
