"""Manifests as files: read, edited, and written in one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from partition.durable import write_file
from repo_tools.care.lint import manifest_problems
from repo_tools.errors import InputInvalid, ManifestEditRefused, ValidationFailed
from repo_tools.publish.manifest_edit import changes, target_names
from updog.errors import ManifestInvalid
from updog.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from partition.kernel import Kernel

Edit = Callable[[Manifest], Manifest]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InputInvalid: There is none, or it cannot be understood.
    """
    try:
        return Manifest.from_bytes(path.read_bytes())
    except FileNotFoundError as exc:
        raise InputInvalid(
            f"manifest {path}", "there is no such file", hint="`updata init` makes one"
        ) from exc
    except OSError as exc:
        raise InputInvalid(f"manifest {path}", exc.strerror or str(exc)) from exc
    except ManifestInvalid as exc:
        place = f"{exc.where}: " if exc.where else ""
        raise InputInvalid(f"manifest {path}", f"{place}{exc.why}") from exc


def create_manifest(path: Path, kernel: Kernel) -> None:
    """Write an empty manifest.

    Raises:
        ManifestEditRefused: There is one that is not empty; Bottlerocket's tool would empty it.
    """
    if path.exists() and read_manifest(path) != Manifest():
        raise ManifestEditRefused(f"make manifest {path}", "there is one, and it is not empty")
    _write(path, Manifest(), kernel)


def edit_manifest(path: Path, edit: Edit, kernel: Kernel) -> tuple[str, ...]:
    """Edit a manifest in its file; an error leaves the file as it was.

    Returns:
        What has changed, in words.
    """
    before = read_manifest(path)
    after = edit(before)
    _write(path, after, kernel)
    return changes(before, after)


def validate_manifest(path: Path) -> None:
    """Check all that can be checked of a manifest without its repository.

    Raises:
        ValidationFailed: It parses, and is not sound.
    """
    manifest = read_manifest(path)
    problems = list(dict.fromkeys(manifest_problems(manifest, target_names(manifest))))
    if problems:
        raise ValidationFailed(str(path), problems)


def _write(path: Path, manifest: Manifest, kernel: Kernel) -> None:
    write_file(path, manifest.to_bytes(), mode=0o644, private=False, kernel=kernel)
