"""Rehearsals: updog's own client against a repository, from roots that images in the field ship.

A host that was off for a year starts from the root in its image and walks up to the newest. Whether
it arrives is found out here by letting that very code do it, in a directory of its own.

    rehearse(store, "demo/x86_64", [oldest_root], now)               the repository as it is
    rehearse_plan(store, "demo/x86_64", plan, [oldest_root], now)    at every moment of a change
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import Root

from partition.kernel import Kernel
from repo_tools.errors import RehearsalFailed
from repo_tools.root.ceremony import parse_root
from repo_tools.store.transport import StoreTransport
from updog.errors import MetadataExpired, UpdogError
from updog.manifest import MANIFEST_NAME, Manifest
from updog.trust import refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from repo_tools.publish.plan import Plan
    from repo_tools.store.base import ReadableStore
    from updog.transport import Transport

_MANIFEST_MAX_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How one host fared.

    Attributes:
        root_version: The root that it started from.
        when: The moment, in words.
        updates: How many updates the manifest holds that it got to.
        failure: Why it did not get there; empty if it did.
        only_late: It failed for metadata other than the root that has expired: a matter of
            renewing, not of trust.
    """

    root_version: int
    when: str
    updates: int = 0
    failure: str = ""
    only_late: bool = False

    @property
    def text(self) -> str:
        """One line."""
        end = f"fails: {self.failure}" if self.failure else f"arrives, {self.updates} updates"
        return f"a host with root version {self.root_version}, {self.when}: {end}"

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "root_version": self.root_version,
            "when": self.when,
            "updates": self.updates,
            "failure": self.failure,
        }


class _Forgetful(Kernel):
    """A rehearsal's state is thrown away: there is nothing to wait for."""

    def fsync(self, fd: int) -> None:
        """Flush nothing."""


def rehearse(
    transport: Transport, shipped: Sequence[bytes], now: datetime, *, when: str = "now"
) -> tuple[Rehearsal, ...]:
    """Let a new host with each of the shipped roots come to the repository."""
    return tuple(_one(transport, root, now, when) for root in shipped)


def rehearse_plan(
    store: ReadableStore, prefix: str, plan: Plan, shipped: Sequence[bytes], now: datetime
) -> tuple[Rehearsal, ...]:
    """Let such hosts come after each write of a plan that has not been carried out."""
    overlay: dict[str, bytes] = {}
    found: list[Rehearsal] = []
    for write in plan:
        if isinstance(write.contents, bytes):
            overlay[write.name] = write.contents
            transport = StoreTransport(store, prefix, dict(overlay))
            when = f"after {write.name.rpartition('/')[2]} is written"
            found += rehearse(transport, shipped, now, when=when)
    return tuple(found)


def require_arrival(rehearsals: Sequence[Rehearsal], show: Callable[[str], None]) -> None:
    """Show how hosts fare at each moment; refuse if one does not arrive in the end.

    Other metadata that has expired is no reason: it can only be renewed once the root is there.

    Raises:
        RehearsalFailed: One does not.
    """
    last = rehearsals[-1].when
    for rehearsal in rehearsals:
        show(f"rehearsal: {rehearsal.text}")
        if rehearsal.failure and rehearsal.when == last and not rehearsal.only_late:
            raise RehearsalFailed(rehearsal.root_version, rehearsal.failure)


def known_roots(roots: Mapping[int, bytes], extra: Iterable[bytes]) -> tuple[bytes, ...]:
    """The roots to start from: the oldest known one and further ones, each once."""
    return tuple(dict.fromkeys([roots[min(roots)], *extra]))


def _one(transport: Transport, shipped: bytes, now: datetime, when: str) -> Rehearsal:
    version = parse_root(shipped, "shipped").signed.version
    with tempfile.TemporaryDirectory(prefix="repo-tools-") as name:
        state = Path(name)
        kernel = _Forgetful()
        store = TrustStore(state / "metadata", state / "trust.json", private=False, kernel=kernel)
        try:
            repository = refresh_store(store, shipped, transport, now)
            data = repository.read_target(MANIFEST_NAME, _MANIFEST_MAX_BYTES)
            updates = len(Manifest.from_bytes(data).updates)
        except MetadataExpired as exc:
            only_late = exc.role != Root.type
            return Rehearsal(version, when, failure=str(exc), only_late=only_late)
        except UpdogError as exc:
            return Rehearsal(version, when, failure=str(exc))
    return Rehearsal(version, when, updates)
