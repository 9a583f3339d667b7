"""python-tuf's client, given our transport, one time for everything, and a private copy to work on.

The client workflow (TUF specification 5) is the library's; nothing of it is done here. What the
library leaves open, or does in a way that does not suit us, is:

- *Where bytes come from.* Ours is the fetcher. Only "404 Not Found" is reported as such: the
  library takes a 403 for the end of the chain of roots as well, but whoever can cause one could
  hide the root that revokes a key.
- *What time it is.* The library reads the clock for itself.
- *Where it writes.* It renames files into place without flushing them; so it gets a directory of
  its own, and `updog.trust` stores durably what it finds there.
- *What its errors say.* They become ours, with the role and, for expiry, both dates.
"""

from __future__ import annotations

import contextlib
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
from updog.clock import show
from updog.errors import MetadataExpired, NotFound, RepositoryInvalid
from updog.trust_store import ROOT_HISTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuf.api.metadata import TargetFile

    from updog.transport import Transport

TOP_LEVEL: Final = ("root", "timestamp", "snapshot", "targets")
# At least what tough, Bottlerocket's client, allows (its `Limits`). Ten thousand targets with two
# digests each take 3.5 MB; a length that signed metadata lists counts instead of these.
_LIMITS: Final = UpdaterConfig(
    max_root_rotations=1024,
    max_delegations=32,
    root_max_length=1 << 20,
    timestamp_max_length=1 << 20,
    snapshot_max_length=4 << 20,
    targets_max_length=32 << 20,
)
# Never on the wire: what the library puts before a file's name.
_BASE: Final = "metadata:/"
_LOG = logging.getLogger(__name__)
# The library tells of each key that did not sign, which thresholds make a normal thing.
logging.getLogger("tuf").setLevel(logging.WARNING)


