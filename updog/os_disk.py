"""The disk that holds the partition sets, as the host's options and the running system name it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signpost.device import BootDisk
    from signpost.location import Location
    from updog.environment import Host

_LOG = logging.getLogger(__name__)


def locate_disk(host: Host) -> Location:
    """Find the disk and the active set, from the options, else from the running system.

    Raises:
        PartitionError, SignpostError: See `signpost.location`.
    """
    from signpost.location import locate  # noqa: PLC0415  a check seldom looks at the disk

    return locate(
        host.os_disk,
        host.active,
        root=host.paths.root,
        sysfs=host.sysfs,
        dev=host.dev,
        proc=host.proc,
    )


def open_disk(host: Host, location: Location, *, writable: bool = False) -> BootDisk:
    """Open the disk; a damaged copy of its table is reported.

    Raises:
        PartitionError, SignpostError: See `signpost.device`.
    """
    from signpost.device import BootDisk  # noqa: PLC0415  as above

    disk = BootDisk.open(
        location, writable=writable, kernel=host.kernel, sysfs=host.sysfs, dev=host.dev
    )
    for problem in disk.problems:
        _LOG.warning("partition table of %s: %s", disk.os_disk, problem)
    return disk
