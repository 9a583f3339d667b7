"""What must hold in every state that a power cut can leave, and the coming back from each.

Two depths:

- `Examiner.check`, for every state, in memory: a set boots; it wholly holds a version that may
  boot here; and no set is marked valid that is not whole, chosen or not.
- `recover`, for a sample, on a real directory: the host boots, its settings are those of the
  version that booted, signpost and updog answer, and an update from there ends well.
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from typing import TYPE_CHECKING

from signpost.report import Status
from signpost.state import BootState
from tests.support import bootloader
from tests.support.host import DISK, PARTS, Bricked, Host, content
from tests.support.power import TABLE, DiskView, materialise
from tests.support.volume import Kind, Names, Torn, Write
from updog.install import Result

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable
    from pathlib import Path

    from tests.support.repository import Repository
    from tests.support.volume import History, State

# Boots have numbers here; no boot after a cut has one that was used before it.
_LATER = 100
_OF_MIGRATOR = ("root/var/lib/bottlerocket", "root/var/cache")
_BOOT_NUMBERS = {"A": 1, "B": 5}


class Examiner:
    """Looks at the states of one recording.

    Args:
        history: What was recorded.
        allowed: The versions of which one must boot.

    Attributes:
        examined: How many states were looked at.
        booted: How often which version boots.
    """

    def __init__(self, history: History, allowed: Collection[str]) -> None:
        self.history = history
        self.allowed = frozenset(allowed)
        self.examined = 0
        self.booted: Counter[str] = Counter()
        disk = history.names[0][DISK]
        self._table = history.touching(disk, TABLE)
        self._sets = {
            slot: sum(history.touching(disk, f"{slot} {part}") for part in PARTS) for slot in "AB"
        }
        self._contents: dict[tuple[str, int, tuple[Torn, ...]], str | None] = {}
        self._flags: dict[tuple[int, tuple[Torn, ...]], tuple[str | None, tuple[str, ...]]] = {}

    def check(self, state: State) -> str:
        """Return the version that boots.

        Raises:
            Bricked: A promise does not hold in this state.
        """
        self.examined += 1
        slot, valid = self._boot_flags(state)
        if slot is None:
            raise Bricked(f"nothing boots; {self.told(state)}")
        for each in valid:
            if self.content(state, each) is None:
                raise Bricked(f"set {each} is marked valid and not whole; {self.told(state)}")
        version = self.content(state, slot)
        if version is None:
            raise Bricked(f"set {slot} boots and is not whole; {self.told(state)}")
        if version not in self.allowed:
            raise Bricked(f"{version} boots, which must not be; {self.told(state)}")
        self.booted[version] += 1
        return version

    def content(self, state: State, slot: str) -> str | None:
        """The version that a set wholly holds in a state, or None."""
        key = (slot, *_part(state, self._sets[slot]))
        if key not in self._contents:
            # The table decides where partitions are; it is read from the state at rest, since no
            # change of flags moves them.
            view = _Moved(DiskView(self.history, DISK, state), self.history)
            self._contents[key] = content(view, slot)
        return self._contents[key]

    def likeness(self, state: State) -> Hashable:
        """Equal for states that no command can tell apart but by half-written images."""
        contents = self.content(state, "A"), self.content(state, "B")
        return self._files(state, ""), contents, self._boot_flags(state)

    def likeness_to_migrator(self, state: State) -> Hashable:
        """Equal for states that no migrator can tell apart."""
        slot, _ = self._boot_flags(state)
        return self._files(state, _OF_MIGRATOR), self.content(state, slot or "A")

    def _files(self, state: State, below: str | tuple[str, ...]) -> Hashable:
        history = self.history
        return tuple(
            (path, node, *_part(state, history.touching(node)))
            for path, node in history.tree(state).items()
            if path.startswith(below)
            and path != DISK
            and history.nodes[node].kind is not Kind.DIRECTORY
        )

    def _boot_flags(self, state: State) -> tuple[str | None, tuple[str, ...]]:
        """The set that the loader chooses, and the sets that are marked valid."""
        key = _part(state, self._table)
        if key not in self._flags:
            view = DiskView(self.history, DISK, state)
            slot = bootloader.next_boot(view)
            self._flags[key] = slot, marked_valid(view) if slot else ()
        return self._flags[key]

    def told(self, state: State) -> str:
        """Say where the power was cut, and what of the last changes is missing."""
        cut = state.mask.bit_length()
        lost = [index for index in range(cut) if not state.mask >> index & 1]
        words = [f"cut at change {cut} of {len(self.history.changes)}"]
        words += [f"without {self._named(index)}" for index in lost[-6:]]
        words += [
            f"with sectors {sorted(torn.sectors)} of {self._named(torn.change)}"
            for torn in state.torn
        ]
        return ", ".join(words)

    def _named(self, index: int) -> str:
        change = self.history.changes[index]
        match change:
            case Write(area=area, offset=offset, data=data) if area:
                return f"change {index} ({len(data)} bytes at {offset}, {area})"
            case Names(changes=changes):
                return f"change {index} (name {changes[0][1]})"
            case _:
                return f"change {index} ({type(change).__name__.lower()})"


def recover(history: History, state: State, place: Path, repository: Repository, goal: str) -> str:
    """Switch the power on again and carry on as a host does; return the version that booted.

    Args:
        history: What was recorded.
        state: What the cut left of it.
        place: A directory to do it in; removed afterwards.
        repository: Offers `goal`.
        goal: The version that runs in the end.

    Raises:
        Bricked: A promise is broken on the way.
    """
    materialise(history, state, place)
    host = Host(place, boots=_LATER)
    booted = host.boot()
    with host.boot_disk() as disk:
        lines = Status.of(disk).lines()
    if not any(line.startswith(f"Active: Set {host.slot}") for line in lines):
        raise Bricked(f"signpost says {lines}")
    host.signpost(BootState.mark_successful_boot)
    if host.version != goal:
        outcome = host.update(repository)
        if outcome.result not in {Result.APPLIED, Result.ALREADY}:
            raise Bricked(f"the next update says {outcome.result}: {outcome.note}")
        host.boot()
        host.signpost(BootState.mark_successful_boot)
    if host.version != goal:
        raise Bricked(f"after another update {host.version} runs")
    last = host.update(repository)
    if last.result is not Result.NOTHING:
        raise Bricked(f"an up-to-date host updates again: {last.result}")
    shutil.rmtree(place)
    return booted


def settings_follow(history: History, state: State, version: str, place: Path) -> None:
    """Run the migrator for the version that boots.

    Raises:
        Bricked: The settings are not those of that version afterwards.
    """
    materialise(history, state, place, skip=frozenset({DISK}))
    Host(place, version=version).migrate()
    shutil.rmtree(place)


class _Moved:
    """A state's content under the table at rest."""

    def __init__(self, view: DiskView, history: History) -> None:
        self._view = view
        self._base = history.nodes[history.names[0][DISK]].data
        self.size = view.size

    def read(self, offset: int, length: int) -> bytes:
        if offset < 1 << 20:
            return self._base[offset : offset + length]
        return self._view.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        raise NotImplementedError


def marked_valid(disk: bootloader.Storage) -> tuple[str, ...]:
    """The sets that have tries left or are successful: they boot, or one flip makes them."""
    _, array = bootloader._table(disk, 512)
    found = []
    for slot, number in _BOOT_NUMBERS.items():
        (attributes,) = struct.unpack_from("<Q", array, (number - 1) * 128 + 48)
        if attributes >> 52 & 0x1F:
            found.append(slot)
    return tuple(found)


def _part(state: State, mask: int) -> tuple[int, tuple[Torn, ...]]:
    """What of a state concerns some changes."""
    return state.mask & mask, tuple(torn for torn in state.torn if mask >> torn.change & 1)
