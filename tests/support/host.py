"""A whole host in a directory: a disk, a root file system's state, releases to run, and a boot.

    host = Host.install(tmp_path / "host", "1.0.0")
    repository = publish("1.0.0", "1.1.0")
    host.update(repository)                    # the real procedure, in this process
    assert host.boot() == "1.1.0"              # boot loader, content check, migrator

Images are real: ext4 by mkfs, trees by veritysetup, LZ4 by the lz4 tool; the repository is TUF,
served from memory. What a set holds is told by comparing its bytes with every known image, and
what the settings of a version look like is written down here, in literals.
"""

from __future__ import annotations

import functools
import json
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from demo.images import make_boot, make_root
from migrator.cached import open_cache
from migrator.run import Setting, migrate
from migrator.run import rehearse as rehearse_here
from partition.kernel import KERNEL, Kernel
from signpost.device import BootDisk
from signpost.layout import Slot
from signpost.location import Location
from tests.support import bootloader
from tests.support.disks import BOOT_A, BOOT_B, make_disk
from tests.support.power import Area, PowerKernel
from tests.support.repository import NOW, MemoryTransport, Repository
from updog import environment, install, staging
from updog.environment import Environment, Paths, load_environment
from updog.interrupt import Interrupt
from updog.lookup import Request, check
from updog.pipeline import install_images
from updog.progress import NoProgress
from updog.trust import refresh
from updog.versions import parse_version

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from signpost.state import BootState
    from tests.support.bootloader import Storage
    from updog.install import Outcome
    from updog.tools import InstallImages
    from updog.versions import Version

VARIANT, ARCH = "demo", "x86_64"
DISK = "disk.img"
OS_RELEASE, BOOT_ID = "etc/os-release", "proc/sys/kernel/random/boot_id"
BOOT_MIB, ROOT_MIB, HASH_MIB = 1, 4, 1
PARTS = ("boot", "root", "hash")

SETTINGS: dict[str, dict[str, str]] = {
    "1.0.0": {"settings/motd": '"hello"', "settings/ntp": '["a","b"]'},
    "1.1.0": {"settings/greeting": '"hello"', "settings/ntp": '["a","b"]'},
    "2.0.0": {"settings/greeting": '"hello"', "settings/time": '["a","b"]'},
    "2.1.0": {"settings/greeting": '"hello"', "settings/time": '["a","b"]'},
}
"""What a host's settings look like under each version, as files of the datastore."""

MIGRATIONS = {
    ("1.0.0", "1.1.0"): {
        "migrate_v1.1.0_greeting.toml.lz4": ("settings.motd", "settings.greeting")
    },
    ("1.1.0", "2.0.0"): {"migrate_v2.0.0_time.toml.lz4": ("settings.ntp", "settings.time")},
    ("2.0.0", "2.1.0"): {},
}


@dataclass(frozen=True, slots=True)
class Release:
    """One version's images: as they lie on partitions, and as they are downloaded."""

    version: str
    plain: Mapping[str, bytes]
    packed: Mapping[str, bytes]


def release(version: str, root_mib: int = ROOT_MIB) -> Release:
    """Make a version's images, once."""
    return _made(version, root_mib)


@functools.cache
def _made(version: str, root_mib: int) -> Release:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_boot(work / "boot", version=version, size_mib=BOOT_MIB)
        make_root(
            work / "root", version=version, variant=VARIANT, filesystem="ext4", size_mib=root_mib
        )
        _run("veritysetup", "format", f"--salt={'5a' * 32}", work / "root", work / "hash")
        packed = {}
        for part in PARTS:
            _run("lz4", "-q", "-BI", "-B4", "--content-size", work / part, work / f"{part}.lz4")
            packed[part] = (work / f"{part}.lz4").read_bytes()
        return Release(version, {part: (work / part).read_bytes() for part in PARTS}, packed)


def target_name(version: str, part: str) -> str:
    """What an image is called in a repository."""
    return f"{VARIANT}-{version}-{part}.lz4"


def publish(
    *versions: str,
    repository: Repository | None = None,
    broken: Mapping[str, bytes] | None = None,
    root_mib: int = ROOT_MIB,
    waves: Mapping[str, Mapping[str, str]] | None = None,
) -> Repository:
    """Make, or go on with, a repository that offers these versions to everybody at once.

    Args:
        versions: The newest is what hosts take.
        repository: To publish in.
        broken: Target names to what is signed and served instead of the right bytes.
        root_mib: Size of root images.
        waves: Of versions that are not for everybody at once.
    """
    repository = repository or Repository()
    targets: dict[str, bytes] = {}
    updates: list[dict[str, object]] = []
    for version in versions:
        images = {part: target_name(version, part) for part in PARTS}
        packed = release(version, root_mib).packed
        targets |= {images[part]: packed[part] for part in PARTS}
        updates.append(
            {
                "variant": VARIANT,
                "arch": ARCH,
                "version": version,
                "max_version": versions[-1],
                "waves": dict((waves or {}).get(version, {})),
                "images": images,
            }
        )
    steps = {f"({start}, {end})": list(names) for (start, end), names in MIGRATIONS.items()}
    for names in MIGRATIONS.values():
        targets |= {name: _rename_migration(*keys) for name, keys in names.items()}
    targets["manifest.json"] = json.dumps({"updates": updates, "migrations": steps}).encode()
    for name, data in {**targets, **(broken or {})}.items():
        repository.add_target(name, data)
    repository.publish("targets", "snapshot", "timestamp")
    return repository


