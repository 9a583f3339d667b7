"""Publishing a proposal that enough people have signed.

The keys at hand sign what is still missing, and the timestamp. Where they suffice for the snapshot,
a new one is made, which lists the targets metadata by its digest too; else the proposed one is
taken, with the signatures that it has.

An interrupted publish can be run again: a file that is there already, signed by enough, is taken as
it is, since another signature would make it another file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from repo_tools.errors import ProposalInvalid
from repo_tools.proposal.review import progress, review
from repo_tools.publish.draft import Draft
from repo_tools.publish.first import empty_ground, new_repository, root_file
from repo_tools.publish.plan import TIMESTAMP, Plan, apply, publish_plan
from repo_tools.publish.published import METADATA_MAX_BYTES, load_published
from repo_tools.publish.rehearse import rehearse_plan, require_arrival
from repo_tools.publish.release import Change, Ground, Outcome, forecast, taken_versions
from repo_tools.store.transport import StoreTransport

if TYPE_CHECKING:
    from repo_tools.proposal.file import Proposal
    from repo_tools.publish.how import How
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store


def publish_proposal(
    store: Store,
    prefix: str,
    proposal: Proposal,
    *,
    trusted: bytes,
    signing: Signing,
    how: How,
) -> Outcome:
    """Publish a proposal.

    Args:
        store: Where the repository is.
        prefix: Directory of its metadata.
        proposal: Signed by as many as could.
        trusted: A published root that is trusted; for a new repository its first root.
        signing: Keys at hand, for the timestamp at least.
        how: How to carry it out.

    Raises:
        ProposalInvalid: See `review`; or a target that it lists was not written.
        NotEnoughSignatures: Signatures are missing.
        RehearsalFailed: updog would refuse the result.
    """
    with store.lock():
        ground = _ground(store, prefix, trusted, proposal)
        if _is_published(proposal, ground):
            told = f"{proposal.name} is published already"
            how.show(told)
            return Outcome(ground.where, (told,))
        taken = _taken(proposal, ground, signing, store)
        lines = review(taken, ground, signing.now, may_renew=False)
        _require_targets(taken, ground, store)
        states = progress(taken, ground.voters[-1])
        signed = {state.role: state.signed for state in states}
        made = tuple(r for r in (Snapshot.type, Timestamp.type) if r not in taken.metadata)
        signing.require(ground.voters, (*signed, *made), signed=signed)
        notes = () if proposal.follows else (new_repository(ground),)
        told_of_made = forecast(ground, Change(roles=made), signing)
        outcome = replace(
            told_of_made,
            changes=(*notes, *lines, *(state.text for state in states), *told_of_made.changes),
            versions={**{s.role: s.version for s in states}, **told_of_made.versions},
        )
        if not how.go_ahead(outcome):
            return outcome
        plan = _plan(ground, taken, signing, trusted)
        rehearsals = rehearse_plan(store, prefix, plan, [trusted], signing.now)
        require_arrival(rehearsals[-1:], how.show)
        return replace(outcome, written=apply(store, plan), published=True)


def _ground(store: Store, prefix: str, trusted: bytes, proposal: Proposal) -> Ground:
    """What is published; or nothing, if the proposal makes a repository."""
    if not proposal.follows and store.read(f"{prefix}/{TIMESTAMP}", METADATA_MAX_BYTES) is None:
        return empty_ground(store, prefix, trusted)
    published = load_published(StoreTransport(store, prefix), trusted)
    taken = taken_versions(store, prefix)
    return Ground(published.where, prefix, (published.root.signed,), published, taken)


def _is_published(proposal: Proposal, ground: Ground) -> bool:
    """Whether what is published says what the proposal does."""
    if ground.published is None:
        return False
    role, metadata = next(iter(proposal.metadata.items()))
    there = ground.published.targets if role == Targets.type else ground.published.snapshot
    return bool(there.signed_bytes == metadata.signed_bytes)


def _taken(proposal: Proposal, ground: Ground, signing: Signing, store: Store) -> Proposal:
    """The part of a proposal that is taken from it, with the files that are there already."""
    root = ground.voters[-1]
    metadata = dict(proposal.metadata)
    if signing.suffices(root, Snapshot.type) and Targets.type in metadata:
        metadata.pop(Snapshot.type, None)
    return replace(
        proposal,
        metadata={role: _as_written(role, md, ground, store) for role, md in metadata.items()},
    )


def _as_written(role: str, md: Metadata[Any], ground: Ground, store: Store) -> Metadata[Any]:
    """Metadata as an interrupted run left it, if it did and enough have signed it."""
    name = f"{ground.prefix}/{md.signed.version}.{role}.json"
    data = store.read(name, METADATA_MAX_BYTES)
    if data is None:
        return md
    try:
        there = Metadata[Any].from_bytes(data)
    except DeserializationError:
        return md
    signed, signatures = there.signed_bytes, there.signatures
    enough = ground.voters[-1].get_verification_result(role, signed, signatures)
    return there if enough and signed == md.signed_bytes else md


def _require_targets(proposal: Proposal, ground: Ground, store: Store) -> None:
    """Check that the new targets have been written.

    Raises:
        ProposalInvalid: One has not.
    """
    if Targets.type not in proposal.metadata:
        return
    before = {} if ground.published is None else ground.published.targets.signed.targets
    for name, info in proposal.metadata[Targets.type].signed.targets.items():
        if info != before.get(name):
            path = f"targets/{info.hashes['sha256']}.{name}"
            if store.size(path) != info.length:
                raise ProposalInvalid(proposal.name, f"target {name} is not at {store.where}")


def _plan(ground: Ground, taken: Proposal, signing: Signing, trusted: bytes) -> Plan:
    """Sign what is missing, and put everything in order."""
    signed = {each.role: each.signed for each in progress(taken, ground.voters[-1])}
    draft = Draft(
        ground.voters,
        ground.published,
        signers={
            role: signing.signers(ground.voters, role, signed=signed.get(role, ()))
            for role in dict.fromkeys((*signed, Snapshot.type, Timestamp.type))
        },
        expires=signing.expires(),
        taken_versions=ground.taken,
    )
    for role, metadata in taken.metadata.items():
        draft.adopt(role, metadata)
    if Snapshot.type not in taken.metadata:
        draft.renew_snapshot()
    draft.renew_timestamp()
    first = root_file(ground, trusted) if ground.published is None else {}
    return publish_plan(
        ground.prefix,
        targets={},
        metadata={**first, **draft.files},
        replacing=None if ground.published is None else ground.published.files[TIMESTAMP],
    )
