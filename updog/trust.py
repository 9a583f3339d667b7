"""What a repository says, once signatures, versions, lengths, digests and expiry hold.

Decided here: what of it lasts. The trust starts at the root that the image ships, each time. What
the workflow (`updog.tuf_client`) verified is stored, also when a later role failed: an attacker who
breaks the end of a refresh must not undo what its beginning has seen. Expiry is judged by one time
for the whole run, see `updog.clock`.

Targets are found through delegations too, as the specification has it; what is handed on to the
migrator (`metadata_files`) holds the top-level roles, which is where our repositories list theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from typing import TYPE_CHECKING

from updog.clock import trusted_time
from updog.digests import known_digests
from updog.errors import DownloadFailed, NoSuchTarget, RepositoryInvalid
from updog.targets import Target
from updog.trust_store import Record, TrustStore, read_shipped_root
from updog.tuf_client import TOP_LEVEL, TufClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from updog.environment import Environment
    from updog.transport import Transport

_LOG = logging.getLogger(__name__)


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
) -> TrustedRepository:
    """`refresh`, for any store.

    Args:
        store: Read before, written after.
        shipped: Root metadata to start from.
        transport: To the repository.
        clock: This run's reading (aware).
        build_time: See `updog.clock.trusted_time`.
    """
    with store.locked():
        record = store.read_record()
        time = trusted_time(
            clock, last_trusted=record.last_trusted if record else None, build_time=build_time
        )
        if time.note:
            _LOG.warning("%s", time.note)
        known = store.read()
        _report_damage(store, known)
        client = TufClient(known, shipped, transport, time.now)
        try:
            client.refresh()
        finally:
            store.write(client.files())
        repository = TrustedRepository(store, shipped, transport, time.now, client)
        store.write_record(repository.record())
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
        client: TufClient,
    ) -> None:
        self.now = now
        self.label = transport.label
        self._store = store
        self._shipped = shipped
        self._transport = transport
        self._client = client

    def target(self, name: str) -> Target:
        """Return what the repository says of a target.

        Raises:
            NoSuchTarget: Nothing.
            RepositoryInvalid: A delegated role does not hold, or lists no digest known here.
        """
        with self._storing_what_is_new():
            listed = self._client.find(name)
        if listed is None:
            raise NoSuchTarget(self.label, name)
        if not known_digests(listed.hashes):
            told = f"no digest known here for {name!r} ({', '.join(listed.hashes)})"
            raise RepositoryInvalid(self.label, "targets", told)
        prefixed = self._client.signed("root").get("consistent_snapshot") is True
        return Target(name, listed.length, listed.hashes, prefixed)

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
            self._store.write_record(self.record({name: hashlib.sha256(data).hexdigest()}))

    def metadata_files(self) -> Mapping[str, bytes]:
        """Return the very bytes that were verified, by the names that a repository serves them as.

        `N.root.json`, `timestamp.json`, `N.snapshot.json` and `N.targets.json`. The chain of roots
        begins as early as it can: the image that the host goes to may ship an older root than the
        one that runs.

        Raises:
            DownloadFailed: An older root cannot be fetched, for another reason than its absence.
        """
        shipped_version = int(json.loads(self._shipped)["signed"]["version"])
        with self._storing_what_is_new():
            chain = self._client.root_chain(shipped_version)
        files = self._client.files()
        named = {f"{version}.root.json": data for version, data in chain.items()}
        named["timestamp.json"] = files["timestamp.json"]
        for role in ("snapshot", "targets"):
            named[f"{self._client.signed(role)['version']}.{role}.json"] = files[f"{role}.json"]
        return named

    def record(self, targets: Mapping[str, str] | None = None) -> Record:
        """Return what the next check needs to know of this refresh.

        Args:
            targets: SHA-256 of small targets that are kept, by name.
        """
        files = self._client.files()
        names = sorted(f"{role}.json" for role in TOP_LEVEL)
        return Record(
            last_trusted=self.now,
            refreshed=self.now,
            repository=self.label,
            shipped_root_sha256=hashlib.sha256(self._shipped).hexdigest(),
            expires=self._client.expires(),
            validator=self._client.validator("timestamp.json"),
            digests={name: hashlib.sha256(files[name]).hexdigest() for name in names},
            targets=dict(targets or {}),
        )

    @contextlib.contextmanager
    def _storing_what_is_new(self) -> Iterator[None]:
        before = self._client.requests
        try:
            yield
        finally:
            if self._client.requests > before:
                with self._store.locked():
                    self._store.write(self._client.files())


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
