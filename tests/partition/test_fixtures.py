"""Tables made by sgdisk, cgpt and fdisk read as those tools say."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import pytest

from partition.gpt import Source, read_table
from tests.support.disks import run
from tests.support.gptbytes import FIXTURES, fixture

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted(path.name.removesuffix(".img.xz") for path in FIXTURES.glob("*.img.xz"))


def test_the_script_makes_the_very_same_tables(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("regenerate", FIXTURES / "regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    script.regenerate(tmp_path)

    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in FIXTURES.glob("*.xz")}
    assert len(kept) == 5
    assert made == kept


@pytest.mark.parametrize("name", NAMES)
def test_a_table_reads_without_problems_whatever_its_sector_size(name: str) -> None:
    disk = fixture(name)

    found = read_table(lambda start, length: bytes(disk[start : start + length]), len(disk), None)

    assert found.problems == ()
    assert found.source is Source.PRIMARY
    assert found.table.sector_size == (4096 if name == "fdisk-4096" else 512)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fdisk-4096"])
def test_every_partition_is_what_sgdisk_shows(name: str, tmp_path: Path) -> None:
    disk = fixture(name)
    path = tmp_path / "disk.img"
    path.write_bytes(disk)

    table = read_table(lambda start, n: bytes(disk[start : start + n]), len(disk), None).table

    shown = 0
    for number, entry in enumerate(table.entries, start=1):
        if entry is None:
            continue
        report = run("sgdisk", "-i", f"{number}", str(path))
        assert re.findall(r"GUID(?: code)?: ([0-9A-F-]+)", report) == [
            str(entry.type_guid).upper(),
            str(entry.guid).upper(),
        ]
        assert re.findall(r"(?:First|Last) sector: (\d+)", report) == [
            str(entry.first_lba),
            str(entry.last_lba),
        ]
        assert f"Attribute flags: {entry.attributes:016X}" in report
        assert f"Partition name: '{entry.label}'" in report
        shown += 1
    assert shown == (6 if name == "sgdisk-single-set" else 10)
