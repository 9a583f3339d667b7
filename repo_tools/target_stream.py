"""A target's bytes as they come, checked when they end: length, and every digest that is listed.

Who consumes a stream learns of damage at its end, so nothing may be used before that.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final

from repo_tools.errors import RepositoryUntrusted
from updog.digests import known_digests
from updog.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from updog.targets import Target
    from updog.transport import Transport

CHUNK_BYTES: Final = 1 << 20


def target_pieces(transport: Transport, target: Target) -> Iterator[bytes]:
    """Give a target in pieces of up to 1 MiB; drain it, for the checks come last.

    Raises:
        RepositoryUntrusted: It is missing, its metadata lists no digest known here, or it is not
            what its metadata says.
        DownloadFailed: It could not be read.
    """
    where = transport.label
    digests = {name: hashlib.new(name) for name in known_digests(target.hashes)}
    if not digests:
        listed = ", ".join(target.hashes)
        raise RepositoryUntrusted(where, target.name, f"no digest known here is listed ({listed})")
    buffer = memoryview(bytearray(CHUNK_BYTES))
    received = 0
    try:
        with contextlib.closing(transport.open_target(target)) as source:
            while count := source.readinto(buffer):
                received += count
                for digest in digests.values():
                    digest.update(buffer[:count])
                yield bytes(buffer[:count])
    except NotFound as exc:
        raise RepositoryUntrusted(where, target.name, "it is missing") from exc
    if received != target.length_bytes:
        reason = f"it has {received} bytes, {target.length_bytes} are listed"
        raise RepositoryUntrusted(where, target.name, reason)
    for name, expected in known_digests(target.hashes).items():
        if digests[name].hexdigest() != expected:
            raise RepositoryUntrusted(where, target.name, f"its {name} is not the one listed")


def read_target(transport: Transport, target: Target, max_bytes: int) -> bytes:
    """Read a small target whole.

    Raises:
        RepositoryUntrusted: As `target_pieces`; also if it is longer than `max_bytes`.
    """
    if target.length_bytes > max_bytes:
        reason = f"it has {target.length_bytes} bytes, at most {max_bytes} are expected"
        raise RepositoryUntrusted(transport.label, target.name, reason)
    return b"".join(target_pieces(transport, target))
