"""What is published: read, and verified as a client does it, from a root that the owner trusts.

Nothing is built on anything else: whoever can write to the store must not get a signature for what
they put there. Only expiry is not enforced, since renewing expired metadata is what an owner has to
be able to do.

A repository is read through updog's `Transport`, so it may be a store or a web address; "not there"
counts only where that says so definitely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from repo_tools.errors import NoRepository, NotEnoughSignatures, RepositoryUntrusted, RootInvalid
from repo_tools.root.ceremony import parse_root, require_complete
from repo_tools.target_stream import read_target
from updog.errors import NotFound
from updog.manifest import MANIFEST_NAME, Manifest
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from updog.transport import Transport

ROOT_MAX_BYTES: Final = 1 << 20
METADATA_MAX_BYTES: Final = 32 << 20
"""Far above what 10,000 targets need; only a bound on what a broken store can make us read."""

SignedT = TypeVar("SignedT", Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Published:
    """The verified state of a repository.

    Attributes:
        where: The repository, for messages.
        roots: Every root from the trusted one to the newest; version to the file's bytes.
        root: The newest one.
        files: The other current metadata files, by name, as they are.
        manifest_bytes: The manifest.
    """

    where: str
    roots: Mapping[int, bytes]
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    files: Mapping[str, bytes]
    manifest_bytes: bytes

    @property
    def manifest(self) -> Manifest:
        """The manifest as a value.

        Raises:
            ManifestInvalid: It is not one.
        """
        return Manifest.from_bytes(self.manifest_bytes)

    def target(self, name: str) -> Target | None:
        """What targets metadata says of a target."""
        return listed_target(self.targets.signed, name, prefixed=self.is_consistent)

    @property
    def all_targets(self) -> tuple[Target, ...]:
        """All targets, by name."""
        found = (self.target(name) for name in sorted(self.targets.signed.targets))
        return tuple(target for target in found if target is not None)

    @property
    def is_consistent(self) -> bool:
        """Whether targets are served under their digests."""
        return self.root.signed.consistent_snapshot is True

    @property
    def signed(self) -> Mapping[str, Root | Targets | Snapshot | Timestamp]:
        """The current metadata of every role."""
        return {
            Root.type: self.root.signed,
            Targets.type: self.targets.signed,
            Snapshot.type: self.snapshot.signed,
            Timestamp.type: self.timestamp.signed,
        }


def listed_target(targets: Targets, name: str, *, prefixed: bool) -> Target | None:
    """One target as updog sees it."""
    info = targets.targets.get(name)
    return None if info is None else Target(name, info.length, info.hashes, prefixed)


def load_roots(transport: Transport, trusted: bytes) -> dict[int, bytes]:
    """Follow the chain of roots from a trusted one to the newest published.

    Returns:
        Version to bytes, ascending; the first is the trusted one.

    Raises:
        NoRepository: The repository has no root at all.
        RepositoryUntrusted: A root on the way is not signed as it must be.
        RootInvalid: `trusted` is not a complete root, or not a published one.
    """
    where = transport.label
    current = parse_root(trusted, "given as trusted")
    if not _is_signed(current, current):
        reason = "it does not have the signatures that it asks for itself"
        raise RootInvalid("given as trusted", reason)
    version = current.signed.version
    published = _fetch(transport, f"{version}.root.json", ROOT_MAX_BYTES)
    if published is None:
        if _fetch(transport, "1.root.json", ROOT_MAX_BYTES) is None:
            raise NoRepository(where)
        raise RootInvalid(
            "given as trusted",
            f"it is version {version}, which {where} does not have",
            hint="`repo-tools root publish` publishes it",
        )
    if parse_root(published, f"{version}.root.json").signed_bytes != current.signed_bytes:
        reason = "its version is the trusted one's, but it says something else"
        raise RepositoryUntrusted(where, f"{version}.root.json", reason)
    roots = {version: trusted}
    while data := _fetch(transport, f"{version + 1}.root.json", ROOT_MAX_BYTES):
        version += 1
        following = parse_root(data, f"{version}.root.json")
        try:
            require_complete(following, current.signed)
        except (NotEnoughSignatures, RootInvalid) as exc:
            raise RepositoryUntrusted(where, f"{version}.root.json", str(exc)) from exc
        roots[version], current = data, following
    return roots


def load_published(
    transport: Transport, trusted: bytes, *, up_to_root: int | None = None
) -> Published:
    """Read and verify a repository; expiry is left to the caller.

    Args:
        transport: To the repository.
        trusted: A root that is trusted.
        up_to_root: Stop following roots at this version, and verify by that one.

    Raises:
        NoRepository: There definitely is none.
        RepositoryUntrusted: It does not follow from the trusted root.
        StoreFailed, DownloadFailed: It could not be read, which says nothing of whether it exists.
    """
    where = transport.label
    roots = load_roots(transport, trusted)
    if up_to_root is not None:
        roots = {version: data for version, data in roots.items() if version <= up_to_root}
    root = parse_root(roots[max(roots)], f"{max(roots)}.root.json")
    files: dict[str, bytes] = {}

    def load(name: str, role: type[SignedT], meta: MetaFile | None) -> Metadata[SignedT]:
        data = _fetch(transport, name, METADATA_MAX_BYTES)
        if data is None:
            if meta is None:
                raise NoRepository(where)
            raise RepositoryUntrusted(where, name, "it is missing")
        files[name] = data
        return _verified(root.signed, data, role, meta, where=where, name=name)

    timestamp = load("timestamp.json", Timestamp, None)
    meta = timestamp.signed.snapshot_meta
    snapshot = load(f"{meta.version}.snapshot.json", Snapshot, meta)
    meta = snapshot.signed.meta["targets.json"]
    targets = load(f"{meta.version}.targets.json", Targets, meta)
    prefixed = root.signed.consistent_snapshot is True
    manifest = listed_target(targets.signed, MANIFEST_NAME, prefixed=prefixed)
    if manifest is None:
        raise RepositoryUntrusted(where, MANIFEST_NAME, "targets metadata does not list it")
    data = read_target(transport, manifest, METADATA_MAX_BYTES)
    return Published(where, roots, root, targets, snapshot, timestamp, files, data)


def _fetch(transport: Transport, name: str, max_bytes: int) -> bytes | None:
    """Read a metadata file; `None` where the repository says that there is none."""
    try:
        return transport.fetch_metadata(name, max_bytes).data or b""
    except NotFound:
        return None


def _verified(
    root: Root,
    data: bytes,
    role: type[SignedT],
    meta: MetaFile | None,
    *,
    where: str,
    name: str,
) -> Metadata[SignedT]:
    try:
        if meta is not None:
            meta.verify_length_and_hashes(data)
        metadata = Metadata[SignedT].from_bytes(data)
        if not isinstance(metadata.signed, role):
            raise RepositoryUntrusted(where, name, f"it is {metadata.signed.type} metadata")
        root.verify_delegate(role.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, DeserializationError) as exc:
        raise RepositoryUntrusted(where, name, f"{exc}") from exc
    if meta is not None and metadata.signed.version != meta.version:
        reason = f"it is version {metadata.signed.version}, not {meta.version}"
        raise RepositoryUntrusted(where, name, reason)
    return metadata


def _is_signed(root: Metadata[Root], by: Metadata[Root]) -> bool:
    return bool(by.signed.get_verification_result(Root.type, root.signed_bytes, root.signatures))
