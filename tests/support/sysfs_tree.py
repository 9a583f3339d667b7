"""A directory tree that looks like /sys, /proc and /dev, for the block devices of a test.

    tree = SysfsTree(tmp_path)
    disk = tree.disk("nvme0n1", 259, 0, image=tmp_path / "disk.img")
    root = tree.partition(disk, "nvme0n1p2", 2, 259, 2)
    verity = tree.device_mapper("dm-0", 254, 0, slaves=[root, ...])
    tree.mount("/", verity)
    Devices(tree.sysfs, tree.dev, tree.proc)

Names and contents are as Linux has them (Documentation/ABI/stable/sysfs-block, proc(5)). Device
nodes are symlinks to disk images, for what opens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Device:
    """A block device of the tree: its kernel name, number and directory below /sys/devices."""

    name: str
    number: str
    directory: Path


class SysfsTree:
    """The tree, below a directory of a test."""

    def __init__(self, directory: Path) -> None:
        self.sysfs = directory / "sys"
        self.dev = directory / "dev"
        self.proc = directory / "proc"
        self.root = directory / "root"
        for place in ("dev/block", "class/block", "devices"):
            (self.sysfs / place).mkdir(parents=True)
        self.dev.mkdir()
        (self.proc / "self").mkdir(parents=True)
        (self.root / "run/signpost").mkdir(parents=True, mode=0o755)
        self._mounts = [
            "21 1 0:20 / /proc rw,nosuid shared:12 - proc proc rw",
            "22 1 0:21 / /sys rw,nosuid shared:2 - sysfs sysfs rw",
        ]
        self._write_mounts()
        self.command_line("quiet")

    def disk(
        self,
        name: str,
        major: int,
        minor: int,
        *,
        image: Path | None = None,
        sector_size: int = 512,
    ) -> Device:
        """A whole disk; its node leads to `image`."""
        device = self._device(f"pci0000:00/{name.replace('/', '!')}", name, major, minor)
        (device.directory / "queue").mkdir()
        (device.directory / "queue/logical_block_size").write_text(f"{sector_size}\n")
        # Whole disks have this directory, too, and it is empty.
        (device.directory / "slaves").mkdir()
        if image:
            (self.dev / name).symlink_to(image)
        return device

    def partition(
        self,
        disk: Device,
        name: str,
        number: int,
        major: int,
        minor: int,
        *,
        start: int = 0,
        size: int = 0,
    ) -> Device:
        """A partition of a disk; `start` and `size` in units of 512 bytes, as sysfs has them."""
        place = disk.directory.relative_to(self.sysfs / "devices") / name
        device = self._device(str(place), name, major, minor)
        for attribute, value in (("partition", number), ("start", start), ("size", size)):
            (device.directory / attribute).write_text(f"{value}\n")
        return device

    def device_mapper(
        self, name: str, major: int, minor: int, *, slaves: Sequence[Device]
    ) -> Device:
        """A device-mapper device over others, such as dm-verity over its data and hash device."""
        device = self._device(f"virtual/block/{name}", name, major, minor)
        (device.directory / "dm").mkdir()
        (device.directory / "dm/name").write_text("root\n")
        (device.directory / "slaves").mkdir()
        for slave in slaves:
            (device.directory / "slaves" / slave.name).symlink_to(slave.directory)
        return device

    def mount(
        self,
        point: str,
        device: Device | None,
        *,
        file_system: str = "ext4",
        source: str | None = None,
        number: str | None = None,
    ) -> None:
        """Mount a device at a point; without a device, a file system with an anonymous number."""
        number = number or (device.number if device else "0:30")
        # A kernel that mounts the root itself calls its source this.
        source = source or ("/dev/root" if device else file_system)
        escaped = point.replace(" ", "\\040")
        self._mounts.append(
            f"{30 + len(self._mounts)} 1 {number} / {escaped} ro,relatime shared:1 "
            f"- {file_system} {source} ro"
        )
        self._write_mounts()

    def command_line(self, text: str) -> None:
        """What the kernel was started with."""
        (self.proc / "cmdline").write_text(f"{text}\n")

    def said_at_boot(self, text: str) -> None:
        """What the boot stage left in /run."""
        path = self.root / "run/signpost/active-set"
        path.write_text(text)
        path.chmod(0o644)

    def _device(self, place: str, name: str, major: int, minor: int) -> Device:
        number = f"{major}:{minor}"
        directory = self.sysfs / "devices" / place
        directory.mkdir(parents=True)
        (directory / "dev").write_text(f"{number}\n")
        (directory / "uevent").write_text(f"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n")
        (self.sysfs / "dev/block" / number).symlink_to(directory)
        (self.sysfs / "class/block" / directory.name).symlink_to(directory)
        return Device(name, number, directory)

    def _write_mounts(self) -> None:
        (self.proc / "self/mountinfo").write_text("".join(f"{line}\n" for line in self._mounts))
