"""The conformance client as the TUF conformance suite drives it: a command line and a directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests import conformance_client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import ServedRepository


@dataclass
class TufClient:
    """Runs commands against one served repository.

    Attributes:
        work: Holds the client's directories.
        served: Where it is pointed at.
    """

    work: Path
    served: ServedRepository

    def __post_init__(self) -> None:
        self.metadata_dir.mkdir(parents=True)
        self.target_dir.mkdir()

    @property
    def metadata_dir(self) -> Path:
        return self.work / "metadata"

    @property
    def target_dir(self) -> Path:
        return self.work / "targets"

    def init(self, root: bytes | None = None) -> int:
        """Start from a root; the repository's first one unless told otherwise."""
        path = self.work / "initial_root.json"
        path.write_bytes(self.served.repository.shipped_root if root is None else root)
        return self._run("init", str(path))

    def refresh(self) -> int:
        return self._run("--metadata-url", self.served.metadata_url, "refresh")

    def download(self, *names: str) -> int:
        return self._run(
            "--metadata-url", self.served.metadata_url,
            *(word for name in names for word in ("--target-name", name)),
            "--target-base-url", self.served.targets_url,
            "--target-dir", str(self.target_dir),
            "download",
        )  # fmt: skip

    def trusted(self) -> dict[str, int]:
        """Return the version of each role that the client has on disk; names as it spells them."""
        return {
            path.stem: json.loads(path.read_bytes())["signed"]["version"]
            for path in self.metadata_dir.glob("*.json")
        }

    def downloaded(self) -> list[bytes]:
        """Return the content of all downloaded files, sorted."""
        return sorted(path.read_bytes() for path in self.target_dir.rglob("*") if path.is_file())

    def _run(self, *arguments: str) -> int:
        return conformance_client.main(["--metadata-dir", str(self.metadata_dir), *arguments])
