"""Which transport a repository's addresses ask for: the network or a directory.

Beside `updog.transport`, which says what a transport is, so that its kinds do not depend on who
chooses among them. A bundle is opened by `updog.bundle`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from updog.addresses import Address
from updog.proxies import Proxies
from updog.retries import Limits
from updog.transport import RepositoryTransport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from updog.config import Config
    from updog.release import Release
    from updog.transport import Base


def connect(
    metadata_base_url: str,
    targets_base_url: str,
    *,
    parameters: Mapping[str, str] | None = None,
    proxies: Proxies | None = None,
    limits: Limits | None = None,
) -> RepositoryTransport:
    """Return a transport for a repository at two addresses; nothing is sent yet.

    Args:
        metadata_base_url: http, https or file; may carry credentials.
        targets_base_url: The same.
        parameters: Sent as the query of each HTTP request.
        proxies: None for none at all.
        limits: None for the usual ones.

    Raises:
        AddressInvalid: One of the addresses cannot be used.
    """
    addresses = [Address.parse(url) for url in (metadata_base_url, targets_base_url)]
    query = dict(parameters or {})
    metadata, targets = _bases(addresses, query, proxies or Proxies(), limits or Limits())
    return RepositoryTransport(metadata, targets, query)


def _bases(
    addresses: Sequence[Address], query: Mapping[str, str], proxies: Proxies, limits: Limits
) -> list[Base]:
    # Only what is needed is loaded: the HTTP library takes longer than all of the rest.
    from updog.local import LocalBase  # noqa: PLC0415

    client = None
    bases: list[Base] = []
    for address in addresses:
        if address.scheme == "file":
            bases.append(LocalBase(Path(address.file_path())))
            continue
        from updog.http import HttpClient  # noqa: PLC0415
        from updog.http_base import HttpBase  # noqa: PLC0415

        client = client or HttpClient(limits=limits, proxies=proxies, parameters=query)
        bases.append(HttpBase(client, address))
    return bases


def make_transport(
    config: Config, release: Release, environ: Mapping[str, str]
) -> RepositoryTransport:
    """Return the transport that a host's configuration asks for; nothing is sent yet.

    Args:
        config: Addresses, proxies, limits.
        release: What runs here; told to the repository.
        environ: Is only read, for proxies.

    Raises:
        AddressInvalid: See `connect`.
    """
    return connect(
        config.metadata_base_url,
        config.targets_base_url,
        parameters={"seed": str(config.seed), "version": str(release.version)},
        proxies=Proxies.choose(
            https_proxy=config.https_proxy, no_proxy=config.no_proxy, environ=environ
        ),
        limits=Limits(
            connect_timeout_seconds=config.connect_timeout_seconds,
            stall_timeout_seconds=config.stall_timeout_seconds,
            max_retries=config.max_retries,
            min_bytes_per_second=config.min_bytes_per_second,
        ),
    )
