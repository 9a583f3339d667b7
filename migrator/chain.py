"""The links that say which copy of the datastore is in use, and at which version.

    current -> v1 -> v1.5 -> v1.5.2 -> v1.5.2_0123456789abcdef

All lie side by side in one directory and hold plain names. The last link's name is the version,
with pre-release and build (`v1.5.2-rc.1+7`); several may lead to the same copy, when a step from
one version to the next changed nothing.

`flip` sets the links from the copy's end, each one atomically, and `current` last. Links that
nobody follows yet need no order among them; before the first one that is in use is replaced, they
are flushed. That is `current`, or a link that the old chain and the new one share (`v1`): before it
the old chain is untouched, after it the new one is complete. So after a power cut anywhere,
`current` leads to the old copy or to the new one.

`collect` removes what is left of other attempts and versions, links first.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semver import Version

from migrator import files
from migrator.errors import ChainBroken
from partition import durable
from partition.errors import WriteFailed, reason

if TYPE_CHECKING:
    from collections.abc import Collection

    from partition.kernel import Kernel

CURRENT = "current"
# There while the first copy and its links are being made; see migrator.datastore.
CREATING = ".creating"
SUFFIX_LENGTH = 16
_COPY = re.compile(rf"v(?P<version>.+)_[A-Za-z0-9]{{{SUFFIX_LENGTH}}}")
_MAJOR = re.compile(r"v\d+")
_MINOR = re.compile(r"v\d+\.\d+")
_IN_WORK = re.compile(r"\.(v.+|current)\.new")
_LINKS = 4
_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Chain:
    """Where `current` leads.

    Attributes:
        base: The directory that holds links and copies.
        links: The names of the version links, `v1`, `v1.5`, `v1.5.2`.
        copy: The name of the copy.
        version: As the last link's name has it.
    """

    base: Path
    links: tuple[str, ...]
    copy: str
    version: Version

    @property
    def path(self) -> Path:
        """The copy's directory."""
        return self.base / self.copy


def base_of(datastore: Path) -> Path:
    """Return the directory of links and copies for a path that a user gives.

    That path is the link `current` itself, another of the links, the directory in which they lie,
    or one of the copies.
    """
    path = Path(os.path.abspath(datastore))  # noqa: PTH100  without following the link
    is_copy = (path / files.LIVE).is_dir()
    if path.name != CURRENT and not is_copy and not path.is_symlink() and path.is_dir():
        return path
    return path.parent


def link_names(version: Version) -> tuple[str, str, str]:
    """Return the names of a version's links, the shortest first."""
    return (f"v{version.major}", f"v{version.major}.{version.minor}", f"v{version}")


def copy_name(version: Version, suffix: str) -> str:
    """Return the name of a new copy; `suffix` is 16 random alphanumeric characters."""
    return f"v{version}_{suffix}"


def read(base: Path) -> Chain | None:
    """Follow the links from `current`; None if there is no datastore yet.

    Raises:
        ChainBroken: A link is missing, absolute, leads elsewhere, or in a circle; or there is no
            `current` although other links lead to settings, and not because the making of a first
            copy was interrupted.
    """
    seen = ""
    for _ in range(_LOOKS):
        try:
            return _follow_all(base)
        except ChainBroken as error:
            # A writer may have set the links anew, and removed the old copy, between our looks at
            # the one and the other. What is really broken is so again.
            if str(error) == seen:
                raise
            seen = str(error)
    raise ChainBroken(str(base / CURRENT), "it changes faster than it can be followed")


def _follow_all(base: Path) -> Chain | None:
    start = base / CURRENT
    if not os.path.lexists(start):
        for path in _children(base):
            if _MAJOR.fullmatch(path.name) and path.is_dir() and not (base / CREATING).exists():
                why = f"it is missing, although {path.name} leads to settings"
                raise ChainBroken(str(start), why)
        return None
    names = [CURRENT]
    while (base / names[-1]).is_symlink():
        if len(names) > _LINKS:
            raise ChainBroken(str(start), f"more than {_LINKS} links follow each other")
        names.append(_follow(base, names[-1]))
    if len(names) != _LINKS + 1:
        where = " -> ".join(names)
        raise ChainBroken(str(start), f"expected {_LINKS} links and a directory, found {where}")
    _, *links, copy = names
    version = _version_of(base, tuple(links))
    if not (base / copy).is_dir():
        raise ChainBroken(str(start), f"{copy} is not a directory")
    return Chain(base, tuple(links), copy, version)


