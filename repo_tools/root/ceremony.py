"""Root metadata as values: the first one, the next one, what changed, who has signed.

Rules (TUF specification, sections 4.3, 5.3 and 6.1):

- a role has at least as many keys as its threshold, and no key counts twice under two names;
- a next root has the version of its predecessor plus one;
- it is good when the thresholds of the root role of *both*, the predecessor and itself, are met.

No clock and no files here: `expires` is passed in, bytes come and go.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from repo_tools.errors import NotEnoughSignatures, RootInvalid
from repo_tools.keys.sign import add_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key, Signer

    from repo_tools.keys.keyfile import PublicKey

ROLES: Final = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class RootChange:
    """What the next root does differently; names of roles to keys, keyids and thresholds."""

    add: Sequence[tuple[str, PublicKey]] = ()
    remove: Sequence[tuple[str, str]] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quorum:
    """How far the signatures of one threshold have come; keyids."""

    of: str
    threshold: int
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Signatures still to come; 0 when met."""
        return max(0, self.threshold - len(self.signed))


def parse_root(data: bytes, name: str) -> Metadata[Root]:
    """Read a root file, whatever signatures it has.

    Raises:
        RootInvalid: It is not root metadata.
    """
    try:
        metadata = Metadata[Root].from_bytes(data)
    except DeserializationError as exc:
        raise RootInvalid(name, "it is not TUF metadata") from exc
    if not isinstance(metadata.signed, Root):
        raise RootInvalid(name, f"it is {metadata.signed.type} metadata, not root")
    return metadata


def to_bytes(metadata: Metadata[Root]) -> bytes:
    """A root file's contents: indented JSON, keys in order."""
    return metadata.to_bytes(JSONSerializer(validate=True))


def first_root(
    keys: Mapping[str, Sequence[PublicKey]], thresholds: Mapping[str, int], expires: datetime
) -> Metadata[Root]:
    """Draw up version 1, without signatures.

    Args:
        keys: The keys of every role.
        thresholds: Signatures that a role needs; 1 where not named.
        expires: End of validity, UTC.

    Raises:
        RootInvalid: A role lacks keys for its threshold.
    """
    root = Root(expires=expires, consistent_snapshot=True)
    for role in ROLES:
        for key in keys.get(role, ()):
            root.add_key(key.key, role)
        root.roles[role].threshold = thresholds.get(role, 1)
    _check(root)
    return Metadata(root)


def next_root(previous: Root, change: RootChange, expires: datetime) -> Metadata[Root]:
    """Draw up the root that follows, without signatures.

    Raises:
        RootInvalid: A key to remove is not there, a key to add is, or a role ends up with fewer
            keys than its threshold.
    """
    root = deepcopy(previous)
    root.version = previous.version + 1
    root.expires = expires
    name = f"version {root.version}"
    for role, keyid in change.remove:
        if keyid not in root.roles[role].keyids:
            raise RootInvalid(name, f"key {keyid[:8]} to remove from {role} is not one of its keys")
        root.revoke_key(keyid, role)
    for role, key in change.add:
        if key.keyid in root.roles[role].keyids:
            raise RootInvalid(name, f"key {key.label} is a key of {role} already")
        root.add_key(key.key, role)
    for role, threshold in change.thresholds.items():
        root.roles[role].threshold = threshold
    _check(root)
    return Metadata(root)


def add_root_signature(metadata: Metadata[Root], signer: Signer, previous: Root | None) -> None:
    """Sign a root with one more key.

    Raises:
        RootInvalid: The key is no root key, of this root or of its predecessor.
        SigningFailed: The signer did not sign.
    """
    keyid = signer.public_key.keyid
    roots = [metadata.signed] if previous is None else [metadata.signed, previous]
    if not any(keyid in root.roles[Root.type].keyids for root in roots):
        raise RootInvalid(
            f"version {metadata.signed.version}",
            f"key {keyid[:8]} is not a root key of it"
            + ("" if previous is None else " or of the root before it"),
            hint="when the key leaves with this root, name the root before it with --previous"
            if previous is None
            else None,
        )
    add_signature(metadata, signer)


