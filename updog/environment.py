"""What the world looks like to one run: paths, clock, disk, configuration. Read once, then a value.

`Host` is enough for commands that work offline; `Environment` adds configuration and release.
Everything is a field, so that a test passes another world instead of patching this one. With
another root every path lies below it, those of /proc included: a system that does not run has no
boot id.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from partition.kernel import KERNEL, Kernel
from updog.config import Config, load_config
from updog.release import Release, load_release
from updog.rooted import resolve_inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signpost.layout import Slot

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are, all below one root.

    Attributes:
        root: The root.
        config_file: Another configuration than the one below the root.
    """

    root: Path = Path("/")
    config_file: Path | None = None

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.config_file or resolve_inside(self.root, Path("/etc/updog.toml"))

    @property
    def trusted_root(self) -> Path:
        """The TUF root that the image ships."""
        return resolve_inside(self.root, Path("/usr/share/updog/root.json"))

    @property
    def state(self) -> Path:
        """Directory of what updog remembers: trusted metadata, attempts, journal, locks."""
        return self.root / "var/lib/updog"

    @property
    def attempts(self) -> Path:
        """What was staged and tried."""
        return self.state / "attempts.json"

    @property
    def journal(self) -> Path:
        """How far a running or interrupted update is."""
        return self.state / "journal.json"

    @property
    def activity(self) -> Path:
        """What a running update is doing, for `updog status`."""
        return self.root / "run/updog/activity.json"

    @property
    def lock(self) -> Path:
        """Held by the one updater that runs."""
        return self.state / "lock"

    @property
    def metadata_cache(self) -> Path:
        """Directory of the metadata that the migrator verifies again."""
        return self.root / "var/cache/bottlerocket-metadata"

    @property
    def migrations(self) -> Path:
        """Directory of the migrations and the manifest, `<sha256>.<name>`."""
        return self.root / "var/lib/bottlerocket-migrations"

    @property
    def datastore(self) -> Path:
        """The settings datastore, a link."""
        return self.root / "var/lib/bottlerocket/datastore/current"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The host, as far as it is known without configuration.

    Attributes:
        paths: Where things are.
        now: The one clock reading of this run (aware, UTC).
        os_disk: The disk or image named by the user; None: the one under `/`.
        active: The set that runs, named by the user; None: found through the disk.
        boot_id: Changes with every boot of the host; None if there is none to be had.
        machine: As `uname -m` prints it.
        environ: Environment variables, for proxies.
        kernel: The door to the disk.
        sysfs: Where sysfs is mounted.
        dev: Where device nodes are.
        proc: Where proc is mounted.
    """

    paths: Paths
    now: datetime
    os_disk: Path | None = None
    active: Slot | None = None
    boot_id: str | None = None
    machine: str = field(default_factory=lambda: os.uname().machine)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    kernel: Kernel = KERNEL
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")

    @classmethod
    def read(cls, paths: Paths, *, os_disk: Path | None = None, active: Slot | None = None) -> Self:
        """Look at the clock and the boot id."""
        return cls(
            paths=paths,
            now=datetime.now(UTC),
            os_disk=os_disk,
            active=active,
            boot_id=read_boot_id(paths.root),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Host):
    """The host, how it is configured, and what it runs."""

    config: Config
    release: Release


def load_environment(host: Host) -> Environment:
    """Read configuration and release of a host.

    Raises:
        ConfigInvalid: See `updog.config`.
        ReleaseInvalid: See `updog.release`.
    """
    config = load_config(host.paths.config)
    release = load_release(host.paths.root, host.machine)
    known = {each.name: getattr(host, each.name) for each in fields(Host)}
    return Environment(**known, config=config, release=release)


def read_boot_id(root: Path) -> str | None:
    """Return the identifier of the current boot (random(4)), or None where proc is not mounted."""
    try:
        return (root / _BOOT_ID.relative_to("/")).read_text().strip() or None
    except OSError:
        return None
