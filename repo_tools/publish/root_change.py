"""Publishing a new root without a moment at which a host could not update.

A new root may take keys from the other roles. What is published must then hold under the old root,
for hosts that have not seen the new one, and under the new root, for those that have; and the two
files that a host compares cannot be replaced in one step. So:

1. Roles whose metadata would not hold under the new root get, *before* the new root appears,
   metadata that holds under both.

   - `timestamp` alone: the very metadata that is published, with the new keys' signatures added
     to it. The old key is not needed, so this also replaces a key that is lost or stolen.
   - `targets` or `snapshot`: new versions of these and of all that refer to them, signed with old
     and new keys.

2. Then `N.root.json` is written, and every root before it stays.

Where `targets` or `snapshot` change hands and the old key is not at hand, step 1 cannot be done.
The new metadata is then written around the new root, the timestamp right after it; between these
two writes hosts refuse the repository, and update again after. That is said beforehand.

An interrupted change is finished by running it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.api.serialization.json import JSONSerializer

from repo_tools.errors import RepositoryUntrusted, RootInvalid
from repo_tools.keys.sign import add_signature
from repo_tools.publish.plan import TIMESTAMP, Plan, Write, apply
from repo_tools.publish.published import load_published, load_roots
from repo_tools.publish.rehearse import known_roots, rehearse_plan, require_arrival
from repo_tools.publish.release import (
    CONTENT_ROLES,
    Change,
    Ground,
    Outcome,
    forecast,
    sign,
    taken_versions,
)
from repo_tools.root.ceremony import changes, parse_root, require_complete
from repo_tools.store.transport import StoreTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repo_tools.publish.how import How
    from repo_tools.publish.published import Published
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store

_GAP: Final = (
    "hosts that check between the last two writes refuse the repository, and update again after"
)


@dataclass(frozen=True, slots=True)
class _Handover:
    """From one root to the next, over what is published."""

    old: Root
    new: Metadata[Root]
    data: bytes
    published: Published

    @property
    def name(self) -> str:
        """The new root's file."""
        return f"{self.new.signed.version}.root.json"

    def broken_roles(self) -> tuple[str, ...]:
        """The roles whose published metadata does not hold under the new root."""
        published = self.published
        found = []
        for metadata in (published.targets, published.snapshot, published.timestamp):
            role = metadata.signed.type
            result = self.new.signed.get_verification_result(
                role, metadata.signed_bytes, metadata.signatures
            )
            if not result:
                found.append(role)
        return tuple(found)


def publish_root(
    store: Store,
    prefix: str,
    *,
    trusted: bytes,
    data: bytes,
    shipped: Sequence[bytes],
    signing: Signing,
    how: How,
) -> Outcome:
    """Publish the root that follows the newest one, after a rehearsal.

    Args:
        store: Where the repository is.
        prefix: Directory of its metadata.
        trusted: A published root that is trusted.
        data: The new root, complete.
        shipped: Roots in images that are still in the field, beside `trusted`.
        signing: Keys of the roles whose keys the new root changes.
        how: How to carry it out.

    Raises:
        RootInvalid: It does not follow the newest published root.
        NotEnoughSignatures: It, or a role that has to be signed anew, lacks signatures.
        RehearsalFailed: A host with one of the shipped roots would not get to the new state.
    """
    new = parse_root(data, "to publish")
    version = new.signed.version
    where = f"{store.where}/{prefix}"
    with store.lock():
        transport = StoreTransport(store, prefix)
        roots = load_roots(transport, trusted)
        old = _predecessor(roots, new)
        require_complete(new, old)
        if version in roots:
            data = roots[version]
        if version in roots and _holds(transport, trusted):
            told = f"root version {version} is published already"
            how.show(told)
            return Outcome(where, (told,))
        published = load_published(transport, trusted, up_to_root=version - 1)
        handover = _Handover(old, new, data, published)
        ground = Ground(where, prefix, (old, new.signed), published, taken_versions(store, prefix))
        step = _next_step(handover, ground, signing)
        signing.require(step.ground.voters, step.change.roles)
        told_by_roles = forecast(step.ground, step.change, signing)
        lines = (*changes(old, new.signed), *step.lines, *told_by_roles.changes)
        outcome = replace(told_by_roles, changes=lines)
        if not how.go_ahead(outcome):
            return outcome
        plan = step.plan()
        hosts = known_roots(roots, shipped)
        require_arrival(rehearse_plan(store, prefix, plan, hosts, signing.now), how.show)
        return replace(outcome, written=apply(store, plan), published=True)


