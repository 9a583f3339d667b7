"""A bundle: everything for an update in one file, to carry across an air gap.

A ZIP whose members are stored, not compressed: `metadata/` with every root and the current
timestamp, snapshot and targets; `targets/` with `<sha256>.<name>`. updog reads it as a repository
(`updog.bundle`), with the same verification. The same contents give the same file, byte for byte.
The file appears under its name when it is complete and flushed.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from partition.durable import sync_directory
from partition.kernel import KERNEL, Kernel
from repo_tools.errors import StoreFailed
from repo_tools.publish.plan import metadata_order
from repo_tools.target_stream import target_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repo_tools.mirror.source import CopySource

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was made."""

    path: Path
    size_bytes: int
    members: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "members": list(self.members),
        }


def create_bundle(
    source: CopySource, names: Sequence[str], out: Path, *, kernel: Kernel = KERNEL
) -> Bundle:
    """Write a bundle.

    Args:
        source: The repository.
        names: The targets to take along.
        out: The file; replaced if it is there.
        kernel: The way to the disk.

    Raises:
        RepositoryUntrusted: A target is not what metadata says.
        StoreFailed: The file cannot be written.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("wb") as file:
            members = _write(source, names, file)
            file.flush()
            kernel.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        kernel.replace(partial, out)
        sync_directory(out.parent, kernel=kernel)
    except OSError as exc:
        raise StoreFailed("write", str(out), exc.strerror or str(exc)) from exc
    finally:
        partial.unlink(missing_ok=True)
    return Bundle(out, size, tuple(members))


def _write(source: CopySource, names: Sequence[str], file: IO[bytes]) -> list[str]:
    """Fill the archive; give the names of its members."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(source.metadata, key=metadata_order):
            archive.writestr(_info(f"metadata/{name}"), source.metadata[name])
        for target in source.targets(names):
            info = _info(f"targets/{target.relative_path()}")
            # Told beforehand, so that the header fits sizes beyond 4 GiB where they occur.
            info.file_size = target.length_bytes
            with archive.open(info, "w") as member:
                for piece in target_pieces(source.transport, target):
                    member.write(piece)
        return archive.namelist()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED
    info.external_attr = _MODE
    info.create_system = 3  # Unix, wherever it is made
    return info
