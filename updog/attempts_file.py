"""`attempts.json` on disk.

A file that cannot be understood is reported and counts as empty: no version is skipped and none
counts as staged, so the worst that follows is one more try or one more download. A file that
somebody else could have written is refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from partition.durable import make_directory, read_json, write_json
from partition.errors import StateFileCorrupt
from partition.kernel import KERNEL, Kernel
from updog.attempts import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from updog.environment import Host

_LOG = logging.getLogger(__name__)


def load_attempts(path: Path) -> Attempts:
    """Read what is remembered; nothing, if there is no such file.

    Raises:
        StateFileUnsafe: Somebody else could have written it.
        ReadFailed: The system refused.
    """
    try:
        value = read_json(path)
        return Attempts() if value is None else Attempts.from_json(value)
    except (StateFileCorrupt, ValueError) as error:
        _LOG.warning("forgetting earlier attempts: %s: %s", path, error)
        return Attempts()


def store_attempts(path: Path, attempts: Attempts, *, kernel: Kernel = KERNEL) -> None:
    """Replace the file, durably; its directory is made if need be.

    Raises:
        WriteFailed: The system refused; the old file is untouched.
        StateFileUnsafe: Others could write in the directory.
    """
    make_directory(path.parent, kernel=kernel)
    write_json(path, attempts.to_json(), kernel=kernel)


def remember(host: Host, change: Callable[[Attempts], Attempts]) -> Attempts:
    """Change what is remembered, durably, and return it; no write if nothing changes.

    Raises:
        PartitionError: The file cannot be read or written.
    """
    before = load_attempts(host.paths.attempts)
    after = change(before)
    if after != before:
        store_attempts(host.paths.attempts, after, kernel=host.kernel)
    return after
