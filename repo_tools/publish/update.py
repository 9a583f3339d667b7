"""Publishing an update: images and migrations in, a new entry in the manifest, all or nothing.

What can be known without reading the images is checked before they are compressed, the rest before
anything is signed. Running it again after an interruption picks up the targets that are there; once
the update is published, running it again finds nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repo_tools.errors import PublishRefused
from repo_tools.hash_tree import TreeComparison, passing_tree
from repo_tools.images import (
    Compressed,
    compress_bytes,
    declared_bytes,
    take_in,
)
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
from repo_tools.publish.steps import migration_name
from updog.manifest import Images, Manifest, Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repo_tools.publish.session import How, Session
    from repo_tools.publish.signing import Signing
    from updog.versions import Version
    from updog.waves import Waves

FRAME_SUFFIX: Final = ".lz4"


@dataclass(frozen=True, slots=True)
class UpdateFiles:
    """What an update consists of, as files.

    Attributes:
        boot: Image of the boot partition, plain or in an LZ4 frame; the others likewise.
        root: Image of the root file system.
        hash: Its hash image; `None` makes one.
        migrations: Files of migrations, plain or in LZ4 frames; their names become target names.
        salt: Salt of the hash image that is made; `None` derives one from the update's name.
        level: LZ4 level, 0 to 12.
    """

    boot: Path
    root: Path
    hash: Path | None = None
    migrations: Sequence[Path] = ()
    salt: bytes | None = None
    level: int = 9


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

    def images(self) -> Images:
        """The target names of its images."""
        base = f"{self.line.variant}-{self.line.arch}-{self.version}"
        return Images(
            boot=f"{base}-boot{_kind(self.files.boot)}{FRAME_SUFFIX}",
            root=f"{base}-root{_kind(self.files.root)}{FRAME_SUFFIX}",
            hash=f"{base}-root.verity{FRAME_SUFFIX}",
        )


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

    check(base, _plain_sizes(update.files))
    signing.require(session.ground.voters, Change().roles)
    with session.store.staging() as staging:
        built = build_targets(update, staging)
        if old is not None and _is_published(session, built):
            return session.unchanged(f"{update.label} is published already", how)
        check(before, {part: image.content_bytes for part, image in built.images.items()})
        new = [target for target in built.targets if not _is_listed(session, target)]
        return session.carry_out(Change(manifest=after, add=new), signing, how)


@dataclass(frozen=True, slots=True)
class Built:
    """The targets of an update, ready to be published; `root_hash` is hex."""

    images: Mapping[str, Compressed]
    targets: Sequence[NewTarget]
    root_hash: str


def build_targets(update: NewUpdate, staging: Path) -> Built:
    """Compress the images and migrations of an update into a directory."""
    names, files = update.images(), update.files
    images = {"boot": take_in(files.boot, staging / names.boot, level=files.level)}
    root, tree, root_hash = build_root(files, staging / names.root, update.label)
    images["root"] = root
    if files.hash is None:
        images["hash"] = compress_bytes(tree, staging / names.hash, level=files.level)
    else:
        images["hash"] = _take_in_tree(files.hash, files, staging / names.hash, tree)
    targets = [
        NewTarget.from_image(name, images[part])
        for part, name in (("boot", names.boot), ("root", names.root), ("hash", names.hash))
    ]
    for path in files.migrations:
        name = migration_name(path)
        targets.append(NewTarget.from_image(name, take_in(path, staging / name, level=files.level)))
    return Built(images, targets, root_hash.hex())


def build_root(files: UpdateFiles, out: Path, identity: str) -> tuple[Compressed, bytes, bytes]:
    """Compress a root image and grow its hash tree in one pass.

    Returns:
        The compressed image, the hash image that belongs to it, and the root hash.

    Raises:
        ImageInvalid: The given hash image has no superblock for it.
    """
    tree = passing_tree(files.root, files.hash, salt=files.salt, identity=identity)
    compressed = take_in(files.root, out, level=files.level, on_content=tree.add)
    return compressed, *tree.finish()


def _take_in_tree(path: Path, files: UpdateFiles, out: Path, tree: bytes) -> Compressed:
    """Take in the owner's hash image, comparing it with the tree of the root image."""
    comparison = TreeComparison(str(path), str(files.root), tree)
    image = take_in(path, out, level=files.level, on_content=comparison.add)
    comparison.finish()
    return image


def _next_manifest(before: Manifest, update: NewUpdate) -> tuple[Update, Manifest]:
    """The new entry, and the manifest with it and its migration steps."""
    entry = Update(
        variant=update.line.variant,
        arch=update.line.arch,
        version=update.version,
        max_version=update.max_version or default_max_version(before, update.line, update.version),
        waves=update.waves,
        images=update.images(),
    )
    return entry, add_migrations(add_update(before, entry), update.steps)


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


def _is_published(session: Session, built: Built) -> bool:
    """Whether every target is published as it is."""
    listed = [session.published.target(target.name) for target in built.targets]
    return all(
        there is not None and there.hashes.get("sha256") == target.sha256
        for there, target in zip(listed, built.targets, strict=True)
    )


def _kind(path: Path) -> str:
    """The kind of image that a file name tells, such as `.ext4`."""
    name = path.name.removesuffix(FRAME_SUFFIX)
    return Path(name).suffix or ".img"
