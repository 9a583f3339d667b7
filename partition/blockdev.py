"""Block devices as the kernel shows them: what lies under a mount, which disk, which partition.

Everything is read from sysfs and /proc/self/mountinfo; their places are parameters, so a directory
tree made by a test will do. No device is opened here. Sources: the kernel's
Documentation/ABI/stable/sysfs-block, proc(5).

    devices = Devices()
    number = devices.under(Path("/"))                 # a dm-verity device, 254:0
    devices.lower(number)                             # its partitions, (259:3, 259:4)
    devices.node(devices.disk_of(number))             # /dev/nvme0n1
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from partition.errors import DeviceNotFound

SYSFS = Path("/sys")
DEV = Path("/dev")
PROC = Path("/proc")

# "The start and size of a partition in 512 byte sectors", whatever the disk's own sector size.
_SYSFS_SECTOR_BYTES = 512


class DeviceNumber(NamedTuple):
    """Major and minor number of a block device; minors reach far beyond 255."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}:{self.minor}"

    @classmethod
    def of(cls, device: int) -> DeviceNumber:
        """From `st_rdev` or `st_dev`, which are not 8 bits each."""
        return cls(os.major(device), os.minor(device))

    @classmethod
    def parse(cls, text: str) -> DeviceNumber:
        """From `MAJOR:MINOR`, as sysfs and mountinfo write it."""
        major, minor = text.strip().split(":")
        return cls(int(major), int(minor))


class PartitionNode(NamedTuple):
    """A partition that the kernel knows: its device node, and where it lies on its disk."""

    path: Path
    offset_bytes: int
    length_bytes: int


class Mount(NamedTuple):
    """One line of mountinfo."""

    device: DeviceNumber
    mount_point: Path
    file_system: str
    source: str


class Devices(NamedTuple):
    """The kernel's view of block devices. All methods raise DeviceNotFound when it does not tell.

    Attributes:
        sysfs: Where sysfs is mounted.
        dev: Where the device nodes are.
        proc: Where procfs is mounted.
    """

    sysfs: Path = SYSFS
    dev: Path = DEV
    proc: Path = PROC

    def under(self, path: Path) -> DeviceNumber:
        """The block device under the file system that holds `path` (absolute, without symlinks)."""
        mount = self._mount_of(path)
        if mount.device.major:
            return mount.device
        # btrfs and others show an anonymous device; their source still is a node.
        node = Path(mount.source)
        if node.is_relative_to("/dev"):
            name = (self.dev / node.relative_to("/dev")).resolve().name
            return self._number(self.sysfs / "class" / "block" / name, f"device {mount.source}")
        raise DeviceNotFound(
            f"the disk under {path}",
            f"{mount.mount_point} is {mount.file_system}, which is on no block device",
        )

    def lower(self, number: DeviceNumber) -> tuple[DeviceNumber, ...]:
        """The disks and partitions that a device is made of, through any device-mapper layers.

        A dm-verity device has two, its data and its hash partition. A disk or partition is its own.
        """
        directory = self._directory(number)
        slaves = sorted(_children(directory / "slaves"))
        if not slaves:
            if (directory / "dm").is_dir():
                raise DeviceNotFound(
                    f"the disk under {self.node(number)}",
                    "device-mapper shows no device below it",
                )
            return (number,)
        found = (
            leaf
            for slave in slaves
            for leaf in self.lower(self._number(slave, f"device {slave.name}"))
        )
        return tuple(dict.fromkeys(found))

    def disk_of(self, number: DeviceNumber) -> DeviceNumber:
        """The one whole disk that a device lies on."""
        disks = {self._disk_of_leaf(leaf) for leaf in self.lower(number)}
        if len(disks) != 1:
            names = ", ".join(sorted(str(self.node(disk)) for disk in disks))
            raise DeviceNotFound(
                f"the disk under {self.node(number)}",
                f"it lies on several ({names}), expected one",
            )
        return disks.pop()

    def partition_number(self, number: DeviceNumber) -> int | None:
        """A partition's number in its table, from 1; None for a whole disk."""
        text = _read(self._directory(number) / "partition")
        return None if text is None else int(text)

    def partition(self, disk: DeviceNumber, number: int) -> PartitionNode | None:
        """The n-th partition of a disk, if the kernel has made one."""
        for child in _children(self._directory(disk)):
            if _read(child / "partition") == str(number):
                where = f"partition {number} of {self.node(disk)}"
                return PartitionNode(
                    self.node(self._number(child, where)),
                    int(_expected(child / "start", where)) * _SYSFS_SECTOR_BYTES,
                    int(_expected(child / "size", where)) * _SYSFS_SECTOR_BYTES,
                )
        return None

    def logical_block_size(self, disk: DeviceNumber) -> int:
        """Bytes of a disk's logical sector, in which its partition table counts."""
        path = self._directory(disk) / "queue" / "logical_block_size"
        return int(_expected(path, f"sector size of {self.node(disk)}"))

    def loop_uses_direct_io(self, disk: DeviceNumber) -> bool | None:
        """Whether a loop device goes past its file's page cache; None if it is no loop device."""
        text = _read(self._directory(disk) / "loop" / "dio")
        return None if text is None else text != "0"

    def node(self, number: DeviceNumber) -> Path:
        """The device node, under its kernel name."""
        directory = self._directory(number)
        for line in (_read(directory / "uevent") or "").splitlines():
            key, _, value = line.partition("=")
            if key == "DEVNAME":
                return self.dev / value
        # Kernel names may contain slashes (cciss/c0d0), which directories show as "!".
        return self.dev / directory.name.replace("!", "/")

    def _directory(self, number: DeviceNumber) -> Path:
        directory = self.sysfs / "dev" / "block" / str(number)
        if not directory.is_dir():
            raise DeviceNotFound(f"block device {number}", f"{directory} does not exist")
        return directory.resolve()

    def _number(self, directory: Path, what: str) -> DeviceNumber:
        return DeviceNumber.parse(_expected(directory / "dev", what))

    def _disk_of_leaf(self, number: DeviceNumber) -> DeviceNumber:
        if self.partition_number(number) is None:
            return number
        return self._number(self._directory(number).parent, f"disk of {self.node(number)}")

    def _mount_of(self, path: Path) -> Mount:
        file = self.proc / "self" / "mountinfo"
        text = _read(file)
        if text is None:
            raise DeviceNotFound(f"the disk under {path}", f"cannot read {file}")
        # The longest mount point that leads to the path; of equal ones the last, which is on top.
        best = None
        for mount in map(parse_mount, text.splitlines()):
            if path.is_relative_to(mount.mount_point) and (
                best is None or len(mount.mount_point.parts) >= len(best.mount_point.parts)
            ):
                best = mount
        if best is None:
            raise DeviceNotFound(f"the disk under {path}", f"no mount leads there in {file}")
        return best


def parse_mount(line: str) -> Mount:
    """One line of mountinfo: `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/root rw,...`.

    Between the options and the "-" is any number of fields. Spaces in names are octal escapes.
    """
    before, _, after = line.partition(" - ")
    fields, (file_system, source, *_) = before.split(), after.split()
    return Mount(
        DeviceNumber.parse(fields[2]), Path(_unescape(fields[4])), file_system, _unescape(source)
    )


def _unescape(text: str) -> str:
    head, *rest = text.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _children(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _expected(path: Path, what: str) -> str:
    text = _read(path)
    if text is None:
        raise DeviceNotFound(what, f"cannot read {path}")
    return text
