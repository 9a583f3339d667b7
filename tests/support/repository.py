"""A TUF repository in memory, for tests to publish in, to break, and to watch.

    repository = Repository(now=NOW)
    repository.add_target("manifest.json", b"{}")
    repository.publish("targets", "snapshot", "timestamp")     # each gets its next version
    transport = MemoryTransport(repository)
    transport.requests                                         # what a client asked for

Everything that was ever published stays in `files`, under the names that a web server would serve;
a test takes files away, changes them, or brings old ones back. `write()` makes a tree of them.
Nothing is checked here: a repository that breaks the rules is what many tests are about.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from updog.errors import CannotResume, DownloadFailed, NotFound
from updog.transport import Fetched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer

    from updog.targets import Target

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")


class Repository:
    """Root, timestamp, snapshot and targets at version 1, one ed25519 key each.

    Args:
        now: Roles expire 30 days later unless a test says otherwise.
        hashes: Timestamp and snapshot list length and digest of what they refer to.
        make_signer: For the first keys.

    Attributes:
        metadata: What the next `publish` signs, by role.
        signers: With what.
        files: Everything published, by name: `1.root.json`, `timestamp.json`, …
        targets: Target files as served, by name: `<sha256>.<name>`.
    """

    def __init__(
        self,
        *,
        now: datetime = NOW,
        hashes: bool = True,
        make_signer: Callable[[], Signer] = CryptoSigner.generate_ed25519,
    ) -> None:
        self.expires = now + timedelta(days=30)
        self.hashes = hashes
        self.files: dict[str, bytes] = {}
        self.target_files: dict[str, bytes] = {}
        self.metadata: dict[str, Metadata[Any]] = {
            "root": Metadata(Root(expires=self.expires, consistent_snapshot=True)),
            "timestamp": Metadata(Timestamp(expires=self.expires)),
            "snapshot": Metadata(Snapshot(expires=self.expires)),
            "targets": Metadata(Targets(expires=self.expires)),
        }
        self.signers: dict[str, list[Signer]] = {role: [] for role in TOP_LEVEL}
        self._published: set[str] = set()
        for role in TOP_LEVEL:
            self.add_key(role, make_signer())
        self.publish("root", "targets", "snapshot", "timestamp")

    @property
    def root(self) -> Root:
        signed: Root = self.metadata["root"].signed
        return signed

    @property
    def timestamp(self) -> Timestamp:
        signed: Timestamp = self.metadata["timestamp"].signed
        return signed

    @property
    def snapshot(self) -> Snapshot:
        signed: Snapshot = self.metadata["snapshot"].signed
        return signed

    @property
    def targets(self) -> Targets:
        return self.role("targets")

    def role(self, name: str) -> Targets:
        signed: Targets = self.metadata[name].signed
        return signed

    @property
    def shipped_root(self) -> bytes:
        """What an image made with this repository's first version ships."""
        return self.files["1.root.json"]

    def add_key(self, role: str, signer: Signer | None = None) -> Signer:
        """Let another key sign for a top-level role; its root is not published by this."""
        signer = signer or CryptoSigner.generate_ed25519()
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)
        return signer

    def rotate_keys(self, role: str) -> None:
        """Replace the keys of a role other than root; nothing is published by this."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        self.signers[role].clear()
        self.add_key(role)

    def add_target(self, name: str, data: bytes, *, role: str = "targets") -> TargetFile:
        """Serve a target and list it; shown to clients by the next `publish`."""
        listed = TargetFile.from_data(name, data, ["sha256"])
        self.role(role).targets[name] = listed
        directory, slash, last = name.rpartition("/")
        self.target_files[f"{directory}{slash}{listed.hashes['sha256']}.{last}"] = data
        return listed

    def delegate(
        self, parent: str, name: str, paths: Sequence[str], *, terminating: bool = False
    ) -> Targets:
        """Let `name` answer for `paths`; `publish` it, its parent, snapshot and timestamp."""
        targets = self.role(parent)
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        assert targets.delegations.roles is not None
        targets.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, list(paths))
        if name not in self.metadata:
            self.metadata[name] = Metadata(Targets(expires=self.expires))
            self.signers[name] = [CryptoSigner.generate_ed25519()]
        for signer in self.signers[name]:
            targets.add_key(signer.public_key, name)
        return self.role(name)

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Sign the roles in this order and serve them, under their next version.

        Referring metadata is changed, but not published: name snapshot and timestamp as well.
        """
        for role in roles:
            metadata = self.metadata[role]
            if bump and role in self._published:
                metadata.signed.version += 1
            self._published.add(role)
            metadata.signatures.clear()
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            self.put(role, metadata.to_bytes(JSONSerializer()))

    def publish_all(self) -> None:
        """Publish a new version of everything but the root."""
        delegated = [role for role in self.metadata if role not in TOP_LEVEL]
        self.publish(*delegated, "targets", "snapshot", "timestamp")

    def put(self, role: str, data: bytes) -> None:
        """Serve these bytes as the current metadata of a role, and let the next one refer to it."""
        version = self.metadata[role].signed.version
        encoded = quote(role, safe="")
        prefix = "" if role == "timestamp" else f"{version}."
        self.files[f"{prefix}{encoded}.json"] = data
        sums = {"sha256": hashlib.sha256(data).hexdigest()} if self.hashes else None
        listed = MetaFile(version, len(data) if self.hashes else None, sums)
        if role == "snapshot":
            self.timestamp.snapshot_meta = listed
        elif role not in {"root", "timestamp"}:
            self.snapshot.meta[f"{role}.json"] = listed

    def write(self, directory: Path) -> None:
        """Write the tree that a web server would serve: `metadata/` and `targets/`."""
        for name, files in (("metadata", self.files), ("targets", self.target_files)):
            for path, data in files.items():
                place = directory / name / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)