class TufClient:
    """One run of the client.

    Args:
        known: What was verified before, by names as in `files`.
        shipped: Root metadata to start from.
        transport: To the repository.
        now: What expiry is judged by (aware).

    Raises:
        RepositoryInvalid: The shipped root does not hold.
        WriteFailed: There is no room for the copy.
    """

    def __init__(
        self, known: Mapping[str, bytes], shipped: bytes, transport: Transport, now: datetime
    ) -> None:
        self._label = transport.label
        self._now = now
        self._fetcher = _Fetcher(transport)
        self._workspace = _make_workspace()
        weakref.finalize(self, shutil.rmtree, self._workspace, ignore_errors=True)
        self._updater = self._start(known, shipped)

    def refresh(self) -> None:
        """Run the workflow for the top-level roles. What it verified until then is in `files`.

        Raises:
            RepositoryInvalid: Some role does not hold; `MetadataExpired` if it is too old.
            DownloadFailed: A file cannot be had.
        """
        with self._errors():
            self._updater.refresh()

    def find(self, name: str) -> TargetFile | None:
        """Look a target up, through delegations too, which may be fetched for it.

        Raises:
            RepositoryInvalid, DownloadFailed: As `refresh`, for a delegated role.
        """
        with self._errors():
            return self._updater.get_targetinfo(name)

    def files(self) -> dict[str, bytes]:
        """Return what was verified by now, by names as in `updog.trust_store`."""
        paths = [*self._workspace.glob("*.json"), *self._workspace.glob(f"{ROOT_HISTORY}/*.json")]
        return {str(path.relative_to(self._workspace)): path.read_bytes() for path in paths}

    def signed(self, role: str) -> dict[str, Any]:
        """Return the signed part of a role that was verified."""
        signed: dict[str, Any] = _signed((self._workspace / f"{role}.json").read_bytes())
        return signed

    def expires(self) -> datetime:
        """Return when the first of the top-level roles expires (aware)."""
        return min(_expiry(self.signed(role)) for role in TOP_LEVEL)

    @property
    def requests(self) -> int:
        """How many files were received."""
        return len(self._fetcher.received)

    def validator(self, file_name: str) -> str | None:
        """Return what names a received file on the server, if the server said."""
        return self._fetcher.validators.get(file_name)

    def root_chain(self, shipped_version: int) -> dict[int, bytes]:
        """Return roots by version, each the successor of the one before, the current one last.

        From the shipped one on they are what the workflow verified. Older ones are verified
        backwards, from local history or else the repository: root N must be signed as root N-1
        asks, by the signatures that the known root N carries. The chain begins where there is no
        such root.

        Raises:
            DownloadFailed: An older root cannot be fetched, for another reason than its absence.
        """
        history = self._workspace / ROOT_HISTORY
        current = int(self.signed("root")["version"])
        chain = {
            version: (history / f"{version}.root.json").read_bytes()
            for version in range(shipped_version, current + 1)
        }
        for version in range(shipped_version - 1, 0, -1):
            path = history / f"{version}.root.json"
            data = path.read_bytes() if path.exists() else None
            if data is None or not _leads_to(data, chain[version + 1]):
                try:
                    data = self._fetcher.download_bytes(_BASE + path.name, _LIMITS.root_max_length)
                except DownloadHTTPError:
                    break
                if not _leads_to(data, chain[version + 1]):
                    _LOG.warning(
                        "%s: root %d is not what came before %d; leaving it out",
                        self._label, version, version + 1,
                    )  # fmt: skip
                    break
                path.write_bytes(data)
            chain[version] = data
        return dict(sorted(chain.items()))

    def _start(self, known: Mapping[str, bytes], shipped: bytes) -> Updater:
        try:
            (self._workspace / ROOT_HISTORY).mkdir()
            for name, data in known.items():
                # The library makes root.json a link to the newest of the history.
                if name != "root.json":
                    (self._workspace / name).write_bytes(data)
            updater = Updater(
                str(self._workspace),
                _BASE,
                fetcher=self._fetcher,
                config=_LIMITS,
                bootstrap=shipped,
            )
        except OSError as error:
            raise WriteFailed(self._workspace, reason(error)) from error
        except RepositoryError as error:
            raise RepositoryInvalid(self._label, "shipped root", str(error)) from error
        # The library has no parameter for it; this is where it keeps the time that every role is
        # compared with.
        updater._trusted_set.reference_time = self._now  # noqa: SLF001
        return updater

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
            raise RepositoryInvalid(self._label, self._fetcher.role, told) from error
        except RepositoryError as error:
            raise RepositoryInvalid(self._label, self._fetcher.role, str(error)) from error
        except OSError as error:
            raise WriteFailed(self._workspace, reason(error)) from error

    def _raise_expired(self, error: ExpiredMetadataError) -> NoReturn:
        """Say which role it is, and until when it was valid; the library says neither for sure."""
        latest = {_role(name): data for name, data in self.files().items() if "/" not in name}
        latest |= {_role(name): data for name, data in self._fetcher.received.items()}
        for role in (*TOP_LEVEL, *sorted(latest.keys() - set(TOP_LEVEL))):
            expires = _expiry(_signed(latest[role])) if role in latest else None
            if expires is not None and expires <= self._now:
                dates = show(expires), show(self._now)
                raise MetadataExpired(self._label, role, *dates) from error
        raise RepositoryInvalid(self._label, self._fetcher.role, str(error)) from error


def _make_workspace() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="updog-metadata-"))
    except OSError as error:
        raise WriteFailed(error.filename or "the temporary directory", reason(error)) from error


class _Fetcher(FetcherInterface):
    """Gives the library bytes from our transport, and remembers which.

    Attributes:
        received: Every file received so far, by name; the last one last.
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
        yield self.download_bytes(url, _LIMITS.targets_max_length)

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


def _signed(data: bytes) -> dict[str, Any]:
    signed: dict[str, Any] = json.loads(data)["signed"]
    return signed


def _expiry(signed: Mapping[str, Any]) -> datetime:
    # The one form that the specification allows (4.2.1).
    return datetime.strptime(signed["expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _leads_to(older: bytes, newer: bytes) -> bool:
    """Tell whether `older` is a root that would accept `newer`, which is known to be good."""
    try:
        before, after = (Metadata[Root].from_bytes(data) for data in (older, newer))
        if before.signed.type != Root.type or before.signed.version != after.signed.version - 1:
            return False
        for root in (before, after):
            before.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except RepositoryError:
        return False
    return True
