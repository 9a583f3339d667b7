"""An initramfs holds what signpost needs, and little else: it is run from just those files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disks import BOOT_A, BOOT_B, Flags, flags, set_flags
from tests.support.gptbytes import fixture

PROJECT = Path(__file__).parents[2]
SITE_PACKAGES = [Path(path) for path in sys.path if path.endswith("site-packages")]


@pytest.fixture(scope="module")
def listed() -> list[Path]:
    """What the initramfs hook is told to copy."""
    done = subprocess.run(
        [sys.executable, "-m", "signpost.initramfs_files"],
        capture_output=True,
        check=True,
        text=True,
        cwd=PROJECT,
    )
    return [Path(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def home(listed: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python installation that holds nothing but those files."""
    home = tmp_path_factory.mktemp("home")
    library = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = {Path(os.__file__).parent, PROJECT, *SITE_PACKAGES}
    longest_first = sorted(places, key=lambda place: -len(place.parts))
    for file in listed:
        place = next(place for place in longest_first if file.is_relative_to(place))
        copy = library / file.relative_to(place)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    return home


def test_the_boot_stage_works_from_these_files_alone(home: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(fixture("sgdisk-fresh"))
    set_flags(disk, BOOT_B, Flags(2, 1, False))

    def signpost(*arguments: str) -> str:
        done = subprocess.run(
            [python(), "-P", "-s", "-m", "signpost", "--os-disk", str(disk), *arguments],
            capture_output=True,
            check=False,
            text=True,
            env={"PYTHONHOME": str(home)},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    # What boot/initramfs-tools/scripts/signpost runs.
    assert "Set B: " in signpost("--active-set", "A", "status")
    assert signpost("choose-boot") == "B\n"
    assert flags(disk, BOOT_B) == Flags(2, 0, False)
    set_flags(disk, BOOT_B, Flags(2, 0, True))
    signpost("--active-set", "B", "mark-failed-boot")
    assert flags(disk, BOOT_B) == Flags(2, 0, False)
    assert signpost("choose-boot") == "A\n"
    signpost("rewrite-table")
    assert flags(disk, BOOT_A) == Flags(1, 0, True)


def test_nothing_of_the_updater_is_among_them(listed: list[Path]) -> None:
    assert len(listed) > 50
    names = {part for file in listed for part in file.parts}
    assert not names & {"updog", "migrator", "repo_tools", "requests", "tuf", "lz4", "rich"}
    assert sum(file.stat().st_size for file in listed) < 8 << 20


def python() -> str:
    """The interpreter itself: that of a virtual environment knows its home already."""
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}"))
