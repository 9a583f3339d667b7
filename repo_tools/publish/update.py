"""Publishing an update: images and migrations in, a new entry in the manifest, all or nothing.

What can be known without reading the images is checked before they are compressed, the rest before
anything is signed. Running it again after an interruption picks up the targets that are there; once
the update is published, running it again finds nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from repo_tools.build import ImageNames, UpdateFiles, build, image_names, migration_name
from repo_tools.errors import PublishRefused
from repo_tools.images import declared_bytes
from repo_tools.publish.checks import publish_problems
from repo_tools.publish.manifest_edit import (
    Line,
    add_migrations,
    add_update,
    default_max_version,
    find_update,
    remove_update,
)
from repo_tools.publish.release import Change, NewTarget, Outcome
from repo_tools.waves.curve import curve_of
from updog.manifest import Images, Manifest, Update
from updog.versions import precedence
from updog.waves import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from repo_tools.publish.how import How
    from repo_tools.publish.session import Session
    from repo_tools.publish.signing import Signing
    from updog.versions import Version
    from updog.waves import Waves


@dataclass(frozen=True, slots=True)
class NewUpdate:
    """An update to publish; `steps` are the migration steps that come with it."""

    line: Line
    version: Version
    files: UpdateFiles
    waves: Waves
    steps: Mapping[tuple[Version, Version], tuple[str, ...]]
    max_version: Version | None = None
    capacity_bytes: Mapping[str, int] | None = None

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"{self.line} {self.version}"

    @property
    def names(self) -> ImageNames:
        """The target names of its images."""
        base = f"{self.line.variant}-{self.line.arch}-{self.version}"
        return image_names(base, self.files)


def publish_update(session: Session, update: NewUpdate, signing: Signing, how: How) -> Outcome:
    """Check an update, build its targets, and publish it.

    Raises:
        PublishRefused: Hosts could not take it, or should not; every reason.
        ImageInvalid: An image is damaged, or the hash image is not the tree of the root image.
    """
    published = session.published
    before = published.manifest
    old = find_update(before, update.line, update.version)
    base = before if old is None else remove_update(before, update.line, old.version)
    entry, after = _next_manifest(base, update)
    names = {migration_name(path) for path in update.files.migrations}
    targets = {*published.targets.signed.targets, *names}
    targets |= {entry.images.boot, entry.images.root, entry.images.hash}

    def check(manifest: Manifest, content_bytes: Mapping[str, int]) -> None:
        problems = publish_problems(
            manifest,
            after,
            entry,
            targets=targets,
            content_bytes=content_bytes,
            capacity_bytes=update.capacity_bytes or {},
        )
        if problems:
            raise PublishRefused(update.label, problems)

    from repo_tools.migration.losses import find_losses  # noqa: PLC0415  publishing alone needs it

    losses = find_losses(update.files.migrations)
    if losses.problems:
        raise PublishRefused(update.label, losses.problems)
    check(base, _plain_sizes(update.files))
    signing.require(session.ground.voters, how.signed_here(Change().roles))
    how.show(f"building {update.label}: compressing, and growing the hash tree")
    with session.store.staging() as staging:
        built = build(update.files, update.names, staging, update.label, session.store.kernel)
        found = [NewTarget.from_image(name, image) for name, image in built.names.items()]
        if old is not None and _is_published(session, found):
            return session.unchanged(f"{update.label} is published already", how)
        check(before, {part: image.content_bytes for part, image in built.images.items()})
        new = [target for target in found if not _is_listed(session, target)]
        notes = (
            f"root hash {built.root_hash}",
            *losses.notes,
            *_again_warning(before, update),
            *_wave_warnings(update.waves, signing.now),
        )
        return session.carry_out(Change(manifest=after, add=new, notes=notes), signing, how)


def _next_manifest(before: Manifest, update: NewUpdate) -> tuple[Update, Manifest]:
    """The new entry, and the manifest with it and its migration steps."""
    entry = Update(
        variant=update.line.variant,
        arch=update.line.arch,
        version=update.version,
        max_version=update.max_version or default_max_version(before, update.line, update.version),
        waves=update.waves,
        images=Images(update.names.boot, update.names.root, update.names.hash),
    )
    return entry, add_migrations(add_update(before, entry), update.steps)


def _again_warning(before: Manifest, update: NewUpdate) -> Iterator[str]:
    """Say that a version may have been there once: a removed update leaves its migration steps."""
    known = {precedence(version) for step in before.migrations for version in step}
    if precedence(update.version) in known and not find_update(before, update.line, update.version):
        yield (
            f"warning: migration steps lead to {update.version} already: hosts that run a"
            f" {update.version} published before will not take this one"
        )


def _wave_warnings(waves: Waves, now: datetime) -> Iterator[str]:
    """Say where many hosts come at once; an update without waves is meant to."""
    for step in curve_of(waves, now).steps() if waves else ():
        yield f"warning: {step.share:.0%} of the fleet at one instant, {format_time(step.at)}"


def _plain_sizes(files: UpdateFiles) -> dict[str, int]:
    """Image to content size, as far as it can be told without decoding."""
    paths = {"boot": files.boot, "root": files.root}
    if files.hash is not None:
        paths["hash"] = files.hash
    sizes = {part: declared_bytes(path) for part, path in paths.items()}
    return {part: size for part, size in sizes.items() if size is not None}


def _is_listed(session: Session, target: NewTarget) -> bool:
    """Whether a target is published.

    Raises:
        PublishRefused: Its name is, with other contents.
    """
    listed = session.published.target(target.name)
    if listed is None:
        return False
    if listed.hashes.get("sha256") != target.sha256:
        problem = f"target {target.name} is published already, with other contents"
        raise PublishRefused(target.name, [problem])
    return True


def _is_published(session: Session, targets: Sequence[NewTarget]) -> bool:
    """Whether every target is published as it is."""
    listed = [session.published.target(target.name) for target in targets]
    return all(
        there is not None and there.hashes.get("sha256") == target.sha256
        for there, target in zip(listed, targets, strict=True)
    )
