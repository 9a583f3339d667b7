"""Versions of an operating system: SemVer, parsed once at the edge, never compared as strings.

Order is SemVer's precedence (https://semver.org, clause 11), which leaves build metadata out:
`1.2.3+a` and `1.2.3+b` are equal. Where "exactly this version" is asked for, `is_exactly` looks
at the build too. A `Version` must not be a key of a mapping unless it went through `precedence`:
the library's hash looks at what its equality does not.
"""

from __future__ import annotations

from typing import Final

from semver import Version

__all__ = ["Version", "is_exactly", "parse_version", "precedence"]

# Numbers of a version are 64 bits in Bottlerocket's tools; no text that fits them is longer.
_MAX_NUMBER: Final = (1 << 64) - 1
_MAX_LENGTH: Final = 256


def parse_version(text: str, *, leading_v: bool = True) -> Version:
    """Parse `X.Y.Z`, with pre-release and build as SemVer has them.

    Args:
        text: Nothing around it, not even white space.
        leading_v: Accept `vX.Y.Z` too, as people write and configurations hold it.

    Raises:
        ValueError: Not such a version; the text is in the message.
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a version of {len(text)} characters, at most {_MAX_LENGTH} are allowed")
    bare = text[1:] if leading_v and text.startswith("v") else text
    try:
        version = Version.parse(bare)
    except ValueError:
        raise ValueError(f"{text!r} is not a version such as 1.2.3 (see semver.org)") from None
    if max(version.major, version.minor, version.patch) > _MAX_NUMBER:
        raise ValueError(f"{text!r} is not a version: a number is greater than {_MAX_NUMBER}")
    return version


def precedence(version: Version) -> Version:
    """Return the version without its build: equal, and hashed equally, for equal precedence."""
    return version.replace(build=None) if version.build else version


def is_exactly(offered: Version, wanted: Version) -> bool:
    """Whether `offered` is what somebody means who names `wanted`.

    The same precedence; and the same build, if `wanted` names one.
    """
    return offered == wanted and wanted.build in {None, offered.build}
