"""The next state of a repository's metadata, in memory.

A `Draft` is python-tuf's `Repository`: `edit_targets()` and friends raise versions, set expiry,
sign, and check that the signatures meet the thresholds. Versions count up from what is published; a
version that an interrupted run left behind is passed over, because a file under its name may have
been seen. Snapshot and timestamp list lengths and SHA-256 of what they refer to.

Files that come out are kept in `Draft.files`, for `repo_tools.publish.plan` to put in order.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer
from tuf.repository import Repository

from repo_tools.errors import NotEnoughSignatures
from repo_tools.keys.sign import add_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer

    from repo_tools.publish.published import Published

_FIRST: Final[Mapping[str, type[Targets | Snapshot | Timestamp]]] = {
    Targets.type: Targets,
    Snapshot.type: Snapshot,
    Timestamp.type: Timestamp,
}


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
        self.adopt(role, md)

    def adopt(self, role: str, md: Metadata[Any]) -> None:
        """Take metadata as a role's next version, as it is, with further signatures.

        Raises: See `close`.
        """
        for signer in self._signers.get(role, ()):
            add_signature(md, signer)
        self._finish(role, md)

    def _finish(self, role: str, md: Metadata[Any]) -> None:
        """Check the signatures, and keep the file."""
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
