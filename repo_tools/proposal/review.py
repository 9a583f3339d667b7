"""What a proposal changes, as against what is published; and every reason not to sign it.

A signer sees the same lines as the one who proposed, but worked out anew from signed metadata: the
file itself is only a claim. Anything that the lines would not show is refused. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets

from repo_tools.errors import ProposalInvalid
from repo_tools.publish.checks import target_problems
from repo_tools.publish.manifest_edit import changes
from updog.errors import ManifestInvalid
from updog.manifest import MANIFEST_NAME, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from repo_tools.proposal.file import Proposal
    from repo_tools.publish.release import Ground

_AGAIN = "run the command that proposed it again, with another file"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the signatures of one role have come; keyids."""

    role: str
    version: int
    expires: datetime
    threshold: int
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the threshold is met."""
        return len(self.signed) >= self.threshold

    @property
    def text(self) -> str:
        """One line."""
        missing = ", ".join(keyid[:8] for keyid in self.unsigned)
        rest = "" if self.complete else f"; missing from: {missing}"
        return f"{self.role}: {len(self.signed)} of {self.threshold} signatures{rest}"

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "role": self.role,
            "version": self.version,
            "expires": f"{self.expires:%Y-%m-%dT%H:%M:%SZ}",
            "threshold": self.threshold,
            "signed": self.signed,
            "unsigned": self.unsigned,
            "complete": self.complete,
        }


def progress(proposal: Proposal, root: Root) -> tuple[Progress, ...]:
    """Who has signed."""
    found = []
    for role, metadata in proposal.metadata.items():
        result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        found.append(
            Progress(
                role,
                metadata.signed.version,
                metadata.signed.expires,
                result.threshold,
                tuple(result.signed),
                tuple(result.unsigned),
            )
        )
    return tuple(found)


def review(
    proposal: Proposal, ground: Ground, now: datetime, *, may_renew: bool
) -> tuple[str, ...]:
    """Say what a proposal changes.

    Args:
        proposal: As it came.
        ground: What is published, verified.
        now: The time, UTC.
        may_renew: Its snapshot may be out of date, since who publishes it can make another.

    Raises:
        ProposalInvalid: It is for another repository or another state of it, has expired, or does
            something that these lines do not tell.
    """
    if proposal.repository != ground.prefix:
        raise ProposalInvalid(proposal.name, f"it is for {proposal.repository}")
    published = ground.versions.get(Targets.type, 0)
    if proposal.follows != published:
        raise ProposalInvalid(
            proposal.name,
            f"it follows targets version {proposal.follows}, published is version {published}",
            hint=_AGAIN,
        )
    for role, metadata in proposal.metadata.items():
        if may_renew and role == Snapshot.type and Targets.type in proposal.metadata:
            continue
        if metadata.signed.version <= ground.versions.get(role, 0):
            reason = f"its {role} version {metadata.signed.version} is published already"
            raise ProposalInvalid(proposal.name, reason, hint=_AGAIN)
        if metadata.signed.expires <= now:
            reason = f"its {role} metadata expired on {metadata.signed.expires:%Y-%m-%d}"
            raise ProposalInvalid(proposal.name, reason, hint=_AGAIN)
    _check_snapshot(proposal, ground)
    return (
        *_contents(proposal, ground),
        *(_version(each, ground) for each in progress(proposal, ground.voters[-1])),
    )


def _version(state: Progress, ground: Ground) -> str:
    """One role's next version, in words."""
    before = f"{ground.versions[state.role]} -> " if state.role in ground.versions else ""
    count = f"{state.threshold} of {len(state.signed) + len(state.unsigned)}"
    until = f"{state.expires:%Y-%m-%d}"
    return f"{state.role} version {before}{state.version}, expires {until}, {count} must sign"


def _check_snapshot(proposal: Proposal, ground: Ground) -> None:
    """A snapshot lists the targets metadata that belongs to it, and nothing else."""
    if Snapshot.type not in proposal.metadata:
        return
    expected: Mapping[str, MetaFile] = {}
    if Targets.type in proposal.metadata:
        version = proposal.metadata[Targets.type].signed.version
        expected = {"targets.json": MetaFile(version)}
    elif ground.published is not None:
        expected = ground.published.snapshot.signed.meta
    snapshot = proposal.metadata[Snapshot.type].signed
    if snapshot.unrecognized_fields or snapshot.meta != expected:
        reason = "its snapshot lists something else than the targets metadata that it goes with"
        raise ProposalInvalid(proposal.name, reason)


def _contents(proposal: Proposal, ground: Ground) -> Iterator[str]:
    """What the targets metadata changes."""
    if Targets.type not in proposal.metadata:
        return
    targets = proposal.metadata[Targets.type].signed
    old = None if ground.published is None else ground.published.targets.signed
    before: Mapping[str, TargetFile] = {} if old is None else old.targets
    if _rest(targets) != _rest(old):
        raise ProposalInvalid(proposal.name, "it changes more than targets in targets metadata")
    after = ground.manifest
    if targets.targets.get(MANIFEST_NAME) != before.get(MANIFEST_NAME):
        after = _new_manifest(proposal, targets)
    for problem in target_problems(after, targets.targets):
        raise ProposalInvalid(proposal.name, problem)
    yield from changes(ground.manifest, after)
    for name, info in sorted(targets.targets.items()):
        was = before.get(name)
        if info == was or name == MANIFEST_NAME:
            continue
        if info.hashes.keys() != {"sha256"} or info.unrecognized_fields:
            raise ProposalInvalid(proposal.name, f"it says more of target {name} than it may")
        sign = "~" if was else "+"
        yield f"{sign} target {name} ({info.length:,} bytes, sha256 {info.hashes['sha256']})"
    for name in sorted(before.keys() - targets.targets.keys()):
        yield f"- target {name}"


def _new_manifest(proposal: Proposal, targets: Targets) -> Manifest:
    """The manifest as it will be.

    Raises:
        ProposalInvalid: It has not the digest that the proposed metadata lists.
    """
    listed = targets.targets.get(MANIFEST_NAME)
    if listed is None or proposal.manifest is None or listed.hashes.keys() != {"sha256"}:
        raise ProposalInvalid(proposal.name, "it does not hold the manifest that it lists")
    try:
        listed.verify_length_and_hashes(proposal.manifest)
        return Manifest.from_bytes(proposal.manifest)
    except (LengthOrHashMismatchError, ManifestInvalid) as exc:
        raise ProposalInvalid(proposal.name, f"its manifest does not hold: {exc}") from exc


def _rest(targets: Targets | None) -> tuple[Any, ...]:
    """What targets metadata says beside targets; nothing, where we made it."""
    if targets is None:
        return None, {}
    return targets.delegations, targets.unrecognized_fields
