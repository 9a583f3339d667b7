"""Disk images for tests: made by sgdisk or fdisk, looked at by sgdisk, cgpt and fdisk, never by us.

    disk = make_disk(tmp_path / "disk.img")                  # fresh: A boots, B is clear
    assert flags(disk, BOOT_B) == Flags(priority=0, tries_left=0, successful=False)
    assert_sound(disk)

Partition numbers of a disk with two sets: boot, root, hash, reserved of A are 1 to 4, of B 5 to 8,
then private and data; with one set: 1 to 4, then private and data.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

BOOT = "6b636168-7420-6568-2070-6c616e657421"
ROOT = "5526016a-1a97-4ea4-b39a-b7c8c6ca4502"
HASH = "598f10af-c955-4456-6a99-7720068a6cea"
RESERVED = "0c5d99a5-d331-4147-baef-08e2b855bdc9"
PRIVATE = "440408bb-eb0b-4328-a6e5-a29038fad706"
DATA = "626f7474-6c65-6474-6861-726d61726b73"

BOOT_A, ROOT_A, HASH_A, BOOT_B, ROOT_B, HASH_B, PRIVATE_NUMBER = 1, 2, 3, 5, 6, 7, 9
"""Numbers in a disk with two sets."""

_MIB = 1 << 20
# Room for both copies of a table, in sectors of either size.
_ENDS_BYTES = _MIB


@dataclass(frozen=True)
class Partition:
    """A partition to make: its type, label and size."""

    type_guid: str
    label: str
    mib: int = 1


class Flags(NamedTuple):
    """The flags of a boot partition, as cgpt names them."""

    priority: int
    tries_left: int
    successful: bool


FRESH = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(0, 0, False)}
"""What `make_disk` leaves."""


def partitions(
    *, sets: int = 2, boot_mib: int = 1, root_mib: int = 2, hash_mib: int = 1, data_mib: int = 1
) -> list[Partition]:
    """The partitions of an OS disk, in order."""
    found = []
    for name in "AB"[:sets]:
        found += [
            Partition(BOOT, f"BOTTLEROCKET-BOOT-{name}", boot_mib),
            Partition(ROOT, f"BOTTLEROCKET-ROOT-{name}", root_mib),
            Partition(HASH, f"BOTTLEROCKET-HASH-{name}", hash_mib),
            Partition(RESERVED, f"BOTTLEROCKET-RESERVED-{name}"),
        ]
    return [
        *found,
        Partition(PRIVATE, "BOTTLEROCKET-PRIVATE"),
        Partition(DATA, "BOTTLEROCKET-DATA", data_mib),
    ]


def make_disk(
    path: Path,
    *,
    sector_size: int = 512,
    sets: int = 2,
    boot_mib: int = 1,
    root_mib: int = 2,
    hash_mib: int = 1,
    data_mib: int = 1,
) -> Path:
    """Make a sparse disk image with set A installed and the other one clear.

    Boot A has priority 1 and is successful, as on a fresh disk. Sizes of partitions in MiB.
    """
    wanted = partitions(
        sets=sets, boot_mib=boot_mib, root_mib=root_mib, hash_mib=hash_mib, data_mib=data_mib
    )
    return make_table(path, wanted, sector_size=sector_size, fresh_boot=True)


def make_table(
    path: Path, wanted: list[Partition], *, sector_size: int = 512, fresh_boot: bool = False
) -> Path:
    """Make a sparse disk image with any partitions, the first at 1 MiB, each after the other.

    Args:
        path: The image, made anew.
        wanted: The partitions, from number 1.
        sector_size: 512 (sgdisk) or 4096 (fdisk).
        fresh_boot: Give partition 1 priority 1 and the successful bit.
    """
    size, head, tail = _table_ends(tuple(wanted), sector_size, fresh_boot)
    with path.open("wb") as image:
        image.write(head)
        image.truncate(size)
        image.seek(size - len(tail))
        image.write(tail)
    return path


@cache
def _table_ends(
    wanted: tuple[Partition, ...],
    sector_size: int,
    fresh_boot: bool,  # noqa: FBT001
) -> tuple[int, bytes, bytes]:
    """Size, first and last bytes of such a disk; sgdisk flushes all disks, so once is enough."""
    size = (2 + sum(each.mib for each in wanted)) * _MIB
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "disk.img")
        path.touch()
        with path.open("r+b") as image:
            image.truncate(size)
        (_run_sgdisk if sector_size == 512 else _run_fdisk)(path, wanted, sector_size, fresh_boot)
        with path.open("rb") as image:
            head = image.read(_ENDS_BYTES)
            image.seek(size - _ENDS_BYTES)
            return size, head, image.read()


def _run_sgdisk(
    path: Path,
    wanted: tuple[Partition, ...],
    _: int,
    fresh_boot: bool,  # noqa: FBT001
) -> None:
    arguments = ["-U", _guid(0)]
    for number, each in enumerate(wanted, start=1):
        arguments += ["-n", f"{number}:0:+{each.mib}M", "-u", f"{number}:{_guid(number)}"]
        arguments += ["-t", f"{number}:{each.type_guid}", "-c", f"{number}:{each.label}"]
    if fresh_boot:
        arguments += ["-A", "1:set:48", "-A", "1:set:56"]
    run("sgdisk", *arguments, str(path))


def _run_fdisk(
    path: Path,
    wanted: tuple[Partition, ...],
    sector_size: int,
    fresh_boot: bool,  # noqa: FBT001
) -> None:
    commands = ["g"]
    for number, each in enumerate(wanted, start=1):
        commands += ["n", f"{number}", "", f"+{each.mib}M"]
        # It asks for the partition as soon as there are two.
        commands += ["t", *([f"{number}"] if number > 1 else []), each.type_guid]
    commands += ["x", "i", _guid(0)]
    for number, each in enumerate(wanted, start=1):
        commands += ["n", f"{number}", each.label, "u", f"{number}", _guid(number)]
    for bit in ("48", "56") if fresh_boot else ():
        commands += ["S", "1", bit]
    commands += ["r", "w"]
    run("fdisk", "-b", str(sector_size), str(path), stdin="\n".join([*commands, ""]))


def _guid(number: int) -> str:
    return f"{0xC0FFEE00 + number:08X}-0000-4000-8000-000000000000"


def run(*command: str, stdin: str = "") -> str:
    """Run a witness and return what it prints; it must end with 0."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def flags(disk: Path, number: int) -> Flags:
    """What cgpt reads of a boot partition."""

    def show(option: str) -> int:
        return int(run("cgpt", "show", "-i", str(number), option, str(disk)))

    return Flags(show("-P"), show("-T"), bool(show("-S")))


