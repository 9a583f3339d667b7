"""What this host trusts of a repository, kept between runs, so that nothing can be rolled back.

Below one directory:

    root.json  timestamp.json  snapshot.json  targets.json    the latest that were verified
    root_history/N.root.json                                  the way from the shipped root to it

These are the very bytes that were verified. Every file is replaced on its own, flushed, roots
first: whatever a power cut leaves in between is some roles from before and some from after, each
of them verified, and the next refresh goes on from there.

Beside it, one file says how the last complete refresh went (`Record`): it keeps the last trusted
time, and lets the next check be short.
"""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from partition import durable
from partition.errors import StateFileCorrupt, StateFileUnsafe, reason
from partition.kernel import KERNEL, Kernel
from updog.errors import RepositoryInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from updog.environment import Paths

ROOT_HISTORY: Final = "root_history"
_ORDER: Final = ("root.json", "timestamp.json", "snapshot.json", "targets.json")
# More than any limit on a role's length; this only keeps a stray file from filling the memory.
_MAX_FILE_BYTES: Final = 64 << 20
_LOCK_WAIT_SECONDS: Final = 60.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How the last complete refresh went. Times are aware, UTC.

    Attributes:
        last_trusted: The latest time at which all metadata held.
        refreshed: When all requests of the workflow were last made.
        repository: Which one, without credentials.
        shipped_root_sha256: The image's root that it started from.
        expires: When the first of the roles does.
        validator: What names the timestamp file on the server.
        digests: SHA-256 of each metadata file that was verified.
        targets: SHA-256 of the small targets kept from then, by name.
    """

    last_trusted: datetime
    refreshed: datetime
    repository: str
    shipped_root_sha256: str
    expires: datetime
    validator: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return what `from_json` reads."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, value: Any) -> Record:  # noqa: ANN401  what JSON gave
        """Read a record.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: It is not one.
        """
        validator = value["validator"]
        if not (validator is None or isinstance(validator, str)):
            raise TypeError("validator is not a string")
        return cls(
            last_trusted=_time(value["last_trusted"]),
            refreshed=_time(value["refreshed"]),
            repository=str(value["repository"]),
            shipped_root_sha256=str(value["shipped_root_sha256"]),
            expires=_time(value["expires"]),
            validator=validator,
            digests={str(key): str(digest) for key, digest in value["digests"].items()},
            targets={str(key): str(digest) for key, digest in value["targets"].items()},
        )


class TrustStore:
    """The directory and the record.

    Args:
        directory: Of the metadata files; made when first needed.
        record: The record's file.
        private: Refuse a state that others could have written.
        kernel: The door to the disk.
    """

    def __init__(
        self, directory: Path, record: Path, *, private: bool = True, kernel: Kernel = KERNEL
    ) -> None:
        self.directory = directory
        self._record = record
        self._private = private
        self._kernel = kernel

    @classmethod
    def of(cls, paths: Paths, kernel: Kernel = KERNEL) -> TrustStore:
        """Return where a host keeps what it trusts."""
        return cls(paths.state / "metadata", paths.state / "trust.json", kernel=kernel)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out; waits for a while, since a refresh is short.

        Raises:
            LockHeld: Somebody refreshes, and does not come to an end.
        """
        parent = self._record.parent
        durable.make_directory(parent, private=self._private, kernel=self._kernel)
        lock = self._record.with_suffix(".lock")
        with durable.exclusive_lock(lock, wait_seconds=_LOCK_WAIT_SECONDS, kernel=self._kernel):
            yield

    def read(self) -> dict[str, bytes]:
        """Return all files by their names relative to the directory; none if it is not there.

        Raises:
            StateFileUnsafe: Somebody else could have written one of them.
        """
        files: dict[str, bytes] = {}
        for prefix in ("", f"{ROOT_HISTORY}/"):
            directory = self.directory / prefix
            if directory.is_symlink():
                raise StateFileUnsafe(directory, "it is a symbolic link")
            if not directory.is_dir():
                continue
            for path in sorted(directory.glob("*.json")):
                data = durable.read_file(path, max_bytes=_MAX_FILE_BYTES, private=self._private)
                if data is not None:
                    files[prefix + path.name] = data
        return files

    def write(self, files: Mapping[str, bytes]) -> None:
        """Store what differs from what is there, roots first.

        Raises:
            WriteFailed: No space, no permission. What is there is older, and still verified.
        """
        known = self.read()
        self._make(self.directory)
        for name in sorted(files, key=_rank):
            if files[name] != known.get(name):
                path = self.directory / name
                self._make(path.parent)
                durable.write_file(path, files[name], private=self._private, kernel=self._kernel)
        for directory in (self.directory, self.directory / ROOT_HISTORY):
            # What did not differ may be the work of a run that was killed before it could flush.
            if directory.is_dir():
                durable.sync_directory(directory, kernel=self._kernel)

    def read_record(self) -> Record | None:
        """Return the record, or None if there is none or it makes no sense, which is reported.

        Raises:
            StateFileUnsafe: Somebody else could have written it.
        """
        try:
            data = durable.read_file(self._record, private=self._private)
            return None if data is None else Record.from_json(json.loads(data))
        except (
            StateFileCorrupt, ValueError, TypeError, KeyError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            _LOG.warning(
                "%s makes no sense (%s): the last trusted time is lost, the next check is a full "
                "one", self._record, error,
            )  # fmt: skip
            return None

    def write_record(self, record: Record) -> None:
        """Replace the record.

        Raises:
            WriteFailed: No space, no permission; the old one stays.
        """
        text = json.dumps(record.to_json(), indent=1, sort_keys=True)
        durable.write_file(
            self._record, f"{text}\n".encode(), private=self._private, kernel=self._kernel
        )

    def read_target(self, name: str) -> bytes | None:
        """Return a small target kept from the last complete refresh; its digest is not checked."""
        return durable.read_file(
            self._target_path(name), max_bytes=_MAX_FILE_BYTES, private=self._private
        )

    def write_target(self, name: str, data: bytes) -> None:
        """Keep a small target.

        Raises:
            WriteFailed: No space, no permission.
        """
        path = self._target_path(name)
        self._make(path.parent)
        durable.write_file(path, data, private=self._private, kernel=self._kernel)

    def _target_path(self, name: str) -> Path:
        return self._record.parent / "kept" / name

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            durable.make_directory(directory, private=self._private, kernel=self._kernel)


def read_shipped_root(path: Path) -> bytes:
    """Return the root metadata that the image ships.

    Raises:
        RepositoryInvalid: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise RepositoryInvalid(str(path), "shipped root", reason(error)) from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _rank(name: str) -> tuple[int, str]:
    if name.startswith(f"{ROOT_HISTORY}/"):
        return 0, name
    return (1 + _ORDER.index(name) if name in _ORDER else 1 + len(_ORDER)), name
