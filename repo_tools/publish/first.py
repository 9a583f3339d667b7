"""Making a repository, and only that: no other command ever starts one.

So a mistyped location, or one that cannot be read at the moment, is never taken for an empty place
to publish to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Targets

from repo_tools.errors import RepositoryDamaged, RepositoryExists
from repo_tools.proposal.propose import propose
from repo_tools.publish.plan import TIMESTAMP, apply
from repo_tools.publish.published import METADATA_MAX_BYTES, ROOT_MAX_BYTES
from repo_tools.publish.release import Change, Ground, Outcome, forecast, sign, taken_versions
from repo_tools.root.ceremony import parse_root, require_complete
from updog.manifest import MANIFEST_NAME, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repo_tools.publish.how import How
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store


def make_repository(store: Store, prefix: str, root: bytes, signing: Signing, how: How) -> Outcome:
    """Publish a first root and an empty manifest.

    Running it again after an interruption goes on where it stopped.

    Raises:
        RepositoryExists: There is a repository already.
        RepositoryDamaged: There was one, and its timestamp is gone.
        NotEnoughSignatures: The root, or a role, lacks signatures.
    """
    with store.lock():
        ground = empty_ground(store, prefix, root)
        change = Change(manifest=Manifest(), notes=(new_repository(ground),))
        signing.require(ground.voters, how.signed_here(change.roles))
        if how.proposal is not None:
            return propose(store, ground, change, signing, how)
        outcome = forecast(ground, change, signing)
        if not how.go_ahead(outcome):
            return outcome
        plan = sign(ground, change, signing, extra_metadata=root_file(ground, root))
        return replace(outcome, written=apply(store, plan), published=True)


def empty_ground(store: Store, prefix: str, root: bytes) -> Ground:
    """What a first publish starts from; see `make_repository` for errors."""
    metadata = parse_root(root, "to publish")
    version = metadata.signed.version
    require_complete(metadata, None)
    where = f"{store.where}/{prefix}"
    if store.read(f"{prefix}/{TIMESTAMP}", ROOT_MAX_BYTES) is not None:
        raise RepositoryExists(where)
    taken = taken_versions(store, prefix)
    if taken.get("root", version) > version or _has_had_updates(store, prefix, taken):
        raise RepositoryDamaged(where)
    return Ground(where, prefix, (metadata.signed,), None, taken)


def root_file(ground: Ground, root: bytes) -> dict[str, bytes]:
    """The first root, under the name that it is published by."""
    return {f"{ground.voters[-1].version}.root.json": root}


def new_repository(ground: Ground) -> str:
    """What making a repository is, in words."""
    return f"+ repository {ground.where}, root version {ground.voters[-1].version}"


def _has_had_updates(store: Store, prefix: str, taken: Mapping[str, int]) -> bool:
    """Whether what lies there is more than an interrupted `init` leaves."""
    for version in range(1, taken.get(Targets.type, 0) + 1):
        data = store.read(f"{prefix}/{version}.targets.json", METADATA_MAX_BYTES)
        if data is not None and Metadata[Targets].from_bytes(data).signed.targets.keys() - {
            MANIFEST_NAME
        }:
            return True
    return False