def _rename_migration(old: str, new: str) -> bytes:
    document = f'[[steps]]\nkind = "rename-settings"\nnames = {{ "{old}" = "{new}" }}\n'
    return subprocess.run(
        ["lz4", "-q", "-c"], input=document.encode(), capture_output=True, check=True
    ).stdout


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


class Quiet(Kernel):
    """Does not wait for the medium: for hosts whose power stays on."""

    def fsync(self, fd: int) -> None:
        """Nothing."""

    def fdatasync(self, fd: int) -> None:
        """Nothing."""

    def syncfs(self, fd: int) -> None:
        """Nothing."""


class Bricked(AssertionError):
    """The promise is broken: what boots is not a whole known version, or nothing boots."""


@dataclass
class Host:
    """A host; the directory is all there is to it, but for what runs.

    Attributes:
        directory: The disk image, and `root`, below which everything else is.
        kernel: Where the product's calls go.
        slot: The set that runs.
        version: What runs.
        boots: How often it was started; the clock moves on by an hour each time.
        said: What updates said to their user.
        root_mib: Size of root partitions and images.
        install_images: The pipeline; a test may pass another.
    """

    directory: Path
    kernel: Kernel = field(default_factory=Quiet)
    slot: str = ""
    version: str = ""
    boots: int = 0
    said: list[str] = field(default_factory=list)
    root_mib: int = ROOT_MIB
    install_images: InstallImages = install_images

    @classmethod
    def install(
        cls, directory: Path, version: str, *, shipped_root: bytes, root_mib: int = ROOT_MIB
    ) -> Host:
        """A fresh host: set A installed and confirmed, set B empty, settings of that version."""
        host = cls(directory, root_mib=root_mib)
        root = host.paths.root
        for path in ("etc", "usr/share/updog", "proc/sys/kernel/random", "run", "var/lib"):
            (root / path).mkdir(parents=True)
        (root / "var/cache").mkdir()
        (root / "usr/share/updog/root.json").write_bytes(shipped_root)
        (root / "etc/updog.toml").write_text(
            'metadata_base_url = "file:///unused"\ntargets_base_url = "file:///unused"\n'
            "seed = 1\nmax_retries = 0\n"
        )
        make_disk(host.disk, boot_mib=BOOT_MIB, root_mib=root_mib, hash_mib=HASH_MIB)
        for part in PARTS:
            start, _ = extents(bootloader.Image(host.disk))["A", part]
            with host.disk.open("r+b") as disk:
                disk.seek(start)
                disk.write(release(version, root_mib).plain[part])
        host.install_settings(version)
        assert host.boot() == version
        return host

    @property
    def disk(self) -> Path:
        """The disk image."""
        return self.directory / DISK

    @property
    def paths(self) -> Paths:
        """Where things are."""
        return Paths(self.directory / "root")

    def install_settings(self, version: str) -> None:
        """Make a datastore by hand, as the contract lays it out."""
        base = self.paths.datastore.parent
        copy = f"v{version}_0123456789abcdef"
        for path, value in SETTINGS[version].items():
            place = base / copy / "live" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(value)
        (base / copy / "pending").mkdir()
        major, minor, _ = version.split(".")
        (base / f"v{version}").symlink_to(copy)
        (base / f"v{major}.{minor}").symlink_to(f"v{version}")
        (base / f"v{major}").symlink_to(f"v{major}.{minor}")
        (base / "current").symlink_to(f"v{major}")

    def environment(self) -> Environment:
        """What a command of updog sees."""
        facts = environment.Host(
            paths=self.paths,
            now=NOW + timedelta(hours=self.boots),
            os_disk=self.disk,
            active=Slot(self.slot),
            boot_id=f"boot-{self.boots}",
            machine=ARCH,
            environ={},
            kernel=self.kernel,
        )
        return load_environment(facts)

    def update(
        self,
        repository: Repository,
        *,
        apply: bool = True,
        image: str | None = None,
        now: bool = False,
        transport: MemoryTransport | None = None,
    ) -> Outcome:
        """`updog update`, or `update-image`; over another transport to the repository if given."""
        tools = install.Tools(
            transport=transport or MemoryTransport(repository),
            refresh=refresh,
            install_images=self.install_images,
            rehearse=rehearse,
            progress=NoProgress(),
            say=self.said.append,
            interrupt=Interrupt(),
        )
        wanted = parse_version(image) if image else None
        request = Request(image=wanted, ignore_waves=now)
        return install.update(self.environment(), request, tools, apply=apply)

    def check_update(self, repository: Repository) -> str | None:
        """`updog check-update`: the version offered."""
        found = check(self.environment(), MemoryTransport(repository), Request()).update
        return None if found is None else str(found.version)

    def update_apply(self) -> str:
        """`updog update-apply`."""
        return staging.apply_staged(self.environment())

    def update_revert(self) -> str:
        """`updog update-revert`."""
        return staging.revert(self.environment())

    def signpost(self, transition: Callable[[BootState], BootState]) -> None:
        """A command of signpost."""
        with self.boot_disk(writable=True) as disk:
            disk.store(transition(disk.state))

    def record(self) -> PowerKernel:
        """From now on, record what the product does here."""
        places = areas(bootloader.Image(self.disk))
        self.kernel = kernel = PowerKernel(
            self.directory, {DISK: places}, volatile=(f"root/{OS_RELEASE}", f"root/{BOOT_ID}")
        )
        return kernel

    def copy(self, directory: Path) -> Host:
        """The same host once more, in another directory."""
        shutil.copytree(self.directory, directory, symlinks=True)
        return replace(self, directory=directory, kernel=Quiet(), said=[])

    def boot_disk(self, *, writable: bool = False) -> BootDisk:
        """The disk as signpost opens it."""
        location = Location(self.disk, Slot(self.slot), is_image=True)
        return BootDisk.open(location, writable=writable, kernel=self.kernel)

    def boot(self) -> str:
        """Restart: the boot loader chooses, what it chose is looked at, and the version runs.

        Raises:
            Bricked: Nothing boots, or not a whole version, or its settings are not there.
        """
        slot, _ = chosen(bootloader.Image(self.disk), self.root_mib)
        bootloader.boot(self.disk)
        self.start(slot)
        self.migrate()
        return self.version

    def start(self, slot: str) -> None:
        """A set was chosen: what it holds runs from now on.

        What a new system brings along (os-release) and what the running kernel shows (the boot id)
        is no state on disk; it appears here without being recorded.
        """
        version = content(bootloader.Image(self.disk), slot, self.root_mib)
        if version is None:
            raise Bricked(f"set {slot} boots, and holds no whole version")
        self.slot, self.version = slot, version
        self.boots += 1
        root = self.paths.root
        (root / OS_RELEASE).write_text(f"VARIANT_ID={VARIANT}\nVERSION_ID={version}\n")
        (root / BOOT_ID).write_text(f"boot-{self.boots}\n")

    def migrate(self) -> None:
        """What the migrator does at boot.

        Raises:
            Bricked: The settings are then not those of the version that runs.
        """
        migrate(setting(self.paths, self.kernel), parse_version(self.version))
        found = self.settings()
        if found != SETTINGS[self.version]:
            raise Bricked(f"{self.version} runs with settings {found}")

    def settings(self) -> dict[str, str]:
        """The settings as the services of the system read them: files below `current`."""
        live = self.paths.datastore / "live"
        return {
            str(path.relative_to(live)): path.read_text()
            for path in sorted(live.rglob("*"))
            if path.is_file()
        }


