"""Making a repository, and only that: no other command ever starts one.

So a mistyped location, or one that cannot be read at the moment, is never taken for an empty place
to publish to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repo_tools.errors import RepositoryExists
from repo_tools.publish.plan import TIMESTAMP, apply
from repo_tools.publish.published import ROOT_MAX_BYTES
from repo_tools.publish.release import Change, Ground, Outcome, forecast, sign, taken_versions
from repo_tools.root.ceremony import parse_root, require_complete
from updog.manifest import Manifest

if TYPE_CHECKING:
    from repo_tools.publish.session import How
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store


def make_repository(store: Store, prefix: str, root: bytes, signing: Signing, how: How) -> Outcome:
    """Publish a first root and an empty manifest.

    Running it again after an interruption goes on where it stopped.

    Raises:
        RepositoryExists: There is a repository already.
        NotEnoughSignatures: The root, or a role, lacks signatures.
    """
    metadata = parse_root(root, "to publish")
    version = metadata.signed.version
    require_complete(metadata, None)
    where = f"{store.where}/{prefix}"
    with store.lock():
        if store.read(f"{prefix}/{TIMESTAMP}", ROOT_MAX_BYTES) is not None:
            raise RepositoryExists(where)
        ground = Ground(where, prefix, (metadata.signed,), None, taken_versions(store, prefix))
        change = Change(manifest=Manifest())
        signing.require(ground.voters, change.roles)
        told = forecast(ground, change, signing)
        line = f"+ repository {where}, root version {version}"
        outcome = replace(told, changes=(line, *told.changes))
        if not how.go_ahead(outcome):
            return outcome
        plan = sign(ground, change, signing, extra_metadata={f"{version}.root.json": root})
        return replace(outcome, written=apply(store, plan), published=True)
