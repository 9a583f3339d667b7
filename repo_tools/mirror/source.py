"""A repository that is to be copied: verified, with every root that a host may start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from repo_tools.errors import RepositoryUntrusted
from repo_tools.publish.published import ROOT_MAX_BYTES, Published, load_published, load_roots
from updog.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from updog.targets import Target
    from updog.transport import Transport


@dataclass(frozen=True, slots=True)
class CopySource:
    """What is copied, and from where."""

    transport: Transport
    published: Published
    metadata: Mapping[str, bytes]

    def targets(self, names: Iterable[str]) -> tuple[Target, ...]:
        """The targets of these names.

        Raises:
            RepositoryUntrusted: Signed metadata does not list one.
        """
        found = []
        for name in names:
            target = self.published.target(name)
            if target is None:
                raise RepositoryUntrusted(
                    self.published.where, name, "the manifest names it, targets metadata does not"
                )
            found.append(target)
        return tuple(found)


def open_source(transport: Transport, trusted: bytes) -> CopySource:
    """Verify a repository, and collect its metadata files.

    Roots before the trusted one are taken along if they lead to it: images may ship them.
    """
    published = load_published(transport, trusted)
    roots = dict(published.roots)
    try:
        first = transport.fetch_metadata("1.root.json", ROOT_MAX_BYTES).data or b""
    except NotFound:
        first = b""
    if first:
        chain = load_roots(transport, first)
        # Where the two chains meet they say the same, since each root vouches for the next.
        roots = {**chain, **roots}
    metadata = {f"{version}.root.json": data for version, data in roots.items()}
    return CopySource(transport, published, {**metadata, **published.files})
