"""Which targets a copy needs. Pure.

A copy is of one variant and architecture, of all its updates or of some versions. It always holds
the manifest and every migration, since hosts may come from any version; of images only those of the
updates that are wanted. The metadata is always whole: it is signed as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repo_tools.errors import InputInvalid
from repo_tools.publish.manifest_edit import Line, find_update, line_of
from updog.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Collection

    from updog.manifest import Manifest
    from updog.versions import Version


def needed_targets(
    manifest: Manifest, line: Line, versions: Collection[Version]
) -> tuple[str, ...]:
    """Names of the targets to copy, the manifest last.

    Args:
        manifest: The repository's.
        line: Variant and architecture.
        versions: Updates whose images are wanted; empty for all.

    Raises:
        InputInvalid: A version is not there; or there are updates, of other lines only, as in a
            bundle for another variant.
    """
    if manifest.updates and not line.of(manifest):
        others = ", ".join(sorted({str(line_of(update)) for update in manifest.updates}))
        raise InputInvalid(f"the updates of {line}", f"there are none (there: {others})")
    names = {name for step in manifest.migrations.values() for name in step}
    for version in versions:
        if find_update(manifest, line, version) is None:
            there = ", ".join(str(u.version) for u in line.of(manifest)) or "none"
            raise InputInvalid(f"version {version}", f"{line} has no such update (there: {there})")
    for update in line.of(manifest):
        if not versions or update.version in versions:
            names |= {update.images.boot, update.images.root, update.images.hash}
    return (*sorted(names - {MANIFEST_NAME}), MANIFEST_NAME)
