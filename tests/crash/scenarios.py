"""What is done to a host while the power may fail: each a legitimate state, and one thing done.

`prepare` brings a fresh host that runs 1.0.0 into that state, unrecorded; `act` is recorded, and
the power is cut at every moment of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partition.errors import PartitionError
from signpost.device import BootDisk
from signpost.state import BootState, boot
from tests.support.host import Host, publish, release, target_name
from updog.errors import UpdogError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.repository import Repository

Step = "Callable[[Host, Repository], None]"


@dataclass(frozen=True)
class Scenario:
    """One thing done to a host.

    Attributes:
        name: As docs/crash-safety.md lists it.
        act: What is recorded.
        may_boot: The versions of which one must boot, whatever moment the power fails at.
        ends_as: What must boot if it fails after the end: what was reported done has lasted.
        prepare: How the host came to where `act` begins.
        offered_later: A version published after the cut, for the next update; "": none.
        goal: What runs after that update.
    """

    name: str
    act: Callable[[Host, Repository], None]
    may_boot: tuple[str, ...]
    ends_as: str
    prepare: Callable[[Host, Repository], None] = lambda _host, _repository: None
    offered_later: str = ""
    goal: str = "1.1.0"

    def begin(self, directory: Path) -> tuple[Host, Repository]:
        """A host where `act` can be done, and its repository."""
        repository = publish("1.0.0", "1.1.0")
        host = Host.install(directory, "1.0.0", shipped_root=repository.shipped_root)
        self.prepare(host, repository)
        return host, repository


def offer(repository: Repository, *newer: str, broken: dict[str, bytes] | None = None) -> None:
    """Publish newer versions beside those that are there."""
    publish("1.0.0", "1.1.0", *newer, repository=repository, broken=broken)


def update(host: Host, repository: Repository) -> None:
    host.update(repository)


def run_new_version(host: Host, repository: Repository) -> None:
    """Update to 1.1.0, boot it, confirm it."""
    host.update(repository)
    host.boot()
    host.signpost(BootState.mark_successful_boot)


def run_new_version_and_offer_another(host: Host, repository: Repository) -> None:
    run_new_version(host, repository)
    offer(repository, "2.0.0")


def replace_pending(host: Host, repository: Repository) -> None:
    """1.1.0 would boot next when 2.0.0 appears."""
    host.update(repository)
    offer(repository, "2.0.0")


def step_by_step(host: Host, repository: Repository) -> None:
    host.update(repository, apply=False)
    host.update_apply()
    host.update_revert()
    host.update_apply()


def roll_back(host: Host, _: Repository) -> None:
    host.signpost(BootState.rollback_to_inactive)


def choose_boot(host: Host) -> str:
    """What the boot stage does, with signpost in the boot loader's place."""
    with BootDisk.open_at_boot(host.disk, writable=True, kernel=host.kernel) as disk:
        slot, flags = boot(disk.flags)
        disk.store_flags(flags)
    return slot.value


def boot_and_confirm(host: Host, _: Repository) -> None:
    """Choose, migrate, confirm: all that the product does when a machine starts."""
    slot = choose_boot(host)
    host.start(slot)
    host.migrate()
    host.signpost(BootState.mark_successful_boot)


def rolled_back(host: Host, repository: Repository) -> None:
    run_new_version(host, repository)
    roll_back(host, repository)


def wrong_tree(_: Repository) -> dict[str, bytes]:
    """A signed hash image that belongs to another root image."""
    return {target_name("2.0.0", "hash"): release("1.0.0").packed["hash"]}


def fails(act: Callable[[Host, Repository], None]) -> Callable[[Host, Repository], None]:
    """The same, and it must fail."""

    def failing(host: Host, repository: Repository) -> None:
        try:
            act(host, repository)
        except (UpdogError, PartitionError) as error:
            host.said.append(str(error))
        else:
            raise AssertionError("a broken update went through")

    return failing


def offer_broken(host: Host, repository: Repository) -> None:
    run_new_version(host, repository)
    offer(repository, "2.0.0", broken=wrong_tree(repository))


def offer_corrupted(host: Host, repository: Repository) -> None:
    """What is served is not what was signed: the last image breaks off its digest at the end."""
    run_new_version_and_offer_another(host, repository)
    for name, data in repository.target_files.items():
        if name.endswith(target_name("2.0.0", "root")):
            repository.target_files[name] = data[:-1] + bytes([data[-1] ^ 1])


def after_a_failure(host: Host, repository: Repository) -> None:
    offer_broken(host, repository)
    fails(update)(host, repository)
    offer(repository, "2.0.0", "2.1.0")


def check(host: Host, repository: Repository) -> None:
    assert host.check_update(repository) == "1.1.0"
    offer(repository, "2.0.0")
    assert host.check_update(repository) == "2.0.0"


SCENARIOS = [
    Scenario("a first update", update, ("1.0.0", "1.1.0"), "1.1.0"),
    Scenario(
        "an update over the former system",
        update,
        ("1.1.0", "2.0.0"),
        "2.0.0",
        prepare=run_new_version_and_offer_another,
        goal="2.0.0",
    ),
    Scenario("stage, apply, revert, apply", step_by_step, ("1.0.0", "1.1.0"), "1.1.0"),
    Scenario(
        "an update that replaces a pending one",
        update,
        ("1.0.0", "1.1.0", "2.0.0"),
        "2.0.0",
        prepare=replace_pending,
        goal="2.0.0",
    ),
    Scenario(
        "an update whose hash image is of another root",
        fails(update),
        ("1.1.0",),
        "1.1.0",
        prepare=offer_broken,
        offered_later="2.1.0",
        goal="2.1.0",
    ),
    Scenario(
        "an update whose last image is corrupted on the way",
        fails(update),
        ("1.1.0",),
        "1.1.0",
        prepare=offer_corrupted,
        offered_later="2.1.0",
        goal="2.1.0",
    ),
    Scenario(
        "an update on top of a failed one",
        update,
        ("1.1.0", "2.1.0"),
        "2.1.0",
        prepare=after_a_failure,
        goal="2.1.0",
    ),
    Scenario("a rollback", roll_back, ("1.0.0", "1.1.0"), "1.0.0", prepare=run_new_version),
    Scenario(
        "the first boot of a new version, with its migration",
        boot_and_confirm,
        ("1.0.0", "1.1.0"),
        "1.1.0",
        prepare=update,
        offered_later="2.0.0",
        goal="2.0.0",
    ),
    Scenario(
        "the boot of a rollback, with the way back of the settings",
        boot_and_confirm,
        ("1.0.0", "1.1.0"),
        "1.0.0",
        prepare=rolled_back,
    ),
    Scenario("two checks for updates", check, ("1.0.0",), "1.0.0", goal="2.0.0"),
]
