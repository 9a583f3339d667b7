"""The metadata of one variant and architecture: what is published, and a draft of what comes next.

What is published is verified as a client does it, from a root that the owner trusts, before
anything is built on it: whoever can write to the store must not get a signature for what they put
there. Only expiry is not enforced, since renewing expired metadata is what an owner has to be able
to do.

A `Draft` is python-tuf's `Repository` in memory: `edit_targets()` and friends raise versions, set
expiry, sign, and check that the signatures meet the threshold. Versions count up from what is
published; a version that an interrupted run left behind is passed over, because a file under its
name may have been seen. Snapshot and timestamp list lengths and SHA-256 of what they refer to.

Files that come out are kept in `Draft.files`, for `repo_tools.publish.plan` to put in order.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer
from tuf.repository import Repository

from repo_tools.errors import (
    NoRepository,
    NotEnoughSignatures,
    RepositoryUntrusted,
    RootInvalid,
    SigningFailed,
)
from repo_tools.root.ceremony import parse_root, require_complete
from updog.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer

    from repo_tools.store.base import ReadableStore

MANIFEST: Final = "manifest.json"
ROOT_MAX_BYTES: Final = 1 << 20
METADATA_MAX_BYTES: Final = 32 << 20
"""Far above what 10,000 targets need; only a bound on what a broken store can make us read."""

SignedT = TypeVar("SignedT", Targets, Snapshot, Timestamp)

_FIRST: Final[Mapping[str, type[Targets | Snapshot | Timestamp]]] = {
    Targets.type: Targets,
    Snapshot.type: Snapshot,
    Timestamp.type: Timestamp,
}


@dataclass(frozen=True, slots=True)
class Published:
    """The verified state of a repository.

    Attributes:
        where: The repository, for messages.
        prefix: Directory of its metadata in the store, `<variant>/<arch>`.
        roots: Every root from the trusted one to the newest; version to the file's bytes.
        files: The other current metadata files, by name, as they are.
        manifest: The manifest's bytes.
    """

    where: str
    prefix: str
    roots: Mapping[int, bytes]
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    files: Mapping[str, bytes]
    manifest: bytes

    @property
    def parsed_manifest(self) -> Manifest:
        """The manifest as a value.

        Raises:
            ManifestInvalid: It is not one.
        """
        return Manifest.from_bytes(self.manifest)

    def target(self, name: str) -> TargetFile | None:
        """What targets metadata says of a target."""
        return self.targets.signed.targets.get(name)


def target_path(target: TargetFile) -> str:
    """Where a target's file lies in a store: `targets/<sha256>.<name>`."""
    directory, slash, name = target.path.rpartition("/")
    return f"targets/{directory}{slash}{target.hashes['sha256']}.{name}"


def load_roots(store: ReadableStore, prefix: str, trusted: bytes) -> dict[int, bytes]:
    """Follow the chain of roots from a trusted one to the newest published.

    Returns:
        Version to bytes, ascending; the first is the trusted one.

    Raises:
        NoRepository: The repository has no root at all of that version.
        RepositoryUntrusted: A root on the way is not signed as it must be.
        RootInvalid: `trusted` is not a root, or not a complete one.
    """
    current = parse_root(trusted, "given as trusted")
    if not _is_signed(current, current):
        raise RootInvalid(
            "given as trusted",
            "it does not have the signatures that it asks for itself",
        )
    version = current.signed.version
    published = store.read(f"{prefix}/{version}.root.json", ROOT_MAX_BYTES)
    if published is None:
        if store.read(f"{prefix}/1.root.json", ROOT_MAX_BYTES) is None:
            raise NoRepository(f"{store.where}/{prefix}")
        raise RootInvalid(
            "given as trusted",
            f"it is version {version}, which {store.where}/{prefix} does not have",
            hint="`repo-tools root publish` publishes it",
        )
    if parse_root(published, f"{version}.root.json").signed_bytes != current.signed_bytes:
        reason = "its version is the trusted one's, but it says something else"
        raise RepositoryUntrusted(store.where, f"{version}.root.json", reason)
    roots = {version: trusted}
    while data := store.read(f"{prefix}/{version + 1}.root.json", ROOT_MAX_BYTES):
        version += 1
        following = parse_root(data, f"{version}.root.json")
        try:
            require_complete(following, current.signed)
        except (NotEnoughSignatures, RootInvalid) as exc:
            raise RepositoryUntrusted(store.where, f"{version}.root.json", str(exc)) from exc
        roots[version], current = data, following
    return roots


