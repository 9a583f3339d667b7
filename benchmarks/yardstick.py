"""The yardstick: what a careful person would write in a shell.

Y2, for each image: `curl`, `tee` to `openssl dgst`, `lz4 -d`, `dd conv=fsync`; then the digests are
compared. With read-back: `veritysetup verify` of the root image and `cmp` of the other two follow,
as they are read by these tools, from the page cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.serving import Server
    from benchmarks.work import Work


def update(work: Work, server: Server, places: dict[str, str], scratch: str) -> str:
    """A bash script: Y2 itself."""
    lines = ["set -euo pipefail"]
    for name, image in work.images.items():
        digest = f"{scratch}/{name}.digest"
        stages = (
            f"curl -sf {server.url}{image.url_path}",
            f"tee >(openssl dgst -sha256 -r > {digest})",
            "lz4 -d -q - -",
            f"dd of={places[name]} bs=4M iflag=fullblock conv=fsync,notrunc status=none",
        )
        lines += [
            f": > {digest}",
            " | ".join(stages),
            f"until [ -s {digest} ]; do sleep 0.01; done",
            f"grep -q ^{image.sha256} {digest}",
        ]
    return "\n".join(lines)


def read_back(work: Work, places: dict[str, str]) -> str:
    """A bash script: what is added for a read-back."""
    lines = [
        "set -euo pipefail",
        f"veritysetup verify {places['root']} {places['hash']} {work.root_hash}",
    ]
    for name in ("boot", "hash"):
        image = work.images[name]
        lines.append(f"cmp -n {image.length_bytes} {image.path} {places[name]}")
    return "\n".join(lines)
