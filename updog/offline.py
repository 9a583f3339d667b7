"""The repository that an update cached, verified again from disk, without a network or a clock.

For the migrator, at boot. What was verified on the way in is not believed for having been verified
once: everything is checked again, from the root that the *booted* image ships, through the cached
chain of roots, to timestamp, snapshot and targets: signatures and thresholds, types, versions, and
lengths and digests where they are listed. Only expiry is not enforced, since the host may have
been off for weeks, and nothing is compared with earlier versions: this host chose this set itself.

The set must be complete. A root that is missing between two others, a timestamp that points to a
snapshot that is not there: each is an error, never an older set.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from partition.errors import reason
from updog.digests import known_digests
from updog.errors import NoSuchTarget, RepositoryInvalid
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_T = TypeVar("_T", Root, Timestamp, Snapshot, Targets)
_MAX_FILE_BYTES: Final = 64 << 20
_ROOT_NAME: Final = re.compile(r"([1-9]\d*)\.root\.json")


class OfflineRepository:
    """A set of verified top-level metadata. Made by `load_offline`."""

    def __init__(self, label: str, targets: Targets) -> None:
        self.label = label
        self._targets = targets

    def target(self, name: str) -> Target:
        """Return what the signed metadata says of a target.

        Raises:
            NoSuchTarget: Nothing.
            RepositoryInvalid: No digest that is known here.
        """
        listed = self._targets.targets.get(name)
        if listed is None:
            raise NoSuchTarget(self.label, name)
        if not known_digests(listed.hashes):
            told = f"no digest known here for {name!r} ({', '.join(listed.hashes)})"
            raise RepositoryInvalid(self.label, "targets", told)
        return Target(name, listed.length, listed.hashes)

    def check_bytes(self, name: str, data: bytes) -> None:
        """Make sure that these are the bytes of a target.

        Raises:
            RepositoryInvalid: Another length or digest than the signed metadata lists.
            NoSuchTarget: See `target`.
        """
        target = self.target(name)
        if len(data) != target.length_bytes:
            told = f"{name!r} has {len(data)} bytes, expected {target.length_bytes}"
            raise RepositoryInvalid(self.label, "targets", told)
        for algorithm, expected in known_digests(target.hashes).items():
            if hashlib.new(algorithm, data).hexdigest() != expected:
                told = f"{name!r} does not match its {algorithm}"
                raise RepositoryInvalid(self.label, "targets", told)


def load_offline(trusted_root: bytes, metadata_dir: Path) -> OfflineRepository:
    """Verify a cached set of metadata.

    Args:
        trusted_root: Root metadata that the booted image ships.
        metadata_dir: Holds `N.root.json`, `timestamp.json`, `N.snapshot.json`, `N.targets.json`.

    Raises:
        RepositoryInvalid: A file is missing, damaged, or not what the one before it refers to.
    """
    cached = _CachedSet(metadata_dir)
    root = cached.root(trusted_root)
    timestamp = cached.verified(Timestamp, root, "timestamp.json")
    snapshot = cached.referred(Snapshot, root, timestamp.snapshot_meta)
    listed = snapshot.meta.get("targets.json")
    if listed is None:
        raise cached.refusal("snapshot", "it lists no targets metadata")
    return OfflineRepository(str(metadata_dir), cached.referred(Targets, root, listed))


class _CachedSet:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def root(self, trusted: bytes) -> Root:
        """Walk from the trusted root to the newest cached one."""
        root = self._parse(Root, trusted)
        self._check(root, root.signed, "shipped root")
        newest = max(self._cached_roots(), default=0)
        for version in range(root.signed.version + 1, newest + 1):
            name = f"{version}.root.json"
            newer = self._parse(Root, self._read(name, "root"))
            if newer.signed.version != version:
                raise self.refusal("root", f"{name} says it is version {newer.signed.version}")
            self._check(newer, root.signed, "root")
            self._check(newer, newer.signed, "root")
            root = newer
        return root.signed

    def verified(self, kind: type[_T], root: Root, name: str) -> _T:
        """Return a role that `root` answers for."""
        metadata = self._parse(kind, self._read(name, kind.type))
        self._check(metadata, root, kind.type)
        return metadata.signed

    def referred(self, kind: type[_T], root: Root, listed: MetaFile) -> _T:
        """Return the very file of a role that another role lists."""
        name = f"{listed.version}.{kind.type}.json"
        try:
            listed.verify_length_and_hashes(self._read(name, kind.type))
        except RepositoryError as error:
            raise self.refusal(kind.type, f"{name}: {error}") from error
        signed = self.verified(kind, root, name)
        if signed.version != listed.version:
            raise self.refusal(kind.type, f"{name} says it is version {signed.version}")
        return signed

    def refusal(self, role: str, why: str) -> RepositoryInvalid:
        return RepositoryInvalid(str(self._directory), role, why)

    def _cached_roots(self) -> Iterable[int]:
        try:
            matches = [_ROOT_NAME.fullmatch(path.name) for path in self._directory.iterdir()]
        except OSError as error:
            raise self.refusal("cached", reason(error)) from error
        return [int(match[1]) for match in matches if match]

    def _read(self, name: str, role: str) -> bytes:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._directory / name, flags)
            with os.fdopen(fd, "rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise self.refusal(role, f"{name} is missing, the set is incomplete") from None
        except OSError as error:
            raise self.refusal(role, f"{name}: {reason(error)}") from error
        if len(data) > _MAX_FILE_BYTES:
            raise self.refusal(role, f"{name} is longer than {_MAX_FILE_BYTES} bytes")
        return data

    def _parse(self, kind: type[_T], data: bytes) -> Metadata[_T]:
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(data)
        except RepositoryError as error:
            raise self.refusal(kind.type, str(error)) from error
        if metadata.signed.type != kind.type:
            raise self.refusal(kind.type, f"its file holds {metadata.signed.type} metadata")
        return metadata

    def _check(self, metadata: Metadata[Any], root: Root, role: str) -> None:
        """Make sure that enough of the keys that `root` lists signed."""
        try:
            root.verify_delegate(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError) as error:
            raise self.refusal(role, str(error)) from error
