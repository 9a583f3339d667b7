"""What the migrator will need after the reboot, without a network: kept whole at every instant.

    /var/lib/bottlerocket-migrations/     <sha256>.<name> of each migration on the path, and of the
                                          manifest
    /var/cache/bottlerocket-metadata/     N.root.json …, timestamp.json, N.snapshot.json,
                                          N.targets.json: the very bytes that were verified

The path forward and the path back walk the same steps, so one set serves both. Every byte is
verified before it is stored. The order keeps a set that an earlier update left usable until there
is a better one, for its system may still be the one to fall back to:

    1. add migrations and manifest; their names hold their digests, so nothing is overwritten
    2. swap the metadata directory in one step: before it the old set is whole, after it the new
    3. `prune`, once the inactive set was cleared: nothing boots that needs the old files

The reader verifies everything again, from the root that its own image ships.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol

from partition import durable
from partition.errors import StateFileUnsafe
from partition.kernel import KERNEL, Kernel
from updog.digests import known_digests
from updog.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from updog.environment import Paths
    from updog.targets import Target

MAX_TARGET_BYTES: Final = 64 << 20
"""The most that a migration or the manifest may have, compressed; one at a time is in memory."""


class Repository(Protocol):
    """A verified repository, as far as this module needs one; `trust.TrustedRepository` is one."""

    def target(self, name: str) -> Target:
        """Return what verified metadata says of a target."""

    def read_target(self, name: str, max_bytes: int) -> bytes:
        """Return a target's bytes, length and digests checked."""

    def metadata_files(self) -> Mapping[str, bytes]:
        """Return the very bytes that were verified, by file name."""


def store_for_migrator(
    paths: Paths,
    repository: Repository,
    migrations: Iterable[str],
    *,
    kernel: Kernel = KERNEL,
) -> frozenset[str]:
    """Fetch what is missing and store the new set; the old set's files stay beside it.

    Args:
        paths: Where to.
        repository: Where from.
        migrations: Target names of the migrations on the path, in any order.
        kernel: The door to the disk.

    Returns:
        The file names of migrations and manifest, for `prune`.

    Raises:
        UpdogError: A target is not listed, cannot be downloaded, or is not what was signed.
        WriteFailed: No space, no permission. The old set is untouched.
        StateFileUnsafe: A directory is a symlink.
    """
    directory = paths.migrations
    _make_directory(directory, kernel)
    names: set[str] = set()
    for name in dict.fromkeys((*migrations, MANIFEST_NAME)):
        target = repository.target(name)
        path = directory / target.file_name()
        if not _holds(path, target):
            data = repository.read_target(name, MAX_TARGET_BYTES)
            durable.write_file(path, data, private=False, kernel=kernel)
        names.add(path.name)
    # What was there already may have been left unflushed by an update that was killed.
    durable.sync_directory(directory, kernel=kernel)
    files = repository.metadata_files()
    durable.make_directory(paths.metadata_cache.parent, mode=0o755, private=False, kernel=kernel)
    durable.replace_directory(paths.metadata_cache, files, private=False, kernel=kernel)
    return frozenset(names)


def prune(paths: Paths, keep: frozenset[str], *, kernel: Kernel = KERNEL) -> None:
    """Remove the files of earlier sets, and what a crash left half-written.

    Args:
        paths: Where.
        keep: What `store_for_migrator` returned.
        kernel: The door to the disk.

    Raises:
        WriteFailed: The system refused.
    """
    directory = paths.migrations
    removed = False
    for path in sorted(directory.iterdir()):
        if path.name not in keep:
            durable.remove_tree(path, kernel=kernel)
            removed = True
    if removed:
        durable.sync_directory(directory, kernel=kernel)


def _make_directory(directory: Path, kernel: Kernel) -> None:
    if directory.is_symlink():
        raise StateFileUnsafe(directory, "it is a symbolic link")
    durable.make_directory(directory, private=False, kernel=kernel)


def _holds(path: Path, target: Target) -> bool:
    """Whether an earlier update stored these very bytes already."""
    data = durable.read_file(path, max_bytes=MAX_TARGET_BYTES, private=False)
    if data is None or len(data) != target.length_bytes:
        return False
    return all(
        hashlib.new(algorithm, data).hexdigest() == digest
        for algorithm, digest in known_digests(target.hashes).items()
    )
