"""Packing an author's Python file into one executable that runs from sealed memory.

The result is a zip archive behind a `#!` line (PEP 441): the author's file, what says which class
of it to run, and the standard-library-only part of this package. It runs under any Python of the
host's that is new enough, installed or not is this package; the migrator puts its own first.

The same input gives the same bytes. The author's code is read, not run.
"""

from __future__ import annotations

import ast
import io
import json
import zipfile
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from migrator import keys
from migrator.errors import KeyInvalid, MigrationInvalid

if TYPE_CHECKING:
    from pathlib import Path

_SHEBANG = b"#!/usr/bin/env python3\n"
_CARRIED = ("errors", "files", "keys", "library", "nested", "tree", "values")
_INIT = "from migrator.library import Migration, migrate\n"
_ABOUT = "migration.json"
_MODULE = "author_migration"
_MAIN = f"""\
import sys
from migrator import migrate
from {_MODULE} import {{name}}
sys.exit(migrate({{name}}()))
"""
# The oldest date that a zip archive can hold: when something was packed is nobody's business.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


@dataclass(frozen=True, slots=True)
class About:
    """What an author's file says about its migration.

    Attributes:
        name: Of the class.
        description: The first line of its docstring.
        lossy: Settings that a round trip may change.
    """

    name: str
    description: str
    lossy: tuple[str, ...]


def pack(path: Path) -> bytes:
    """Return the executable for the migration in a Python file.

    Raises:
        MigrationInvalid: It cannot be read, or is not a migration.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise MigrationInvalid(path.name, f"cannot read it: {error.strerror}") from error
    return pack_source(path.name, source)


def pack_source(file_name: str, source: bytes) -> bytes:
    """As `pack`, for what a file named `file_name` holds."""
    about = describe(file_name, source)
    members: dict[str, str | bytes] = {
        "__main__.py": _MAIN.format(name=about.name),
        _ABOUT: json.dumps(
            {"name": about.name, "description": about.description, "lossy": about.lossy}
        ),
        "migrator/__init__.py": _INIT,
        f"{_MODULE}.py": source,
    }
    for module in _CARRIED:
        text = resources.files("migrator").joinpath(f"{module}.py").read_text()
        members[f"migrator/{module}.py"] = text
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(members.items()):
            member = zipfile.ZipInfo(name, _DATE)
            member.external_attr = _MODE
            member.create_system = 3  # Unix, wherever this runs
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return buffer.getvalue()


def describe(file_name: str, source: bytes) -> About:
    """Read what an author's file says about its migration, without running it.

    Raises:
        MigrationInvalid: Not Python; or not exactly one class that derives from Migration and has
            both methods; or `lossy` is not a literal tuple of settings.
    """
    try:
        module = ast.parse(source, file_name)
    except (SyntaxError, ValueError) as error:
        raise MigrationInvalid(file_name, f"it is not Python: {error}") from None
    found = [node for node in module.body if isinstance(node, ast.ClassDef) and _derives(node)]
    if len(found) != 1:
        reason = f"it has {len(found)} classes that derive from Migration, expected one"
        raise MigrationInvalid(file_name, reason)
    (node,) = found
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    for method in ("forward", "backward"):
        if method not in methods:
            raise MigrationInvalid(file_name, f"class {node.name} has no method {method}")
    description = (ast.get_docstring(node) or "").partition("\n")[0]
    return About(node.name, description, _lossy(file_name, node))


def about_packed(program: bytes) -> About | None:
    """Return what a packed migration says about itself; None for any other program."""
    if not program.startswith(_SHEBANG):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(program)) as archive:
            about = json.loads(archive.read(_ABOUT))
        return About(about["name"], about["description"], tuple(about["lossy"]))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return None


def _derives(node: ast.ClassDef) -> bool:
    names = [base.attr if isinstance(base, ast.Attribute) else base for base in node.bases]
    return any(name == "Migration" or getattr(name, "id", "") == "Migration" for name in names)


def _lossy(file_name: str, node: ast.ClassDef) -> tuple[str, ...]:
    for each in node.body:
        targets = each.targets if isinstance(each, ast.Assign) else []
        if isinstance(each, ast.AnnAssign):
            targets = [each.target]
        if any(isinstance(target, ast.Name) and target.id == "lossy" for target in targets):
            value = each.value if isinstance(each, ast.Assign | ast.AnnAssign) else None
            try:
                return tuple(
                    keys.canonical(name) for name in ast.literal_eval(value or ast.Tuple([]))
                )
            except (ValueError, TypeError, KeyInvalid) as error:
                reason = f"'lossy' must be a literal tuple of names of settings: {error}"
                raise MigrationInvalid(file_name, reason) from None
    return ()
