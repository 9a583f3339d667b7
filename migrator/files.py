"""One copy of the datastore as files: reading it whole, writing it whole.

    v1.5.2_0123456789abcdef/
        live/settings/motd                      "hi"
        live/settings/motd.affected-services    ["host"]
        pending/<transaction>/settings/motd     "hello"
        kept.json                               see migrator.kept

Nothing is flushed here, and nothing is replaced: a copy is written once, where nothing points to
it yet, and flushed as a whole by who points something to it. Reading trusts nothing: what is not a
plain file or directory, not the encoding of a key, not JSON, or far too large is refused.

Nothing but the standard library is imported here: packed migrations carry this module with them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from migrator import keys, values
from migrator.errors import KeyInvalid, StoreCorrupt
from migrator.tree import Layer, State, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

LIVE = "live"
PENDING = "pending"
KEPT = "kept.json"

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644


class Writer(Protocol):
    """The part of `partition.kernel.Kernel` that writes a copy."""

    def open(self, path: str, flags: int, mode: int = ...) -> int:
        """Open a file."""

    def close(self, fd: int) -> None:
        """Close it."""

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write; may write less than asked."""

    def mkdir(self, path: str, mode: int = ...) -> None:
        """Make one directory."""


class Remover(Protocol):
    """The part of `partition.kernel.Kernel` that removes one."""

    def unlink(self, path: str) -> None:
        """Remove a name that is not a directory."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""


class PlainWriter:
    """A Writer for a copy that will be read at once and thrown away: nothing has to last."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open a file."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """Close it."""
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write; may write less than asked."""
        return os.write(fd, data)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make one directory."""
        os.mkdir(path, mode)  # noqa: PTH102  a system call, as in the kernel it stands for


def read_copy(path: Path) -> State:
    """Read all of one copy.

    Raises:
        StoreCorrupt: There is no `live` directory, or anything in the copy is not as it should be;
            names the file.
    """
    for place in (path, path / LIVE, path / PENDING):
        if place.is_symlink():
            raise StoreCorrupt(str(place), "it is a symbolic link")
    if not (path / LIVE).is_dir():
        raise StoreCorrupt(str(path), f"it has no directory '{LIVE}'")
    budget = [values.MAX_STORE_BYTES]
    state = State(live=_read_tree(path / LIVE, budget))
    for entry in _scan(str(path / PENDING), missing_ok=True):
        if not entry.is_dir(follow_symlinks=False):
            raise StoreCorrupt(entry.path, "it is not a transaction's directory")
        state.pending[_decode(entry.name, entry.path)] = _read_tree(Path(entry.path), budget)
    if (path / KEPT).exists():
        state.kept = _read_file(str(path / KEPT), [values.MAX_VALUE_BYTES])
    return state


def write_copy(path: Path, state: State, writer: Writer) -> None:
    """Write all of one copy; not flushed.

    Args:
        path: Must not exist; its parent must.
        state: Checked (`migrator.tree.check`): its keys and values are written as they are.
        writer: Where the calls go.

    Raises:
        OSError: As the system refused; part of the copy may be there.
    """
    top = str(path)
    # Nobody else's until its owner says so.
    writer.mkdir(top, 0o700)
    _write_tree(f"{top}/{LIVE}", state.live, writer)
    writer.mkdir(f"{top}/{PENDING}", _DIRECTORY_MODE)
    for transaction, tree in state.pending.items():
        _write_tree(f"{top}/{PENDING}/{keys.transaction_path(transaction)}", tree, writer)
    if state.kept is not None:
        _write_file(f"{top}/{KEPT}", state.kept, writer)


def remove_copy(path: str, remover: Remover) -> None:
    """Remove a copy and whatever is in it; links are removed, not followed.

    Raises:
        OSError: As the system refused; part of it may be gone.
    """
    with os.scandir(path) as entries:
        children = list(entries)
    for entry in children:
        if entry.is_dir(follow_symlinks=False):
            remove_copy(entry.path, remover)
        else:
            remover.unlink(entry.path)
    remover.rmdir(path)


def paths(tree: Tree) -> Iterator[tuple[str, str]]:
    """Iterate over a tree's files: path below the tree's directory, and JSON text."""
    for name, text in tree.data.values.items():
        yield keys.path_of(keys.parse(name)), text
    for (name, metadata_key), text in tree.metadata.values.items():
        yield keys.metadata_path_of(keys.parse(name), metadata_key), text


def _read_tree(path: Path, budget: list[int]) -> Tree:
    data: dict[str, str] = {}
    metadata: dict[tuple[str, str], str] = {}
    directories: list[tuple[str, keys.Segments]] = [(str(path), ())]
    while directories:
        directory, above = directories.pop()
        for entry in _scan(directory):
            name = entry.name
            try:
                segment, metadata_key = keys.split_file_name(name)
                segments = (*above, segment)
                if entry.is_dir(follow_symlinks=False) and metadata_key is None:
                    directories.append((entry.path, segments))
                    continue
                if not entry.is_file(follow_symlinks=False):
                    raise StoreCorrupt(entry.path, "it is neither a plain file nor a directory")
                text = _read_file(entry.path, budget)
                if metadata_key is None:
                    values.check_data(text)
                    data[keys.name_of(segments)] = text
                else:
                    values.check_metadata(text)
                    keys.name_of((metadata_key,))
                    metadata[keys.name_of(segments), metadata_key] = text
            except (KeyInvalid, ValueError) as error:
                raise StoreCorrupt(entry.path, str(error)) from None
    return Tree(Layer(data), Layer(metadata))


def _scan(directory: str, *, missing_ok: bool = False) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError as error:
        if missing_ok:
            return []
        raise StoreCorrupt(directory, os.strerror(error.errno or 0)) from error
    except OSError as error:
        raise StoreCorrupt(directory, os.strerror(error.errno or 0)) from error


def _decode(file_name: str, path: str) -> str:
    try:
        return keys.decode(file_name)
    except KeyInvalid as error:
        raise StoreCorrupt(path, error.reason) from None


def _read_file(path: str, budget: list[int]) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            limit = min(values.MAX_VALUE_BYTES, budget[0])
            chunks = []
            while limit >= 0 and (chunk := os.read(fd, min(1 << 20, limit + 1))):
                chunks.append(chunk)
                limit -= len(chunk)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreCorrupt(path, os.strerror(error.errno or 0)) from error
    if limit < 0:
        raise StoreCorrupt(path, "it is longer than any setting may be, or the whole store is")
    content = b"".join(chunks)
    budget[0] -= len(content)
    try:
        return values.strip(content.decode())
    except UnicodeDecodeError:
        raise StoreCorrupt(path, "it is not UTF-8") from None


def _write_tree(directory: str, tree: Tree, writer: Writer) -> None:
    writer.mkdir(directory, _DIRECTORY_MODE)
    made = {""}
    for path, text in paths(tree):
        _make_parents(directory, path.rpartition("/")[0], made, writer)
        _write_file(f"{directory}/{path}", text, writer)


def _make_parents(directory: str, parent: str, made: set[str], writer: Writer) -> None:
    if parent not in made:
        _make_parents(directory, parent.rpartition("/")[0], made, writer)
        writer.mkdir(f"{directory}/{parent}", _DIRECTORY_MODE)
        made.add(parent)


def _write_file(path: str, text: str, writer: Writer) -> None:
    fd = writer.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    try:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[writer.write(fd, rest) :]
    finally:
        writer.close(fd)
