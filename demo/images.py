"""Real file systems for the demo and the end-to-end tests, made by mkfs from files of this machine.

A root image is a tree of real programs and libraries plus ``/etc/os-release``; a boot image is
small and names its version.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Literal

MIB = 1024 * 1024
FileSystem = Literal["ext4", "erofs", "squashfs"]

# Real content, present on every Debian machine; taken in order until the tree is large enough.
_SOURCES = (Path("/usr/bin"), Path("/usr/lib"), Path("/usr/share"))
_MKE2FS_ENVIRONMENT = {
    "PATH": os.defpath + ":/usr/sbin:/sbin",
    "SOURCE_DATE_EPOCH": "1700000000",
    "E2FSPROGS_FAKE_TIME": "1700000000",
}


def make_root(
    path: Path,
    *,
    version: str,
    variant: str,
    filesystem: FileSystem,
    size_mib: int,
    filled: float = 0.75,
) -> None:
    """Make a root image at ``path`` from real files.

    ext4 comes out at exactly ``size_mib``, and full to a share of ``filled`` where this machine has
    so many files; the others hold what fits that share.

    Raises:
        subprocess.CalledProcessError: mkfs refused; its output is on stderr.
    """
    tree = path.with_name(path.name + ".tree")
    shutil.rmtree(tree, ignore_errors=True)
    _copy_real_files(tree, budget_bytes=int(size_mib * MIB * filled))
    etc = tree / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "os-release").write_text(
        f'NAME="Demo OS"\nID=demo\nVARIANT_ID={variant}\nVERSION_ID={version}\n'
        f'PRETTY_NAME="Demo OS {version}"\n'
    )
    _make(path, tree, filesystem, size_mib, label="root")
    shutil.rmtree(tree)


def make_boot(path: Path, *, version: str, size_mib: int = 16) -> None:
    """Make a small ext4 boot image that says which version it belongs to."""
    tree = path.with_name(path.name + ".tree")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    (tree / "version").write_text(version + "\n")
    _make(path, tree, "ext4", size_mib, label="boot")
    shutil.rmtree(tree)


def _copy_real_files(tree: Path, budget_bytes: int) -> None:
    tree.mkdir(parents=True)
    used = 0
    for source in _SOURCES:
        for directory, subdirectories, names in os.walk(source):
            subdirectories.sort()
            for name in sorted(names):
                file = Path(directory, name)
                status = file.lstat()
                if not stat.S_ISREG(status.st_mode) or not os.access(file, os.R_OK):
                    continue
                used += status.st_size + 4096
                if used > budget_bytes:
                    return
                target = tree / file.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
                os.utime(target, (1_700_000_000, 1_700_000_000))


def _make(path: Path, tree: Path, filesystem: FileSystem, size_mib: int, label: str) -> None:
    uuid = "7d0f2a5e-0000-4000-8000-000000000001"
    commands: dict[FileSystem, list[str]] = {
        "ext4": [
            *("mkfs.ext4", "-q", "-F", "-b", "4096", "-L", label, "-U", uuid, "-O", "^has_journal"),
            *(
                "-E",
                f"hash_seed={uuid},lazy_itable_init=0",
                "-d",
                str(tree),
                str(path),
                f"{size_mib}M",
            ),
        ],
        "erofs": ["mkfs.erofs", "-U", uuid, "-T", "1700000000", str(path), str(tree)],
        "squashfs": [
            *("mksquashfs", str(tree), str(path), "-noappend", "-quiet", "-no-progress"),
            *("-noI", "-noD", "-noF", "-noX", "-all-root"),
        ],
    }
    path.unlink(missing_ok=True)
    result = subprocess.run(
        commands[filesystem], env=_MKE2FS_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(
            f"cannot make {path} with {commands[filesystem][0]}: {result.stderr.strip()}"
        )
    # dm-verity hashes whole 4096-byte blocks.
    os.truncate(path, (path.stat().st_size + 4095) // 4096 * 4096)
