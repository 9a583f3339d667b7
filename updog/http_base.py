"""A directory on a web server, as one of a repository's two addresses."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from updog.errors import CannotResume
from updog.http_source import HttpSource
from updog.transport import Fetched

if TYPE_CHECKING:
    from updog.addresses import Address
    from updog.http import HttpClient
    from updog.targets import Target

_CHUNK_BYTES = 64 * 1024


class HttpBase:
    """A directory on a web server.

    Args:
        client: Sends the requests; shared by the bases of one repository.
        address: The directory.
    """

    def __init__(self, client: HttpClient, address: Address) -> None:
        self.label = address.shown()
        self._client = client
        self._address = address

    def fetch(self, file_name: str, max_bytes: int, validator: str | None) -> Fetched:
        """See `updog.transport.Transport.fetch_metadata`."""
        failures = 0
        while True:
            try:
                return self._fetch_once(file_name, max_bytes, validator)
            except CannotResume:
                # It changed while we were at it.
                failures += 1
                if failures > self._client.limits.max_retries:
                    raise

    def open(self, target: Target, start_bytes: int, validator: str | None) -> HttpSource:
        """See `updog.transport.Transport.open_target`."""
        return HttpSource(
            self._client,
            self._address,
            target.url_path(),
            length_bytes=target.length_bytes,
            start_bytes=start_bytes,
            validator=validator,
        )

    def close(self) -> None:
        """Cut off what is under way here and in every base of the same client."""
        self._client.close()

    def _fetch_once(self, file_name: str, max_bytes: int, validator: str | None) -> Fetched:
        source = HttpSource(
            self._client, self._address, file_name, max_bytes=max_bytes, unless=validator
        )
        with closing(source):
            if source.not_modified:
                return Fetched(None, validator)
            data = bytearray()
            chunk = memoryview(bytearray(_CHUNK_BYTES))
            while received := source.readinto(chunk):
                data += chunk[:received]
            return Fetched(bytes(data), source.revalidator)
