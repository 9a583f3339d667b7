"""One updater at a time.

A lock below /var/lib/updog, for as long as a command works. Two commands with different roots and
the same disk are kept apart by the disk's own lock, which is held from the first write to the last.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from partition.durable import exclusive_lock, make_directory
from partition.errors import LockHeld
from updog.errors import UpdateInProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from updog.environment import Host

# `updog status` may hold the lock for an instant, to see whether somebody else does.
_WAIT_SECONDS: Final = 1.0


@contextmanager
def only_updater(host: Host) -> Iterator[None]:
    """Keep other updaters of this host out for the time of a `with` block.

    Raises:
        UpdateInProgress: One is at work.
        PartitionError: The state directory cannot be made or used.
    """
    make_directory(host.paths.state, kernel=host.kernel)
    with ExitStack() as stack:
        try:
            lock = exclusive_lock(host.paths.lock, wait_seconds=_WAIT_SECONDS, kernel=host.kernel)
            stack.enter_context(lock)
        except LockHeld as error:
            raise UpdateInProgress(error.holder) from error
        yield
