"""Edits of a manifest: each takes one and gives the next, or says why it will not.

The meaning is Bottlerocket's, without its silent failures: an edit of an update that is not there
is an error, an update is not added twice, and the default maximum version comes from the entries of
the same variant and architecture only.

`max_version` belongs to a variant and architecture as a whole, though every entry repeats it:
adding an update, or setting a maximum, sets it in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repo_tools.errors import ManifestEditRefused
from repo_tools.rollout.schedule import NEVER, with_waves
from updog.versions import Version, is_exactly, precedence
from updog.waves import Waves, format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from updog.manifest import Manifest, Update


@dataclass(frozen=True, slots=True)
class Line:
    """The updates of one variant and architecture."""

    variant: str
    arch: str

    def __str__(self) -> str:
        return f"{self.variant} {self.arch}"

    def has(self, update: Update) -> bool:
        """Whether an update belongs here."""
        return (update.variant, update.arch) == (self.variant, self.arch)

    def of(self, manifest: Manifest) -> tuple[Update, ...]:
        """The updates of this line, oldest first."""
        return tuple(sorted(filter(self.has, manifest.updates), key=lambda u: u.version))


def line_of(update: Update) -> Line:
    """The line that an update belongs to."""
    return Line(update.variant, update.arch)


def find_update(manifest: Manifest, line: Line, version: Version) -> Update | None:
    """The update of that version, if it is there."""
    found = (u for u in line.of(manifest) if precedence(u.version) == precedence(version))
    return next(found, None)


def default_max_version(manifest: Manifest, line: Line, version: Version) -> Version:
    """The maximum version for a new update: never lower than it, or than what holds already."""
    return max([version, *(u.max_version for u in line.of(manifest))])


def add_update(manifest: Manifest, update: Update) -> Manifest:
    """Add an update; its maximum version becomes that of its line.

    Raises:
        ManifestEditRefused: Its version is there already.
    """
    line = line_of(update)
    if find_update(manifest, line, update.version):
        raise ManifestEditRefused(f"add {line} {update.version}", "that version is there already")
    raised = _with_max_version(manifest, update.max_version, line.has)
    return replace(raised, updates=(*raised.updates, update))


def remove_update(manifest: Manifest, line: Line, version: Version) -> Manifest:
    """Remove an update; the maximum version stays.

    Raises:
        ManifestEditRefused: It is not there.
    """
    update = existing_update(manifest, line, version, "remove")
    return replace(manifest, updates=tuple(u for u in manifest.updates if u is not update))


def set_waves(manifest: Manifest, line: Line, version: Version, waves: Waves) -> Manifest:
    """Give an update other waves; if it is paused, it no longer is.

    Raises:
        ManifestEditRefused: It is not there.
    """
    update = existing_update(manifest, line, version, "set the waves of")
    return replace_update(manifest, update, with_waves(update, waves))


def replace_update(manifest: Manifest, old: Update, new: Update) -> Manifest:
    """Put an update in another's place."""
    return replace(manifest, updates=tuple(new if u is old else u for u in manifest.updates))


def set_max_version(manifest: Manifest, version: Version, line: Line | None = None) -> Manifest:
    """Set the maximum version of a line, or of every update there is.

    Raises:
        ManifestEditRefused: There is no update to set it for.
    """
    if not any(line is None or line.has(u) for u in manifest.updates):
        of = "" if line is None else f" of {line}"
        raise ManifestEditRefused(
            f"set the maximum version{of} to {version}", "there is no such update"
        )
    return _with_max_version(manifest, version, lambda u: line is None or line.has(u))


def set_migrations(
    manifest: Manifest, steps: Mapping[tuple[Version, Version], tuple[str, ...]]
) -> Manifest:
    """Replace all migration steps."""
    return replace(manifest, migrations=dict(steps))


