"""Asking every few minutes whether there is anything new, for next to nothing.

Most checks find a repository as they left it. Then all that is needed is one conditional request
for `timestamp.json`: if it is the one that this host has verified, so is everything it refers to.
The answer "not modified" need not be believed to be safe: whoever can forge it could as well replay
that very timestamp, and both work only until it expires.

The short way is taken only if all of this holds; otherwise the whole workflow runs:

- the last complete refresh was of the same repository, from the same shipped root, and at most
  `full_check_hours` ago, so that a new root (a revoked key) is noticed at least so often;
- none of the roles has expired by this run's time;
- the files verified then are still there, byte for byte, and so is the target asked for.

Signatures are not verified again on the short way: the digests compared with lie in the same
private directory as the chain of roots. So its result is good for telling the user, and for
nothing else: an update always starts with `updog.trust.refresh`. None of the TUF library is loaded
here, which would take longer than all the rest.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from updog.clock import trusted_time
from updog.trust_store import TrustStore, read_shipped_root

if TYPE_CHECKING:
    from updog.environment import Environment
    from updog.transport import Transport
    from updog.trust_store import Record

_TIMESTAMP: Final = "timestamp.json"
_MAX_TIMESTAMP_BYTES: Final = 1 << 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CurrentTarget:
    """A small target as the repository has it now.

    Attributes:
        data: Verified by this run, or by the last complete refresh and unchanged since.
        now: The time that everything was judged by (aware, UTC).
    """

    data: bytes
    now: datetime


def current_target(
    env: Environment, transport: Transport, name: str, max_bytes: int
) -> CurrentTarget:
    """Return a small target, with one small request if nothing is new.

    Raises:
        RepositoryInvalid, ClockNotSet, DownloadFailed, NoSuchTarget: As `updog.trust`.
        PartitionError: The state cannot be read or written.
    """
    short = _short_way(env, transport, name)
    if short is not None:
        return short

    from updog.trust import refresh  # noqa: PLC0415  loads the TUF library

    repository = refresh(env, transport)
    data = repository.read_target(name, max_bytes)
    repository.keep(name, data)
    return CurrentTarget(data, repository.now)


def _short_way(env: Environment, transport: Transport, name: str) -> CurrentTarget | None:
    store = TrustStore.of(env.paths, env.kernel)
    record = store.read_record()
    if record is None:
        return None
    time = trusted_time(env.now, last_trusted=record.last_trusted, build_time=None)
    now = time.now
    age = now - record.refreshed
    if not (
        now < record.expires
        and age < timedelta(hours=env.config.full_check_hours)
        and record.repository == transport.label
        and record.shipped_root_sha256 == _sha256(read_shipped_root(env.paths.trusted_root))
    ):
        return None
    data = _unchanged_target(store, record, name)
    if data is None or not _is_current(transport, record):
        return None
    if time.note:
        _LOG.warning("%s", time.note)
    return CurrentTarget(data, now)


def _unchanged_target(store: TrustStore, record: Record, name: str) -> bytes | None:
    """Return the kept target if it and all metadata files are as they were when verified."""
    files = store.read()
    if any(_sha256(files.get(path, b"")) != digest for path, digest in record.digests.items()):
        return None
    data = store.read_target(name) if name in record.targets else None
    return data if data is not None and _sha256(data) == record.targets[name] else None


def _is_current(transport: Transport, record: Record) -> bool:
    fetched = transport.fetch_metadata(_TIMESTAMP, _MAX_TIMESTAMP_BYTES, validator=record.validator)
    return fetched.data is None or _sha256(fetched.data) == record.digests.get(_TIMESTAMP)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
