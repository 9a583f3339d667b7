"""Anything may happen to a host, in any order, and it goes on.

A repository publishes versions, good ones and ones that never come up. The host checks, updates,
stages, applies and reverts; an operator gives signpost's commands and installs versions by name; it
is restarted, with and without being confirmed; processes are killed; and the power fails during any
of this, with whatever was in the air lost. All on real images, by the real code.

What always holds:

- a set boots, it is whole, and its settings are there;
- a host that is only switched off and on, over and over, ends at a version that comes up, within as
  many boots as there are tries: nothing goes round between sets that fail while one is good;
- a set that has used up its tries does not boot again without a new image;
- updog does not install a version again that it knows to have failed, unless told to by name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from partition.errors import PartitionError
from signpost.errors import SignpostError
from signpost.state import BootState
from tests.support import bootloader
from tests.support.examiner import marked_valid
from tests.support.host import Bricked, Host, chosen, content, publish
from tests.support.places import eager_journal, roomy
from tests.support.power import Killed, materialise
from tests.support.volume import State, Torn, Write
from updog.errors import UpdogError
from updog.install import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.repository import Repository
    from tests.support.volume import History

__all__ = ["eager_journal"]

IS_DEEP = os.environ.get("UPDOG_CRASH") == "deep"
REFUSALS = (UpdogError, SignpostError, PartitionError)
NEWER = ("1.1.0", "2.0.0", "2.1.0")

SIGNPOST: dict[str, Callable[[BootState], BootState]] = {
    "clear-inactive": BootState.clear_inactive,
    "upgrade-to-inactive": BootState.upgrade_to_inactive,
    "cancel-upgrade": BootState.cancel_upgrade,
    "rollback-to-inactive": BootState.rollback_to_inactive,
    "mark-successful-boot": BootState.mark_successful_boot,
    "restore-try": BootState.restore_try,
}
UPDOG = ("update", "update-image", "update-apply", "update-revert", "check-update", "by name")
# These put a new image on the other set.
INSTALLING = {"update", "update-image", "by name"}
# Updates are what the others build on.
COMMANDS = st.sampled_from(["update"] * 6 + [*UPDOG, *SIGNPOST])
# Whether a version comes up; most do.
GOOD = st.sampled_from([True, True, False])


class HostMachine(RuleBasedStateMachine):
    """The host, what is published, and what is known of its sets."""

    happened: ClassVar[Counter[str]] = Counter()

    @initialize(good=GOOD)
    def install(self, good: bool) -> None:  # noqa: FBT001
        self.place = Path(tempfile.mkdtemp(prefix="updog-model-", dir=roomy()))
        self.numbers = count()
        self.repository: Repository = publish("1.0.0")
        self.host = Host.install(
            self.place / "0", "1.0.0", shipped_root=self.repository.shipped_root
        )
        self.offered = ["1.0.0"]
        self.bad: set[str] = set()
        # Sets that used up their tries, and versions that updog has seen fail.
        self.spent: set[str] = set()
        self.failed: set[str] = set()
        self.happened["examples"] += 1
        self.publish_next(good)

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place)

    # What others do.

    @rule(good=GOOD)
    @precondition(lambda self: len(self.offered) <= len(NEWER))
    def publish_next(self, good: bool) -> None:  # noqa: FBT001
        version = NEWER[len(self.offered) - 1]
        self.offered.append(version)
        if not good:
            self.bad.add(version)
        publish(*self.offered, repository=self.repository)

    # What the host and its operator do.

    @rule(command=COMMANDS)
    def give_a_command(self, command: str) -> None:
        self.run(self.host, command)

    def run(self, host: Host, command: str) -> None:
        """Run a command of updog or signpost; a refusal is an answer."""
        before = marked_valid(bootloader.Image(host.disk))
        try:
            if command in SIGNPOST:
                host.signpost(SIGNPOST[command])
                self.failed.clear()  # the operator may have wiped what updog would have seen
            else:
                self.run_updog(host, command)
        except REFUSALS as refusal:
            note(f"{command}: {refusal}")
        finally:
            # Also of a process that was killed: it may have come that far.
            other = "B" if host.slot == "A" else "A"
            valid = marked_valid(bootloader.Image(host.disk))
            if command in INSTALLING and other not in before and other in valid:
                self.spent.discard(other)

    def run_updog(self, host: Host, command: str) -> None:
        match command:
            case "update" | "update-image":
                outcome = host.update(self.repository, apply=command == "update")
                if outcome.update is not None and outcome.result is not Result.ALREADY:
                    assert str(outcome.update.version) not in self.failed, "a failed version again"
            case "by name":
                host.update(self.repository, image=self.offered[-1])
                self.failed.discard(self.offered[-1])
            case "update-apply":
                host.update_apply()
            case "update-revert":
                host.update_revert()
            case _:
                host.check_update(self.repository)

    @rule(good=GOOD, confirmed=st.booleans())
    def a_usual_day(self, good: bool, confirmed: bool) -> None:  # noqa: FBT001
        if len(self.offered) <= len(NEWER):
            self.publish_next(good)
        self.run(self.host, "update")
        self.restart(confirmed)

    # What happens to it.

    @rule(confirmed=st.booleans())
    def restart(self, confirmed: bool) -> None:  # noqa: FBT001
        """Switch it off and on until something comes up."""
        slot, version = self.switch_on()
        for boots in count(1):
            if version not in self.bad:
                break
            assert boots < 20, "it goes round and round"
            self.happened["versions failed"] += 1
            if slot not in still_bootable(self.host):
                self.spent.add(slot)
                self.failed.add(version)
            slot, version = self.switch_on()
        self.happened["versions came up"] += version != self.host.version
        self.host.start(slot)
        self.host.migrate()
        if confirmed:
            self.host.signpost(BootState.mark_successful_boot)

    def switch_on(self) -> tuple[str, str]:
        """The boot loader's part: the set that boots, and the version that it holds."""
        slot, version = chosen(bootloader.Image(self.host.disk))
        assert slot not in self.spent, f"set {slot} has used up its tries and boots again"
        bootloader.boot(self.host.disk)
        return slot, version

    @rule(
        command=COMMANDS,
        moment=st.integers(0, 999),
        luck=st.integers(0, 1 << 16),
        confirmed=st.booleans(),
    )
    def power_fails_during(self, command: str, moment: int, luck: int, confirmed: bool) -> None:  # noqa: FBT001
        """Some of what was in the air is lost; then it is switched on again."""
        kernel = self.host.record()
        self.run(self.host, command)
        history = kernel.history()
        self.happened["power cuts"] += bool(history.changes)
        state = cut(history, moment, Random(luck))  # noqa: S311
        self.move(lambda place: materialise(history, state, place))
        # A cut may have undone what the command did, and with it what the model learnt from it.
        self.failed.clear()
        self.spent -= set(still_bootable(self.host))
        self.restart(confirmed)

    @rule(command=COMMANDS, moment=st.integers(0, 150))
    def killed_during(self, command: str, moment: int) -> None:
        """The process ends in the middle; the system runs on."""
        kernel = self.host.record()
        kernel.kill_after(moment)
        try:
            self.run(self.host, command)
        except Killed:
            note(f"{command} killed at {moment}")
            self.happened["kills"] += 1
        self.move(lambda place: shutil.copytree(self.host.directory, place, symlinks=True))
        self.failed.clear()

    def move(self, make: Callable[[Path], object]) -> None:
        """Go on with the host in another directory, without a recorder."""
        old = self.host
        place = self.place / f"{next(self.numbers) + 1}"
        make(place)
        self.host = Host(place, slot=old.slot, version=old.version, boots=old.boots)
        shutil.rmtree(old.directory)

    # What always holds.

    @invariant()
    @precondition(lambda self: hasattr(self, "host"))
    def switched_off_and_on_it_ends_at_a_version_that_comes_up(self) -> None:
        disk = bytearray(self.host.disk.read_bytes())
        seen = [bootloader.boot(disk) for _ in range(20)]
        last = content(bootloader.Image(self.host.disk), seen[-1])
        if last is None or last in self.bad:
            raise Bricked(f"it boots {seen} and never comes up")

    @invariant()
    @precondition(lambda self: hasattr(self, "host"))
    def what_is_marked_valid_is_whole(self) -> None:
        image = bootloader.Image(self.host.disk)
        for slot in marked_valid(image):
            if content(image, slot) is None:
                raise Bricked(f"set {slot} is marked valid and not whole")


