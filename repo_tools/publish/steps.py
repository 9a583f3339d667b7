"""Migration steps that come with an update: from options, or from a Release.toml.

    [migrations]
    "(1.0.0, 1.1.0)" = ["migrate_v1.1.0_add-mirror.lz4"]
    "(1.1.0, 1.2.0)" = []

A name ends in `.lz4`, as it does in the manifest; other tables and keys of a Release.toml are its
own affair.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repo_tools.build import migration_name
from repo_tools.errors import InputInvalid
from updog.errors import ManifestInvalid
from updog.manifest import Manifest
from updog.versions import Version

if TYPE_CHECKING:
    from pathlib import Path

Steps = Mapping[tuple[Version, Version], tuple[str, ...]]


def new_steps(
    version: Version, start: Version | None, migrations: Sequence[Path], release: Path | None
) -> Steps:
    """The steps that an update brings.

    Args:
        version: The update's.
        start: Where a step to it starts; `None` for none.
        migrations: What that step runs, in order.
        release: A Release.toml with further steps.

    Raises:
        InputInvalid: Migrations without a start, or a Release.toml that is none.
    """
    steps: dict[tuple[Version, Version], tuple[str, ...]] = {}
    if release is not None:
        steps.update(load_release(release))
    if start is not None:
        steps[start, version] = tuple(migration_name(path) for path in migrations)
    elif migrations and release is None:
        raise InputInvalid(
            "the migrations", "it is not said from which version they start (--migrate-from)"
        )
    return steps


def load_release(path: Path) -> Steps:
    """Read the migrations of a Release.toml.

    Raises:
        InputInvalid: Not TOML, without migrations, or with a step that is none.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        migrations = document["migrations"]
        return Manifest.from_json({"updates": [], "migrations": migrations}).migrations
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InputInvalid(f"release {path}", f"{exc}") from exc
    except KeyError as exc:
        raise InputInvalid(f"release {path}", "it has no [migrations]") from exc
    except ManifestInvalid as exc:
        raise InputInvalid(f"release {path}", f"{exc.where}: {exc.why}") from exc
