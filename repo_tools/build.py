"""From the files that an operating system's build makes to the files that a repository holds.

An update is three images and its migrations. A hash image is grown from the root image while that
is compressed, in one pass over it; or, if the owner brings one, compared with what would be grown.
Built again from the same files, everything comes out the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from partition.kernel import KERNEL, Kernel
from repo_tools.hash_tree import TreeComparison, passing_tree
from repo_tools.images import DEFAULT_LEVEL, Compressed, compress_bytes, take_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FRAME_SUFFIX: Final = ".lz4"


@dataclass(frozen=True, slots=True)
class UpdateFiles:
    """What an update consists of, as files.

    Attributes:
        boot: Image of the boot partition, plain or in an LZ4 frame; the others likewise.
        root: Image of the root file system.
        hash: Its hash image; `None` makes one.
        migrations: Files of migrations, plain or in LZ4 frames.
        salt: Salt of the hash image that is made; `None` derives one from the update's name.
        level: LZ4 level, 0 to 12.
    """

    boot: Path
    root: Path
    hash: Path | None = None
    migrations: Sequence[Path] = ()
    salt: bytes | None = None
    level: int = DEFAULT_LEVEL


@dataclass(frozen=True, slots=True)
class ImageNames:
    """What the images' files are called."""

    boot: str
    root: str
    hash: str


@dataclass(frozen=True, slots=True)
class Built:
    """Files ready to become targets.

    Attributes:
        names: File name to image; migrations have no content of interest but are here too.
        images: `boot`, `root` and `hash` to the same.
        root_hash: Of the root image, in hex: what its kernel command line has to say.
    """

    names: Mapping[str, Compressed]
    images: Mapping[str, Compressed]
    root_hash: str = ""
    hash_image: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "root_hash": self.root_hash,
            "files": [
                {
                    "path": str(built.path),
                    "length_bytes": built.length_bytes,
                    "sha256": built.sha256,
                    "content_bytes": built.content_bytes,
                }
                for built in self.names.values()
            ],
        }


def image_names(base: str, files: UpdateFiles) -> ImageNames:
    """File names that say what is in the images, such as `BASE-root.ext4.lz4`."""
    return ImageNames(
        boot=f"{base}-boot{_kind(files.boot)}{FRAME_SUFFIX}",
        root=f"{base}-root{_kind(files.root)}{FRAME_SUFFIX}",
        hash=f"{base}-root.verity{FRAME_SUFFIX}",
    )


def migration_name(path: Path) -> str:
    """The target name of a migration's file."""
    return path.name if path.name.endswith(FRAME_SUFFIX) else f"{path.name}{FRAME_SUFFIX}"


def build(
    files: UpdateFiles, names: ImageNames, directory: Path, identity: str, kernel: Kernel = KERNEL
) -> Built:
    """Compress, grow the hash tree, compare.

    Args:
        files: What to build from.
        names: What to call the images.
        directory: Where the files are made.
        identity: What the update is called; salt and UUID of a new hash image are derived from it.
        kernel: The way to the disk.

    Raises:
        ImageInvalid: An image is damaged, or the hash image is not the tree of the root image.
    """
    compress = partial(take_in, level=files.level, kernel=kernel)
    boot = compress(files.boot, directory / names.boot)
    tree = passing_tree(files.root, files.hash, salt=files.salt, identity=identity)
    root = compress(files.root, directory / names.root, on_content=tree.add)
    hash_image, root_hash = tree.finish()
    if files.hash is None:
        made = compress_bytes(hash_image, directory / names.hash, level=files.level, kernel=kernel)
    else:
        comparison = TreeComparison(str(files.hash), str(files.root), hash_image)
        made = compress(files.hash, directory / names.hash, on_content=comparison.add)
        comparison.finish()
    images = {"boot": boot, "root": root, "hash": made}
    by_name = {names.boot: boot, names.root: root, names.hash: made}
    for path in files.migrations:
        name = migration_name(path)
        by_name[name] = compress(path, directory / name)
    return Built(by_name, images, root_hash.hex(), hash_image)


def _kind(path: Path) -> str:
    """The kind of image that a file name tells, such as `.ext4`."""
    return Path(path.name.removesuffix(FRAME_SUFFIX)).suffix or ".img"
