"""Exclusive locks: one writer of a disk, one updater on a host.

Advisory locks (flock) on an open file: they vanish with the process that holds them, so a crash
leaves nothing to clean up. On a whole disk this is also the lock that udev respects
(https://systemd.io/BLOCK_DEVICE_LOCKING/).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from partition.errors import LockHeld, StateFileUnsafe, WriteFailed, reason
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_SECONDS = 0.05


def take(
    fd: int,
    path: Path,
    *,
    wait_seconds: float = 0.0,
    kernel: Kernel = KERNEL,
    proc: Path = Path("/proc"),
) -> None:
    """Lock the open file `fd`; closing it unlocks.

    Args:
        fd: The file to lock.
        path: Its name, for messages.
        wait_seconds: How long to wait for another holder; 0 asks once.
        kernel: Where the lock is taken.
        proc: Where /proc is mounted, to name the holder.

    Raises:
        LockHeld: Somebody else holds it, and did so for `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            kernel.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockHeld(path, holder(fd, proc)) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def holder(fd: int, proc: Path = Path("/proc")) -> int | None:
    """The process that holds a lock on the file open as `fd`, if /proc/locks tells."""
    status = os.fstat(fd)
    where = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = (proc / "locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # proc_locks(5): "1: FLOCK  ADVISORY  WRITE 4242 fd:01:131 0 EOF"; waiters have a "->".
        fields = line.split()
        if "->" not in fields and fields[1:2] == ["FLOCK"] and where in fields:
            process = int(fields[4])
            return process if process > 0 else None
    return None


@contextmanager
def exclusive_lock(
    path: Path, *, wait_seconds: float = 0.0, kernel: Kernel = KERNEL
) -> Iterator[None]:
    """Hold the lock file `path` for the time of a `with` block. The file is made, and stays.

    Raises:
        LockHeld: Another process holds it.
        StateFileUnsafe: It is a symlink.
        WriteFailed: It cannot be opened or made.
    """
    try:
        fd = kernel.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise StateFileUnsafe(path, "it is a symbolic link") from error
        raise WriteFailed(path, reason(error)) from error
    try:
        take(fd, path, wait_seconds=wait_seconds, kernel=kernel)
        yield
    finally:
        kernel.close(fd)
