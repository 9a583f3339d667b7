"""A disk image is what sgdisk, cgpt, veritysetup and signpost take it for."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from signpost.cli import cli as signpost

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo_tools.owner import Owner

SIZES = ["--boot-size", "2 MiB", "--root-size", "4 MiB", "--hash-size", "1 MiB",
         "--private-size", "1 MiB", "--data-size", "3 MiB"]  # fmt: skip
FLAGS = ("-P", "-T", "-S")
TYPES = {
    "BOOT": "6B636168-7420-6568-2070-6C616E657421",
    "ROOT": "5526016A-1A97-4EA4-B39A-B7C8C6CA4502",
    "HASH": "598F10AF-C955-4456-6A99-7720068A6CEA",
    "RESERVED": "0C5D99A5-D331-4147-BAEF-08E2B855BDC9",
    "PRIVATE": "440408BB-EB0B-4328-A6E5-A29038FAD706",
    "DATA": "626F7474-6C65-6474-6861-726D61726B73",
}


def tool(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def made(owner: Owner, *extra: str | Path) -> tuple[Path, dict[str, object]]:
    boot, root = owner.images("1.0.0")
    disk = owner.base / "disk.img"
    words = ["disk", "create", disk, "--boot", boot, "--root-image", root, *SIZES, *extra]
    return disk, owner.do(*words)


def test_other_tools_read_the_table(newcomer: Owner) -> None:
    disk, told = made(newcomer, "--reserved-size", "1 MiB")
    assert "No problems found" in tool("sgdisk", "-v", disk)
    labels = [
        "BOOT-A", "ROOT-A", "HASH-A", "RESERVED-A", "BOOT-B", "ROOT-B", "HASH-B", "RESERVED-B",
        "PRIVATE", "DATA",
    ]  # fmt: skip
    mib = 1
    sizes = {"BOOT": 2, "ROOT": 4, "HASH": 1, "RESERVED": 1, "PRIVATE": 1, "DATA": 3}
    for number, label in enumerate(labels, 1):
        shown = tool("sgdisk", "-i", str(number), disk)
        kind = label.partition("-")[0]
        assert f"Partition GUID code: {TYPES[kind]}" in shown
        assert f"Partition name: 'BOTTLEROCKET-{label}'" in shown
        assert f"First sector: {mib * 2048} " in shown
        mib += sizes[kind]
        assert f"Last sector: {mib * 2048 - 1} " in shown
    assert told["partitions"] == {f"BOTTLEROCKET-{n}": i for i, n in enumerate(labels, 1)}
    assert disk.stat().st_size == (mib + 1) << 20
    for number, flags in ((1, ["1", "0", "1"]), (5, ["0", "0", "0"])):
        seen = [tool("cgpt", "show", "-i", str(number), flag, disk).strip() for flag in FLAGS]
        assert seen == flags


@pytest.mark.parametrize("sector_size", ["512", "4096"])
def test_set_a_is_installed_and_set_b_empty(
    newcomer: Owner, sector_size: str, tmp_path: Path
) -> None:
    disk, told = made(newcomer, "--sector-size", sector_size)
    boot, root = newcomer.images("1.0.0")
    data = disk.read_bytes()
    mib = 1 << 20
    assert data[mib : mib + boot.stat().st_size] == boot.read_bytes()
    assert data[3 * mib : 3 * mib + root.stat().st_size] == root.read_bytes()
    assert not any(data[8 * mib : 15 * mib])  # set B
    tree = tmp_path / "tree"
    tree.write_bytes(data[7 * mib : 8 * mib])
    tool("veritysetup", "verify", root, tree, str(told["root_hash"]))
    shown = CliRunner().invoke(
        signpost, ["--os-disk", str(disk), "--active-set", "A", "--json", "status"]
    )
    assert shown.exit_code == 0, shown.output
    text = (
        CliRunner().invoke(signpost, ["--os-disk", str(disk), "--active-set", "A", "status"]).stdout
    )
    assert re.search(r"Set A: .*priority=1 tries_left=0 successful=true", text)
    assert re.search(r"Set B: .*priority=0 tries_left=0 successful=false", text)
    assert "Next: Set A" in text


def test_images_may_be_compressed_and_bring_their_tree(newcomer: Owner, tmp_path: Path) -> None:
    boot, root = newcomer.images("1.0.0")
    packed, tree = tmp_path / "root.lz4", tmp_path / "tree"
    tool("lz4", "-q", root, packed)
    told = tool("veritysetup", "format", root, tree)
    disk, data = tmp_path / "disk.img", tmp_path / "data"
    data.write_bytes(b"data")
    made_ = newcomer.do(
        "disk", "create", disk, "--boot", boot, "--root-image", packed, "--hash", tree,
        "--data-image", data, "--private-image", data, *SIZES,
    )  # fmt: skip
    assert str(made_["root_hash"]) in told
    raw = disk.read_bytes()
    assert raw[7 << 20 :].startswith(tree.read_bytes())
    assert raw[15 << 20 :].startswith(b"data")
    assert raw[16 << 20 :].startswith(b"data")


def test_a_layout_file_and_an_option_beside_it(newcomer: Owner, tmp_path: Path) -> None:
    layout = tmp_path / "layout.toml"
    layout.write_text('[partitions]\nboot = "1 MiB"\nroot = "2 MiB"\nhash = "1 MiB"\n'
                      'private = "1 MiB"\ndata = "0 MiB"\n')  # fmt: skip
    boot, root = newcomer.images("1.0.0")
    disk = tmp_path / "disk.img"
    newcomer.do("disk", "create", disk, "--boot", boot, "--root-image", root,
                "--layout", layout, "--root-size", "3 MiB")  # fmt: skip
    assert disk.stat().st_size == (2 + 2 * 5 + 1) << 20
    assert "BOTTLEROCKET-DATA" not in tool("sgdisk", "-p", disk)


@pytest.mark.parametrize(
    "words, says",
    [
        (["--boot-size", "3 KiB"], "the size of boot is 3072 bytes, not whole MiB"),
        (["--root-size", "0 MiB"], "the size of root is 0 bytes, not whole MiB"),
        (["--data-size", "0", "--data-image", "boot"], "it has no data partition for"),
    ],
)
def test_layouts_that_do_not_hold_together(newcomer: Owner, words: list[str], says: str) -> None:
    boot, root = newcomer.images("1.0.0")
    words = [str(boot) if word == "boot" else word for word in words]
    said = newcomer.refused(
        "disk",
        "create",
        newcomer.base / "d.img",
        "--boot",
        boot,
        "--root-image",
        root,
        *SIZES,
        *words,
    )
    assert says in said


@pytest.mark.parametrize(
    "text, says",
    [
        ("[partitions\n", "Expected"),
        ("x = 1", "it needs a table [partitions], only"),
        ('[partitions]\nswap = "1 MiB"', "unknown partition 'swap'"),
        ('[partitions]\nroot = "many"', "'many' is no size"),
        ("[partitions]\nroot = -5", "'-5' is no size"),
    ],
)
def test_files_that_are_no_layout(newcomer: Owner, tmp_path: Path, text: str, says: str) -> None:
    layout = tmp_path / "layout.toml"
    layout.write_text(text)
    boot, root = newcomer.images("1.0.0")
    said = newcomer.refused("disk", "create", tmp_path / "d.img", "--boot", boot,
                            "--root-image", root, "--layout", layout)  # fmt: skip
    assert says in said
    assert not (tmp_path / "d.img").exists()


def test_an_image_too_large_for_its_partition(newcomer: Owner, tmp_path: Path) -> None:
    _, root = newcomer.images("1.0.0")
    big = tmp_path / "big"
    big.write_bytes(bytes(3 << 20))
    said = newcomer.refused("disk", "create", tmp_path / "d.img", "--boot", big,
                            "--root-image", root, *SIZES)  # fmt: skip
    assert "the boot image does not fit its partition of 2 MiB" in said


def test_a_disk_is_not_overwritten(newcomer: Owner) -> None:
    disk, _ = made(newcomer)
    before = disk.read_bytes()
    boot, root = newcomer.images("1.0.0")
    said = newcomer.refused("disk", "create", disk, "--boot", boot, "--root-image", root, *SIZES)
    assert said.endswith("File exists")
    assert disk.read_bytes() == before


def test_the_answer_names_everything(newcomer: Owner) -> None:
    disk, told = made(newcomer)
    assert json.dumps(told)
    assert told["size_bytes"] == disk.stat().st_size
