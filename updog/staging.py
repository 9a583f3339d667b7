"""The flip alone, and taking it back: what `update-apply` and `update-revert` do, offline.

The attempt is recorded before the flip: if the new system does not come up, the next run knows
which version it was. The table write is the commit point; a power cut between the two leaves a
record that the set's flags contradict, and the flags are believed (`updog.attempts`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from partition import durable
from updog.attempts import Flip
from updog.attempts_file import load_attempts, remember
from updog.errors import RebootRefused
from updog.exclusion import only_updater
from updog.os_disk import locate_disk, open_disk

if TYPE_CHECKING:
    from signpost.device import BootDisk
    from signpost.location import Location
    from updog.environment import Host

_LOG = logging.getLogger(__name__)


def apply_staged(host: Host, *, reboot: bool = False) -> str:
    """Let the staged update boot next. Nothing is written if it already will.

    Args:
        host: The host; needs neither configuration nor network.
        reboot: The caller wants to reboot afterwards; refused at once where that makes no sense.

    Returns:
        What is the case now, as a line for the user.

    Raises:
        RebootRefused: The disk is an image.
        NotMarkedValid: The inactive set does not hold a whole, fresh update.
        PartitionError, SignpostError, UpdogError: Anything else that fails or is refused.
    """
    location = locate_disk(host)
    refuse_reboot_of_image(location, reboot=reboot)
    with only_updater(host), open_disk(host, location, writable=True) as disk:
        already = " already" if disk.state.upgrade_pending else ""
        if already:
            # Flushed, should the run that left it so have been killed before it could.
            disk.store(disk.state)
        else:
            flip(host, disk)
        return f"set {disk.state.inactive.value} ({_label(host, disk)}) boots next{already}"


def revert(host: Host) -> str:
    """Take the flip back: the running system boots next, the update stays staged.

    Returns:
        What is the case now, as a line for the user.

    Raises:
        NoUpgradePending: There is no flip to take back.
        PartitionError, SignpostError, UpdogError: Anything else that fails or is refused.
    """
    location = locate_disk(host)
    with only_updater(host), open_disk(host, location, writable=True) as disk:
        disk.store(disk.state.cancel_upgrade())
        # After the table: a record too much is harmless, one too few is not.
        remember(host, lambda attempts: attempts.withdraw())
        state = disk.state
        return f"set {state.active.value} boots next; {_label(host, disk)} stays staged"


def flip(host: Host, disk: BootDisk) -> None:
    """Record the attempt, then let the inactive set boot next.

    Raises:
        NotMarkedValid: See `BootState.upgrade_to_inactive`; nothing was written.
        PartitionError: The state or the table cannot be written.
    """
    flipped = disk.state.upgrade_to_inactive()
    # What boots next is whole. A run that was killed once it had marked it valid left this.
    durable.remove_file(host.paths.journal, kernel=host.kernel)
    remember(host, lambda attempts: attempts.flip(Flip(host.now, host.boot_id)))
    disk.store(flipped)


def refuse_reboot_of_image(location: Location, *, reboot: bool) -> None:
    """Refuse to reboot this host for another system's disk.

    Raises:
        RebootRefused: `reboot`, and the disk is an image file.
    """
    if reboot and location.is_image:
        raise RebootRefused(f"{location.os_disk} is a disk image, this host does not run from it")


def _label(host: Host, disk: BootDisk) -> str:
    """Name what is staged on the inactive set, as far as that is known."""
    staged = load_attempts(host.paths.attempts).staged
    if staged is None or staged.slot is not disk.state.inactive:
        _LOG.warning("nothing is remembered of what set %s holds", disk.state.inactive.value)
        return "an unknown version"
    return staged.label
