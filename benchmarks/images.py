"""How long a publisher takes for a root image, against the tools that do the same one by one.

    python -m benchmarks.images [--size-mib 1024] [--rounds 3] [--directory DIR]

Ours: `repo-tools image build` compresses the image, grows its hash tree and takes the digest of
what comes out, in one pass on all processors. The yardstick, one after the other: `lz4 -9` with
independent blocks of 4 MiB, `veritysetup format`, `sha256sum` of the compressed file.

Rounds are interleaved; the medians and their ratio are printed. The boot image that `image build`
asks for is one block, and counts on our side.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo.images import make_root

Words = list[str | Path]


def ours(image: Path, boot: Path, place: Path) -> float:
    """Seconds of `repo-tools image build`, from process start to exit."""
    program = Path(sys.executable).with_name("repo-tools")
    words: Words = [
        program,
        "image",
        "build",
        place / "ours",
        "--boot",
        boot,
        "--root-image",
        image,
    ]
    return seconds([words])


def yardstick(image: Path, place: Path) -> float:
    """Seconds of the three tools, one after the other."""
    packed, tree = place / "packed.lz4", place / "tree"
    return seconds(
        [
            ["lz4", "-9", "-BI", "-B7", "-f", "-q", image, packed],
            ["veritysetup", "format", image, tree],
            ["sha256sum", packed],
        ]
    )


def seconds(commands: list[Words]) -> float:
    """Wall time of commands."""
    started = time.monotonic()
    for words in commands:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where files are made; default: /var/tmp")
    arguments = parser.parse_args()
    parent = arguments.directory or Path("/var/tmp")  # noqa: S108  as large as a disk, unlike /tmp
    with tempfile.TemporaryDirectory(dir=parent) as name:
        place = Path(name)
        image, boot = place / "root.ext4", place / "boot"
        make_root(
            image, version="1.0.0", variant="bench", filesystem="ext4", size_mib=arguments.size_mib
        )
        boot.write_bytes(bytes(4096))
        rounds = [
            (ours(image, boot, place), yardstick(image, place)) for _ in range(arguments.rounds)
        ]
    mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{arguments.size_mib} MiB, {arguments.rounds} rounds, median seconds")
    print(f"  repo-tools image build                   {mine:8.2f}")
    print(f"  lz4 -9; veritysetup format; sha256sum    {theirs:8.2f}")
    print(f"  as fast as the tools, times              {theirs / mine:8.2f}")


if __name__ == "__main__":
    main()
