"""Who could have written a file: us and root, or somebody else too."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from partition.errors import ReadFailed, StateFileUnsafe, reason

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_directory(path: Path) -> None:
    """Make sure that nobody but us and root can put files into the directory `path`.

    Raises:
        StateFileUnsafe: Somebody else owns it, or group or others may write.
        ReadFailed: It is not there, or no directory.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ReadFailed(path, reason(error)) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ReadFailed(path, "it is not a directory")
    check_owner(path, status)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Make sure that nobody but us and root could have written what `status` describes.

    Raises:
        StateFileUnsafe: As `check_directory`.
    """
    if status.st_uid not in {0, os.geteuid()}:
        raise StateFileUnsafe(
            path, f"it belongs to user {status.st_uid}, expected {os.geteuid()} or root"
        )
    if status.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise StateFileUnsafe(path, f"others may write to it (mode {mode:04o})")
