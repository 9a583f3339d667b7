"""A kernel that really does what it is asked, and keeps a history from which the power can be cut.

    kernel = PowerKernel(tmp_path, disks={"disk.img": areas})
    ...                                  # the product at work, through `kernel`
    history = kernel.history()           # also proves that nothing went past the kernel

    kernel.kill_after(40)                # the process is killed after 40 more changes and flushes
    ...                                  # raises Killed; nothing it does on its way out counts
    kernel.revive()                      # the next process finds what the page cache holds

What lies below the directory is a file system, and each file named in `disks` a block device of
its own, whose areas (partitions, and the table around them) are flushed each by itself, as Linux
does it for partition device nodes. Flushes are recorded, not executed: the medium is ours.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from partition.kernel import Kernel
from tests.support.volume import (
    ROOT,
    Change,
    Flush,
    History,
    Kind,
    Mode,
    Names,
    Node,
    Truncate,
    Write,
    overlay,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from typing_extensions import Buffer

    from partition.kernel import StrPath
    from tests.support.volume import State


@dataclass(frozen=True, slots=True)
class Area:
    """A range of a disk that flushes by itself."""

    name: str
    start: int
    stop: int


TABLE = "table"


class Killed(BaseException):
    """The process was killed: no handler of errors may see it, and none can do anything."""


@dataclass(slots=True)
class _Open:
    node: int
    inode: int
    areas: set[str] = field(default_factory=set)


class PowerKernel(Kernel):
    """Records every change and flush below one directory; calls elsewhere just happen.

    Args:
        directory: What is at rest now. Everything in it is read once.
        disks: Files in it that stand for disks, by their path from there, with their areas; the
            rest of such a file is the area `TABLE`.
        volatile: Paths that others may change: not state on a medium, such as /proc.

    Attributes:
        directory: As given, resolved.
        spent: Changes and flushes that were asked for so far.
    """

    def __init__(
        self,
        directory: Path,
        disks: Mapping[str, Sequence[Area]] | None = None,
        *,
        volatile: Collection[str] = (),
    ) -> None:
        self.directory = directory.resolve()
        self._volatile = frozenset(volatile)
        self._lock = threading.RLock()
        self._nodes: dict[int, Node] = {}
        self._names: dict[int, dict[str, int]] = defaultdict(dict)
        self._changes: list[Change] = []
        self._flushes: list[Flush] = []
        self._open: dict[int, _Open] = {}
        self._life: int | None = None
        self.spent = 0
        self._remember(self.directory)
        self._base = {node: dict(names) for node, names in self._names.items()}
        self._disks = {
            self._node(self.directory / path): areas for path, areas in (disks or {}).items()
        }

    def _remember(self, place: Path) -> int:
        status = place.lstat()
        number = len(self._nodes)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            self._nodes[number] = Node(Kind.DIRECTORY, mode)
            self._names[number] = {}
            for child in sorted(place.iterdir()):
                self._names[number][child.name] = self._remember(child)
        elif stat.S_ISLNK(status.st_mode):
            self._nodes[number] = Node(Kind.LINK, mode, os.fsencode(place.readlink()))
        else:
            self._nodes[number] = Node(Kind.FILE, mode, place.read_bytes())
        return number

    def history(self) -> History:
        """Return what was recorded.

        Raises:
            AssertionError: Something below the directory was changed, but not through this kernel.
        """
        history = History(dict(self._nodes), self._base, tuple(self._changes), tuple(self._flushes))
        recorded = described(history, history.everything)
        found = described_on_disk(self.directory)
        differing = {
            path for path in recorded.keys() | found.keys() if recorded.get(path) != found.get(path)
        } - self._volatile
        assert not differing, f"changed without the kernel: {sorted(differing)}"
        return history

    @property
    def made(self) -> int:
        """How many changes were made so far."""
        return len(self._changes)

    def kill_after(self, count: int) -> None:
        """Let the process die instead of making change or flush number `count` from now on."""
        self._life = count

    def revive(self) -> None:
        """Another process starts: on what is on disk or in the page cache."""
        self._life = None

    def _live(self) -> None:
        """Spend one of the calls that are left.

        Raises:
            Killed: There is none.
        """
        if self._life is not None:
            if self._life <= 0:
                raise Killed
            self._life -= 1
        self.spent += 1

    # Finding out what a path or descriptor means.

    def _place(self, path: StrPath, dir_fd: int | None = None) -> tuple[int, str] | None:
        """The directory and name that a path leads to, or None outside our directory."""
        full = Path(os.fsdecode(path))
        if dir_fd is not None:
            full = Path(f"/proc/self/fd/{dir_fd}").readlink() / full
        full = full.absolute()
        parent = full.parent.resolve()
        if not parent.is_relative_to(self.directory):
            return None
        directory = ROOT
        for part in parent.relative_to(self.directory).parts:
            assert part in self._names[directory], f"{parent} was made without the kernel"
            directory = self._names[directory][part]
        return directory, full.name

    def _node(self, path: Path) -> int:
        place = self._place(path)
        assert place is not None
        directory, name = place
        return self._names[directory][name]

    def _opened(self, fd: int) -> _Open | None:
        """What a descriptor leads to; also one that was not opened through this kernel."""
        inode = os.fstat(fd).st_ino
        known = self._open.get(fd)
        if known is not None and known.inode == inode:
            return known
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path == self.directory:
            node = ROOT
        else:
            place = self._place(path)
            if place is None or place[1] not in self._names[place[0]]:
                return None
            node = self._names[place[0]][place[1]]
        self._open[fd] = opened = _Open(node, inode)
        return opened

    # Calls that change something.

    def open(
        self, path: StrPath, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        """Open, and note a new name or the loss of a file's content."""
        with self._lock:
            if not flags & os.O_NOFOLLOW and dir_fd is None:
                path = Path(os.fsdecode(path)).resolve()
            place = self._place(path, dir_fd)
            if flags & (os.O_CREAT | os.O_TRUNC):
                self._live()
            fd = super().open(path, flags, mode, dir_fd=dir_fd)
            self._open.pop(fd, None)
            if place is not None and flags & os.O_CREAT and place[1] not in self._names[place[0]]:
                status = os.fstat(fd)
                self._create(place, Node(Kind.FILE, stat.S_IMODE(status.st_mode)))
            opened = self._opened(fd)
            if opened and flags & os.O_TRUNC:
                self._changes.append(Truncate(opened.node, 0))
            return fd

    def close(self, fd: int) -> None:
        """Close."""
        with self._lock:
            self._open.pop(fd, None)
            super().close(fd)

    def pread(self, fd: int, length_bytes: int, offset_bytes: int) -> bytes:
        """Read, and note which area of a disk the descriptor is used for."""
        self._touch(fd, offset_bytes)
        return super().pread(fd, length_bytes, offset_bytes)

    def preadv(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
        """Read, and note which area of a disk the descriptor is used for."""
        self._touch(fd, offset_bytes)
        return super().preadv(fd, buffers, offset_bytes)

    def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
        """Write, and note what."""
        with self._lock:
            self._live()
            count = super().pwrite(fd, data, offset_bytes)
            self._wrote(fd, bytes(memoryview(data).cast("B")[:count]), offset_bytes)
            return count

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset_bytes: int) -> int:
        """Write, and note what."""
        with self._lock:
            self._live()
            count = super().pwritev(fd, buffers, offset_bytes)
            self._wrote(fd, b"".join(bytes(buffer) for buffer in buffers)[:count], offset_bytes)
            return count

    def write(self, fd: int, data: Buffer) -> int:
        """Write at the position, and note what."""
        with self._lock:
            self._live()
            position = os.lseek(fd, 0, os.SEEK_CUR)
            count = super().write(fd, data)
            self._wrote(fd, bytes(memoryview(data).cast("B")[:count]), position)
            return count

    def ftruncate(self, fd: int, length_bytes: int) -> None:
        """Set the length, and note it."""
        with self._lock:
            self._live()
            super().ftruncate(fd, length_bytes)
            if opened := self._opened(fd):
                self._changes.append(Truncate(opened.node, length_bytes))

    def fchmod(self, fd: int, mode: int) -> None:
        """Set permissions, and note them."""
        with self._lock:
            self._live()
            super().fchmod(fd, mode)
            if opened := self._opened(fd):
                self._changes.append(Mode(opened.node, mode))

    def chmod(self, path: StrPath, mode: int) -> None:
        """Set permissions, and note them."""
        with self._lock:
            self._live()
            super().chmod(path, mode)
            place = self._place(Path(os.fsdecode(path)).resolve())
            if place is not None:
                self._changes.append(Mode(self._names[place[0]][place[1]], mode))

    def replace(self, source: StrPath, target: StrPath) -> None:
        """Rename, and note both names as one change."""
        with self._lock:
            self._live()
            old, new = self._place(source), self._place(target)
            super().replace(source, target)
            assert (old is None) == (new is None), "a rename in or out of what is recorded"
            if old and new:
                self._rename((*new, self._names[old[0]][old[1]]), (*old, None))

    def exchange(self, one: StrPath, other: StrPath) -> None:
        """Swap two names, and note both as one change."""
        with self._lock:
            self._live()
            first, second = self._place(one), self._place(other)
            super().exchange(one, other)
            if first and second:
                nodes = self._names[first[0]][first[1]], self._names[second[0]][second[1]]
                self._rename((*first, nodes[1]), (*second, nodes[0]))

    def link(self, source: StrPath, target: StrPath) -> None:
        """Make a hard link, and note the name."""
        with self._lock:
            self._live()
            old, new = self._place(source), self._place(target)
            super().link(source, target)
            if old and new:
                self._rename((*new, self._names[old[0]][old[1]]))

    def symlink(self, points_to: StrPath, path: StrPath) -> None:
        """Make a symbolic link, and note it with its target, which lives in its directory."""
        with self._lock:
            self._live()
            place = self._place(path)
            super().symlink(points_to, path)
            if place:
                self._create(place, Node(Kind.LINK, 0o777, os.fsencode(points_to)))

    def unlink(self, path: StrPath) -> None:
        """Remove a name, and note it."""
        with self._lock:
            self._live()
            place = self._place(path)
            super().unlink(path)
            if place:
                self._rename((*place, None))

    def mkdir(self, path: StrPath, mode: int = 0o700) -> None:
        """Make a directory, and note it."""
        with self._lock:
            self._live()
            place = self._place(path)
            super().mkdir(path, mode)
            if place:
                made = stat.S_IMODE(Path(os.fsdecode(path)).stat().st_mode)
                self._create(place, Node(Kind.DIRECTORY, made))

    def rmdir(self, path: StrPath) -> None:
        """Remove a directory, and note it."""
        with self._lock:
            self._live()
            place = self._place(path)
            super().rmdir(path)
            if place:
                self._rename((*place, None))

    def fsync(self, fd: int) -> None:
        """Note that what was done to this file, directory or part of a disk is on the medium."""
        with self._lock:
            self._live()
            if opened := self._opened(fd):
                self._flushed(self._covered(opened))

    def fdatasync(self, fd: int) -> None:
        """As `fsync`: what is left out are time stamps, which are not recorded."""
        self.fsync(fd)

    def syncfs(self, fd: int) -> None:
        """Note that everything but the disks is on the medium."""
        with self._lock:
            self._live()
            if self._opened(fd):
                self._flushed(
                    sum(
                        1 << index
                        for index, change in enumerate(self._changes)
                        if isinstance(change, Names) or change.node not in self._disks
                    )
                )

    # Notes.

    def _create(self, place: tuple[int, str], node: Node) -> None:
        number = len(self._nodes)
        self._nodes[number] = node
        self._rename((*place, number))

    def _rename(self, *changes: tuple[int, str, int | None]) -> None:
        self._changes.append(Names(changes))
        for directory, name, node in changes:
            self._names[directory].pop(name, None)
            if node is not None:
                self._names[directory][name] = node

    def _wrote(self, fd: int, data: bytes, offset: int) -> None:
        if data and (opened := self._opened(fd)):
            area = self._touch(fd, offset)
            self._changes.append(Write(opened.node, offset, data, area))

    def _touch(self, fd: int, offset: int) -> str:
        with self._lock:
            opened = self._opened(fd)
            if opened is None or opened.node not in self._disks:
                return ""
            areas = self._disks[opened.node]
            name = next((a.name for a in areas if a.start <= offset < a.stop), TABLE)
            opened.areas.add(name)
            return name

    def _covered(self, opened: _Open) -> int:
        mask = 0
        for index, change in enumerate(self._changes):
            if isinstance(change, Names):
                covered = any(directory == opened.node for directory, _, _ in change.changes)
            elif isinstance(change, Write) and opened.node in self._disks:
                covered = change.node == opened.node and change.area in opened.areas
            else:
                covered = change.node == opened.node
            mask |= covered << index
        return mask

    def _flushed(self, mask: int) -> None:
        self._flushes.append(Flush(len(self._changes), mask))