def flip(base: Path, version: Version, copy: str, kernel: Kernel) -> None:
    """Make `copy` the datastore in use, at `version`.

    Args:
        base: The directory that holds links and copies.
        version: What the links will say.
        copy: The copy's name; all of it must have been flushed.
        kernel: Where the calls go.

    Raises:
        WriteFailed: The system refused; `current` leads to the old copy or to the new one.
    """
    in_use = {CURRENT, *_names_from(base, CURRENT)}
    major, minor, patch = link_names(version)
    for link, target in ((patch, copy), (minor, patch), (major, minor), (CURRENT, major)):
        if _leads_to(base / link, target):
            continue
        if link in in_use:
            # Whoever follows it from now on needs all that was linked so far.
            durable.sync_directory(base, kernel=kernel)
        _replace_link(base / link, target, kernel)
    durable.sync_directory(base, kernel=kernel)


def collect(base: Path, versions: Collection[Version] | None, kernel: Kernel) -> None:
    """Remove version links, the copies that no link leads to any more, and links left in work.

    Names that this module does not give are left alone.

    Args:
        base: The directory that holds links and copies.
        versions: Those whose links stay; None: all.
        kernel: Where the calls go.

    Raises:
        WriteFailed: The system refused; what is left is removed the next time.
    """
    paths = _children(base.resolve())
    links = [path for path in paths if path.is_symlink()]
    if versions is None:
        patches = {path.name for path in links if _is_version(path.name)}
    else:
        patches = {link_names(version)[2] for version in versions}
    copies = {os.path.realpath(path) for path in links if path.name in patches}
    removed = False
    for path in links:
        name = path.name
        # A major or minor link stays as long as it leads to a copy that does.
        ours = _MAJOR.fullmatch(name) or _MINOR.fullmatch(name)
        if (
            (ours and os.path.realpath(path) not in copies)
            or (_is_version(name) and name not in patches)
            or _IN_WORK.fullmatch(name)
        ):
            _unlink(path, kernel)
            removed = True
    if removed:
        durable.sync_directory(base, kernel=kernel)
    for path in paths:
        copy = _COPY.fullmatch(path.name)
        if copy and _is_version(f"v{copy['version']}") and str(path) not in copies:
            _remove(path, kernel)


def _replace_link(link: Path, target: str, kernel: Kernel) -> None:
    temporary = link.with_name(f".{link.name}.new")
    _unlink(temporary, kernel)
    try:
        kernel.symlink(target, temporary)
        kernel.replace(temporary, link)
    except OSError as error:
        raise WriteFailed(link, reason(error)) from error


def _unlink(path: Path, kernel: Kernel) -> None:
    try:
        kernel.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteFailed(path, reason(error)) from error


def _remove(copy: Path, kernel: Kernel) -> None:
    try:
        files.remove_copy(str(copy), kernel)
    except OSError as error:
        raise WriteFailed(copy, reason(error)) from error


def _names_from(base: Path, link: str) -> list[str]:
    """Return the names that follow each other from a link on, as far as they do."""
    names: list[str] = []
    while (base / link).is_symlink() and len(names) <= _LINKS:
        link = str((base / link).readlink())
        names.append(link)
    return names


def _follow(base: Path, name: str) -> str:
    link = base / name
    target = str(link.readlink())
    if "/" in target:
        kind = "an absolute path" if target.startswith("/") else "another directory"
        raise ChainBroken(str(link), f"it leads to {kind}, {target}")
    if not os.path.lexists(base / target):
        raise ChainBroken(str(link), f"it leads to {target}, which does not exist")
    return target


def _version_of(base: Path, links: tuple[str, ...]) -> Version:
    link = base / links[-1]
    try:
        version = Version.parse(links[-1].removeprefix("v"))
    except ValueError:
        raise ChainBroken(str(link), "its name is not a version") from None
    if link_names(version) != links:
        found, expected = " -> ".join(links), " -> ".join(link_names(version))
        raise ChainBroken(str(base / CURRENT), f"found {found}, expected {expected}")
    return version


def _leads_to(link: Path, target: str) -> bool:
    return link.is_symlink() and str(link.readlink()) == target


def _is_version(name: str) -> bool:
    return name.startswith("v") and Version.is_valid(name.removeprefix("v"))


def _children(base: Path) -> list[Path]:
    try:
        return sorted(base.iterdir())
    except FileNotFoundError:
        return []