def _predecessor(roots: Mapping[int, bytes], new: Metadata[Root]) -> Root:
    """The root that a new one follows.

    Raises:
        RootInvalid: It does not follow the newest one, nor is it that one, published in part.
    """
    version, newest = new.signed.version, max(roots)
    if version == newest == min(roots):
        raise RootInvalid(
            f"version {version}",
            "it is the trusted one itself",
            hint="name one before it as the root that you trust (--root)",
        )
    if version == newest:
        there = parse_root(roots[newest], f"{newest}.root.json")
        if there.signed_bytes != new.signed_bytes:
            raise RootInvalid(f"version {version}", "another one of that version is published")
    elif version != newest + 1:
        raise RootInvalid(f"version {version}", f"the newest published one is version {newest}")
    return parse_root(roots[version - 1], f"{version - 1}.root.json").signed


def _holds(transport: StoreTransport, trusted: bytes) -> bool:
    """Whether everything published follows from the newest root."""
    try:
        load_published(transport, trusted)
    except RepositoryUntrusted:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Step:
    """How to get from one root to the next.

    Attributes:
        ground: What new metadata starts from, and which roots it has to satisfy.
        change: The roles that get new versions.
        lines: What else happens, in words.
        plan: Signs, and gives the order of writes.
    """

    ground: Ground
    change: Change
    lines: tuple[str, ...]
    plan: Callable[[], Plan]


def _next_step(handover: _Handover, ground: Ground, signing: Signing) -> _Step:
    """Decide how to hand over."""
    broken = handover.broken_roles()
    root_file = Write(f"{ground.prefix}/{handover.name}", handover.data)
    if not broken:
        return _Step(ground, Change(roles=()), (), lambda: (root_file,))
    if broken == (Timestamp.type,):
        signing.require((handover.new.signed,), broken)
        who = signing.describe((handover.new.signed,), Timestamp.type)
        line = f"timestamp version {ground.versions[Timestamp.type]} as it is, also {who}"
        return _Step(
            ground,
            Change(roles=()),
            (line,),
            lambda: (_timestamp_for_both(handover, ground.prefix, signing), root_file),
        )
    change = Change(roles=CONTENT_ROLES[CONTENT_ROLES.index(broken[0]) :])
    if all(signing.suffices(handover.old, role) for role in change.roles):
        return _Step(ground, change, (), lambda: (*sign(ground, change, signing), root_file))
    alone = replace(ground, voters=(handover.new.signed,))

    def around() -> Plan:
        *files, timestamp = sign(alone, change, signing)
        return (*files, root_file, timestamp)

    return _Step(alone, change, (_GAP,), around)


def _timestamp_for_both(handover: _Handover, prefix: str, signing: Signing) -> Write:
    """The published timestamp with the new keys' signatures beside the old ones."""
    published = handover.published
    old_data = published.files[TIMESTAMP]
    metadata = Metadata[Timestamp].from_bytes(old_data)
    for signer in signing.signers((handover.new.signed,), Timestamp.type):
        add_signature(metadata, signer)
    data = metadata.to_bytes(JSONSerializer(compact=True))
    return Write(f"{prefix}/{TIMESTAMP}", data, replacing=old_data)
