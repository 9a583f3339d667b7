"""What every place of a repository can do, and the rules all of them keep.

- "Not there" is an answer, and only a definite one counts. Whatever else goes wrong (no access, a
  broken disk, a server's 5xx) is `StoreFailed`.
- A file is there wholly or not at all, also after a power cut or a kill.
- `write_new` never changes a file: the same contents again are fine, so that an interrupted publish
  can be repeated; other contents are `AlreadyThere`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from partition.kernel import Kernel

Contents = bytes | Path
"""A small file's bytes, or the path of a large one; the store may move that one away."""


class ReadableStore(Protocol):
    """A place that files can be read from."""

    @property
    def where(self) -> str:
        """The location as messages show it."""
        ...

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """Read a whole file; `None` when it is definitely not there.

        Raises:
            StoreFailed: Anything else, also a file longer than `max_bytes`.
        """
        ...

    def stream(self, name: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes] | None:
        """Read a file in pieces of at most `chunk_bytes`; `None` when it is not there."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; `None` when it is not there."""
        ...

    def names(self, directory: str) -> list[str]:
        """Names of the files right below a directory, sorted, without it; none if there is none."""
        ...


class Store(ReadableStore, Protocol):
    """A place that a repository can be published to.

    Attributes:
        kernel: The way to the disk for what is staged.
    """

    kernel: Kernel

    def write_new(self, name: str, contents: Contents) -> bool:
        """Write a file that never changes; `False` if it was there already, the same.

        Raises:
            AlreadyThere: It is there with other contents.
            StoreFailed: It could not be written.
        """
        ...

    def write_current(self, name: str, data: bytes, *, replacing: bytes | None) -> None:
        """Replace a file in one step.

        Args:
            name: The file.
            data: Its new contents.
            replacing: The contents that it had when the caller looked; `None`: it was not there.

        Raises:
            PublishedMeanwhile: It has other contents by now.
        """
        ...

    def staging(self) -> AbstractContextManager[Path]:
        """A directory for large files on their way in; cleared at the end, whatever happens."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Keep other publishers out, where the place allows that."""
        ...