def set_flags(disk: Path, number: int, wanted: Flags) -> None:
    """Let cgpt write the flags of a boot partition."""
    options = ["-P", f"{wanted.priority}", "-T", f"{wanted.tries_left}"]
    run("cgpt", "add", "-i", f"{number}", *options, "-S", f"{wanted.successful:d}", str(disk))


def attributes(disk: Path, number: int) -> int:
    """All 64 attribute bits of a partition, as sgdisk reads them."""
    shown = re.search(
        r"Attribute flags: ([0-9A-F]{16})", run("sgdisk", "-i", f"{number}", str(disk))
    )
    assert shown is not None
    return int(shown[1], 16)


def assert_sound(disk: Path) -> None:
    """Both copies of a table with 512-byte sectors are whole and agree, as sgdisk and cgpt say."""
    report = run("sgdisk", "-v", str(disk))
    assert "No problems found" in report, report
    assert "INVALID" not in run("cgpt", "show", str(disk))


def fdisk_flags(disk: Path, number: int, *, sector_size: int) -> set[int]:
    """The attribute bits from 48 on that are set, as fdisk lists them, for any sector size."""
    options = ["-b", f"{sector_size}", "-l", "-o", "Device,Attrs"]
    for line in run("fdisk", *options, str(disk)).splitlines():
        if line.startswith(f"{disk}{number} "):
            _, _, bits = line.partition("GUID:")
            return {int(bit) for bit in bits.split(",") if bit.strip()}
    raise AssertionError(f"fdisk shows no partition {number}")


def assert_sound_to_fdisk(disk: Path, *, sector_size: int) -> None:
    """The table is without errors, as fdisk says, for any sector size."""
    report = run("fdisk", "-b", f"{sector_size}", str(disk), stdin="v\nq\n")
    assert "No errors detected" in report, report
