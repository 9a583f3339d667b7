"""The files that the update left for this boot, each trusted only after its digest was checked.

The metadata was verified when the update was fetched, and is verified again here, from the root
that the *booted* image ships: whoever could write to the data partition in between could not sign.
Expiry is not enforced; the host may have been off for weeks. What is not in the signed metadata,
or not there, or not what was signed, is an error before anything is run.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from migrator import data_migration
from migrator.carry import Program
from migrator.decompression import Decompressor
from migrator.errors import CacheIncomplete, MigrationInvalid
from updog.manifest import MANIFEST_NAME, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from migrator.carry import Body
    from migrator.plan import Route
    from updog.targets import Target

_COMPRESSED = ".lz4"
_DATA = ".toml"


class Repository(Protocol):
    """What verified metadata says; `updog.offline.OfflineRepository` is one."""

    def target(self, name: str) -> Target:
        """Return a target; raises an error of updog's if there is none."""

    def check_bytes(self, name: str, data: bytes) -> None:
        """Check length and digests; raises an error of updog's."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The cached repository.

    Attributes:
        repository: The verified metadata.
        directory: Holds targets as `<sha256>.<name>`.
    """

    repository: Repository
    directory: Path
    decompressor: Decompressor = field(default_factory=Decompressor, repr=False, compare=False)

    def read(self, name: str) -> bytes:
        """Return a target's verified bytes.

        Raises:
            CacheIncomplete: Its file is not there or cannot be read.
            UpdogError: It is not in the signed metadata, or not what was signed.
        """
        target = self.repository.target(name)
        path = self.directory / target.file_name()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                # One byte more than it may have, so that a longer file is noticed.
                data = file.read(target.length_bytes + 1)
        except FileNotFoundError:
            raise CacheIncomplete(name, f"there is no file {path}") from None
        except OSError as error:
            raise CacheIncomplete(name, f"{path}: {os.strerror(error.errno or 0)}") from error
        self.repository.check_bytes(name, data)
        return data

    def manifest(self) -> Manifest:
        """Return the manifest; raises as `read`, or ManifestInvalid."""
        return Manifest.from_bytes(self.read(MANIFEST_NAME))

    def bodies(self, route: Route) -> Mapping[str, Body]:
        """Return every migration of a route; all are verified now, and data is parsed.

        Raises:
            MigrationInvalid: Not LZ4, or data that cannot be understood.
            CacheIncomplete, UpdogError: As `read`.
        """
        names = tuple(dict.fromkeys(route.names))
        # All are read before any is parsed, which is a third faster than in turns.
        documents = {name: self._content(name) for name in names if _is_data(name)}
        return {
            name: data_migration.parse(name, documents[name])
            if name in documents
            else self._program(name)
            for name in names
        }

    def _program(self, name: str) -> Program:
        if not name.endswith(_COMPRESSED):
            raise MigrationInvalid(name, f"its name does not end in {_COMPRESSED}")
        # Programs may be large and many: each is checked now, so that a missing one is found
        # before anything runs, and read and checked again when its turn comes.
        self._content(name)
        return Program(name, functools.partial(self._content, name))

    def _content(self, name: str) -> bytes:
        return self.decompressor.decompress(name, self.read(name))


def _is_data(name: str) -> bool:
    return name.endswith(f"{_DATA}{_COMPRESSED}")


def open_cache(root: Path, metadata: Path, directory: Path) -> Cache:
    """Verify the cached metadata and return the cache.

    Args:
        root: The TUF root that the booted image ships.
        metadata: Directory of the metadata that the update left.
        directory: Directory of the migrations and the manifest.

    Raises:
        CacheIncomplete: The root cannot be read.
        UpdogError: The metadata is incomplete, or not signed by what the root trusts.
    """
    # The only part that needs the TUF library.
    from updog.offline import load_offline  # noqa: PLC0415

    try:
        trusted = root.read_bytes()
    except OSError as error:
        reason = f"{root}: {os.strerror(error.errno or 0)}"
        raise CacheIncomplete("trusted root", reason) from error
    return Cache(load_offline(trusted, metadata), directory)
