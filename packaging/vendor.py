"""Copy the host's runtime dependencies from this virtual environment: `vendor.py DESTINATION`.

Debian has several of them only in versions that are too old, so a host gets ours, in a virtual
environment. What is copied is what the project's `dependencies` need, transitively and without
extras, exactly as `make setup` installed and checked it against requirements.lock.
"""

# ruff: noqa: INP001  a script, not a package

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

PROJECT = "updog"


def name_of(requirement: str) -> str | None:
    """The distribution that a requirement names; None for one that only an extra needs."""
    if re.search(r";.*\bextra\b", requirement):
        return None
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return None if found is None else found[0]


def closure(project: str) -> dict[str, Distribution]:
    """All distributions that the project needs at run time, by normalised name."""
    found: dict[str, Distribution] = {}
    wanted = list(distribution(project).requires or ())
    while wanted:
        name = name_of(wanted.pop())
        key = re.sub(r"[-_.]+", "-", name or "").lower()
        if name is None or key in found:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            # For another system or Python: the lock has it not, so nothing here needs it.
            continue
        wanted += found[key].requires or ()
    return found


def copy(package: Distribution, destination: Path) -> None:
    """Copy what a distribution installed, but its console scripts and compiled files."""
    for file in package.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = destination / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)


def copy_own_metadata(destination: Path) -> None:
    """The project's own name and version, for `--version`; its modules are installed by make."""
    own = distribution(PROJECT)
    target = destination / f"{PROJECT}-{own.version}.dist-info" / "METADATA"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(own.read_text("METADATA") or "")


def main() -> None:
    """Copy everything and say what it was."""
    destination = Path(sys.argv[1])
    packages = closure(PROJECT)
    if not packages:
        sys.exit(f"{PROJECT} is not installed in {sys.prefix}: run `make setup` first")
    copy_own_metadata(destination)
    for name, package in sorted(packages.items()):
        copy(package, destination)
        sys.stdout.write(f"{name} {package.version}\n")


main()
