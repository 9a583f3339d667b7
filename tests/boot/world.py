"""What the scenarios share: images of all versions, repositories, and disks of new hosts.

Repositories differ in what they offer to a host of 2.0.0, as a repository does over time:

    good       1.0.0 and 2.0.0
    panicking  and 2.1.0
    failing    and 2.2.0
    stuck      and 2.3.0
    kernel     and 3.0.0

All are made by repo-tools, from the same keys; anew in each run, since metadata expires.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.boot.build import (
    BOOT_MIB,
    CACHE,
    PROJECT,
    build_packages,
    build_system,
    build_version,
    run,
)
from tests.boot.versions import MIGRATIONS, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.boot.build import Images, System

VARIANT: Final = "testos"
ARCH: Final = "x86_64"
ROLES: Final = ("root", "targets", "snapshot", "timestamp")
OFFERS: Final = {"panicking": "2.1.0", "failing": "2.2.0", "stuck": "2.3.0", "kernel": "3.0.0"}
ROOT_MIB: Final = 112
DATA_MIB: Final = 192
# Where the guest sees the host's loopback, in QEMU's user network.
_HOST_FROM_GUEST: Final = "10.0.2.2"


@dataclass(frozen=True, slots=True)
class World:
    """Everything that is made before the first boot.

    Attributes:
        system: Kernel and initramfs of the first boot stage.
        images: By version.
        repositories: The directory that is served.
        work: For this run's disks and logs.
    """

    system: System
    images: Mapping[str, Images]
    repositories: Path
    work: Path

    def make_disk(self, path: Path, url: str) -> None:
        """A new host's disk: 1.0.0 on set A, set B empty, data with just the host's configuration.

        Args:
            path: The image to make.
            url: Where the repositories are served, as the host's loopback has it.
        """
        port = url.rpartition(":")[2].rstrip("/")
        base = f"http://{_HOST_FROM_GUEST}:{port}/good"
        data = path.with_suffix(".data")
        (data / "lib/testos").mkdir(parents=True)
        (data / "lib/testos/updog.toml").write_text(
            f'metadata_base_url = "{base}/{VARIANT}/{ARCH}"\n'
            f'targets_base_url = "{base}/targets"\nseed = 1900\n'
        )
        data_image = path.with_suffix(".ext4")
        run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", data, data_image, f"{DATA_MIB}M"])
        images = self.images["1.0.0"]
        run(
            [
                *tool("repo_tools"),
                *("disk", "create", path, "--boot", images.boot),
                *("--root-image", images.root, "--hash", images.hash, "--data-image", data_image),
                *("--boot-size", f"{BOOT_MIB}MiB", "--root-size", f"{ROOT_MIB}MiB"),
                *("--hash-size", "2MiB", "--data-size", f"{DATA_MIB}MiB"),
            ]
        )
        data_image.unlink()
        shutil.rmtree(data)


def make_world(work: Path) -> World:
    """Build what is not in the cache, and this run's repositories."""
    keys = CACHE / "keys"
    if not (keys / "root.json").is_file():
        _make_keys(keys)
    system = build_system(build_packages())
    root_json = (keys / "root.json").read_text()
    images = {
        number: build_version(system, version) for number, version in versions(root_json).items()
    }
    repositories = work / "repositories"
    good = repositories / "good"
    _repo_tools(good, keys, "init")
    _publish(good, keys, images, "1.0.0", ("--waves", "none"))
    _publish(good, keys, images, "2.0.0", ("--waves", "default", "--migrate-from", "1.0.0"))
    for name, number in OFFERS.items():
        # Files are only ever replaced whole, so the copies may share them.
        shutil.copytree(good, repositories / name, copy_function=os.link)
        offered = ("--waves", "none", "--migrate-from", "2.0.0")
        _publish(repositories / name, keys, images, number, offered)
    return World(system, images, repositories, work)


def tool(module: str) -> tuple[str, ...]:
    """The command for one of the project's own programs, as it is in this source tree."""
    return (str(PROJECT / ".venv/bin/python"), "-m", module)


def _make_keys(keys: Path) -> None:
    shutil.rmtree(keys, ignore_errors=True)
    keys.mkdir(parents=True)
    repo_tools = tool("repo_tools")
    run([*repo_tools, "key", "generate", "--no-passphrase", *(keys / role for role in ROLES)])
    public = [f"--{role}-key={keys / role}.pub" for role in ROLES]
    run([*repo_tools, "root", "init", keys / "unsigned.json", *public])
    run([*repo_tools, "root", "sign", keys / "unsigned.json", "--key", keys / "root.pem", "--yes"])
    (keys / "unsigned.json").rename(keys / "root.json")


def _publish(
    repository: Path, keys: Path, images: Mapping[str, Images], number: str, options: Sequence[str]
) -> None:
    made = images[number]
    migrations: list[str | Path] = []
    for (_, to), (name, document) in MIGRATIONS.items():
        if to == number:
            path = repository.parent / name
            path.write_text(document)
            migrations += ["--migration", path]
    _repo_tools(
        repository,
        keys,
        "publish",
        *("--version", number, "--boot", made.boot, "--root-image", made.root, "--hash", made.hash),
        # The root images are compressed already.
        *("--level", "1", *options, *migrations),
    )


def _repo_tools(repository: Path, keys: Path, command: str, *options: str | Path) -> None:
    run(
        [
            *tool("repo_tools"),
            *("repo", command, "--repo", repository, "--variant", VARIANT),
            *("--arch", ARCH, "--root", keys / "root.json", "--yes"),
            *(f"--key={keys / role}.pem" for role in ROLES[1:]),
            *options,
        ]
    )
