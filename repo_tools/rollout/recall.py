"""Taking an update back: hosts that run it go down to an older one, others never get it.

A recall sets the maximum version of a line below the recalled version. updog then offers the newest
version that is not above it, also to hosts that run something newer. Refused where that would lead
them nowhere: the version to go back to has to be there, and a migration path down to it. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repo_tools.errors import ManifestEditRefused
from repo_tools.publish.manifest_edit import set_max_version
from updog.errors import NoMigrationPath
from updog.migrations import find_path
from updog.waves import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from repo_tools.publish.manifest_edit import Line
    from updog.manifest import Manifest
    from updog.versions import Version


def recall(manifest: Manifest, line: Line, version: Version, to: Version | None) -> Manifest:
    """Recall a version, and every newer one.

    Args:
        manifest: The published manifest.
        line: The variant and architecture.
        version: The oldest version that is recalled.
        to: The version to go back to; `None`: the newest one below.

    Raises:
        ManifestEditRefused: The version is not there, is recalled already, or hosts could not go
            back.
    """
    doing = f"recall {line} {version}"
    updates = line.of(manifest)
    recalled = [u for u in updates if u.version >= version]
    if not any(u.version == version for u in updates):
        raise ManifestEditRefused(doing, "there is no such update")
    if all(u.max_version < version for u in updates):
        raise ManifestEditRefused(doing, f"the maximum version is {updates[0].max_version} already")
    older = [u.version for u in updates if u.version < version]
    target = to or max(older, default=None)
    if target is None or target not in older:
        named = "there is no older version" if to is None else f"{to} is no older version"
        raise ManifestEditRefused(doing, f"{named} in the repository that hosts could go back to")
    for update in recalled:
        try:
            find_path(manifest.migrations, update.version, target)
        except NoMigrationPath as exc:
            raise ManifestEditRefused(
                doing, f"there is no migration path from {update.version} back to {target}"
            ) from exc
    return set_max_version(manifest, target, line)


def recall_notes(manifest: Manifest, line: Line, now: datetime) -> Iterator[str]:
    """What should be known of a recall: hosts go back in the waves of the older version.

    Args:
        manifest: With the recall in it.
        line: The variant and architecture.
        now: The time, UTC.
    """
    for update in reversed(line.of(manifest)):
        if update.version > update.max_version:
            continue
        last = max(update.waves.values(), default=now)
        if last > now:
            yield (
                f"warning: hosts go back when their turn for {update.version} comes, the last at"
                f" {format_time(last)}; `rollout set-waves --version {update.version} --waves none`"
                " lets them go at once"
            )
        return
