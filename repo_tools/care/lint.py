"""What can be wrong with a manifest and the targets it speaks of, beyond what a parser refuses.

Pure. Problems make a repository unsound: some host could not update, or not go back. Warnings are
for the owner to judge.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from repo_tools.publish.checks import migration_problems, target_problems
from repo_tools.publish.manifest_edit import Line, line_of, target_names
from repo_tools.waves.curve import curve_of
from updog.manifest import MANIFEST_NAME
from updog.versions import precedence
from updog.waves import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from updog.manifest import Manifest, Update


def manifest_problems(manifest: Manifest, targets: Collection[str]) -> Iterator[str]:
    """What makes the repository unsound.

    Args:
        manifest: As it is published.
        targets: Names of all targets.
    """
    yield from target_problems(manifest, targets)
    for line in lines(manifest):
        updates = line.of(manifest)
        for before, after in pairwise(updates):
            if precedence(before.version) == precedence(after.version):
                yield f"{line} {after.version} is there twice"
        maxima = sorted({update.max_version for update in updates})
        if len(maxima) > 1:
            listed = ", ".join(map(str, maxima))
            yield f"the updates of {line} have different maximum versions: {listed}"
        if maxima and not any(update.version <= maxima[0] for update in updates):
            yield f"no update of {line} is at or below its maximum version {maxima[0]}"
        for update in updates:
            yield from _wave_problems(update)
        yield from migration_problems(manifest, line, [update.version for update in updates])


def manifest_warnings(manifest: Manifest, targets: Collection[str], now: datetime) -> Iterator[str]:
    """What an owner may want to know."""
    unused = set(targets) - target_names(manifest) - {MANIFEST_NAME}
    for name in sorted(unused):
        yield f"target {name} is not used by the manifest"
    for update in manifest.updates:
        for before, after in pairwise(sorted(update.waves)):
            if update.waves[before] == update.waves[after]:
                yield f"the waves of {update.label} at seeds {before} and {after} start together"
        if update.waves and max(update.waves.values()) > now:
            for step in curve_of(update.waves, now).steps():
                if step.at > now:
                    yield f"{update.label}: {step.share:.0%} of the fleet at one instant"


def lines(manifest: Manifest) -> list[Line]:
    """The variants and architectures that a manifest has updates for."""
    return sorted({line_of(update) for update in manifest.updates}, key=str)


def _wave_problems(update: Update) -> Iterator[str]:
    keys = sorted(update.waves)
    if keys and keys[0] != 0:
        yield f"the waves of {update.label} start at seed {keys[0]}, not at 0"
    for key in keys:
        if key >= MAX_SEED:
            yield f"the waves of {update.label} have a wave at seed {key}, above the highest seed"
