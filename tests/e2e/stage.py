"""A host and a repository of files, and the installed commands run as processes on them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import disks
from tests.support.host import ARCH, VARIANT, Host, publish
from tests.support.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Mapping

OLD, NEW = "1.0.0", "1.1.0"


@dataclass
class Stage:
    """One host that runs `OLD` from set A, and the repository that its configuration names."""

    directory: Path
    repository: Repository
    host: Host

    @classmethod
    def build(cls, directory: Path, *, broken: Mapping[str, bytes] | None = None) -> Stage:
        """Publish `NEW`, with some targets broken, and install a host of `OLD`."""
        repository = publish(OLD, NEW, repository=Repository(now=datetime.now(UTC)), broken=broken)
        host = Host.install(directory / "host", OLD, shipped_root=repository.shipped_root)
        stage = cls(directory, repository, host)
        stage.serve()
        stage.configure()
        return stage

    @property
    def served(self) -> Path:
        """The repository's directory."""
        return self.directory / "served"

    def serve(self) -> None:
        """Write what was published."""
        self.repository.write(self.served)

    def configure(self, base: str = "", extra: str = "") -> None:
        """Write updog.toml; the repository is the directory unless `base` says otherwise."""
        base = base or self.served.as_uri()
        (self.host.paths.root / "etc/updog.toml").write_text(
            f'metadata_base_url = "{base}/metadata"\ntargets_base_url = "{base}/targets"\n'
            f"seed = 7\nmax_retries = 1\nrehearse_migrations = false\n{extra}"
        )

    def command(self, *words: str) -> list[str]:
        """The words of an updog command on this host."""
        return [
            *(sys.executable, "-m", "updog", "--root", str(self.host.paths.root)),
            *("--os-disk", str(self.host.disk), "--active-set", self.host.slot, *words),
        ]

    def updog(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*words),
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def environment(self) -> dict[str, str]:
        """What the process gets."""
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}

    def target(self, name: str) -> Path:
        """The served file of a target."""
        return next(self.served.joinpath("targets").glob(f"*.{name}"))

    def set_a(self) -> bytes:
        """Every byte of the active set's partitions."""
        with self.host.disk.open("rb") as disk:
            disk.seek(1 << 20)
            return disk.read(6 << 20)

    def set_b_touched(self) -> bool:
        """Whether any byte of set B was ever written: it starts as zeros."""
        with self.host.disk.open("rb") as disk:
            disk.seek(8 << 20)
            return any(disk.read(6 << 20))

    def flags(self) -> tuple[disks.Flags, disks.Flags]:
        """Set A's and set B's, as cgpt reads them."""
        return disks.flags(self.host.disk, disks.BOOT_A), disks.flags(self.host.disk, disks.BOOT_B)


__all__ = ["ARCH", "NEW", "OLD", "VARIANT", "Stage"]