@dataclass
class MemoryTransport:
    """A `Transport` straight out of a `Repository`.

    Attributes:
        repository: Serves.
        requests: Names asked for, in order.
        answers: Instead of the repository's file of that name: bytes, or an exception to raise.
        validators: Serve validators and honour them.
    """

    repository: Repository
    requests: list[str] = field(default_factory=list)
    answers: dict[str, bytes | Exception] = field(default_factory=dict)
    validators: bool = True
    label: str = "memory:/"
    announced: list[tuple[str | None, tuple[str, ...]]] = field(default_factory=list)

    def fetch_metadata(
        self, file_name: str, max_bytes: int, *, validator: str | None = None
    ) -> Fetched:
        self.requests.append(file_name)
        data = self._answer(file_name, self.repository.files)
        if len(data) > max_bytes:
            raise DownloadFailed(file_name, f"longer than {max_bytes} bytes")
        tag = f'"{hashlib.sha256(data).hexdigest()}"' if self.validators else None
        return Fetched(None if tag and tag == validator else data, tag)

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> MemorySource:
        path = target.relative_path()
        self.requests.append(path)
        if start_bytes and validator not in {None, '"memory"'}:
            raise CannotResume(path, "another file")
        data = self._answer(path, self.repository.target_files)
        if len(data) != target.length_bytes:
            told = f"the server has {len(data)} bytes, expected {target.length_bytes}"
            raise DownloadFailed(path, told)
        return MemorySource(data, start_bytes)

    def announce(self, *, target: str | None = None, migrations: Sequence[str] = ()) -> None:
        self.announced.append((target, tuple(migrations)))

    def close(self) -> None:
        pass

    def _answer(self, name: str, files: dict[str, bytes]) -> bytes:
        answer = self.answers.get(name, files.get(name))
        if answer is None:
            raise NotFound(name, "404 Not Found")
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class MemorySource:
    """A `Source` over bytes, at most 1000 at a time."""

    data: bytes
    position: int = 0
    validator: str | None = '"memory"'

    def readinto(self, buffer: memoryview) -> int:
        piece = self.data[self.position : self.position + min(len(buffer), 1000)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def close(self) -> None:
        pass


def version_of(data: bytes) -> int:
    """Return the version that a metadata file says it has."""
    version: int = json.loads(data)["signed"]["version"]
    return version