def merge_signatures(copies: Sequence[Metadata[Root]]) -> Metadata[Root]:
    """Bring together the signatures of copies of one root that were signed apart.

    Raises:
        RootInvalid: The copies do not say the same.
    """
    merged = copies[0]
    for copy in copies[1:]:
        if copy.signed_bytes != merged.signed_bytes:
            raise RootInvalid(
                f"version {copy.signed.version}", "the copies to merge do not say the same"
            )
        merged.signatures.update(copy.signatures)
    return merged


def quorums(metadata: Metadata[Root], previous: Root | None) -> tuple[Quorum, ...]:
    """How many signatures each root that has a say has, and needs: the predecessor's first.

    Raises:
        RootInvalid: `previous` is not the version before.
    """
    root = metadata.signed
    voters = [(f"root version {root.version}", root)]
    if previous is not None:
        if root.version != previous.version + 1:
            raise RootInvalid(
                f"version {root.version}",
                f"the root before it must be version {root.version - 1}, not {previous.version}",
            )
        voters.insert(0, (f"root version {previous.version}", previous))
    found = []
    for name, voter in voters:
        result = voter.get_verification_result(
            Root.type, metadata.signed_bytes, metadata.signatures
        )
        found.append(Quorum(name, result.threshold, tuple(result.signed), tuple(result.unsigned)))
    return tuple(found)


def require_complete(metadata: Metadata[Root], previous: Root | None) -> None:
    """Check that every threshold is met.

    Raises:
        NotEnoughSignatures: One is not.
    """
    for quorum in quorums(metadata, previous):
        if quorum.missing:
            raise NotEnoughSignatures(
                f"root version {metadata.signed.version}",
                len(quorum.signed),
                quorum.threshold,
                [keyid[:8] for keyid in quorum.unsigned],
                by=quorum.of,
            )


def changes(previous: Root | None, root: Root) -> tuple[str, ...]:
    """What a root says, as the difference from the one before; one line each, in words."""
    before = Root(expires=root.expires) if previous is None else previous
    lines = []
    if previous is None:
        lines.append(f"a first root, version {root.version}")
    else:
        lines.append(f"root version {before.version} -> {root.version}")
        lines.append(f"expires {before.expires:%Y-%m-%d} -> {root.expires:%Y-%m-%d}")
    for role in ROLES:
        old, new = before.roles[role], root.roles[role]
        lines += [
            f"{role}: - {_describe(before.keys[keyid])}"
            for keyid in old.keyids
            if keyid not in new.keyids
        ]
        lines += [
            f"{role}: + {_describe(root.keys[keyid])}"
            for keyid in new.keyids
            if keyid not in old.keyids
        ]
        count = f"{new.threshold} of {len(new.keyids)}"
        if previous is None:
            lines.append(f"{role}: {count} must sign")
        elif (old.threshold, len(old.keyids)) != (new.threshold, len(new.keyids)):
            lines.append(f"{role}: {old.threshold} of {len(old.keyids)} -> {count} must sign")
    return tuple(lines)


def _describe(key: Key) -> str:
    """A key whole: of eight digits, somebody could make another one that begins like it."""
    return f"{key.keyid} ({key.scheme})"


def _check(root: Root) -> None:
    """Refuse a root that no one could ever satisfy, or whose threshold means less than it says."""
    name = f"version {root.version}"
    for role in ROLES:
        keys = [root.keys[keyid] for keyid in root.roles[role].keyids]
        threshold = root.roles[role].threshold
        if threshold < 1:
            raise RootInvalid(name, f"the threshold of {role} is {threshold}, at least 1 is needed")
        distinct = {str(key.keyval) for key in keys}
        if len(distinct) != len(keys):
            raise RootInvalid(name, f"one key appears twice in {role}, under two identifiers")
        if len(keys) < threshold:
            raise RootInvalid(name, f"{role} has {len(keys)} keys, its threshold is {threshold}")
