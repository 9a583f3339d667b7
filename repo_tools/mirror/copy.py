"""A mirror: a copy of a repository that can be served, also while it is being made.

Everything is verified on the way, and written in the order of a publish, so hosts of the mirror see
the old state or the new one. What is there already is not fetched again; a copy that was
interrupted goes on with the targets that are missing. Nothing is removed.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import Metadata, Timestamp

from repo_tools.errors import RepositoryUntrusted
from repo_tools.publish.plan import TIMESTAMP, apply, publish_plan
from repo_tools.publish.published import METADATA_MAX_BYTES
from repo_tools.staged import staged_file
from repo_tools.target_stream import target_pieces
from updog.digests import known_digests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from partition.kernel import Kernel
    from repo_tools.mirror.source import CopySource
    from repo_tools.store.base import Store
    from updog.targets import Target


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was copied."""

    where: str
    targets: int
    fetched: int
    bytes: int
    timestamp_version: int

    @property
    def text(self) -> str:
        """What a person is told."""
        return (
            f"{self.where}: timestamp version {self.timestamp_version}, {self.targets} targets,"
            f" {self.fetched} of them fetched ({self.bytes:,} bytes)"
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "mirror": self.where,
            "timestamp_version": self.timestamp_version,
            "targets": self.targets,
            "fetched": self.fetched,
            "bytes": self.bytes,
        }


def mirror(
    source: CopySource,
    names: Sequence[str],
    store: Store,
    prefix: str,
    *,
    jobs: int,
    recheck: bool,
    show: Callable[[str], None],
) -> Mirrored:
    """Copy a repository into a store.

    Args:
        source: What to copy.
        names: The targets to copy.
        store: Where to.
        prefix: Directory of the metadata there.
        jobs: Targets fetched at a time.
        recheck: Read targets that are there, and fetch those that are damaged again.
        show: Is told of every target that is fetched.

    Raises:
        RepositoryUntrusted: A target is not what metadata says, or the mirror holds a newer state.
    """
    targets = source.targets(names)
    version = source.published.timestamp.signed.version
    with store.lock(), store.staging() as staging:
        current = store.read(f"{prefix}/{TIMESTAMP}", METADATA_MAX_BYTES)
        _refuse_older(source, current)
        missing = [t for t in targets if not _is_there(store, t, recheck=recheck)]
        with ThreadPoolExecutor(jobs) as pool:
            futures = [
                pool.submit(_fetch, source, target, staging / str(number), store.kernel, show)
                for number, target in enumerate(missing)
            ]
            for target, future in zip(missing, futures, strict=True):
                store.write_new(_path(target), future.result())
        metadata = dict(source.metadata)
        if current == metadata[TIMESTAMP]:
            del metadata[TIMESTAMP]
        apply(store, publish_plan(prefix, targets={}, metadata=metadata, replacing=current))
    fetched = sum(target.length_bytes for target in missing)
    return Mirrored(f"{store.where}/{prefix}", len(targets), len(missing), fetched, version)


def _path(target: Target) -> str:
    return f"targets/{target.relative_path()}"


def _is_there(store: Store, target: Target, *, recheck: bool) -> bool:
    """Whether a target need not be fetched; only whole, verified files get their names."""
    path = _path(target)
    if store.size(path) != target.length_bytes:
        return False
    if not recheck:
        return True
    digests = {name: hashlib.new(name) for name in known_digests(target.hashes)}
    for piece in store.stream(path) or ():
        for digest in digests.values():
            digest.update(piece)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    return found == known_digests(target.hashes)


def _fetch(
    source: CopySource, target: Target, path: Path, kernel: Kernel, show: Callable[[str], None]
) -> Path:
    """Fetch a target into a file, verified."""
    show(f"fetching {target.name} ({target.length_bytes:,} bytes)")
    with staged_file(path, kernel) as write:
        for piece in target_pieces(source.transport, target):
            write(piece)
    return path


def _refuse_older(source: CopySource, current: bytes | None) -> None:
    """A mirror never goes back, even if its source does."""
    if current is None:
        return
    version = source.published.timestamp.signed.version
    there = Metadata[Timestamp].from_bytes(current).signed.version
    if version < there:
        raise RepositoryUntrusted(
            source.published.where,
            TIMESTAMP,
            f"it is version {version}, and the mirror has version {there} already",
        )
