"""What verified metadata says of one target, and which of its names are safe to use where.

A target's name comes from signed metadata, but from a human's keyboard before that. It is used in
URLs, as a file name on this host, and in messages. Each use has its own rule; nothing here opens
a file.

- In a URL (`url_path`) the digest goes in front of the last segment, as consistent snapshots ask
  (TUF specification 6.2). What a path cannot carry is percent-encoded; encoding that is already
  there stays.
- As a file (`file_name`) it is one flat name, `<sha256>.<name>`. A name that could leave its
  directory or cannot be printed is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from updog.errors import UnsafeTargetName

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 3986 section 3.3: what a path may hold as it is. "%" is handled apart.
_PATH_SAFE = "/!$&'()*+,;=:@-._~"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A file name on every Linux file system, in bytes; the digest and its dot take 65 or 129 of them.
_FILE_NAME_MAX_BYTES = 255


@dataclass(frozen=True, slots=True)
class Target:
    """One target as the trusted targets metadata lists it.

    Attributes:
        name: As in the metadata, and as the manifest refers to it.
        length_bytes: Exact length of the file as served.
        hashes: Algorithm (`sha256`, `sha512`, …) to lower-case hex digest; at least one.
        prefixed: Whether the repository serves it under its digest (consistent snapshots).
    """

    name: str
    length_bytes: int
    hashes: Mapping[str, str] = field(hash=False)
    prefixed: bool = True

    def __post_init__(self) -> None:
        """Refuse what no metadata parser should have let through."""
        if not self.hashes or self.length_bytes < 0:
            raise ValueError(f"target {self.name!r} needs a length and at least one digest")
        object.__setattr__(self, "hashes", MappingProxyType(dict(self.hashes)))

    @property
    def digest(self) -> str:
        """The digest that names the file: SHA-256 where listed, else the first listed."""
        return self.hashes.get("sha256") or next(iter(self.hashes.values()))

    def file_name(self) -> str:
        """Return the flat name of the target's file on this host, `<sha256>.<name>`.

        Raises:
            UnsafeTargetName: The name could not be one plain file in one directory.
        """
        problem = name_problem(self.name)
        if problem is None and "/" in self.name:
            problem = "it names a directory"
        if problem is not None:
            raise UnsafeTargetName(self.name, problem)
        file_name = f"{self.digest}.{self.name}"
        if len(file_name.encode()) > _FILE_NAME_MAX_BYTES:
            raise UnsafeTargetName(self.name, f"longer than {_FILE_NAME_MAX_BYTES} bytes")
        return file_name

    def relative_path(self) -> str:
        """Return the path below the targets' base as published: the digest before the last segment.

        Raises:
            UnsafeTargetName: The path would climb out of the base, or cannot be printed.
        """
        problem = name_problem(self.name)
        if problem is not None:
            raise UnsafeTargetName(self.name, problem)
        directory, slash, last = self.name.rpartition("/")
        return f"{directory}{slash}{self.digest}.{last}" if self.prefixed else self.name

    def url_path(self) -> str:
        """Return `relative_path` ready to be appended to a base URL."""
        return quote(_STRAY_PERCENT.sub("%25", self.relative_path()), safe=_PATH_SAFE + "%")


def name_problem(name: str) -> str | None:
    """Say why `name` must not become part of a path, or None.

    Slashes are allowed: TUF names may be paths. Empty, `.` and `..` segments are not, nor a
    leading slash. Percent-encoding is looked through, for a server would.
    """
    if not name:
        return "it is empty"
    if not name.isprintable() or "\\" in name:
        return "it holds characters that a file name should not"
    decoded = re.sub("%2[eE]", ".", re.sub("%(2[fF]|5[cC])", "/", name))
    if {"", ".", ".."} & set(decoded.split("/")):
        return "it steps outside its directory"
    return None
