"""A whole disk: a block device or a disk image file, with one interface.

Decided here: how a disk is opened (never created; not exclusively, since its other partitions may
be mounted), locked, and how the plan of `partition.gpt` is carried out and read back. An image
needs no loop device, and no more rights than the file's.

    with Disk.open(Path("disk.img"), writable=True) as disk:
        disk.lock()
        table = disk.read_table().table
        disk.write_table(table.with_attributes(2, 1 << 48))
        disk.region(2)
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Self

from partition import gpt, locks
from partition.blockdev import DEV, SYSFS, DeviceNumber, Devices
from partition.errors import (
    DeviceBusy,
    DeviceNotFound,
    InvalidTable,
    PartitionError,
    ReadFailed,
    WriteFailed,
    reason,
)
from partition.kernel import KERNEL, Kernel
from partition.region import Region

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_PATIENT_READS = 3
_PATIENCE_SECONDS = 0.02


class Disk:
    """An open disk; closed by `with`, or `close`. Make one with `Disk.open`.

    Attributes:
        path: As it was given.
        size_bytes: Size of the disk.
        is_image: It is a file, not a block device.
    """

    def __init__(
        self, path: Path, fd: int, devices: Devices, kernel: Kernel, *, device: DeviceNumber | None
    ) -> None:
        self.path = path
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)
        self.is_image = device is None
        self._fd = fd
        self._device = device
        self._devices = devices
        self._kernel = kernel
        self._sector_size = devices.logical_block_size(device) if device else None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        writable: bool = False,
        kernel: Kernel = KERNEL,
        sysfs: Path = SYSFS,
        dev: Path = DEV,
    ) -> Self:
        """Open a block device or an existing disk image.

        Args:
            path: The device node, or the file.
            writable: For `write_table`. Without it nothing can be changed through this object.
            kernel: Where the calls go.
            sysfs: Where sysfs is mounted.
            dev: Where device nodes are.

        Raises:
            DeviceNotFound: It does not exist, or is neither a block device nor a regular file.
            DeviceBusy: The system keeps it from being written.
            ReadFailed: The system refused, for reading.
            WriteFailed: The system refused, for writing.
        """
        # Looked at first: opening a FIFO or a terminal would already do something.
        is_image(path)
        try:
            fd = kernel.open(path, os.O_RDWR if writable else os.O_RDONLY)
        except OSError as error:
            raise _open_failed(path, error, writable=writable) from error
        try:
            status = os.fstat(fd)
            device = DeviceNumber.of(status.st_rdev) if stat.S_ISBLK(status.st_mode) else None
            return cls(path, fd, Devices(sysfs, dev), kernel, device=device)
        except BaseException:
            kernel.close(fd)
            raise

    @property
    def sector_size(self) -> int:
        """Bytes of a logical sector; of an image, as its table shows.

        Raises:
            InvalidTable: An image without a valid table.
        """
        if self._sector_size is None:
            self._sector_size = self.read_table().table.sector_size
        return self._sector_size

    def lock(self, *, wait_seconds: float = 0.0) -> None:
        """Keep other writers (and udev) off this disk until it is closed.

        Raises:
            LockHeld: Somebody else held it for `wait_seconds`.
        """
        locks.take(self._fd, self.path, wait_seconds=wait_seconds, kernel=self._kernel)

    def read_table(self) -> gpt.ReadTable:
        """Read the partition table, from whichever copy is valid.

        Raises:
            InvalidTable: Neither copy is valid.
        """
        return gpt.read_table(self._read, self.size_bytes, self._sector_size, disk=str(self.path))

    def read_table_beside_writers(self) -> gpt.ReadTable:
        """The same without a lock, while another process may be writing the table.

        Half of a copy may then be new and half old; a moment later it is whole again.

        Raises:
            InvalidTable: Neither copy is valid, and that lasts.
        """
        for _ in range(_PATIENT_READS):
            try:
                found = self.read_table()
            except InvalidTable:
                pass
            else:
                if not found.problems:
                    return found
            time.sleep(_PATIENCE_SECONDS)
        return self.read_table()

    def write_table(self, table: gpt.Table) -> None:
        """Write both copies in the crash-safe order, flush each, and read both back.

        Raises:
            WriteFailed: The system refused, or what was read back differs. At least one copy is
                valid, with the old table or the new one.
        """
        plan = gpt.write_plan(table)
        # The copy that the plan relies on may be in the page cache alone, if who wrote it was
        # killed before the flush.
        self.flush()
        try:
            for step in plan:
                if isinstance(step, gpt.Write):
                    self._write(step)
                else:
                    self._kernel.fsync(self._fd)
            for step in plan:
                if isinstance(step, gpt.Write):
                    self._check_written(step)
        except OSError as error:
            raise WriteFailed(self.path, reason(error)) from error

    def flush(self) -> None:
        """Return when what was written to this disk, by whomever, is on the medium.

        Raises:
            WriteFailed: The system refused.
        """
        try:
            self._kernel.fsync(self._fd)
        except OSError as error:
            raise WriteFailed(self.path, reason(error)) from error

    def region(self, number: int) -> Region:
        """The bytes of partition `number`: its own node if the kernel has one, else a range.

        Raises:
            DeviceNotFound: No such partition, or the kernel believes that it is elsewhere.
            InvalidTable: Neither copy of the table is valid.
        """
        try:
            offset_bytes, length_bytes = self.read_table().table.extent(number)
        except KeyError:
            raise DeviceNotFound(
                f"partition {number} of {self.path}", "the table has no such partition"
            ) from None
        node = self._devices.partition(self._device, number) if self._device else None
        if node is None:
            return Region(self.path, offset_bytes, length_bytes, number, is_node=False)
        if (node.offset_bytes, node.length_bytes) != (offset_bytes, length_bytes):
            raise DeviceNotFound(
                f"partition {number} of {self.path}",
                f"the table has {length_bytes} bytes at {offset_bytes}, the kernel "
                f"{node.length_bytes} at {node.offset_bytes} ({node.path})",
            )
        return Region(node.path, 0, length_bytes, number, is_node=True)

    def close(self) -> None:
        """Close, and unlock."""
        self._kernel.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, offset_bytes: int, length_bytes: int) -> bytes:
        data = b""
        try:
            while len(data) < length_bytes:
                rest = length_bytes - len(data)
                chunk = self._kernel.pread(self._fd, rest, offset_bytes + len(data))
                if not chunk:
                    break
                data += chunk
        except OSError as error:
            raise ReadFailed(
                self.path, f"{reason(error)} (byte {offset_bytes + len(data)})"
            ) from error
        return data

    def _write(self, step: gpt.Write) -> None:
        rest, offset_bytes = memoryview(step.data), step.offset
        while rest:
            written = self._kernel.pwrite(self._fd, rest, offset_bytes)
            rest, offset_bytes = rest[written:], offset_bytes + written

    def _check_written(self, step: gpt.Write) -> None:
        # The page cache would return what was sent, not what the medium holds.
        self._kernel.drop_cache(self._fd, step.offset, len(step.data))
        if self._read(step.offset, len(step.data)) != step.data:
            raise WriteFailed(
                self.path, f"the partition table read back at byte {step.offset} differs"
            )


def is_image(path: Path) -> bool:
    """Whether `path` is a disk image (True) or a block device (False).

    Raises:
        DeviceNotFound: It is neither, or does not exist.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DeviceNotFound(path, reason(error)) from error
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        raise DeviceNotFound(path, "it is neither a block device nor a disk image file")
    return stat.S_ISREG(mode)


def _open_failed(path: Path, error: OSError, *, writable: bool) -> PartitionError:
    if error.errno in {errno.EBUSY, errno.ETXTBSY}:
        return DeviceBusy(path)
    if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM}:
        return DeviceNotFound(path, reason(error))
    failed = (WriteFailed if writable else ReadFailed)(path, reason(error))
    if error.errno in {errno.EACCES, errno.EPERM}:
        failed.hint = "disks can usually be opened by root alone"
    return failed
