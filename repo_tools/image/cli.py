"""`repo-tools image`: compress images and grow hash trees, without publishing."""

from __future__ import annotations

from pathlib import Path

import click

from repo_tools.build import UpdateFiles, build, image_names
from repo_tools.clickgroup import HEX, INPUT_FILE, OUTPUT, answer
from repo_tools.environment import Environment
from signpost.cli_support import Cli, json_option


@click.group(cls=Cli)
def image() -> None:
    """Images: compress them and grow hash trees, without publishing."""


@image.command("build")
@click.argument("out", type=OUTPUT)
@click.option("--boot", required=True, type=INPUT_FILE, help="Image of the boot partition.")
@click.option("--root-image", required=True, type=INPUT_FILE, help="Image of the root file system.")
@click.option("--hash", "hash_image", type=INPUT_FILE, help="Its hash image, to be compared.")
@click.option("--salt", type=HEX, help="Salt of the hash image that is made, in hex.")
@click.option(
    "--name", default="update", show_default=True, help="What the files' names begin with."
)
@click.option(
    "--level", type=click.IntRange(0, 12), default=9, show_default=True, help="LZ4 level."
)
@json_option
@click.pass_obj
def build_(
    env: Environment,
    out: Path,
    boot: Path,
    root_image: Path,
    hash_image: Path | None,
    salt: bytes | None,
    name: str,
    level: int,
) -> None:
    """Write compressed images into the directory OUT, and print the root hash.

    The directory also gets the plain hash image, NAME-root.verity. All processors are used.
    """
    files = UpdateFiles(boot, root_image, hash_image, salt=salt, level=level)
    out.mkdir(parents=True, exist_ok=True)
    built = build(files, image_names(name, files), out, name, env.kernel)
    (out / f"{name}-root.verity").write_bytes(built.hash_image)
    lines = [f"{made.path}: {made.length_bytes:,} bytes" for made in built.names.values()]
    answer("\n".join([*lines, f"root hash {built.root_hash}"]), built.to_json())