class DiskView:
    """One disk in one state, as a boot loader reads it; writes stay in memory."""

    def __init__(self, history: History, path: str, state: State) -> None:
        self._history = history
        self._node = history.tree(state)[path]
        self._state = state
        self._written: list[Write] = []
        self.size = len(history.nodes[self._node].data)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`."""
        data = bytearray(self._history.read(self._node, self._state, offset, offset + length))
        for write in self._written:
            overlay(data, offset, write)
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Write, in memory."""
        self._written.append(Write(self._node, offset, data))


def described(history: History, state: State) -> dict[str, tuple[Kind, int, bytes]]:
    """Say of every path in a state what it is, its permissions and its content."""
    return {
        path: (
            history.nodes[node].kind,
            history.mode(node, state),
            history.content(node, state),
        )
        for path, node in history.tree(state).items()
    }


def described_on_disk(directory: Path) -> dict[str, tuple[Kind, int, bytes]]:
    """As `described`, of a real directory."""
    found = {}
    for place in sorted(directory.rglob("*")):
        mode = stat.S_IMODE(place.lstat().st_mode)
        path = str(place.relative_to(directory))
        if place.is_symlink():
            found[path] = (Kind.LINK, mode, os.fsencode(place.readlink()))
        elif place.is_dir():
            found[path] = (Kind.DIRECTORY, mode, b"")
        else:
            found[path] = (Kind.FILE, mode, place.read_bytes())
    return found


def materialise(
    history: History, state: State, directory: Path, *, skip: frozenset[str] = frozenset()
) -> None:
    """Make a real directory of a state; paths in `skip` are left to the caller."""
    directory.mkdir(parents=True, exist_ok=True)
    modes: list[tuple[Path, int]] = []
    for path, node in history.tree(state).items():
        place = directory / path
        match history.nodes[node].kind:
            case Kind.DIRECTORY:
                place.mkdir()
                modes.append((place, history.mode(node, state)))
            case Kind.LINK:
                place.symlink_to(os.fsdecode(history.nodes[node].data))
            case Kind.FILE:
                if path not in skip:
                    _write_sparsely(place, history.content(node, state))
                    place.chmod(history.mode(node, state))
    for place, mode in reversed(modes):
        place.chmod(mode)


def _write_sparsely(place: Path, data: bytes) -> None:
    """Write a file; what is zero in a disk takes no time."""
    step = 1 << 16
    with place.open("wb") as file:
        file.truncate(len(data))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            if piece.count(0) != len(piece):
                file.seek(start)
                file.write(piece)
