"""The test operating system: Debian, this project's packages, and a root image per version.

Three steps, each cached in `.cache/boot` under a digest of everything that goes into it:

    base      Debian packages only (mmdebstrap): changes when the list of packages does
    system    base, this project's .deb files, the files in `os/`: changes with the code
    version   system with a version's own files, as a root image and a boot image

Nothing needs root: without it, mmdebstrap uses a user namespace, and the images are made under
fakeroot. Packages come from the Debian mirrors that apt is configured for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

PROJECT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = PROJECT / ".cache" / "boot"
OS_FILES: Final = Path(__file__).parent / "os"

PACKAGES: Final = (
    *("systemd", "systemd-sysv", "udev", "kmod", "e2fsprogs", "busybox", "zstd"),
    *("linux-image-cloud-amd64", "initramfs-tools", "cryptsetup-bin", "kexec-tools"),
    "python3",
)
_NOT_INSTALLED: Final = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")
_SALT: Final = "5a" * 32
# Large enough for a kernel and an initramfs.
BOOT_MIB: Final = 40
_SOURCES: Final = (
    Path("/etc/apt/sources.list.d/debian.sources"),
    Path("/etc/apt/sources.list"),
)


class BuildError(Exception):
    """Something could not be built."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the test operating system.

    Attributes:
        number: VERSION_ID.
        files: Its own files: content by path below the root; executable if it starts with `#!`.
        own_kernel: Its boot partition brings kernel and initramfs, to be started with kexec.
    """

    number: str
    files: Mapping[str, str] = field(default_factory=dict)
    own_kernel: bool = False


@dataclass(frozen=True, slots=True)
class System:
    """What all versions share."""

    root_tar: Path
    kernel: Path
    initrd: Path


@dataclass(frozen=True, slots=True)
class Images:
    """One version's partition images, and the root hash that the boot image names."""

    boot: Path
    root: Path
    hash: Path
    root_hash: str


def build_system(packages: Sequence[Path]) -> System:
    """Build, or find in the cache, the system with this project's Debian packages."""

    def fill(directory: Path) -> None:
        _mmdebstrap(
            *("--variant=custom", "--skip=update,download,extract,cleanup/apt"),
            f"--setup-hook=tar-in {base} /",
            *(f"--customize-hook=copy-in {package} /tmp" for package in packages),
            '--customize-hook=chroot "$1" sh -c "dpkg --install /tmp/*.deb && rm /tmp/*.deb"',
            f'--customize-hook={OS_FILES / "customize"} "$1"',
            f"--customize-hook=copy-out /boot/vmlinuz /boot/initrd.img {directory}",
            '--customize-hook=rm "$1/boot/vmlinuz" "$1/boot/initrd.img"',
            *("", str(directory / "root.tar")),
        )

    base = _build_base()
    os_files = sorted(path for path in OS_FILES.rglob("*") if path.is_file())
    made_of = (base.parent.name, *_contents([*packages, *os_files]))
    directory = _cached("system", made_of, fill)
    return System(directory / "root.tar", directory / "vmlinuz", directory / "initrd.img")


def build_version(system: System, version: Version) -> Images:
    """Build, or find in the cache, the images of a version."""

    def fill(directory: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="boot-") as work:
            own = Path(work) / "own"
            _write_files(own, version)
            _run_as_root([OS_FILES / "make-root", system.root_tar, own, directory / "root.img"])
        hashed = run(
            [
                "veritysetup",
                "format",
                f"--salt={_SALT}",
                directory / "root.img",
                directory / "hash.img",
            ]
        )
        root_hash = hashed.partition("Root hash:")[2].split()[0]
        boot_files = directory / "boot"
        boot_files.mkdir()
        (boot_files / "root-hash").write_text(f"{root_hash}\n")
        if version.own_kernel:
            shutil.copy(system.kernel, boot_files / "vmlinuz")
            shutil.copy(system.initrd, boot_files / "initrd.img")
            (boot_files / "cmdline").write_text(f"testos.kernel={version.number}\n")
        run(
            [
                *("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-m", "0"),
                *("-d", boot_files, directory / "boot.img", f"{BOOT_MIB}M"),
            ]
        )

    made_of = (system.root_tar.parent.name, repr(version))
    directory = _cached(f"version-{version.number}", made_of, fill)
    root_hash = (directory / "boot" / "root-hash").read_text().strip()
    return Images(directory / "boot.img", directory / "root.img", directory / "hash.img", root_hash)


def build_packages() -> tuple[Path, ...]:
    """The Debian packages that a host needs, from this source tree."""
    out = CACHE / "packages"
    # A fixed date: equal sources make equal packages, and are found in the cache.
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": "1700000000",
        "DPKG_DEB_COMPRESSOR_TYPE": "none",
    }
    built = run([PROJECT / "packaging" / "build-deb.sh", out], environment).split()
    return tuple(Path(path) for path in built if "repo-tools" not in path)


def _build_base() -> Path:
    sources = _apt_sources()

    def fill(directory: Path) -> None:
        _mmdebstrap(
            "--variant=essential",
            f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_INSTALLED),
            *("bookworm", str(directory / "root.tar")),
            *(str(path) for path in sources),
        )

    made_of = (*PACKAGES, *_NOT_INSTALLED, *_contents(sources))
    return _cached("base", made_of, fill) / "root.tar"


def _apt_sources() -> list[Path]:
    """The host's own Debian mirrors, if it has any; mmdebstrap's default otherwise."""
    return [path for path in _SOURCES if path.is_file()][:1]


def _mmdebstrap(*arguments: str) -> None:
    proxy = run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"])
    options = ['--aptopt=Acquire::Check-Valid-Until "false"']
    if "'" in proxy:
        options.append(f'--aptopt=Acquire::http::Proxy "{proxy.split(chr(39))[1]}"')
    run(["mmdebstrap", "--quiet", *options, *arguments])


def _write_files(directory: Path, version: Version) -> None:
    release = (
        f'ID=testos\nNAME="Test OS"\nPRETTY_NAME="Test OS {version.number}"\n'
        f"VERSION_ID={version.number}\nVARIANT_ID=testos\n"
    )
    for name, content in {"usr/lib/os-release": release, **version.files}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755 if content.startswith("#!") else 0o644)


def _cached(name: str, made_of: Iterable[str], fill: Callable[[Path], None]) -> Path:
    """A directory of the cache, filled by `fill` unless it is there already."""
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    directory = CACHE / f"{name}-{digest}"
    if not directory.is_dir():
        # Of what is built anew, older editions are of no use any more.
        for old in CACHE.glob(f"{name}-????????????????"):
            shutil.rmtree(old)
        new = CACHE / f".{name}.{os.getpid()}"
        new.mkdir(parents=True)
        try:
            fill(new)
            new.rename(directory)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return directory


def _contents(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        yield f"{path.name} {path.stat().st_mode:o}"
        yield hashlib.sha256(path.read_bytes()).hexdigest()


def _run_as_root(command: Sequence[str | Path]) -> None:
    """Run with the owners of files as they should be in an image, really or pretended."""
    run([*(() if os.geteuid() == 0 else ("fakeroot",)), *command])


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> str:
    """Run a command of this machine, in the project's directory; what it prints on stdout.

    Raises:
        BuildError: It failed; with what it printed on stderr.
    """
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=PROJECT
    )
    if done.returncode:
        words = " ".join(str(word) for word in command[:3])
        raise BuildError(f"{words} … ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout
