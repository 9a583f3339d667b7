"""The boot state of a real disk: load it, store it.

A writable `BootDisk` holds the disk's lock, so two writers cannot interleave; a reading one takes
none, so that status can be asked while an update runs. Where disk and active set come from is
`signpost.location`, what may be changed `signpost.state`.

    location = locate(None, None)
    with BootDisk.open(location, writable=True) as disk:
        disk.store(disk.state.mark_successful_boot())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from partition.blockdev import DEV, SYSFS
from partition.disk import Disk
from partition.kernel import KERNEL, Kernel
from signpost.errors import ActiveSetUnknown
from signpost.flags import BootFlags
from signpost.layout import Layout, Part, Slot, find_layout
from signpost.location import Location, find_disk, locate
from signpost.state import BootState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from partition.gpt import ReadTable, Source, Table
    from partition.region import Region

__all__ = ["BootDisk", "Location", "find_disk", "locate"]

LOCK_WAIT_SECONDS = 5.0


class BootDisk:
    """An open disk with partition sets; closed by `with`.

    Attributes:
        os_disk: Its path.
        layout: Where its sets are.
        problems: What is wrong with the copies of its table, in words; empty if nothing is.
    """

    def __init__(self, disk: Disk, found: ReadTable, active: Slot | None) -> None:
        self.os_disk = disk.path
        self.layout: Layout = find_layout(found.table, disk=str(disk.path))
        self.problems = found.problems
        if active is not None and active not in self.layout.sets:
            raise ActiveSetUnknown(str(disk.path), f"it has no set {active.value}")
        self._disk = disk
        self._table = found.table
        self._active = active

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        writable: bool,
        wait_seconds: float = LOCK_WAIT_SECONDS,
        kernel: Kernel = KERNEL,
        sysfs: Path = SYSFS,
        dev: Path = DEV,
    ) -> Self:
        """Open the disk of a running host, or an image with its active set.

        Args:
            location: See `locate`.
            writable: Take the disk's lock, for `store` and `rewrite`.
            wait_seconds: How long to wait for another process that holds the lock.
            kernel: Where the calls go.
            sysfs: Where sysfs is mounted.
            dev: Where device nodes are.

        Raises:
            ActiveSetUnknown: The disk has no such set.
            LayoutInvalid: It does not hold partition sets.
            LockHeld: Another process is at work on it.
            PartitionError: It cannot be opened or read.
        """
        disk = Disk.open(location.os_disk, writable=writable, kernel=kernel, sysfs=sysfs, dev=dev)
        return cls._opened(disk, location.active, wait_seconds if writable else None)

    @classmethod
    def open_at_boot(
        cls,
        os_disk: Path,
        *,
        writable: bool,
        wait_seconds: float = LOCK_WAIT_SECONDS,
        kernel: Kernel = KERNEL,
        sysfs: Path = SYSFS,
        dev: Path = DEV,
    ) -> Self:
        """Open a disk of which no set runs yet, or none is meant: it has `flags`, but no `state`.

        Arguments and errors are those of `open`.
        """
        disk = Disk.open(os_disk, writable=writable, kernel=kernel, sysfs=sysfs, dev=dev)
        return cls._opened(disk, None, wait_seconds if writable else None)

    @classmethod
    def _opened(cls, disk: Disk, active: Slot | None, lock_wait_seconds: float | None) -> Self:
        try:
            if lock_wait_seconds is None:
                return cls(disk, disk.read_table_beside_writers(), active)
            disk.lock(wait_seconds=lock_wait_seconds)
            return cls(disk, disk.read_table(), active)
        except BaseException:
            disk.close()
            raise

    @property
    def flags(self) -> Mapping[Slot, BootFlags]:
        """The flags of each set, as on disk."""
        return {
            slot: self._flags_of(partitions.boot) for slot, partitions in self.layout.sets.items()
        }

    @property
    def private(self) -> BootFlags:
        """The flags of the private partition, as on disk."""
        return self._flags_of(self.layout.private)

    @property
    def state(self) -> BootState:
        """The boot state, as on disk.

        Raises:
            ActiveSetUnknown: The disk was opened without an active set.
        """
        if self._active is None:
            raise ActiveSetUnknown(str(self.os_disk), "it was not named")
        return BootState(self._active, self.flags, self.private)

    @property
    def table_source(self) -> Source:
        """The copy of the table that is used."""
        return self._table.source

    def store(self, state: BootState) -> None:
        """Write a state: one crash-safe table write, read back. Only a flush if nothing changes.

        Raises:
            WriteFailed: See `Disk.write_table`.
        """
        self.store_flags(state.sets, private=state.private)

    def store_flags(
        self, sets: Mapping[Slot, BootFlags], *, private: BootFlags | None = None
    ) -> None:
        """As `store`, for a disk without an active set."""
        table = self._table
        for slot, flags in sets.items():
            table = table.with_attributes(self.layout.sets[slot].boot, flags.bits)
        if private is not None:
            table = table.with_attributes(self.layout.private, private.bits)
        if table != self._table or self.problems:
            self._write(table)
        else:
            # Who wrote it may have been killed before the flush; callers rely on its lasting.
            self._disk.flush()

    def rewrite(self) -> None:
        """Write both copies again as they are, which repairs a damaged one.

        Raises:
            WriteFailed: See `Disk.write_table`.
        """
        self._write(self._table)

    def region(self, slot: Slot, part: Part) -> Region:
        """The bytes of one partition.

        Raises:
            DeviceNotFound: See `Disk.region`.
        """
        return self._disk.region(self.layout.sets[slot].number(part))

    def close(self) -> None:
        """Close, and unlock."""
        self._disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _flags_of(self, number: int) -> BootFlags:
        return BootFlags(self._table.entry(number).attributes)

    def _write(self, table: Table) -> None:
        self._disk.write_table(table)
        found = self._disk.read_table()
        self._table, self.problems = found.table, found.problems
