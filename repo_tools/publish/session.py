"""One publishing command from beginning to end, around whatever it changes.

    with session(store, prefix, trusted) as published:
        … work out a Change …
        outcome = published.carry_out(change, signing, how)

The store's lock is held from the first read to the last write. Before anything is signed, the
caller's `how.show` is given what will change; a dry run ends there. Where people sign in other
places, a proposal is written instead (`repo_tools.proposal`).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repo_tools.proposal.propose import propose
from repo_tools.publish.manifest_edit import target_names
from repo_tools.publish.plan import apply
from repo_tools.publish.published import Published, load_published
from repo_tools.publish.release import Change, Ground, Outcome, forecast, sign, taken_versions
from repo_tools.store.transport import StoreTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from repo_tools.publish.how import How
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Store
    from updog.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Session:
    """A repository, locked and verified."""

    store: Store
    published: Published
    ground: Ground

    def unchanged(self, why: str, how: How) -> Outcome:
        """Say that there is nothing to do."""
        how.show(why)
        return Outcome(self.published.where, (why,))

    def carry_out(self, change: Change, signing: Signing, how: How) -> Outcome:
        """Show a change, sign it, write it; or propose it.

        Raises:
            NotEnoughSignatures: Keys are missing; nothing was written.
            StoreFailed: Writing stopped; what is published is still the old state.
        """
        if how.proposal is not None:
            return propose(self.store, self.ground, change, signing, how)
        signing.require(self.ground.voters, change.roles)
        outcome = forecast(self.ground, change, signing)
        if not how.go_ahead(outcome):
            return outcome
        plan = sign(self.ground, change, signing)
        return replace(outcome, written=apply(self.store, plan), published=True)


@contextmanager
def session(store: Store, prefix: str, trusted: bytes) -> Iterator[Session]:
    """Lock a repository and load it; see `load_published` for errors."""
    with store.lock():
        published = load_published(StoreTransport(store, prefix), trusted)
        voters = (published.root.signed,)
        taken = taken_versions(store, prefix)
        ground = Ground(published.where, prefix, voters, published, taken)
        yield Session(store, published, ground)


def edit_manifest(
    open_session: Session,
    edit: Callable[[Manifest], Manifest],
    signing: Signing,
    how: How,
    *,
    notes: Callable[[Manifest], Iterable[str]] = lambda _: (),
) -> Outcome:
    """Publish an edited manifest; targets that it no longer refers to go from the metadata.

    Their files stay in the store, for hosts that are fetching them. `notes` says what else should
    be known of the result.
    """
    before = open_session.published.manifest
    after = edit(before)
    gone = target_names(before) - target_names(after)
    listed = open_session.published.targets.signed.targets
    remove = sorted(gone & listed.keys())
    change = Change(manifest=after, remove=remove, notes=tuple(notes(after)))
    return open_session.carry_out(change, signing, how)
