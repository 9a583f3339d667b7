"""The power goes away, at a random moment of an update, again and again.

Each cut starts from the same saved machine: 1.0.0 up and confirmed on set A. It is told to update,
and somewhere between that and 2.0.0 being confirmed the plug is pulled: after so many writes to its
disk, or after so many seconds. What the disk's cache held is kept, lost or torn, each write for
itself (`tests.boot.volatile_disk`). Then it must come up, with either version, whole, with settings
in the form of that version.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.boot.host import copy_disk
from tests.boot.journal import Failed
from tests.boot.scenarios import GREETING, UPDATE

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.boot.host import Host
    from tests.boot.machine import Machine
    from tests.boot.volatile_disk import PowerCut

_VERSIONS: Final = {"A": "1.0.0", "B": "2.0.0"}
_IDLE_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Saved:
    """A machine to start from, and its disk."""

    machine: Path
    disk: Path


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to cut: an undisturbed update up to the restart, and the boot after it."""

    update_writes: int
    update_seconds: float
    boot_writes: int
    boot_seconds: float


@dataclass(frozen=True, slots=True)
class Moment:
    """When to cut: after so many writes, or seconds, of the update and the boot that follows.

    Attributes:
        fraction: 0 to 1, of both together.
        by_writes: Counted in writes, otherwise in seconds.
    """

    fraction: float
    by_writes: bool

    def amounts(self, extent: Extent) -> tuple[float, float]:
        """How far into the update; and into the boot after it, if the update is over before."""
        update, boot = extent.update_seconds, extent.boot_seconds
        if self.by_writes:
            update, boot = extent.update_writes, extent.boot_writes
        total = self.fraction * (update + boot)
        return total, max(1.0, total - update)


def moments(count: int, rng: random.Random) -> list[Moment]:
    """Random moments, spread over the whole: one in each n-th part."""
    return [
        Moment((number + rng.random()) / count, by_writes=number % 2 == 0)
        for number in range(count)
    ]


def save_machine(host: Host) -> Saved:
    """Bring 1.0.0 up and keep the machine as it is before the update."""
    saved = Saved(host.world.work / "saved" / "machine", host.world.work / "saved" / "disk.img")
    saved.machine.parent.mkdir(exist_ok=True)
    with host.boot("1.0.0", "A", GREETING) as machine:
        host.journal.expect("verdict", host.wait_for_verdict(machine), "active")
        machine.run("sync")
        machine.save(saved.machine)
        copy_disk(host.disk, saved.disk)
    host.journal.step("saved machine", "1.0.0 up, about to update")
    return saved


def measure(host: Host, saved: Saved) -> Extent:
    """Let one update happen undisturbed, to know how long it takes and how much it writes."""
    copy_disk(saved.disk, host.disk)
    with host.start(saved=saved.machine) as machine:
        machine.start(UPDATE)
        host.wait_for_restart(machine)
        update = machine.disk.writes, time.monotonic() - machine.started
    with host.boot("2.0.0", "B", GREETING) as machine:
        host.journal.expect("verdict", host.wait_for_verdict(machine), "active")
        boot = machine.disk.writes, time.monotonic() - machine.started
    extent = Extent(*update, *boot)
    host.journal.step(
        "an update undisturbed",
        f"{extent.update_writes} writes in {extent.update_seconds:.0f} s, then "
        f"{extent.boot_writes} in {extent.boot_seconds:.0f} s until it is confirmed",
    )
    return extent


def cut(host: Host, saved: Saved, extent: Extent, moment: Moment, rng: random.Random) -> None:
    """One update, one cut, and the boot that must come up."""
    journal = host.journal
    copy_disk(saved.disk, host.disk)
    into_update, into_boot = moment.amounts(extent)
    with host.start(saved=saved.machine) as machine:
        machine.start(UPDATE)
        done, when = _cut(machine, into_update, rng, by_writes=moment.by_writes), "of the update"
    if done is None:
        with host.start() as machine:
            done, when = _cut(machine, into_boot, rng, by_writes=moment.by_writes), "of the boot"
            if done is None:
                raise Failed(f"the first boot of 2.0.0 restarted: see {machine.serial_log}")
    amount = into_update if when == "of the update" else into_boot
    unit = "writes" if moment.by_writes else "s"
    slot = _next(host)
    if not host.whole(slot):
        raise Failed(f"set {slot} is to boot, and does not match its hash tree")
    with host.boot(_VERSIONS[slot], slot, GREETING) as machine:
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
    journal.step(
        f"power cut {amount:.0f} {unit} into {when.removeprefix('of ')} ({done})",
        f"{_VERSIONS[slot]} on set {slot}, whole, with its settings, confirmed",
    )


def _cut(
    machine: Machine, amount: float, rng: random.Random, *, by_writes: bool
) -> PowerCut | None:
    """Cut the power after an amount; None if the machine restarted before."""
    cuts: list[PowerCut] = []
    gone = threading.Event()

    def pull() -> None:
        cuts.append(machine.disk.cut_power(rng))
        gone.set()

    # A boot may write less than the one that was measured: then it is cut when it has long been up.
    deadline = time.monotonic() + (_IDLE_SECONDS if by_writes else amount)
    if by_writes:
        machine.disk.call_after_writes(max(1, int(amount)), pull)
    while machine.running and not gone.wait(0.05):
        if time.monotonic() > deadline:
            pull()
    machine.pull_the_plug()
    return cuts[0] if cuts else None


def _next(host: Host) -> str:
    """The set that the boot loader's rule takes, by the flags that sgdisk reads."""
    bootable = {
        slot: priority
        for slot, (priority, tries, successful) in host.flags().items()
        if priority and (tries or successful)
    }
    if not bootable:
        raise Failed("no set boots")
    return max(sorted(bootable), key=lambda slot: bootable[slot])
