"""The main job with real parts: mkfs, repo-tools, nginx, updog, signpost; confirmed by others.

Root images are 64 MiB and more, ext4 and erofs, made of this machine's files. The commands run as
processes, as a user would run them. Other people's tools say what is on the disk: sgdisk and cgpt
for the table, veritysetup for the tree, cmp-like reading for the images, fsck.ext4 for the file
system; a boot loader written for the tests alone chooses what boots.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.images import make_boot, make_root
from tests.support import bootloader, disks
from tests.support.servers import nginx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIANT, ARCH = "cycle", platform.machine()
BIN = Path(sys.executable).parent
ROLES = ("root", "targets", "snapshot", "timestamp")


def run(*words: str | Path, expect: int = 0, variables: Mapping[str, str] | None = None) -> str:
    """Run a command; it must end with this code, and its stdout is the answer."""
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}:/usr/sbin", **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, f"{words}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@dataclass(frozen=True)
class World:
    """A repository that nginx serves, the images behind it, and a disk with the first version."""

    directory: Path
    url: str

    def image(self, part: str, version: str) -> Path:
        return self.directory / f"{part}-{version}.img"

    def repo_tools(self, *words: str | Path) -> str:
        variables = {
            "REPO_TOOLS_REPO": str(self.directory / "repo"),
            "REPO_TOOLS_VARIANT": VARIANT,
            "REPO_TOOLS_ARCH": ARCH,
            "REPO_TOOLS_ROOT": str(self.directory / "root.json"),
        }
        return run("repo-tools", *words, variables=variables)

    def sign(self) -> list[str]:
        keys = [str(self.directory / f"keys/{role}.pem") for role in ROLES[1:]]
        return [word for key in keys for word in ("--key", key)]

    def publish(self, version: str, *options: str) -> None:
        self.repo_tools(
            *("repo", "publish", "--version", version, "--boot", self.image("boot", version)),
            *("--root-image", self.image("root", version), "--waves", "none", "--level", "1"),
            *("--yes", *self.sign(), *options),
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("cycle")
    with nginx(directory / "repo") as server:
        world = World(directory, server.url)
        for version, filesystem in (("1.0.0", "ext4"), ("1.1.0", "erofs"), ("1.2.0", "ext4")):
            make_boot(world.image("boot", version), version=version)
            make_root(
                world.image("root", version),
                version=version,
                variant=VARIANT,
                filesystem="erofs" if filesystem == "erofs" else "ext4",
                size_mib=96,
                filled=0.9,
            )
            assert world.image("root", version).stat().st_size >= 64 << 20
        names = [directory / "keys" / role for role in ROLES]
        world.repo_tools("key", "generate", "--no-passphrase", *names)
        options = [
            word for role in ROLES for word in (f"--{role}-key", directory / f"keys/{role}.pub")
        ]
        world.repo_tools("root", "init", directory / "root.json", *options)
        key = directory / "keys/root.pem"
        world.repo_tools("root", "sign", directory / "root.json", "--key", key, "--yes")
        world.repo_tools("repo", "init", "--yes", *world.sign())
        world.publish("1.0.0")
        world.publish("1.1.0", "--migrate-from", "1.0.0")
        world.publish("1.2.0", "--migrate-from", "1.1.0", "--max-version", "1.2.0")
        yield world


@dataclass
class Machine:
    """A host: its disk, its root directory, and the set that runs."""

    world: World
    directory: Path
    active: str = "A"

    @classmethod
    def install(cls, world: World, directory: Path) -> Machine:
        machine = cls(world, directory)
        for name in ("etc", "usr/share/updog", "proc/sys/kernel/random"):
            (machine.root / name).mkdir(parents=True)
        shutil.copy(world.directory / "root.json", machine.root / "usr/share/updog/root.json")
        (machine.root / "etc/updog.toml").write_text(
            f'metadata_base_url = "{world.url}/{VARIANT}/{ARCH}/"\n'
            f'targets_base_url = "{world.url}/targets/"\nseed = 2047\n'
        )
        world.repo_tools(
            *("disk", "create", machine.disk, "--boot", world.image("boot", "1.0.0")),
            *("--root-image", world.image("root", "1.0.0")),
            *("--root-size", "112MiB", "--hash-size", "2MiB", "--boot-size", "16MiB"),
        )
        machine.runs("1.0.0")
        return machine

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def runs(self, version: str) -> None:
        """What the running system says of itself, after a boot."""
        (self.root / "etc/os-release").write_text(f"VARIANT_ID={VARIANT}\nVERSION_ID={version}\n")
        boot_id = Path("/proc/sys/kernel/random/uuid").read_text()
        (self.root / "proc/sys/kernel/random/boot_id").write_text(boot_id)

    def updog(self, *words: str, expect: int = 0) -> str:
        disk = ("--os-disk", self.disk, "--active-set", self.active)
        return run("updog", "--root", self.root, *disk, *words, expect=expect)

    def signpost(self, *words: str, expect: int = 0) -> str:
        disk = ("--os-disk", self.disk, "--active-set", self.active)
        return run("signpost", *disk, *words, expect=expect)

    def boot(self, version: str) -> None:
        """The boot loader chooses; what it finds there must be this version, to the last byte."""
        self.active = bootloader.boot(self.disk)
        assert self.holds(self.active) == version
        self.runs(version)

    def flags(self, slot: str) -> disks.Flags:
        return disks.flags(self.disk, 1 if slot == "A" else 4)

    def holds(self, slot: str) -> str:
        """The version on a set, told from its boot partition; root and tree are then checked."""
        assert "No problems found" in run("sgdisk", "-v", self.disk)
        parts = {part: self._partition(f"BOTTLEROCKET-{part}-{slot}") for part in ("BOOT", "ROOT")}
        tree = self._partition(f"BOTTLEROCKET-HASH-{slot}")
        version = next(
            version
            for version in ("1.0.0", "1.1.0", "1.2.0")
            if parts["BOOT"].startswith(self.world.image("boot", version).read_bytes())
        )
        wanted = self.world.image("root", version).read_bytes()
        assert parts["ROOT"].startswith(wanted)
        self._verify(wanted, tree)
        return version

    def _verify(self, data: bytes, tree: bytes) -> None:
        """Veritysetup finds the same tree for the same salt and UUID."""
        given, made, root = (self.directory / name for name in ("given", "made", "root.img"))
        given.write_bytes(tree)
        made.unlink(missing_ok=True)
        root.write_bytes(data)
        shown = run("veritysetup", "dump", given)
        salt = re.search(r"Salt:\s+(\S+)", shown)
        uuid = re.search(r"UUID:\s+(\S+)", shown)
        assert salt
        assert uuid
        formatted = run(
            "veritysetup", "format", f"--salt={salt[1]}", f"--uuid={uuid[1]}", root, made
        )
        root_hash = re.search(r"Root hash:\s+(\S+)", formatted)
        assert root_hash
        run("veritysetup", "verify", root, given, root_hash[1])
        assert tree.startswith(made.read_bytes())

    def _partition(self, label: str) -> bytes:
        listed = run("sgdisk", "-p", self.disk)
        first, last = next(
            line.split()[1:3] for line in listed.splitlines() if line.endswith(f" {label}")
        )
        with self.disk.open("rb") as disk:
            disk.seek(int(first) * 512)
            return disk.read((int(last) - int(first) + 1) * 512)


def test_from_version_to_version_and_back(world: World, tmp_path: Path) -> None:
    host = Machine.install(world, tmp_path)
    assert host.flags("A") == disks.Flags(1, 0, successful=True)
    assert host.flags("B") == disks.Flags(0, 0, successful=False)

    # Named explicitly, 1.1.0 is taken though 1.2.0 is there.
    assert host.updog("check-update") == f"{VARIANT} 1.2.0\n"
    assert host.updog("check-update", "--image", "1.1.0") == f"{VARIANT} 1.1.0\n"
    assert host.updog("update", "--image", "1.1.0") == f"Update applied: {VARIANT} 1.1.0\n"
    assert host.flags("A") == disks.Flags(1, 0, successful=True)
    assert host.flags("B") == disks.Flags(2, 1, successful=False)
    assert host.signpost("status").splitlines()[-2:] == ["Active: Set A", "Next: Set B"]

    # Set B is tried, comes up, and is confirmed.
    host.boot("1.1.0")
    assert host.active == "B"
    assert host.flags("B") == disks.Flags(2, 0, successful=False)
    host.signpost("mark-successful-boot")
    assert host.flags("B") == disks.Flags(2, 0, successful=True)
    assert host.signpost("has-boot-ever-succeeded") == "true\n"

    # The next one goes to set A, in two steps this time, the second without the network.
    assert host.updog("update-image") == f"Update applied: {VARIANT} 1.2.0\n"
    assert host.flags("A") == disks.Flags(0, 1, successful=False)
    assert bootloader.next_boot(host.disk) == "B"
    config = host.root / "etc/updog.toml"
    text = config.read_text()
    config.write_text(text.replace(world.url, "http://127.0.0.1:9"))
    host.updog("update-apply")
    assert host.flags("A") == disks.Flags(2, 1, successful=False)
    host.updog("update-revert")
    assert bootloader.next_boot(host.disk) == "B"
    host.updog("update-apply")
    config.write_text(text)

    # It does not come up: the next boot is set B again, and 1.2.0 is not tried again.
    host.boot("1.2.0")
    host.boot("1.1.0")
    assert host.active == "B"
    host.updog("check-update", expect=3)
    reasons = json.loads(host.updog("--json", "check-update", "--explain", expect=3))
    assert "1.2.0" in json.dumps(reasons)
    assert host.updog("update") == ""
    assert bootloader.next_boot(host.disk) == "B"

    # The operator names it, it comes up this time; then somebody wants the old one back.
    assert host.updog("update", "--image", "1.2.0") == f"Update applied: {VARIANT} 1.2.0\n"
    host.boot("1.2.0")
    host.signpost("mark-successful-boot")
    host.signpost("rollback-to-inactive")
    assert host.flags("B") == disks.Flags(2, 1, successful=False)
    host.boot("1.1.0")
    host.signpost("mark-successful-boot")
    assert host.flags("B") == disks.Flags(2, 0, successful=True)
    assert host.flags("A") == disks.Flags(1, 0, successful=True)


def test_what_a_program_reads(world: World, tmp_path: Path) -> None:
    """--json prints the manifest's own shape; progress as JSON is one object a line on stderr."""
    host = Machine.install(world, tmp_path)
    found = json.loads(host.updog("--json", "check-update"))
    assert (found["variant"], found["arch"], found["version"]) == (VARIANT, ARCH, "1.2.0")
    assert set(found["images"]) == {"boot", "root", "hash"}
    everything = json.loads(host.updog("--json", "check-update", "--all"))
    assert [each["version"] for each in everything] == ["1.2.0", "1.1.0", "1.0.0"]

    disk = ("--os-disk", host.disk, "--active-set", "A")
    done = subprocess.run(
        [BIN / "updog", "--root", host.root, *disk, "update", "--progress", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    images = {line["image"] for line in lines if "image" in line}
    assert images == {"boot", "root", "hash"}
    assert host.holds("B") == "1.2.0"
