"""Every reason not to publish an update, found before anything is signed.

Each rule is about hosts in the field: an update that they could never choose, that does not fit
their disks, or that leads them where there is no way back. All problems are told at once.

- *Backwards*: its version must be above every published one of its variant and architecture; the
  same version again is a duplicate.
- *Recalled*: raising the maximum version would offer again what was recalled. That has to be
  removed first.
- *Size*: each image must fit its partition in the layout that hosts have.
- *Migrations*: there must be a path to it and back from every version that hosts may run: those
  published, and those that the migration steps speak of.
- *Targets*: every name that the manifest holds must be a target, and steps lead upwards.

That a hash image is the tree of its root image is checked where the images are read
(`repo_tools.publish.update`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from partition.errors import size_text
from repo_tools.publish.manifest_edit import Line, find_update, line_of
from updog.versions import Version, precedence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from updog.manifest import Manifest, Update


def publish_problems(
    before: Manifest,
    after: Manifest,
    update: Update,
    *,
    targets: Collection[str],
    content_bytes: Mapping[str, int],
    capacity_bytes: Mapping[str, int],
) -> tuple[str, ...]:
    """Say why an update must not be published; nothing if it may.

    Args:
        before: The published manifest.
        after: The manifest with the update, its migrations, and its maximum version.
        update: The new entry, as it is in `after`.
        targets: Names of all targets as they will be.
        content_bytes: Image (`boot`, `root`, `hash`) to its uncompressed size.
        capacity_bytes: Image to the size of its partition; empty if there is no layout to check.
    """
    return (
        *_order(before, update),
        *_recalled(before, after, update),
        *_sizes(content_bytes, capacity_bytes),
        *migration_problems(after, line_of(update), [update.version]),
        *target_problems(after, targets),
    )


def running_versions(manifest: Manifest, line: Line) -> tuple[Version, ...]:
    """The versions that hosts may run: published ones, and those that steps speak of."""
    steps = {precedence(v) for step in manifest.migrations for v in step}
    return tuple(sorted(steps | {precedence(u.version) for u in line.of(manifest)}))


def migration_problems(
    manifest: Manifest, line: Line, versions: Iterable[Version]
) -> Iterator[str]:
    """Paths that are missing between some versions and those that hosts may run, both ways.

    Steps lead upwards and are walked back for the way down, so a path exists in both directions or
    in none (`updog.migrations`). What can be reached is worked out once for all versions.
    """
    running = running_versions(manifest, line)
    connected = _connected(manifest, running)
    rank = {version: number for number, version in enumerate(running)}
    for version in versions:
        missing = ~connected[rank[precedence(version)]]
        for number, other in enumerate(running):
            if missing >> number & 1:
                yield f"there is no migration path from {other} to {version}"
                yield f"there is no migration path from {version} to {other}"


def _connected(manifest: Manifest, running: Sequence[Version]) -> list[int]:
    """For each version, in order, the versions that it is connected with, as bits of a number.

    Whole sets at a time, since repositories have a thousand updates and more.
    """
    rank = {version: number for number, version in enumerate(running)}
    steps = [
        (rank[precedence(start)], rank[precedence(end)])
        for start, end in manifest.migrations
        if start < end
    ]
    above = [1 << number for number in range(len(running))]
    for start, end in sorted(steps, reverse=True):
        above[start] |= above[end]
    below = [1 << number for number in range(len(running))]
    for start, end in sorted(steps, key=lambda step: step[1]):
        below[end] |= below[start]
    return [up | down for up, down in zip(above, below, strict=True)]


def target_problems(manifest: Manifest, targets: Collection[str]) -> Iterator[str]:
    """Names in the manifest that are no targets, and steps that lead nowhere."""
    for update in manifest.updates:
        for name in (update.images.boot, update.images.root, update.images.hash):
            if name not in targets:
                yield f"image {name} of {update.label} is not a target"
    for (start, end), names in sorted(manifest.migrations.items()):
        if start >= end:
            yield f"migration step {start} -> {end} does not lead upwards"
        for name in names:
            if name not in targets:
                yield f"migration {name} of step {start} -> {end} is not a target"


def _order(before: Manifest, update: Update) -> Iterator[str]:
    line = line_of(update)
    if find_update(before, line, update.version):
        yield f"{line} {update.version} is published already, with other contents"
        return
    newest = max((u.version for u in line.of(before)), default=None)
    if newest is not None and update.version < newest:
        yield f"{line} {newest} is published already, and versions must not go backwards"
    if update.max_version < update.version:
        yield (
            f"its maximum version {update.max_version} is below its own version: no host would"
            " choose it"
        )


def _recalled(before: Manifest, after: Manifest, update: Update) -> Iterator[str]:
    now = {u.version: u for u in line_of(update).of(after)}
    for old in line_of(update).of(before):
        new = now.get(old.version)
        if new and old.version > old.max_version and new.version <= new.max_version:
            yield (
                f"{old.version} was recalled (maximum version {old.max_version}), and the new"
                f" maximum version {new.max_version} would offer it again: remove it first"
            )


def _sizes(content: Mapping[str, int], capacity: Mapping[str, int]) -> Iterator[str]:
    for image, size in content.items():
        if image in capacity and size > capacity[image]:
            yield (
                f"the {image} image has {size_text(size)},"
                f" its partition {size_text(capacity[image])}"
            )