def still_bootable(host: Host) -> tuple[str, ...]:
    """The sets that have tries left or are confirmed."""
    return marked_valid(bootloader.Image(host.disk))


def cut(history: History, moment: int, luck: Random) -> State:
    """A cut at a thousandth of a history, that loses some of what was in the air.

    How many changes there are differs a little from run to run, since threads make them; so
    hypothesis draws what does not depend on it.
    """
    if not history.changes:
        return State(0)
    last = len(history.changes) * moment // 1000
    durable, air = history.air(last + 1)
    kept = [index for index in air if luck.random() < 0.5]
    change = history.changes[last]
    torn: tuple[Torn, ...] = ()
    if last in kept and isinstance(change, Write) and luck.random() < 0.5:
        arrived = (sector for sector in change.sectors if luck.random() < 0.5)
        torn = (Torn(last, frozenset(arrived)),)
    return State(durable | sum(1 << index for index in kept), torn)


@pytest.mark.usefixtures("eager_journal")
def test_whatever_happens_the_host_goes_on() -> None:
    HostMachine.happened.clear()
    run_state_machine_as_test(
        HostMachine,
        settings=settings(
            max_examples=400 if IS_DEEP else 28, stateful_step_count=30 if IS_DEEP else 14
        ),
    )
    # A machine that refuses everything, or never gets to a point, would pass as well.
    happened = HostMachine.happened
    assert happened["examples"] >= 28
    assert happened["power cuts"] >= 12
    assert happened["kills"] >= 12
    assert happened["versions came up"] >= 5
    assert happened["versions failed"] >= 3
