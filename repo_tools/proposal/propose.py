"""Writing a proposal: what `repo_tools.publish` would publish, for others to sign."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import MetaFile, Timestamp

from partition.durable import write_file
from repo_tools.errors import ProposalInvalid
from repo_tools.proposal.file import Proposal
from repo_tools.publish.draft import Draft
from repo_tools.publish.plan import apply, publish_plan
from repo_tools.publish.release import Change, Ground, Outcome, edit, forecast

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata

    from repo_tools.publish.how import How
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store


class _Unfinished(Draft):
    """A draft whose metadata need not have all its signatures."""

    def _finish(self, role: str, md: Metadata[Any]) -> None:
        self._current[role] = md
        self._infos[role] = MetaFile(md.signed.version)

    @property
    def metadata(self) -> dict[str, Metadata[Any]]:
        """Role to its new version."""
        return {role: self._current[role] for role in self._signers}


def propose(store: Store, ground: Ground, change: Change, signing: Signing, how: How) -> Outcome:
    """Write the new targets into the store, and a proposal into the file that `how` names.

    The keys at hand sign already.

    Raises:
        ProposalInvalid: The file exists, or the change makes nothing but a timestamp.
        RootInvalid: The root has expired.
    """
    path = how.proposal
    roles = tuple(role for role in change.roles if role != Timestamp.type)
    if path is None or not roles:
        reason = "only the timestamp would change, which is signed where it is published"
        raise ProposalInvalid(str(path), reason)
    if path.exists():
        raise ProposalInvalid(str(path), "it exists, and may hold signatures")
    signing.require(ground.voters, ())
    change = replace(change, roles=roles)
    outcome = forecast(ground, change, signing, by_others=True)
    if not how.go_ahead(outcome):
        return outcome
    draft = _Unfinished(
        ground.voters,
        ground.published,
        signers={role: signing.signers(ground.voters, role) for role in roles},
        expires=signing.expires(),
        taken_versions=ground.taken,
    )
    files = edit(draft, change)
    written = apply(store, publish_plan(ground.prefix, targets=files, metadata={}, replacing=None))
    follows = 0 if ground.published is None else ground.published.targets.signed.version
    manifest = None if change.manifest is None else change.manifest.to_bytes()
    proposal = Proposal(str(path), ground.prefix, follows, draft.metadata, manifest)
    write_file(path, proposal.to_bytes(), mode=0o644, private=False, kernel=store.kernel)
    return replace(outcome, written=written, proposal=str(path))
