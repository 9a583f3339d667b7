"""`repo-tools disk`: disk images for trying things out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repo_tools.clickgroup import HEX, INPUT_FILE, OUTPUT, SIZE, answer, needs_extra
from repo_tools.disk.layout_file import PARTITIONS, DiskLayout, load_layout, make_layout
from repo_tools.environment import Environment
from signpost.cli_support import Cli, json_option


@click.group(cls=Cli)
def disk() -> None:
    """Disks: make an image with two partition sets."""


def _size_options(function: Any) -> Any:
    for name in reversed(PARTITIONS):
        default = getattr(DiskLayout(), name) >> 20
        function = click.option(
            f"--{name}-size", type=SIZE, help=f"Size of {name}; by default {default} MiB."
        )(function)
    return function


@disk.command("create")
@click.argument("out", type=OUTPUT)
@click.option("--boot", required=True, type=INPUT_FILE, help="Boot image of set A.")
@click.option("--root-image", required=True, type=INPUT_FILE, help="Root image of set A.")
@click.option("--hash", "hash_image", type=INPUT_FILE, help="Its hash image; made if not given.")
@click.option("--private-image", type=INPUT_FILE, help="Image of the private partition.")
@click.option("--data-image", type=INPUT_FILE, help="Image of the data partition.")
@click.option("--layout", type=INPUT_FILE, help="TOML file with the sizes of the partitions.")
@_size_options
@click.option("--salt", type=HEX, help="Salt of the hash image that is made, in hex.")
@click.option(
    "--sector-size",
    type=click.Choice(["512", "4096"]),
    default="512",
    show_default=True,
    help="Bytes of a sector.",
)
@json_option
@click.pass_obj
def create(
    env: Environment,
    /,
    out: Path,
    boot: Path,
    root_image: Path,
    hash_image: Path | None,
    private_image: Path | None,
    data_image: Path | None,
    layout: Path | None,
    salt: bytes | None,
    sector_size: str,
    **sizes: int | None,
) -> None:
    """Make the disk image OUT: set A installed and confirmed, set B empty.

    Sizes come from --layout, and from the options beside it. Images are plain, or LZ4 frames.
    """
    with needs_extra("disk"):
        from repo_tools.disk.create import create_disk  # noqa: PLC0415

    given = {name: sizes[f"{name}_size"] for name in PARTITIONS}
    base = DiskLayout() if layout is None else load_layout(layout)
    wanted = {name: getattr(base, name) if size is None else size for name, size in given.items()}
    images = {
        "boot": boot,
        "root": root_image,
        "hash": hash_image,
        "private": private_image,
        "data": data_image,
    }
    made = create_disk(
        out,
        make_layout(wanted, "of the options"),
        {name: path for name, path in images.items() if path is not None},
        sector_size=int(sector_size),
        salt=salt,
        kernel=env.kernel,
    )
    answer(f"{made.path}: {made.size_bytes >> 20} MiB, root hash {made.root_hash}", made.to_json())
