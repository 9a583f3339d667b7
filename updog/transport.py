"""Where bytes come from: the network, a directory, or one bundle file. Untrusted, bounded, resumed.

A transport knows the repository's two base addresses and hands out bytes by *name*; who calls it
never builds a URL. It verifies nothing but lengths: `updog.trust` verifies metadata, the pipeline
verifies images.

Errors are `updog.errors.DownloadFailed` and its kinds (`NotFound`, `CannotResume`); a message
names the address without credentials and without its query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from updog.targets import Target


class Source(Protocol):
    """One target's bytes from a given position to its end.

    Retries and resumes by itself, inside the transport's limits; the reader sees one uninterrupted
    stream. Used by one thread; `close` alone may come from another one, and ends a read that is
    blocked.
    """

    @property
    def validator(self) -> str | None:
        """What identifies this very file on this server: a strong ETag or a Last-Modified date.

        Kept by who wants to resume after a restart, and given back to `open_target`. None: the
        server names none.
        """

    def readinto(self, buffer: memoryview) -> int:
        """Receive into `buffer`; return how many bytes, at least one, or 0 at the target's end.

        May return less than fits. Never delivers a byte past the target's length.

        Raises:
            DownloadFailed: The limits are used up, or the server sends what cannot be this target.
            CannotResume: The connection broke, and the server now has another file, or cannot
                continue in the middle of one that it cannot identify. What was delivered must be
                thrown away; opening the target again from byte 0 may well succeed.
        """

    def close(self) -> None:
        """Let go of the connection; a read blocked in another thread fails at once."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A small file as received.

    Attributes:
        data: None if the server said that it has not changed.
        validator: As for `Source`, but a weak ETag will do: it only saves the transfer.
    """

    data: bytes | None
    validator: str | None


class Transport(Protocol):
    """A repository, as far as moving bytes goes. Safe to use from several threads."""

    @property
    def label(self) -> str:
        """The repository's address for messages: no credentials, no query."""

    def fetch_metadata(
        self, file_name: str, max_bytes: int, *, validator: str | None = None
    ) -> Fetched:
        """Return a metadata file.

        Args:
            file_name: `7.root.json`, `timestamp.json`; already percent-encoded where it must be.
            max_bytes: A longer file is refused, before it is read where its length is told.
            validator: Of an earlier `Fetched`. If it still names the current file, the server may
                say just that.

        Raises:
            NotFound: The repository says that there is no such file. Nothing else means this.
            DownloadFailed: Anything else.
        """

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> Source:
        """Start receiving a target at `start_bytes`.

        Args:
            target: From verified metadata; its length bounds what is received.
            start_bytes: How much is already here.
            validator: Of the Source that delivered that part.

        Raises:
            CannotResume: `start_bytes` is not 0, and the server cannot start there or has another
                file than `validator` names. Open again from 0.
            NotFound, DownloadFailed: As above.
        """

    def announce(self, *, target: str | None = None, migrations: Sequence[str] = ()) -> None:
        """Tell the repository from now on where this host is going.

        Args:
            target: The version that was chosen.
            migrations: The targets cached for the migrator, its manifest among them.
        """

    def close(self) -> None:
        """Let go of all connections."""


class Base(Protocol):
    """One of a repository's two addresses: a place below which files lie."""

    label: str

    def fetch(self, file_name: str, max_bytes: int, validator: str | None) -> Fetched:
        """See `Transport.fetch_metadata`."""

    def open(self, target: Target, start_bytes: int, validator: str | None) -> Source:
        """See `Transport.open_target`."""

    def close(self) -> None:
        """See `Transport.close`."""


class RepositoryTransport:
    """A `Transport` over two bases.

    Args:
        metadata: Where metadata lies.
        targets: Where targets lie.
        parameters: What the bases send along with each request; `announce` changes it.
    """

    def __init__(self, metadata: Base, targets: Base, parameters: dict[str, str]) -> None:
        self._metadata = metadata
        self._targets = targets
        self._parameters = parameters

    @property
    def label(self) -> str:
        """See `Transport.label`."""
        return self._metadata.label

    def fetch_metadata(
        self, file_name: str, max_bytes: int, *, validator: str | None = None
    ) -> Fetched:
        """See `Transport.fetch_metadata`."""
        return self._metadata.fetch(file_name, max_bytes, validator)

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> Source:
        """See `Transport.open_target`."""
        return self._targets.open(target, start_bytes, validator)

    def announce(self, *, target: str | None = None, migrations: Sequence[str] = ()) -> None:
        """See `Transport.announce`."""
        if target is not None:
            self._parameters["target"] = target
        if migrations:
            self._parameters["migrations"] = ",".join(migrations)

    def close(self) -> None:
        """See `Transport.close`."""
        self._metadata.close()
        self._targets.close()
