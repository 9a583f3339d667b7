"""One change of a repository's contents, from the published state to the next.

Everything that adds, edits or renews goes this way: load and verify what is published; work out the
next manifest and targets; *show* what that changes, which versions it makes and who signs them;
ask; sign; write in the order of `repo_tools.publish.plan`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from repo_tools.publish.draft import Draft
from repo_tools.publish.manifest_edit import changes
from repo_tools.publish.plan import TIMESTAMP, Plan, publish_plan
from updog.manifest import MANIFEST_NAME, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from repo_tools.images import Compressed
    from repo_tools.publish.published import Published
    from repo_tools.publish.signing import Signing
    from repo_tools.store.base import Contents, ReadableStore

CONTENT_ROLES: Final = (Targets.type, Snapshot.type, Timestamp.type)
_VERSIONED: Final = re.compile(r"(\d+)\.(root|targets|snapshot)\.json")


@dataclass(frozen=True, slots=True)
class NewTarget:
    """A file that becomes a target."""

    name: str
    contents: Contents
    length_bytes: int
    sha256: str

    @classmethod
    def from_image(cls, name: str, image: Compressed) -> NewTarget:
        """The target that a compressed image becomes."""
        return cls(name, image.path, image.length_bytes, image.sha256)

    def to_tuf(self) -> TargetFile:
        """What targets metadata will say of it."""
        return TargetFile(self.length_bytes, {"sha256": self.sha256}, self.name)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become different; nothing set means: only renew.

    Attributes:
        roles: The roles to make a new version of.
        manifest: The next manifest; `None` leaves the published one.
        add: New targets.
        remove: Names of targets that go.
        notes: What else the user is told beforehand.
    """

    roles: Sequence[str] = CONTENT_ROLES
    manifest: Manifest | None = None
    add: Sequence[NewTarget] = ()
    remove: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has done, or would do; the text and the JSON are made of it."""

    repository: str
    changes: tuple[str, ...]
    versions: Mapping[str, int] = field(default_factory=dict)
    expires: Mapping[str, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    published: bool = False
    proposal: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "repository": self.repository,
            "changes": list(self.changes),
            "versions": dict(self.versions),
            "expires": dict(self.expires),
            "written": list(self.written),
            "published": self.published,
            "proposal": self.proposal,
        }


def taken_versions(store: ReadableStore, prefix: str) -> dict[str, int]:
    """The highest version of each role that a file in the store bears, published or left behind."""
    taken: dict[str, int] = {}
    for name in store.names(prefix):
        if match := _VERSIONED.fullmatch(name):
            version, role = int(match[1]), match[2]
            taken[role] = max(version, taken.get(role, 0))
    return taken


@dataclass(frozen=True, slots=True)
class Ground:
    """What a change starts from.

    Attributes:
        where: The repository, for messages.
        prefix: Directory of its metadata in the store.
        voters: The roots that new metadata has to satisfy: the current one; while a root is being
            replaced, the old and the new one.
        published: The current state; `None` for a new repository.
        taken: See `taken_versions`.
    """

    where: str
    prefix: str
    voters: Sequence[Root]
    published: Published | None
    taken: Mapping[str, int]

    @property
    def versions(self) -> dict[str, int]:
        """The published version of each role but root; none for a new repository."""
        if self.published is None:
            return {}
        return {
            Targets.type: self.published.targets.signed.version,
            Snapshot.type: self.published.snapshot.signed.version,
            Timestamp.type: self.published.timestamp.signed.version,
        }

    def next_version(self, role: str) -> int:
        """The version that a change of the role makes."""
        return max(self.versions.get(role, 0), self.taken.get(role, 0)) + 1

    @property
    def manifest(self) -> Manifest:
        """The published manifest."""
        return Manifest() if self.published is None else self.published.manifest


def forecast(
    ground: Ground, change: Change, signing: Signing, *, by_others: bool = False
) -> Outcome:
    """Say what a change will do, before anything is signed; here, or by others elsewhere."""
    expires = signing.expires()
    return Outcome(
        repository=ground.where,
        changes=tuple(_describe(ground, change, signing, by_others=by_others)),
        versions={role: ground.next_version(role) for role in change.roles},
        expires={role: f"{expires[role]:%Y-%m-%dT%H:%M:%SZ}" for role in change.roles},
    )


def sign(
    ground: Ground,
    change: Change,
    signing: Signing,
    *,
    extra_metadata: Mapping[str, bytes] | None = None,
) -> Plan:
    """Make and sign the next metadata.

    Args:
        ground: What the change starts from.
        change: What is to become different.
        signing: Keys and validity.
        extra_metadata: Root files to write along, name to contents.

    Returns:
        What to write, in order.
    """
    published = ground.published
    draft = Draft(
        ground.voters,
        published,
        signers={role: signing.signers(ground.voters, role) for role in change.roles},
        expires=signing.expires(),
        taken_versions=ground.taken,
    )
    files = edit(draft, change)
    return publish_plan(
        ground.prefix,
        targets=files,
        metadata={**(extra_metadata or {}), **draft.files},
        replacing=None if published is None else published.files[TIMESTAMP],
    )


def edit(draft: Draft, change: Change) -> dict[str, Contents]:
    """Make the new versions that a change needs.

    Returns:
        The files of new targets: path in the store to contents.
    """
    files: dict[str, Contents] = {}
    add = list(change.add)
    if change.manifest is not None:
        add.append(manifest_target(change.manifest))
    if Targets.type in change.roles:
        with draft.edit_targets() as targets:
            for name in change.remove:
                del targets.targets[name]
            for new in add:
                targets.targets[new.name] = new.to_tuf()
                files[f"targets/{new.sha256}.{new.name}"] = new.contents
    if Snapshot.type in change.roles:
        draft.renew_snapshot()
    if Timestamp.type in change.roles:
        draft.renew_timestamp()
    return files


def manifest_target(manifest: Manifest) -> NewTarget:
    """The target that holds a manifest."""
    data = manifest.to_bytes()
    return NewTarget(MANIFEST_NAME, data, len(data), hashlib.sha256(data).hexdigest())


def _describe(
    ground: Ground, change: Change, signing: Signing, *, by_others: bool
) -> Iterator[str]:
    yield from change.notes
    if change.manifest is not None:
        yield from changes(ground.manifest, change.manifest)
    for new in change.add:
        yield f"+ target {new.name} ({new.length_bytes:,} bytes)"
    for name in change.remove:
        yield f"- target {name}"
    expires = signing.expires()
    for role in change.roles:
        before = f"{ground.versions[role]} -> " if role in ground.versions else ""
        until = f"expires {expires[role]:%Y-%m-%d}"
        who = signing.describe(ground.voters, role)
        if by_others:
            asked = ground.voters[-1].roles[role]
            who = f"{asked.threshold} of {len(asked.keyids)} must sign"
        yield f"{role} version {before}{ground.next_version(role)}, {until}, {who}"
