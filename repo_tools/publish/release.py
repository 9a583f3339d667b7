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

from repo_tools.publish.manifest_edit import changes
from repo_tools.publish.plan import TIMESTAMP, Plan, publish_plan
from repo_tools.publish.repository import MANIFEST, Draft, Published, target_path
from updog.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from repo_tools.images import Compressed
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
    """

    roles: Sequence[str] = CONTENT_ROLES
    manifest: Manifest | None = None
    add: Sequence[NewTarget] = ()
    remove: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has done, or would do; the text and the JSON are made of it."""

    repository: str
    changes: tuple[str, ...]
    versions: Mapping[str, int] = field(default_factory=dict)
    expires: Mapping[str, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    published: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "repository": self.repository,
            "changes": list(self.changes),
            "versions": dict(self.versions),
            "expires": dict(self.expires),
            "written": list(self.written),
            "published": self.published,
        }


def taken_versions(store: ReadableStore, prefix: str) -> dict[str, int]:
    """The highest version of each role that a file in the store bears, published or left behind."""
    taken: dict[str, int] = {}
    for name in store.names(prefix):
        if match := _VERSIONED.fullmatch(name):
            version, role = int(match[1]), match[2]
            taken[role] = max(version, taken.get(role, 0))
    return taken


def forecast(
    root: Root,
    published: Published | None,
    change: Change,
    signing: Signing,
    taken: Mapping[str, int],
) -> Outcome:
    """Say what a change will do, before anything is signed."""
    expires = signing.expires()
    current = {} if published is None else _current_versions(published)
    versions = {role: max(current.get(role, 0), taken.get(role, 0)) + 1 for role in change.roles}
    return Outcome(
        repository="" if published is None else published.where,
        changes=tuple(_describe(root, published, change, signing, versions)),
        versions=versions,
        expires={role: f"{expires[role]:%Y-%m-%dT%H:%M:%SZ}" for role in change.roles},
    )


def sign(
    root: Root,
    published: Published | None,
    prefix: str,
    change: Change,
    *,
    signing: Signing,
    taken: Mapping[str, int],
    extra_metadata: Mapping[str, bytes] | None = None,
) -> Plan:
    """Make and sign the next metadata.

    Args:
        root: The root that holds.
        published: The current state; `None` for a new repository.
        prefix: Directory of the metadata in the store.
        change: What is to become different.
        signing: Keys and validity.
        taken: See `taken_versions`.
        extra_metadata: Root files to write along, name to contents.

    Returns:
        What to write, in order.
    """
    draft = Draft(
        root,
        published,
        signers={role: signing.signers(root, role) for role in change.roles},
        expires=signing.expires(),
        taken_versions=taken,
    )
    files: dict[str, Contents] = {}
    add = list(change.add)
    if change.manifest is not None:
        add.append(manifest_target(change.manifest))
    if Targets.type in change.roles:
        with draft.edit_targets() as targets:
            for name in change.remove:
                del targets.targets[name]
            for new in add:
                listed = new.to_tuf()
                targets.targets[new.name] = listed
                files[target_path(listed)] = new.contents
    if Snapshot.type in change.roles:
        draft.renew_snapshot()
    if Timestamp.type in change.roles:
        draft.renew_timestamp()
    return publish_plan(
        prefix,
        targets=files,
        metadata={**(extra_metadata or {}), **draft.files},
        replacing=None if published is None else published.files[TIMESTAMP],
    )


def manifest_target(manifest: Manifest) -> NewTarget:
    """The target that holds a manifest."""
    data = manifest.to_bytes()
    return NewTarget(MANIFEST, data, len(data), hashlib.sha256(data).hexdigest())


def _current_versions(published: Published) -> dict[str, int]:
    return {
        Targets.type: published.targets.signed.version,
        Snapshot.type: published.snapshot.signed.version,
        Timestamp.type: published.timestamp.signed.version,
    }


def _describe(
    root: Root,
    published: Published | None,
    change: Change,
    signing: Signing,
    versions: Mapping[str, int],
) -> Iterator[str]:
    if change.manifest is not None:
        before = Manifest() if published is None else Manifest.from_bytes(published.manifest)
        yield from changes(before, change.manifest)
    for new in change.add:
        yield f"+ target {new.name} ({new.length_bytes:,} bytes)"
    for name in change.remove:
        yield f"- target {name}"
    current = {} if published is None else _current_versions(published)
    expires = signing.expires()
    for role in change.roles:
        was = current.get(role)
        step = f"{was} -> {versions[role]}" if was else f"{versions[role]}"
        until = f"expires {expires[role]:%Y-%m-%d}"
        yield f"{role} version {step}, {until}, {signing.describe(root, role)}"
