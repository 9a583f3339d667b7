"""A host of the test: a disk, and the boots it goes through one after another.

Whether a boot "came up whole" is asked from outside where that is possible: the partition table is
read by sgdisk and cgpt, the root of a set is compared with its hash tree by veritysetup.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.boot.build import run
from tests.boot.journal import Failed, Journal
from tests.boot.machine import Machine, Result

if TYPE_CHECKING:
    from tests.boot.world import World

# Long enough for a machine that is busy with other things: only failures take so long.
AGENT_SECONDS: Final = 600
HEALTH_SECONDS: Final = 600
RESTART_SECONDS: Final = 900
# Where each version keeps its greeting, as a key and as a path below the datastore.
GREETING_KEYS: Final = {
    "1.0.0": "settings.motd",
    "2.0.0": "settings.host.greeting",
    "3.0.0": "settings.host.banner.text",
}
_SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition as sgdisk shows it."""

    number: int
    first_sector: int
    sectors: int


class Host:
    """A disk and its boots.

    Attributes:
        disk: The image.
        journal: Where it is told what happened.
        boots: How often it was started.
    """

    def __init__(self, world: World, name: str, disk: Path, journal: Journal) -> None:
        self.world = world
        self.name = name
        self.disk = disk
        self.journal = journal
        self.boots = 0

    def start(self, *, saved: Path | None = None, command_line: str = "") -> Machine:
        """Switch it on; the caller waits for whatever should happen."""
        self.boots += 1
        return Machine(
            kernel=self.world.system.kernel,
            initrd=self.world.system.initrd,
            image=self.disk,
            serial_log=self.world.work / "logs" / self.name / f"boot-{self.boots:02}.log",
            command_line=command_line,
            saved=saved,
        )

    def boot(self, version: str, active: str, greeting: str, *, command_line: str = "") -> Machine:
        """Switch it on, wait until it is up, and check that it is what it should be.

        Args:
            version: VERSION_ID that must come up.
            active: The set it must run from.
            greeting: The value of its greeting in the settings, in the form of that version.
            command_line: More for the kernel's.
        """
        machine = self.start(command_line=command_line)
        try:
            machine.wait_for_agent(AGENT_SECONDS)
            self.check_running(machine, version, active, greeting)
        except BaseException:
            machine.close()
            raise
        return machine

    def check_running(self, machine: Machine, version: str, active: str, greeting: str) -> None:
        """Check a running system from inside: version, set, verity, content, settings."""
        expect = self.journal.expect
        facts = machine.run(
            ". /etc/os-release; echo $VERSION_ID; cat /run/signpost/active-set "
            "/usr/share/testos/content /sys/block/dm-0/dm/uuid; findmnt -no SOURCE,OPTIONS /; "
            f"cat /var/lib/bottlerocket/datastore/current/live/{_path(version)}; echo"
        ).stdout.splitlines()
        expect("facts of the running system", len(facts), 6)
        expect("VERSION_ID", facts[0], version)
        expect("active set", facts[1], active)
        expect("content", facts[2], f"this is version {version}")
        if not facts[3].startswith("CRYPT-VERITY-"):
            raise Failed(f"root is not on dm-verity: {facts[3]}")
        source, options = facts[4].split()
        expect("root", (source, options.split(",")[0]), ("/dev/mapper/signpost-root", "ro"))
        expect("greeting", facts[5], f'"{greeting}"')

    def shell(self, machine: Machine, command: str, status: int = 0) -> Result:
        """Run a command in the guest as its administrator would, for the transcript too."""
        result = machine.run(command)
        self.journal.command(result)
        if result.status != status:
            raise Failed(
                f"{command}: exit code {result.status}, expected {status}: "
                f"{result.stdout}{result.stderr}"
            )
        return result

    def wait_for_verdict(self, machine: Machine) -> str:
        """Wait until the boot was judged; "active" if it was confirmed."""
        result = machine.run(
            'while [ -n "$(systemctl list-jobs --no-legend)" ]; do sleep 0.3; done; '
            "systemctl is-active signpost-mark-successful.service",
            timeout_seconds=HEALTH_SECONDS,
        )
        return result.stdout.strip()

    def restart(self, machine: Machine, command: str = "systemctl reboot") -> str:
        """Run a command that ends in a restart, and wait for that; how QEMU calls the end."""
        self.journal.transcript.append(f"$ {command}")
        machine.start(command)
        return self.wait_for_restart(machine)

    def wait_for_restart(self, machine: Machine, timeout_seconds: float = RESTART_SECONDS) -> str:
        """Wait until the machine restarts by itself."""
        try:
            return machine.wait_for_end(timeout_seconds)
        finally:
            machine.close()

    def flags(self) -> dict[str, tuple[int, int, bool]]:
        """Priority, tries left and successful of both sets, as sgdisk reads them from the disk."""
        found = {}
        for slot, number in self.boot_partitions().items():
            shown = run(["sgdisk", "-i", str(number), self.disk])
            bits = int(shown.partition("Attribute flags: ")[2].split()[0], 16) >> 48
            found[slot] = (bits & 15, bits >> 4 & 15, bool(bits >> 8 & 1))
        return found

    def boot_partitions(self) -> dict[str, int]:
        """The numbers of the boot partitions: A is the first, B the second."""
        listing = run(["cgpt", "show", self.disk])
        numbers = [int(found) for found in re.findall(r"(\d+)  Label: .*-BOOT-[AB]", listing)]
        self.journal.expect("boot partitions", len(numbers), 2)
        return dict(zip("AB", sorted(numbers), strict=True))

    def partition(self, number: int) -> Partition:
        """Where a partition is."""
        shown = run(["sgdisk", "-i", str(number), self.disk])
        first = int(re.findall(r"First sector: (\d+)", shown)[0])
        size = int(re.findall(r"Partition size: (\d+)", shown)[0])
        return Partition(number, first, size)

    def whole(self, slot: str) -> bool:
        """Whether a set's root matches its hash tree and the root hash of its boot partition."""
        number = self.boot_partitions()[slot]
        with tempfile.TemporaryDirectory(prefix="boot-") as directory:
            boot, root, tree = (Path(directory, name) for name in ("boot", "root", "hash"))
            for offset, path in enumerate((boot, root, tree)):
                self.read_partition(number + offset, path)
            shown = subprocess.run(
                ["debugfs", "-R", "cat /root-hash", boot], capture_output=True, check=False
            )
            root_hash = shown.stdout.decode(errors="replace").strip()
            verified = subprocess.run(
                ["veritysetup", "verify", root, tree, root_hash], capture_output=True, check=False
            )
        return verified.returncode == 0

    def read_partition(self, number: int, path: Path) -> None:
        """Copy a partition out of the disk."""
        partition = self.partition(number)
        with self.disk.open("rb") as source, path.open("wb") as target:
            source.seek(partition.first_sector * _SECTOR_BYTES)
            left = partition.sectors * _SECTOR_BYTES
            while left:
                data = source.read(min(left, 1 << 20))
                target.write(data)
                left -= len(data)

    def overwrite(self, number: int, offset_bytes: int, data: bytes) -> None:
        """Damage a partition."""
        partition = self.partition(number)
        with self.disk.open("r+b") as disk:
            disk.seek(partition.first_sector * _SECTOR_BYTES + offset_bytes)
            disk.write(data)


def copy_disk(source: Path, target: Path) -> None:
    """Copy a disk image, sparse."""
    target.parent.mkdir(parents=True, exist_ok=True)
    run(["cp", "--sparse=always", "--reflink=auto", source, target])


def _path(version: str) -> str:
    # Versions that break are 2.0.0 but for their defect.
    key = GREETING_KEYS.get(version, GREETING_KEYS["2.0.0"])
    return key.replace(".", "/")
