"""What can go wrong with disks, tables and state files.

Every class has the facts as attributes and renders as one line: what was being done, to what, what
was seen and what was expected. `exit_code` is what a command ends with, `hint` what a user can do.

    PartitionError
    ├── InvalidTable          neither copy of a GUID partition table can be trusted
    ├── DeviceNotFound        no such disk, partition, or device under a mount point
    ├── DeviceBusy            mounted or open elsewhere
    ├── DeviceTooSmall        does not hold what is to be written
    ├── ReadFailed            the kernel refused a read
    ├── WriteFailed           the kernel refused a write, or what was read back differs
    ├── LockHeld              another process is at work
    ├── VerityError           a dm-verity superblock or tree is not what it should be
    │   ├── InvalidSuperblock     a field that is not as the only accepted format has it
    │   ├── InvalidTreeSize       data, tree and superblock are not of sizes that go together
    │   └── TreeMismatch          a block that does not match the digest above it
    ├── StateFileCorrupt      a file of ours cannot be understood
    └── StateFileUnsafe       a file of ours could have been written by somebody else
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def size_text(length_bytes: int) -> str:
    """A size as a person reads it, with the exact figure: `1.5 MiB (1572864 bytes)`."""
    scaled = float(length_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if scaled < 1024 or unit == "GiB":  # noqa: PLR2004
            break
        scaled /= 1024
    if unit == "bytes":
        return f"{length_bytes} bytes"
    return f"{scaled:.1f} {unit} ({length_bytes} bytes)"


def reason(error: OSError) -> str:
    """The system's own words for an error, without number and path."""
    return os.strerror(error.errno) if error.errno else str(error)


class PartitionError(Exception):
    """Anything this package refuses or fails to do; `str()` is the line for the user."""

    exit_code = 1
    hint: str | None = None


class InvalidTable(PartitionError):
    """Neither copy of the partition table holds; `problems` says why, one sentence each."""

    def __init__(self, disk: str, problems: Sequence[str]) -> None:
        self.disk = disk
        self.problems = tuple(problems)
        super().__init__(f"cannot read the partition table of {disk}: {'; '.join(problems)}")


class DeviceNotFound(PartitionError):
    """`what` (a path, or a description of a device) is not there, or is something else."""

    def __init__(self, what: str | os.PathLike[str], why: str) -> None:
        self.what = os.fspath(what)
        self.why = why
        super().__init__(f"cannot find {self.what}: {why}")


class DeviceBusy(PartitionError):
    """Somebody else has the device open exclusively: a mount, device-mapper, another writer."""

    hint = "unmount it, or stop what uses it"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        super().__init__(f"cannot open {self.path} for writing: it is mounted or in use")


class DeviceTooSmall(PartitionError):
    """The image does not fit. Both sizes in bytes."""

    def __init__(
        self, path: str | os.PathLike[str], *, capacity_bytes: int, needed_bytes: int
    ) -> None:
        self.path = os.fspath(path)
        self.capacity_bytes = capacity_bytes
        self.needed_bytes = needed_bytes
        super().__init__(
            f"cannot write to {self.path}: it holds {size_text(capacity_bytes)}, "
            f"the image needs {size_text(needed_bytes)}"
        )


class ReadFailed(PartitionError):
    """A read from `path` failed."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        self.path = os.fspath(path)
        self.why = why
        super().__init__(f"cannot read {self.path}: {why}")


class WriteFailed(PartitionError):
    """A write to `path` failed, or did not last until it was read back."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        self.path = os.fspath(path)
        self.why = why
        super().__init__(f"cannot write {self.path}: {why}")


class LockHeld(PartitionError):
    """Another process holds the lock on `path`; `holder` is its process id, where it is known."""

    hint = "wait for it to finish, then try again"

    def __init__(self, path: str | os.PathLike[str], holder: int | None) -> None:
        self.path = os.fspath(path)
        self.holder = holder
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"cannot lock {self.path}: {who} is at work on it")


class VerityError(PartitionError):
    """A dm-verity superblock or hash tree is not what it should be."""


class InvalidSuperblock(VerityError):
    """No dm-verity superblock, or one for other parameters than ours; `field` is the first."""

    def __init__(self, field: str, actual: str, expected: str) -> None:
        self.field = field
        self.actual = actual
        self.expected = expected
        super().__init__(
            f"cannot use the dm-verity superblock: {field} is {actual}, expected {expected}"
        )


class InvalidTreeSize(VerityError):
    """`what` has a length that no tree, or not this tree, can have."""

    def __init__(self, what: str, length_bytes: int, expected: str) -> None:
        self.what = what
        self.length_bytes = length_bytes
        self.expected = expected
        super().__init__(f"{what} has {size_text(length_bytes)}, expected {expected}")


class TreeMismatch(VerityError):
    """A tree and what lies below it disagree.

    `level` counts from 0, the digests of data blocks. `hash_block` is the block of the hash image
    that holds the digest, `covered_block` the data block (level 0) or the block of the level below
    that it belongs to; None where what differs is the padding behind the digests.
    """

    def __init__(self, *, level: int, hash_block: int, covered_block: int | None) -> None:
        self.level = level
        self.hash_block = hash_block
        self.covered_block = covered_block
        below = "data" if level == 0 else f"level {level - 1}"
        what = (
            "its padding"
            if covered_block is None
            else f"the digest of {below} block {covered_block}"
        )
        super().__init__(
            f"hash tree does not match: level {level}, block {hash_block} of the hash image: "
            f"{what} differs"
        )


class StateFileCorrupt(PartitionError):
    """A state file cannot be understood. It is never trusted in part."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        self.path = os.fspath(path)
        self.why = why
        super().__init__(f"cannot use {self.path}: {why}")


class StateFileUnsafe(PartitionError):
    """A state file or directory is such that another user could have put it there."""

    hint = "check who changed it; then remove it or repair its owner and permissions"

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        self.path = os.fspath(path)
        self.why = why
        super().__init__(f"refusing to use {self.path}: {why}")
