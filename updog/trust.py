"""What a repository says, once signatures, versions, lengths, digests and expiry hold.

The client workflow is python-tuf's (TUF specification 5). This module gives it our transport, our
clock reading and our store, and turns its errors into ours; it alone meets the library.

- The library works on a private copy of the durable state, since it renames files into place
  without flushing them. Whatever it verified is then stored, also when a later role failed: an
  attacker who breaks the end of a refresh must not undo what its beginning has seen.
- The trust starts at the root that the image ships, each time; the chain of newer roots is kept.
- Only "404 Not Found" for root N+1 says that N is the newest. "Forbidden", "gone" or a broken
  connection are errors: whoever can cause them could hide a revoked key (the library alone would
  take a 403 for the end).
- Expiry is judged by one time for the whole run, see `updog.clock`.

Targets are found through delegations too, as the specification has it; what is handed on to the
migrator (`metadata_files`) holds the top-level roles, which is where our repositories list theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tuf.api.exceptions import (
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from partition.errors import WriteFailed, reason
from updog.clock import show, trusted_time
from updog.digests import known_digests
from updog.errors import DownloadFailed, MetadataExpired, NoSuchTarget, NotFound, RepositoryInvalid
from updog.targets import Target
from updog.trust_store import ROOT_HISTORY, Record, TrustStore, read_shipped_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from updog.environment import Environment
    from updog.transport import Transport

# At least what tough, Bottlerocket's client, allows (its `Limits`). Ten thousand targets with two
# digests each take 3.5 MB; a length that signed metadata lists counts instead of these.
LIMITS: Final = UpdaterConfig(
    max_root_rotations=1024,
    max_delegations=32,
    root_max_length=1 << 20,
    timestamp_max_length=1 << 20,
    snapshot_max_length=4 << 20,
    targets_max_length=32 << 20,
)
_TOP_LEVEL: Final = ("root", "timestamp", "snapshot", "targets")
# Never on the wire: what the library puts before a file's name.
_BASE: Final = "metadata:/"
_LOG = logging.getLogger(__name__)
# The library tells of each key that did not sign, which thresholds make a normal thing.
logging.getLogger("tuf").setLevel(logging.WARNING)


def refresh(env: Environment, transport: Transport) -> TrustedRepository:
    """Bring this host's knowledge of its repository up to date.

    Stores what was verified below `env.paths.state`, even when it raises.

    Raises:
        RepositoryInvalid: Some role does not hold; `MetadataExpired` if it is too old.
        ClockNotSet: See `updog.clock`.
        DownloadFailed: The repository cannot be reached, or lacks a file.
        PartitionError: The state cannot be read or written, or another run holds it.
    """
    allowed = env.config.clock_floor == "build-time"
    return refresh_store(
        TrustStore.of(env.paths, env.kernel),
        read_shipped_root(env.paths.trusted_root),
        transport,
        env.now,
        build_time=env.release.build_time if allowed else None,
    )


def refresh_store(
    store: TrustStore,
    shipped: bytes,
    transport: Transport,
    clock: datetime,
    *,
    build_time: datetime | None = None,
    config: UpdaterConfig = LIMITS,
) -> TrustedRepository:
    """`refresh`, for any store.

    Args:
        store: Read before, written after.
        shipped: Root metadata to start from.
        transport: To the repository.
        clock: This run's reading (aware).
        build_time: See `updog.clock.trusted_time`.
        config: Limits; and whether targets are served under their digests.
    """
    with store.locked():
        record = store.read_record()
        time = trusted_time(
            clock, last_trusted=record.last_trusted if record else None, build_time=build_time
        )
        if time.note:
            _LOG.warning("%s", time.note)
        repository = TrustedRepository(store, shipped, transport, time.now, config)
        repository.refresh()
    return repository


class TrustedRepository:
    """A repository all of whose top-level metadata holds at `now`.

    Made by `refresh`; use it for one run. Looking up a target may fetch delegated metadata.

    Attributes:
        now: The time that everything was judged by.
        label: The repository, for messages.
    """

    def __init__(
        self,
        store: TrustStore,
        shipped: bytes,
        transport: Transport,
        now: datetime,
        config: UpdaterConfig,
    ) -> None:
        self.now = now
        self.label = transport.label
        self._store = store
        self._shipped = shipped
        self._transport = transport
        self._config = config
        self._fetcher = _Fetcher(transport)
        self._workspace = Path(tempfile.mkdtemp(prefix="updog-metadata-"))
        weakref.finalize(self, shutil.rmtree, self._workspace, ignore_errors=True)
        self._updater = self._start()

    def refresh(self) -> None:
        """Run the whole workflow once, and store what came of it."""
        with self._errors():
            try:
                self._updater.refresh()
            finally:
                self._store.write(self._files())
        self._store.write_record(self._record())

    def target(self, name: str) -> Target:
        """Return what the repository says of a target.

        Raises:
            NoSuchTarget: Nothing.
            RepositoryInvalid: A delegated role does not hold, or lists no digest known here.
        """
        known = len(self._fetcher.received)
        with self._errors():
            try:
                info = self._updater.get_targetinfo(name)
            finally:
                if len(self._fetcher.received) > known:
                    with self._store.locked():
                        self._store.write(self._files())
        if info is None:
            raise NoSuchTarget(self.label, name)
        if not known_digests(info.hashes):
            told = f"no digest known here for {name!r} ({', '.join(info.hashes)})"
            raise RepositoryInvalid(self.label, "targets", told)
        prefixed = self._signed("root").get("consistent_snapshot") is True
        return Target(name, info.length, info.hashes, prefixed)

    def read_target(self, name: str, max_bytes: int) -> bytes:
        """Download a small target and return its verified bytes.

        Raises:
            DownloadFailed: Unreachable, or listed as longer than `max_bytes`.
            RepositoryInvalid: The bytes are not those that the metadata lists.
            NoSuchTarget: See `target`.
        """
        target = self.target(name)
        if target.length_bytes > max_bytes:
            told = f"listed with {target.length_bytes} bytes, at most {max_bytes} are allowed here"
            raise DownloadFailed(name, told)
        data = bytearray(target.length_bytes)
        with contextlib.closing(self._transport.open_target(target)) as source:
            position = 0
            while received := source.readinto(memoryview(data)[position:]):
                position += received
        for algorithm, expected in known_digests(target.hashes).items():
            if hashlib.new(algorithm, data).hexdigest() != expected:
                raise RepositoryInvalid(
                    self.label, "targets", f"{name!r} as served does not match its {algorithm}"
                )
        return bytes(data)

    def keep(self, name: str, data: bytes) -> None:
        """Keep a verified small target, so that the next check can do without asking for it.

        Raises:
            WriteFailed: No space, no permission.
        """
        with self._store.locked():
            self._store.write_target(name, data)
            self._store.write_record(self._record({name: hashlib.sha256(data).hexdigest()}))

    def metadata_files(self) -> Mapping[str, bytes]:
        """Return the very bytes that were verified, by the names that a repository serves them as.

        `N.root.json` for every version that can be had, `timestamp.json`, `N.snapshot.json` and
        `N.targets.json`. Roots older than the shipped one are fetched and verified backwards: the
        image that the host goes to may ship an older root than the one that runs.

        Raises:
            DownloadFailed: An older root cannot be fetched, for another reason than its absence.
        """
        self._complete_root_chain()
        files = self._files()
        named = {
            name.removeprefix(f"{ROOT_HISTORY}/"): data
            for name, data in files.items()
            if name.startswith(f"{ROOT_HISTORY}/")
        }
        named["timestamp.json"] = files["timestamp.json"]
        for role in ("snapshot", "targets"):
            named[f"{self._signed(role)['version']}.{role}.json"] = files[f"{role}.json"]
        return named

    def _start(self) -> Updater:
        known = self._store.read()
        _report_damage(self._store, known)
        try:
            (self._workspace / ROOT_HISTORY).mkdir()
            for name, data in known.items():
                if name != "root.json":
                    (self._workspace / name).write_bytes(data)
            updater = Updater(
                str(self._workspace),
                _BASE,
                fetcher=self._fetcher,
                config=self._config,
                bootstrap=self._shipped,
            )
        except OSError as error:
            raise WriteFailed(self._workspace, reason(error)) from error
        except RepositoryError as error:
            raise RepositoryInvalid(self.label, "shipped root", str(error)) from error
        # The library reads the clock for itself and has no parameter for it; this is where it
        # keeps the time that every role is compared with.
        updater._trusted_set.reference_time = self.now  # noqa: SLF001
        return updater

    def _files(self) -> dict[str, bytes]:
        """Return what the library has verified by now; names as in `TrustStore`."""
        paths = [*self._workspace.glob("*.json"), *self._workspace.glob(f"{ROOT_HISTORY}/*.json")]
        return {
            str(path.relative_to(self._workspace)): path.read_bytes()
            for path in paths
            if path.exists()
        }

    def _signed(self, role: str) -> dict[str, Any]:
        signed: dict[str, Any] = json.loads((self._workspace / f"{role}.json").read_bytes())[
            "signed"
        ]
        return signed

    def _record(self, targets: Mapping[str, str] | None = None) -> Record:
        files = self._files()
        top = {f"{role}.json" for role in _TOP_LEVEL}
        return Record(
            last_trusted=self.now,
            refreshed=self.now,
            repository=self.label,
            shipped_root_sha256=hashlib.sha256(self._shipped).hexdigest(),
            expires=min(_expires(files[name]) for name in top),
            validator=self._fetcher.validators.get("timestamp.json"),
            digests={name: hashlib.sha256(files[name]).hexdigest() for name in sorted(top)},
            targets=dict(targets or {}),
        )

    def _complete_root_chain(self) -> None:
        history = self._workspace / ROOT_HISTORY
        versions = sorted(int(path.name.split(".")[0]) for path in history.glob("*.root.json"))
        newer = Metadata[Root].from_bytes((history / f"{versions[0]}.root.json").read_bytes())
        for version in range(versions[0] - 1, 0, -1):
            name = f"{version}.root.json"
            try:
                data = self._fetcher.download_bytes(_BASE + name, self._config.root_max_length)
                older = Metadata[Root].from_bytes(data)
                _refuse_unless_before(older, newer)
            except DownloadHTTPError:
                return
            except RepositoryError as error:
                _LOG.warning("%s: root %d is not what came before: %s", self.label, version, error)
                return
            (history / name).write_bytes(data)
            newer = older

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DownloadHTTPError as error:
            # Wraps ours; only for a root does the library see an end in it.
            raise error.__cause__ or error from None
        except ExpiredMetadataError as error:
            self._raise_expired(error)
        except LengthOrHashMismatchError as error:
            told = f"it is not the file that signed metadata lists: {error}"
            raise RepositoryInvalid(self.label, self._fetcher.role, told) from error
        except RepositoryError as error:
            raise RepositoryInvalid(self.label, self._fetcher.role, str(error)) from error
        except OSError as error:
            raise WriteFailed(self._workspace, reason(error)) from error

    def _raise_expired(self, error: ExpiredMetadataError) -> NoReturn:
        """Say which role it is, and until when it was valid; the library says neither for sure."""
        latest = {name.removesuffix(".json"): data for name, data in self._files().items()}
        for name, data in self._fetcher.received.items():
            latest[_role(name)] = data
        roles = [*_TOP_LEVEL, *sorted(latest.keys() - set(_TOP_LEVEL))]
        for role in roles:
            if role in latest and not role.startswith(ROOT_HISTORY):
                expires = _expires(latest[role])
                if expires <= self.now:
                    raise MetadataExpired(
                        self.label, role, show(expires), show(self.now)
                    ) from error
        raise RepositoryInvalid(self.label, self._fetcher.role, str(error)) from error


class _Fetcher(FetcherInterface):
    """Gives the library bytes from our transport, and remembers which.

    Attributes:
        received: Every file received so far, by name, in order.
        validators: What names them on the server, where it says.
    """

    def __init__(self, transport: Transport) -> None:
        self.received: dict[str, bytes] = {}
        self.validators: dict[str, str | None] = {}
        self._transport = transport

    @property
    def role(self) -> str:
        """The role that was asked for last: the one that the library is at."""
        return _role(next(reversed(self.received), "root.json"))

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, LIMITS.targets_max_length)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Fetch a metadata file.

        Raises:
            DownloadHTTPError: There is none; the cause is our own exception.
            DownloadFailed: Anything else.
        """
        name = url.removeprefix(_BASE)
        try:
            fetched = self._transport.fetch_metadata(name, max_length)
        except NotFound as error:
            raise DownloadHTTPError(str(error), 404) from error
        data = fetched.data or b""
        self.received.pop(name, None)
        self.received[name] = data
        self.validators[name] = fetched.validator
        return data


def _role(file_name: str) -> str:
    """`7.targets.json` and `targets.json` are of the role `targets`."""
    name = file_name.removesuffix(".json")
    version, dot, role = name.partition(".")
    return role if dot and version.isdecimal() else name


def _expires(data: bytes) -> datetime:
    text: str = json.loads(data)["signed"]["expires"]
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _refuse_unless_before(older: Metadata[Root], newer: Metadata[Root]) -> None:
    """Make sure that `newer` is a successor that `older` would accept.

    Raises:
        RepositoryError: It is not.
    """
    if older.signed.type != Root.type or older.signed.version != newer.signed.version - 1:
        raise RepositoryError(f"it is not root {newer.signed.version - 1}")
    for root in (older, newer):
        older.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)


def _report_damage(store: TrustStore, files: Mapping[str, bytes]) -> None:
    """Say so if a file that protects against rollback cannot be used any more."""
    for name in ("timestamp.json", "snapshot.json"):
        if name in files:
            try:
                json.loads(files[name])
            except (ValueError, RecursionError):
                _LOG.warning(
                    "%s is damaged: protection against rollback starts again from what the "
                    "repository serves now", store.directory / name,
                )  # fmt: skip
