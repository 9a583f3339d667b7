"""Every error of the package as the user reads it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from partition import errors
from partition.errors import PartitionError, reason, size_text

DISK = Path("/dev/nvme0n1")

MESSAGES: dict[PartitionError, str] = {
    errors.InvalidTable("disk.img", ["primary copy is damaged: x", "backup copy is damaged: y"]): (
        "cannot read the partition table of disk.img: "
        "primary copy is damaged: x; backup copy is damaged: y"
    ),
    errors.DeviceNotFound(DISK, "No such file or directory"): (
        "cannot find /dev/nvme0n1: No such file or directory"
    ),
    errors.DeviceBusy(DISK): (
        "cannot open /dev/nvme0n1 for writing: it is mounted or in use\n"
        "hint: unmount it, or stop what uses it"
    ),
    errors.DeviceTooSmall(DISK, capacity_bytes=64 << 20, needed_bytes=(64 << 20) + 1): (
        "cannot write to /dev/nvme0n1: it holds 64.0 MiB (67108864 bytes), "
        "the image needs 64.0 MiB (67108865 bytes)"
    ),
    errors.ReadFailed(DISK, "Input/output error"): "cannot read /dev/nvme0n1: Input/output error",
    errors.WriteFailed(DISK, "No space left on device"): (
        "cannot write /dev/nvme0n1: No space left on device"
    ),
    errors.LockHeld(DISK, 4242): (
        "cannot lock /dev/nvme0n1: process 4242 is at work on it\n"
        "hint: wait for it to finish, then try again"
    ),
    errors.LockHeld(DISK, None): (
        "cannot lock /dev/nvme0n1: another process is at work on it\n"
        "hint: wait for it to finish, then try again"
    ),
    errors.InvalidSuperblock("salt size", "300", "0 to 256"): (
        "cannot use the dm-verity superblock: salt size is 300, expected 0 to 256"
    ),
    errors.InvalidTreeSize("the hash image", 8192, "12288 bytes"): (
        "the hash image has 8.0 KiB (8192 bytes), expected 12288 bytes"
    ),
    errors.TreeMismatch(level=0, hash_block=3, covered_block=257): (
        "hash tree does not match: level 0, block 3 of the hash image: "
        "the digest of data block 257 differs"
    ),
    errors.TreeMismatch(level=1, hash_block=1, covered_block=None): (
        "hash tree does not match: level 1, block 1 of the hash image: its padding differs"
    ),
    errors.StateFileCorrupt("/var/lib/updog/attempts.json", "a key occurs twice in one object"): (
        "cannot use /var/lib/updog/attempts.json: a key occurs twice in one object"
    ),
    errors.StateFileUnsafe("/var/lib/updog", "others may write to it (mode 0777)"): (
        "refusing to use /var/lib/updog: others may write to it (mode 0777)\n"
        "hint: check who changed it; then remove it or repair its owner and permissions"
    ),
}


@pytest.mark.parametrize("error", MESSAGES, ids=lambda error: type(error).__name__)
def test_is_one_line_and_perhaps_a_hint(error: PartitionError) -> None:
    shown = str(error) + (f"\nhint: {error.hint}" if error.hint else "")

    assert shown == MESSAGES[error]
    assert "\n" not in str(error)
    assert error.exit_code == 1


def test_none_is_missing() -> None:
    bases = {PartitionError, errors.VerityError}
    classes = {
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, PartitionError)
    }

    assert {type(error) for error in MESSAGES} == classes - bases


@pytest.mark.parametrize(
    "size, text",
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB (1024 bytes)"),
        (1536 << 10, "1.5 MiB (1572864 bytes)"),
        (3 << 30, "3.0 GiB (3221225472 bytes)"),
        (5 << 40, "5120.0 GiB (5497558138880 bytes)"),
    ],
)
def test_sizes_are_for_people_and_exact(size: int, text: str) -> None:
    assert size_text(size) == text


def test_an_error_without_a_number_speaks_for_itself() -> None:
    assert reason(OSError("not today")) == "not today"
    assert reason(OSError(28, "whatever")) == "No space left on device"
