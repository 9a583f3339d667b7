"""Which disk, and which of its sets is running.

Decided here: where an answer is looked for, and in which order.

    disk         --os-disk or SIGNPOST_OS_DISK; else the disk under the root file system
    active set   --active-set or SIGNPOST_ACTIVE_SET;
                 else what the boot stage said: /run/signpost/active-set, then signpost.active= on
                 the kernel command line;
                 else the set that holds the partitions under the root file system
                 (dm-verity's data and hash device, or a plain partition)

What the running system says counts for the disk that it runs from, never for another one; and a
disk image has no running system, so there the set must be named.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from partition.blockdev import DEV, PROC, SYSFS, DeviceNumber, Devices
from partition.disk import Disk, is_image
from partition.durable import read_file
from partition.errors import DeviceNotFound
from signpost.errors import ActiveSetMissing, ActiveSetUnknown
from signpost.layout import Slot, find_layout

ACTIVE_SET_FILE = Path("run/signpost/active-set")
"""Written by the boot stage, below the root directory: `A` or `B`."""

ACTIVE_SET_PARAMETER = "signpost.active"
"""Parameter of the kernel command line with the same content."""


class Location(NamedTuple):
    """A disk and its active set.

    Attributes:
        os_disk: A block device or a disk image.
        active: The set that the host runs from.
        is_image: It is a file, not a block device.
    """

    os_disk: Path
    active: Slot
    is_image: bool


def locate(
    os_disk: Path | None,
    active: Slot | None,
    *,
    root: Path = Path("/"),
    sysfs: Path = SYSFS,
    dev: Path = DEV,
    proc: Path = PROC,
) -> Location:
    """Find what was not named; the module says where.

    Args:
        os_disk: The disk, if it was named.
        active: The active set, if it was named.
        root: The root file system whose disk is meant, and that holds run/signpost.
        sysfs: Where sysfs is mounted.
        dev: Where device nodes are.
        proc: Where procfs is mounted.

    Raises:
        DeviceNotFound: No such disk, or none under the root file system.
        ActiveSetUnknown: Nothing shows it, or what shows it makes no sense.
        PartitionError: The disk cannot be read.
        LayoutInvalid: It does not hold partition sets.
    """
    devices = Devices(sysfs, dev, proc)
    disk = find_disk(os_disk, root=root, sysfs=sysfs, dev=dev, proc=proc)
    image = is_image(disk)
    if active is None:
        if image and os_disk is not None:
            raise ActiveSetMissing(str(disk), "a disk image does not run")
        named = None if os_disk is None else DeviceNumber.of(os_disk.stat().st_rdev)
        active = find_active(disk, named, root=root, devices=devices)
    return Location(disk, active, image)


def find_disk(
    os_disk: Path | None,
    *,
    root: Path = Path("/"),
    sysfs: Path = SYSFS,
    dev: Path = DEV,
    proc: Path = PROC,
) -> Path:
    """The named disk, else the one under the root file system; arguments as `locate`.

    Raises:
        DeviceNotFound: There is none.
    """
    if os_disk is not None:
        return os_disk
    devices = Devices(sysfs, dev, proc)
    try:
        return devices.node(devices.disk_of(devices.under(root.resolve())))
    except DeviceNotFound as error:
        error.hint = "name the disk with --os-disk"
        raise


def find_active(disk: Path, named: DeviceNumber | None, *, root: Path, devices: Devices) -> Slot:
    """The active set of a block device.

    Args:
        disk: The disk.
        named: Its device number if an option named it; None if it is the one under `root`.
        root: As `locate`.
        devices: The kernel's view.

    Raises:
        ActiveSetUnknown: As `locate`.
    """
    running: tuple[DeviceNumber, ...] = ()
    why = ""
    try:
        under = devices.under(root.resolve())
        running, running_disk = devices.lower(under), devices.disk_of(under)
    except DeviceNotFound as error:
        # A root file system in memory or on an overlay: the boot stage may still have said.
        why = str(error)
    else:
        if named not in {None, running_disk}:
            raise ActiveSetUnknown(
                str(disk), f"the system runs from {devices.node(running_disk)}, another disk"
            )
    said = _said_by_boot_stage(disk, root, devices.proc)
    if said is not None:
        return said
    if not running:
        raise ActiveSetUnknown(str(disk), why)
    return _slot_of_partitions(disk, running, devices)


def _said_by_boot_stage(disk: Path, root: Path, proc: Path) -> Slot | None:
    path = root / ACTIVE_SET_FILE
    content = read_file(path, max_bytes=64)
    if content is not None:
        return _slot_named(disk, content.decode(errors="replace").strip(), str(path))
    try:
        words = (proc / "cmdline").read_text().split()
    except OSError:
        return None
    prefix = f"{ACTIVE_SET_PARAMETER}="
    values = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    # As the kernel does it: the last one wins.
    return _slot_named(disk, values[-1], "the kernel command line") if values else None


def _slot_named(disk: Path, text: str, where: str) -> Slot:
    try:
        return Slot(text)
    except ValueError:
        raise ActiveSetUnknown(str(disk), f"{where} says {text!r}, expected A or B") from None


def _slot_of_partitions(disk: Path, running: tuple[DeviceNumber, ...], devices: Devices) -> Slot:
    numbers = {devices.partition_number(number) for number in running}
    with Disk.open(disk, sysfs=devices.sysfs, dev=devices.dev) as opened:
        table = opened.read_table_beside_writers().table
    layout = find_layout(table, disk=str(disk))
    slots = [slot for slot, partitions in layout.sets.items() if numbers & partitions.numbers]
    if len(slots) != 1:
        under = ", ".join(str(devices.node(number)) for number in running)
        raise ActiveSetUnknown(
            str(disk), f"the root file system is on {under}, which is not in one set"
        )
    return slots[0]
