"""Which keys at hand sign which role, and for how long a signature is good.

The root says which keys may sign a role and how many must. Of those, the keys at hand are tried in
the root's order until the threshold is met: no passphrase is asked for and no token touched without
need. A key that cannot be reached is passed over as long as others make up for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from repo_tools.errors import KeyUnavailable, NotEnoughSignatures, RootInvalid
from repo_tools.keys.signers import Secrets, open_signer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Root

    from repo_tools.keys.keyfile import PublicKey

DEFAULT_VALIDITY: Final = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=21),
    "timestamp": timedelta(days=7),
}
"""How long a role's metadata is good: the less its key is protected, the shorter."""


@dataclass(frozen=True, slots=True)
class Signing:
    """Keys at hand, and what they sign with.

    Attributes:
        ring: Keyid to key; keys that no role has are ignored.
        secrets: Asked for passphrases and PINs.
        now: The time, UTC; validity counts from here.
        validity: Role to length of validity.
    """

    ring: Mapping[str, PublicKey]
    secrets: Secrets
    now: datetime
    validity: Mapping[str, timedelta] = field(default_factory=lambda: DEFAULT_VALIDITY)

    def valid_for(self, role: str) -> timedelta:
        """How long a role's new metadata is good."""
        return self.validity.get(role, DEFAULT_VALIDITY[role])

    def expires(self) -> dict[str, datetime]:
        """Role to end of validity, in whole seconds."""
        now = self.now.replace(microsecond=0)
        return {role: now + self.valid_for(role) for role in _ROLES}

    def at_hand(self, root: Root, role: str) -> tuple[PublicKey, ...]:
        """The keys of a role whose private half is said to be within reach."""
        keys = (self.ring.get(keyid) for keyid in root.roles[role].keyids)
        return tuple(key for key in keys if key is not None and key.uri is not None)

    def suffices(self, root: Root, role: str) -> bool:
        """Whether enough keys of a role are at hand."""
        return len(self.at_hand(root, role)) >= root.roles[role].threshold

    def require(
        self,
        voters: Sequence[Root],
        roles: Sequence[str],
        *,
        signed: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        """Make sure, before any work, that the roles can be signed.

        Args:
            voters: The roots whose thresholds count.
            roles: The roles.
            signed: Role to keyids whose signatures are there already.

        Raises:
            RootInvalid: The newest root has expired; hosts would refuse everything.
            NotEnoughSignatures: Too few keys at hand for a role.
        """
        newest = voters[-1]
        if newest.expires <= self.now:
            raise RootInvalid(
                f"version {newest.version}",
                f"it expired on {newest.expires:%Y-%m-%d %H:%M} UTC, so no host accepts anything",
                hint="draw up and sign a new one: `repo-tools root change`",
            )
        for root in voters:
            for role in roles:
                keyids, threshold = root.roles[role].keyids, root.roles[role].threshold
                have = {key.keyid for key in self.at_hand(root, role)}
                have |= set(signed.get(role, ())) & set(keyids)
                if len(have) < threshold:
                    missing = [keyid[:8] for keyid in keyids if keyid not in have]
                    raise NotEnoughSignatures(role, len(have), threshold, missing)

    def signers(
        self, voters: Iterable[Root], role: str, *, signed: Collection[str] = ()
    ) -> tuple[Signer, ...]:
        """Open as many keys of a role as the thresholds of all voters ask for.

        Args:
            voters: The roots.
            role: The role.
            signed: Keyids whose signatures are there already.

        Raises:
            KeyUnavailable: Too few can be opened; the first reason.
        """
        opened: dict[str, Signer] = {}
        for root in voters:
            threshold = root.roles[role].threshold
            failure: KeyUnavailable | None = None
            for key in self.at_hand(root, role):
                if _count({*opened, *signed}, root, role) >= threshold:
                    break
                if key.keyid in opened or key.keyid in signed:
                    continue
                try:
                    opened[key.keyid] = open_signer(key, self.secrets)
                except KeyUnavailable as exc:
                    failure = failure or exc
            if failure is not None and _count({*opened, *signed}, root, role) < threshold:
                raise failure
        return tuple(opened.values())

    def describe(self, voters: Iterable[Root], role: str) -> str:
        """Who signs a role, in words."""
        labels = [
            key.label
            for root in voters
            for key in self.at_hand(root, role)[: root.roles[role].threshold]
        ]
        return f"signed by {', '.join(dict.fromkeys(labels))}"


def _count(keyids: set[str], root: Root, role: str) -> int:
    """How many of a role's keys are among these."""
    return len(keyids & set(root.roles[role].keyids))


_ROLES: Final = ("root", "targets", "snapshot", "timestamp")
