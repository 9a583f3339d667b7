"""A proposal as a value, and as the file that travels.

    {"repository": "metal/x86_64",           variant and architecture
     "follows": 4,                           version of the targets metadata it starts from; 0: none
     "metadata": {"targets": {…}, "snapshot": {…}},
     "manifest": "…"}                        the new manifest; missing where it stays

The snapshot lists targets by version alone: their signatures are still to come, so what the file
will look like is not known. Nobody needs to trust a proposal; what it says is compared with signed
metadata by everyone who handles it (`repo_tools.proposal.review`). Pure.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import Metadata, Snapshot, Targets
from tuf.api.serialization import DeserializationError

from repo_tools.errors import ProposalInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROLES: Final = (Targets.type, Snapshot.type)
_FIELDS: Final = {"repository", "follows", "metadata"}


@dataclass(frozen=True, slots=True)
class Proposal:
    """New metadata on its way from signer to signer.

    Attributes:
        name: The file, for messages.
        repository: Directory of the metadata, `<variant>/<arch>`.
        follows: The version of targets metadata that it starts from; 0 in a new repository.
        metadata: Role (`targets`, `snapshot`) to its next version.
        manifest: The manifest that comes with it; `None` where the published one stays.
    """

    name: str
    repository: str
    follows: int
    metadata: Mapping[str, Metadata[Any]]
    manifest: bytes | None

    def to_bytes(self) -> bytes:
        """The file's contents."""
        value: dict[str, Any] = {
            "repository": self.repository,
            "follows": self.follows,
            "metadata": {role: metadata.to_dict() for role, metadata in self.metadata.items()},
        }
        if self.manifest is not None:
            value["manifest"] = self.manifest.decode()
        return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def parse_proposal(data: bytes, name: str) -> Proposal:
    """Read a proposal.

    Raises:
        ProposalInvalid: It is none.
    """
    try:
        value = json.loads(data)
        if not isinstance(value, dict) or value.keys() - {"manifest"} != _FIELDS:
            raise ProposalInvalid(name, "it is not a proposal")
        manifest = value.get("manifest")
        metadata = {
            role: Metadata.from_dict(value["metadata"][role])
            for role in ROLES
            if role in value["metadata"]
        }
        proposal = Proposal(
            name,
            str(value["repository"]),
            int(value["follows"]),
            metadata,
            None if manifest is None else str(manifest).encode(),
        )
    except (DeserializationError, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise ProposalInvalid(name, "it is not a proposal") from exc
    types = {role: each.signed.type for role, each in metadata.items()}
    if not types or types.keys() != value["metadata"].keys() or [*types] != [*types.values()]:
        raise ProposalInvalid(name, "it does not hold targets and snapshot metadata, only")
    return proposal


def merge(copies: Sequence[Proposal]) -> Proposal:
    """Bring together the signatures of copies that were signed apart.

    Raises:
        ProposalInvalid: The copies do not say the same.
    """
    first = copies[0]
    merged = {role: deepcopy(metadata) for role, metadata in first.metadata.items()}
    for copy in copies[1:]:
        if _unsigned(copy) != _unsigned(first):
            raise ProposalInvalid(copy.name, f"it does not say the same as {first.name}")
        for role, metadata in copy.metadata.items():
            merged[role].signatures.update(metadata.signatures)
    return replace(first, metadata=merged)


def _unsigned(proposal: Proposal) -> tuple[Any, ...]:
    """What a proposal says, without its signatures."""
    said = {role: metadata.signed_bytes for role, metadata in proposal.metadata.items()}
    return proposal.repository, proposal.follows, said, proposal.manifest
