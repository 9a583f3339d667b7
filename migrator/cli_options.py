"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from updog.versions import parse_version

if TYPE_CHECKING:
    from semver import Version

DEFAULT_DATASTORE = Path("/var/lib/bottlerocket/datastore/current")

DATASTORE_OPTION = click.option(
    "--datastore",
    "--datastore-path",
    "datastore",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATASTORE,
    show_default=True,
    help="The link 'current', the directory it lies in, or one copy.",
)


def version(text: str) -> Version:
    """Parse `X.Y.Z` or `vX.Y.Z`; the type of options."""
    try:
        return parse_version(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is, and where to go, as the command line says it."""

    datastore_path: Path | None
    migration_directory: Path | None
    root_path: Path | None
    metadata_directory: Path | None
    migrate_to_version: Version | None
    migrate_to_version_from_os_release: bool
    root: Path
    timeout_seconds: float

    @property
    def is_given(self) -> bool:
        """Whether any of this was on the command line; what has a default aside."""
        return self.migrate_to_version_from_os_release or any(
            option is not None
            for option in (
                self.datastore_path,
                self.migration_directory,
                self.root_path,
                self.metadata_directory,
                self.migrate_to_version,
            )
        )

    def needed(self, *names: str) -> tuple[Path, ...]:
        """Return options that must have been given."""
        found = []
        for name in names:
            path = getattr(self, name)
            if path is None:
                raise click.UsageError(f"Missing option '--{name.replace('_', '-')}'.")
            found.append(path)
        return tuple(found)


def wanted_version(place: Place) -> Version:
    """Return the version to go to; exactly one of the two options says it."""
    given = place.migrate_to_version
    if (given is None) is not place.migrate_to_version_from_os_release:
        raise click.UsageError(
            "Give either '--migrate-to-version' or '--migrate-to-version-from-os-release'."
        )
    return given or release_version(place.root)


def release_version(root: Path) -> Version:
    """Return the version of the system under `root`."""
    import platform  # noqa: PLC0415  only here

    from updog.release import load_release  # noqa: PLC0415

    return load_release(root, platform.machine()).version
