"""Paths under another root directory, symbolic links included.

With `--root DIR` an absolute link inside DIR means a file inside DIR, as it would after the system
there was booted. Python's own functions would follow it to this host's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# As the kernel's limit (path_resolution(7)).
_MAX_LINKS: Final = 40


def resolve_inside(root: Path, path: Path) -> Path:
    """Return where the absolute `path` leads, seen from inside `root`; it need not exist.

    `..` never leaves the root. After more than 40 links the place reached is returned as it is,
    and opening it fails as it should.
    """
    place = root
    ahead = [part for part in reversed(path.parts) if part != "/"]
    links = 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            place = place.parent if place != root else root
            continue
        step = place / part
        if links < _MAX_LINKS and step.is_symlink():
            links += 1
            target = step.readlink()
            if target.is_absolute():
                place = root
            ahead.extend(part for part in reversed(target.parts) if part != "/")
        else:
            place = step
    return place