def load_published(
    store: ReadableStore, prefix: str, trusted: bytes, *, up_to_root: int | None = None
) -> Published:
    """Read and verify a repository; expiry is left to the caller.

    Args:
        store: Where it is.
        prefix: Directory of its metadata.
        trusted: A root that is trusted.
        up_to_root: Stop following roots at this version, and verify by that one.

    Raises:
        NoRepository: There definitely is none.
        RepositoryUntrusted: It does not follow from the trusted root.
        StoreFailed: It could not be read, which says nothing of whether it exists.
    """
    where = f"{store.where}/{prefix}"
    roots = load_roots(store, prefix, trusted)
    if up_to_root is not None:
        roots = {version: data for version, data in roots.items() if version <= up_to_root}
    root = parse_root(roots[max(roots)], f"{max(roots)}.root.json")
    files: dict[str, bytes] = {}

    def load(name: str, role: type[SignedT], meta: MetaFile | None) -> Metadata[SignedT]:
        data = store.read(f"{prefix}/{name}", METADATA_MAX_BYTES)
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
    return Published(
        where,
        prefix,
        roots,
        root,
        targets,
        snapshot,
        timestamp,
        files,
        _load_manifest(store, targets.signed, where),
    )


def _load_manifest(store: ReadableStore, targets: Targets, where: str) -> bytes:
    listed = targets.targets.get(MANIFEST)
    if listed is None:
        raise RepositoryUntrusted(where, MANIFEST, "targets metadata does not list it")
    data = store.read(target_path(listed), METADATA_MAX_BYTES)
    if data is None:
        raise RepositoryUntrusted(where, MANIFEST, "it is missing")
    try:
        listed.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as exc:
        raise RepositoryUntrusted(where, MANIFEST, f"{exc}") from exc
    return data


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


class Draft(Repository):
    """The next state of a repository's targets, snapshot and timestamp metadata, in memory."""

    def __init__(
        self,
        voters: Sequence[Root],
        published: Published | None,
        *,
        signers: Mapping[str, Sequence[Signer]],
        expires: Mapping[str, datetime],
        taken_versions: Mapping[str, int],
    ) -> None:
        """Start from what is published.

        Args:
            voters: The roots whose keys and thresholds new metadata has to satisfy: the current
                one; while a root is being replaced, both.
            published: The current state; `None` for a new repository.
            signers: For each role the signers at hand. A role that is not edited needs none.
            expires: For each role the end of validity of a new version, UTC.
            taken_versions: For each role the highest version that a file in the store bears.
        """
        self._voters = voters
        self._signers = signers
        self._expires = expires
        self._taken = taken_versions
        self._current: dict[str, Metadata[Any]] = {}
        self._infos: dict[str, MetaFile] = {}
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        if published is not None:
            self._current = {
                Targets.type: published.targets,
                Snapshot.type: published.snapshot,
                Timestamp.type: published.timestamp,
            }
            self._infos = {
                Targets.type: published.snapshot.signed.meta["targets.json"],
                Snapshot.type: published.timestamp.signed.snapshot_meta,
            }

    def open(self, role: str) -> Metadata[Any]:
        """Give a copy of a role's metadata; a role without any starts at version 0."""
        if role == Root.type:
            return Metadata(deepcopy(self._voters[-1]))
        if role in self._current:
            return deepcopy(self._current[role])
        first: Signed = _FIRST[role](version=1, expires=self._expires[role])
        first.version = 0
        return Metadata(first)

    def renew_snapshot(self) -> None:
        """Make a next snapshot that lists the targets metadata as it is in this draft."""
        with self.edit_snapshot() as snapshot:
            snapshot.meta["targets.json"] = self._infos[Targets.type]

    def renew_timestamp(self) -> None:
        """Make a next timestamp that lists the snapshot as it is in this draft."""
        with self.edit_timestamp() as timestamp:
            timestamp.snapshot_meta = self._infos[Snapshot.type]

    def close(self, role: str, md: Metadata[Any]) -> None:
        """Finish a role's next version: number, expiry, signatures; checked against the threshold.

        Raises:
            NotEnoughSignatures: The signers at hand do not meet the role's threshold.
            SigningFailed: One of them did not sign.
        """
        md.signed.version = max(md.signed.version, self._taken.get(role, 0)) + 1
        md.signed.expires = self._expires[role]
        md.signatures.clear()
        for signer in self._signers.get(role, ()):
            try:
                md.sign(signer, append=True)
            except UnsignedMetadataError as exc:
                keyid = signer.public_key.keyid
                raise SigningFailed(keyid[:8], role, f"{exc.__cause__ or exc}") from exc
        for voter in self._voters:
            result = voter.get_verification_result(role, md.signed_bytes, md.signatures)
            if not result:
                raise NotEnoughSignatures(
                    role,
                    len(result.signed),
                    result.threshold,
                    [keyid[:8] for keyid in result.unsigned],
                    by=f"root version {voter.version}",
                )
        data = md.to_bytes(JSONSerializer(compact=True))
        version = md.signed.version
        name = "timestamp.json" if role == Timestamp.type else f"{version}.{role}.json"
        self.files[name] = data
        self.versions[role] = version
        self._current[role] = md
        self._infos[role] = MetaFile.from_data(version, data, ["sha256"])