def setting(paths: Paths, kernel: Kernel) -> Setting:
    """The migrator's surroundings, as its command line makes them."""
    return Setting(
        paths.datastore,
        lambda: open_cache(paths.trusted_root, paths.metadata_cache, paths.migrations),
        kernel=kernel,
    )


def rehearse(paths: Paths, version: Version, *, cancel: threading.Event) -> None:  # noqa: ARG001
    """Rehearse in this process; the subprocess of a real update takes longer than all the rest."""
    rehearse_here(setting(paths, KERNEL), version)


def chosen(disk: Storage, root_mib: int = ROOT_MIB) -> tuple[str, str]:
    """The set that the boot loader chooses, and the version that it wholly holds.

    Raises:
        Bricked: See `Host.boot`.
    """
    slot = bootloader.next_boot(disk)
    if slot is None:
        raise Bricked("nothing boots")
    version = content(disk, slot, root_mib)
    if version is None:
        raise Bricked(f"set {slot} boots, and holds no whole version")
    return slot, version


def content(disk: Storage, slot: str, root_mib: int = ROOT_MIB) -> str | None:
    """The version that a set holds wholly, of those that were made; None if none."""
    places = extents(disk)
    for version in SETTINGS:
        if all(
            disk.read(places[slot, part][0], len(data)) == data
            for part, data in release(version, root_mib).plain.items()
        ):
            return version
    return None


def extents(disk: Storage) -> dict[tuple[str, str], tuple[int, int]]:
    """First byte and the one after the last of each partition of both sets."""
    _, array = bootloader._table(disk, 512)
    found = {}
    for slot, first in (("A", BOOT_A), ("B", BOOT_B)):
        for part, number in zip(PARTS, range(first, first + 3), strict=True):
            start, last = struct.unpack_from("<QQ", array, (number - 1) * 128 + 32)
            found[slot, part] = start * 512, (last + 1) * 512
    return found


def areas(disk: Storage) -> list[Area]:
    """The partitions as areas that flush by themselves."""
    return [
        Area(f"{slot} {part}", start, stop) for (slot, part), (start, stop) in extents(disk).items()
    ]