def add_migrations(
    manifest: Manifest, steps: Mapping[tuple[Version, Version], tuple[str, ...]]
) -> Manifest:
    """Add migration steps; one that is there already must say the same.

    Raises:
        ManifestEditRefused: A step is there with other migrations: hosts may have taken it.
    """
    merged = dict(manifest.migrations)
    known = {(precedence(a), precedence(b)): names for (a, b), names in merged.items()}
    for (start, end), names in steps.items():
        step = precedence(start), precedence(end)
        if known.get(step, names) != names:
            raise ManifestEditRefused(
                f"add the migrations from {start} to {end}",
                "that step is there already, with other migrations",
            )
        if step not in known:
            merged[start, end] = names
    return replace(manifest, migrations=merged)


def target_names(manifest: Manifest) -> set[str]:
    """Every target that a manifest refers to."""
    names = {name for names in manifest.migrations.values() for name in names}
    for update in manifest.updates:
        names |= {update.images.boot, update.images.root, update.images.hash}
    return names


def changes(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """What an edit changes, in words, one line each; none if nothing."""
    return (*_update_changes(before, after), *_migration_changes(before, after))


def waves_text(waves: Waves) -> str:
    """Waves in a few words: when they start and end."""
    if not waves:
        return "no waves: every host at once"
    starts = sorted(start for start in waves.values() if start < NEVER)
    held_back = "nobody's turn comes" if len(starts) < len(waves) else ""
    if not starts:
        return held_back
    count = f"{len(starts)} wave{'s' if len(starts) > 1 else ''}"
    text = f"{count} from {format_time(starts[0])} to {format_time(starts[-1])}"
    return f"{text}, after them {held_back}" if held_back else text


def _update_changes(before: Manifest, after: Manifest) -> Iterable[str]:
    old = {_key(u): u for u in before.updates}
    new = {_key(u): u for u in after.updates}
    for key in old.keys() - new.keys():
        yield f"- update {' '.join(map(str, key))}"
    for key, update in new.items():
        name = " ".join(map(str, key))
        if key not in old:
            yield f"+ update {name}, maximum version {update.max_version}"
            yield f"  {waves_text(update.waves)}"
            continue
        was = old[key]
        if was.max_version != update.max_version:
            yield f"~ update {name}: maximum version {was.max_version} -> {update.max_version}"
        if dict(was.waves) != dict(update.waves):
            yield f"~ update {name}: {waves_text(was.waves)} -> {waves_text(update.waves)}"
        if dict(was.unknown) != dict(update.unknown):
            yield f"~ update {name}: {_unknown_text(was, update)}"
        if was.images != update.images:
            yield f"~ update {name}: other images"


def _migration_changes(before: Manifest, after: Manifest) -> Iterable[str]:
    for step in sorted(before.migrations.keys() - after.migrations.keys()):
        yield f"- migration step {step[0]} -> {step[1]}"
    for step in sorted(after.migrations):
        names = after.migrations[step]
        if step not in before.migrations:
            yield f"+ migration step {step[0]} -> {step[1]}: {', '.join(names) or 'nothing to do'}"
        elif before.migrations[step] != names:
            yield f"~ migration step {step[0]} -> {step[1]}: {', '.join(names) or 'nothing to do'}"


def _unknown_text(was: Update, update: Update) -> str:
    """Which further fields of an entry change."""
    names = sorted(
        name
        for name in was.unknown.keys() | update.unknown.keys()
        if was.unknown.get(name) != update.unknown.get(name)
    )
    return f"field {', '.join(names)} changes"


def _key(update: Update) -> tuple[str, str, str]:
    return update.variant, update.arch, str(update.version)


def existing_update(manifest: Manifest, line: Line, version: Version, doing: str) -> Update:
    """The update of exactly that version; `doing` is what it is wanted for.

    Raises:
        ManifestEditRefused: It is not there.
    """
    update = find_update(manifest, line, version)
    if update is None or not is_exactly(update.version, version):
        there = ", ".join(str(u.version) for u in line.of(manifest)) or "none"
        raise ManifestEditRefused(
            f"{doing} {line} {version}", f"there is no such update (there: {there})"
        )
    return update


def _with_max_version(
    manifest: Manifest, version: Version, which: Callable[[Update], bool]
) -> Manifest:
    return replace(
        manifest,
        updates=tuple(replace(u, max_version=version) if which(u) else u for u in manifest.updates),
    )
