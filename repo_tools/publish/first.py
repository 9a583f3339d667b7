"""Making a repository, and only that: no other command ever starts one.

So a mistyped location, or one that cannot be read at the moment, is never taken for an empty place
to publish to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Targets

from repo_tools.errors import RepositoryDamaged, RepositoryExists
from repo_tools.publish.plan import TIMESTAMP, apply
from repo_tools.publish.published import METADATA_MAX_BYTES, ROOT_MAX_BYTES
from repo_tools.publish.release import Change, Ground, Outcome, forecast, sign, taken_versions
from repo_tools.root.ceremony import parse_root, require_complete
from updog.manifest import MANIFEST_NAME, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repo_tools.publish.session import How
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
    metadata = parse_root(root, "to publish")
    version = metadata.signed.version
    require_complete(metadata, None)
    where = f"{store.where}/{prefix}"
    with store.lock():
        if store.read(f"{prefix}/{TIMESTAMP}", ROOT_MAX_BYTES) is not None:
            raise RepositoryExists(where)
        taken = taken_versions(store, prefix)
        if taken.get("root", version) > version or _has_had_updates(store, prefix, taken):
            raise RepositoryDamaged(where)
        ground = Ground(where, prefix, (metadata.signed,), None, taken)
        change = Change(manifest=Manifest())
        signing.require(ground.voters, change.roles)
        told = forecast(ground, change, signing)
        line = f"+ repository {where}, root version {version}"
        outcome = replace(told, changes=(line, *told.changes))
        if not how.go_ahead(outcome):
            return outcome
        plan = sign(ground, change, signing, extra_metadata={f"{version}.root.json": root})
        return replace(outcome, written=apply(store, plan), published=True)


def _has_had_updates(store: Store, prefix: str, taken: Mapping[str, int]) -> bool:
    """Whether what lies there is more than an interrupted `init` leaves."""
    for version in range(1, taken.get(Targets.type, 0) + 1):
        data = store.read(f"{prefix}/{version}.targets.json", METADATA_MAX_BYTES)
        if data is not None and Metadata[Targets].from_bytes(data).signed.targets.keys() - {
            MANIFEST_NAME
        }:
            return True
    return False
