"""Which release of which variant this host runs: os-release, and the machine's architecture.

`/etc/os-release`, else `/usr/lib/os-release`: assignments as a shell reads them, without
expansion (os-release(5)). `VARIANT_ID` and `VERSION_ID`, a SemVer version, are needed; a line that
makes no sense is an error only if it is one of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from updog.errors import ReleaseInvalid
from updog.rooted import resolve_inside
from updog.versions import parse_version

if TYPE_CHECKING:
    from updog.versions import Version

OS_RELEASE: Final = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
CLOCK_EPOCH: Final = Path("/usr/lib/clock-epoch")
"""As for systemd, its modification time is when the image was built."""

_ASSIGNMENT = re.compile(r"\s*([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)
# A word of a shell: quoted parts and bare characters, then at most a comment.
_WORD = re.compile(
    r"""'([^']*)' | "((?:[^"\\$`]|\\.)*)" | \\(.) | ([^\s'"\\`$;&|<>()]+)""", re.VERBOSE
)
_IN_DOUBLE_QUOTES = re.compile(r'\\(["\\$`])')
_AFTER_WORD = re.compile(r"\s*(\s#.*)?")

_ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Release:
    """What runs here.

    Attributes:
        variant: `VARIANT_ID`.
        version: `VERSION_ID`.
        arch: `x86_64`, `aarch64`, as manifests name it.
        build_time: When the image was built, as far as its files tell (aware, UTC): the
            modification time of /usr/lib/clock-epoch, else that of os-release.
    """

    variant: str
    version: Version
    arch: str
    build_time: datetime | None = None


def load_release(root: Path, machine: str) -> Release:
    """Read the release of the system under `root`.

    Args:
        root: `/`, or where another system lies.
        machine: As `uname -m` prints it.

    Raises:
        ReleaseInvalid: No os-release, or not what we need in it.
    """
    path, text = _read(root)
    fields = parse_os_release(text)
    variant, version = fields.get("VARIANT_ID"), fields.get("VERSION_ID")
    if not variant or not variant.isprintable():
        raise ReleaseInvalid(path, "VARIANT_ID", "missing, or not a name")
    if not version:
        raise ReleaseInvalid(path, "VERSION_ID", "missing, or not as a shell would read it")
    try:
        parsed = parse_version(version, leading_v=False)
    except ValueError as error:
        raise ReleaseInvalid(path, "VERSION_ID", str(error)) from error
    arch = _ARCHITECTURES.get(machine, machine)
    return Release(variant, parsed, arch, _build_time(root, path))


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments; the last one of a name counts, as in a shell.

    Comments, and lines that are no assignment of one word, are left out.
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            continue
        name, rest = match.groups()
        value = _unquoted(rest)
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return fields


def _unquoted(rest: str) -> str | None:
    """Return the word that a shell makes of `rest`; None if it is not one word."""
    word = ""
    place = 0
    while match := _WORD.match(rest, place):
        single, double, escaped, bare = match.groups()
        if double is not None:
            double = _IN_DOUBLE_QUOTES.sub(r"\1", double)
        word += next(part for part in (single, double, escaped, bare) if part is not None)
        place = match.end()
    return word if _AFTER_WORD.fullmatch(rest, place) else None


def _read(root: Path) -> tuple[Path, str]:
    for path in OS_RELEASE:
        place = resolve_inside(root, path)
        try:
            return place, place.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ReleaseInvalid(place, None, str(error)) from error
    raise ReleaseInvalid(root / "etc/os-release", None, "no such file")


def _build_time(root: Path, os_release: Path) -> datetime | None:
    for path in (resolve_inside(root, CLOCK_EPOCH), os_release):
        try:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError:
            continue
    return None
