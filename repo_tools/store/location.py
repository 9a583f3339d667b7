"""From what a user types to the place that it names.

/srv/updates, updates/, file:///srv/updates     a directory
s3://bucket/prefix                              object storage
https://updates.example.com/os                  a web address, for reading
update.bundle                                   a bundle, for reading
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from partition.kernel import KERNEL, Kernel
from repo_tools.errors import InputInvalid
from repo_tools.store.directory import DirectoryStore
from repo_tools.store.transport import StoreTransport
from updog.bundle import open_bundle
from updog.connect import connect
from updog.proxies import Proxies

if TYPE_CHECKING:
    from repo_tools.store.base import Store
    from updog.transport import Transport


def open_store(location: str, *, kernel: Kernel = KERNEL) -> Store:
    """Open a place that can be published to.

    Raises:
        InputInvalid: The location names no such place.
    """
    parts = urlsplit(location)
    if parts.scheme == "s3":
        from repo_tools.store.s3 import S3Store, connect_s3  # noqa: PLC0415  boto3 is an extra

        return S3Store(connect_s3(), parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file":
        return DirectoryStore(Path(unquote(parts.path)), kernel=kernel)
    if "://" in location:
        raise InputInvalid(
            f"location {location}",
            f"nothing can be published to a {parts.scheme}: address",
            hint="give a directory, or s3://bucket/prefix; for reading, a web address too",
        )
    return DirectoryStore(Path(location), kernel=kernel)


def open_transport(location: str, prefix: str, *, kernel: Kernel = KERNEL) -> Transport:
    """Open a repository for reading, as a client does.

    Args:
        location: As for `open_store`; or a web address above `<variant>/<arch>` and `targets`; or
            a bundle.
        prefix: `<variant>/<arch>`.
        kernel: The way to the disk.
    """
    if urlsplit(location).scheme in {"http", "https"}:
        base = location.rstrip("/")
        proxies = Proxies.choose(https_proxy=None, no_proxy=None, environ=os.environ)
        return connect(f"{base}/{prefix}", f"{base}/targets", proxies=proxies)
    if urlsplit(location).scheme == "" and Path(location).is_file():
        return open_bundle(Path(location))
    return StoreTransport(open_store(location, kernel=kernel), prefix)
