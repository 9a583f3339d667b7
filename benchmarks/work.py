"""What is moved: real file systems, their hash tree, and LZ4 streams of all three.

The root image is ext4 with this machine's own programs, the boot image a smaller one of the same
kind; veritysetup makes the tree and lz4 the streams, in the format that the project's publisher
uses (level 9, independent blocks of 4 MiB). Kept between runs, since making them takes longest.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from demo.images import make_root

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("hash", "boot", "root")
"""In the order in which everybody moves them."""


@dataclass(frozen=True)
class Image:
    """One image of the work.

    Attributes:
        name: `boot`, `root` or `hash`.
        path: The image as it goes to the partition.
        length_bytes: Its length.
        stream_length_bytes: Length of its LZ4 stream.
        sha256: Of the stream.
    """

    name: str
    path: str
    length_bytes: int
    stream_length_bytes: int
    sha256: str

    @property
    def url_path(self) -> str:
        """Where a repository serves the stream."""
        return f"{self.sha256}.{self.name}.lz4"


@dataclass(frozen=True)
class Work:
    """The three images; streams lie in `directory` under their URL paths.

    Attributes:
        root_hash: As veritysetup printed it.
    """

    directory: str
    images: dict[str, Image]
    root_hash: str

    @property
    def stream_length_bytes(self) -> int:
        """How much is transferred."""
        return sum(image.stream_length_bytes for image in self.images.values())


def make_work(directory: Path, *, root_mib: int, boot_mib: int) -> Work:
    """Make the images, or take those that an earlier run left in `directory`."""
    description = directory / "work.json"
    if description.exists():
        kept = json.loads(description.read_text())
        images = {name: Image(**image) for name, image in kept["images"].items()}
        return Work(kept["directory"], images, kept["root_hash"])
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    paths = {name: directory / f"{name}.img" for name in PARTS}
    sizes = {"root": root_mib, "boot": boot_mib}
    for name, size_mib in sizes.items():
        make_root(
            paths[name],
            version="1.0.0",
            variant="benchmark",
            filesystem="ext4",
            size_mib=size_mib,
            filled=0.92,
        )
    root_hash = _make_tree(paths["root"], paths["hash"])
    images = {name: _make_stream(name, path) for name, path in paths.items()}
    work = Work(str(directory), images, root_hash)
    description.write_text(json.dumps(asdict(work)))
    return work


def _make_tree(root: Path, tree: Path) -> str:
    tree.unlink(missing_ok=True)
    command = ["veritysetup", "format", str(root), str(tree)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return next(line.split()[-1] for line in output.splitlines() if line.startswith("Root hash"))


def _make_stream(name: str, image: Path) -> Image:
    stream = image.with_suffix(".lz4")
    command = ["lz4", "-q", "-f", "-9", "-B7", "-BI", str(image), str(stream)]
    subprocess.run(command, check=True)
    with stream.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    sizes = image.stat().st_size, stream.stat().st_size
    made = Image(name, str(image), *sizes, sha256)
    stream.chmod(0o644)
    stream.rename(image.with_name(made.url_path))
    return made
