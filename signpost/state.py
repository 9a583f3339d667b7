"""The boot state: which set runs, what each set's flags say, and every change that is allowed.

A state is a value. Each transition checks what must hold first and returns the new state, or raises
`Refused`; storing it is another step (`signpost.device`).

    transition             refused unless                           effect
    clear_inactive         two sets; active surely boots again      inactive cleared
    mark_inactive_valid    two sets; inactive cleared               inactive: tries
    upgrade_to_inactive    inactive: priority 0, not successful,    inactive: priority 2
                           tries left                               active: priority 1
    cancel_upgrade         an upgrade is pending                    inactive: priority 0
                                                                    active: priority 2
    rollback_to_inactive   inactive will boot                       inactive: priority 2, tries 1,
                                                                    not successful (see below)
                                                                    active: priority 1
    mark_successful_boot                                            active: successful
                                                                    private: booted once
    mark_failed_boot       two sets; inactive will boot, and        active: tries 0,
                           surely if active is confirmed            not successful
    restore_try                                                     active: one try more
    boot                   a set will boot                          that set: one try spent

They keep one promise: from a disk with a set that *surely* boots (priority and successful: however
often it is tried), no sequence of transitions and boots leads to one without. That is why a
rollback takes `successful` from the set it goes to only while the running set is confirmed and can
be fallen back to; from an unconfirmed set, the other one is the only sure one, and keeps the flag.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from signpost.errors import (
    ActiveNotConfirmed,
    InactiveNotCleared,
    NoInactiveSet,
    NotBootable,
    NothingBoots,
    NotMarkedValid,
    NoUpgradePending,
)
from signpost.flags import MAX_TRIES, BootFlags
from signpost.layout import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping


def next_slot(sets: Mapping[Slot, BootFlags]) -> Slot | None:
    """The set that the boot loader would choose now: greatest priority, A on a tie; or None."""
    candidates = [slot for slot in Slot if slot in sets and sets[slot].will_boot]
    # max() returns the first of equals.
    return max(candidates, key=lambda slot: sets[slot].priority, default=None)


def boot(sets: Mapping[Slot, BootFlags]) -> tuple[Slot, Mapping[Slot, BootFlags]]:
    """Do the boot loader's part: the set to boot, and the flags with its try spent.

    Raises:
        NothingBoots: No set will boot.
    """
    chosen = next_slot(sets)
    if chosen is None:
        found = ", ".join(f"set {slot.value}: {flags}" for slot, flags in sets.items())
        raise NothingBoots("to choose a set", f"none will boot ({found})")
    tries_left = max(0, sets[chosen].tries_left - 1)
    return chosen, {**sets, chosen: sets[chosen].with_tries_left(tries_left)}


@dataclass(frozen=True, slots=True)
class BootState:
    """The flags of all sets, and which set the host runs from.

    Attributes:
        active: The set that runs.
        sets: Flags of each set there is; `active` is one of them.
        private: Attribute bits of the private partition.
    """

    active: Slot
    sets: Mapping[Slot, BootFlags]
    private: BootFlags

    def __post_init__(self) -> None:
        if self.active not in self.sets:
            raise ValueError(f"there is no set {self.active.value}")

    @property
    def inactive(self) -> Slot:
        """The set that does not run.

        Raises:
            NoInactiveSet: There is one set only.
        """
        return self._inactive("to use an inactive set")

    @property
    def ever_succeeded(self) -> bool:
        """Some boot of this disk was confirmed once."""
        return self.private.booted_once

    @property
    def upgrade_pending(self) -> bool:
        """The inactive set boots next, and has not been confirmed."""
        chosen = self.next_slot()
        return chosen not in {None, self.active} and not self.sets[self.active.other].successful

    def next_slot(self) -> Slot | None:
        """The set that boots next, or None."""
        return next_slot(self.sets)

    def clear_inactive(self) -> BootState:
        """Make the inactive set unbootable, before its first byte is written."""
        inactive = self._inactive("clear-inactive")
        flags = self.sets[self.active]
        if not (flags.will_boot and flags.successful):
            raise ActiveNotConfirmed(
                "clear-inactive",
                f"the running set {self.active.value} is not known to boot ({flags}), "
                f"set {inactive.value} may be the only way back",
            )
        return self._with({inactive: self.sets[inactive].cleared()})

    def mark_inactive_valid(self, tries: int = 1) -> BootState:
        """Say that the inactive set is whole; it does not boot yet.

        Args:
            tries: How often it may be tried before it is given up, 1 to 15.
        """
        if not 1 <= tries <= MAX_TRIES:
            raise ValueError(f"tries: {tries}, expected 1 to {MAX_TRIES}")
        inactive = self._inactive("mark-inactive-valid")
        flags = self.sets[inactive]
        if not flags.is_clear:
            raise InactiveNotCleared(
                "mark-inactive-valid",
                f"set {inactive.value} was not cleared ({flags})",
            )
        return self._with({inactive: flags.with_tries_left(tries)})

    def upgrade_to_inactive(self) -> BootState:
        """Let the inactive set, marked valid before, boot next."""
        inactive = self._inactive("upgrade-to-inactive")
        flags = self.sets[inactive]
        if flags.priority or flags.successful:
            raise NotMarkedValid(
                "upgrade-to-inactive",
                f"set {inactive.value} is in use already ({flags}), "
                "expected priority=0 and successful=false",
            )
        if not flags.tries_left:
            raise NotMarkedValid(
                "upgrade-to-inactive", f"set {inactive.value} was never marked valid ({flags})"
            )
        return self._with(
            {
                inactive: flags.with_priority(2),
                self.active: self.sets[self.active].with_priority(1),
            }
        )

    def cancel_upgrade(self) -> BootState:
        """Take the flip back: the running set boots next, the other one stays valid."""
        inactive = self._inactive("cancel-upgrade")
        flags = self.sets[inactive]
        if not self.upgrade_pending:
            raise NoUpgradePending(
                "cancel-upgrade", f"no upgrade to set {inactive.value} is pending ({flags})"
            )
        return self._with(
            {
                inactive: flags.with_priority(0),
                self.active: self.sets[self.active].with_priority(2),
            }
        )

    def rollback_to_inactive(self) -> BootState:
        """Let the inactive set, a former system, boot next, with one try."""
        inactive = self._inactive("rollback-to-inactive")
        flags = self.sets[inactive]
        if not flags.will_boot:
            raise NotBootable(
                "rollback-to-inactive", f"set {inactive.value} would not boot ({flags})"
            )
        active = self.sets[self.active].with_priority(1)
        rolled_back = flags.with_priority(2).with_tries_left(1)
        if active.successful:
            rolled_back = rolled_back.with_successful(False)
        return self._with({inactive: rolled_back, self.active: active})

    def mark_successful_boot(self) -> BootState:
        """Confirm the running set: from now on it boots without tries."""
        state = self._with({self.active: self.sets[self.active].with_successful(True)})
        return replace(state, private=self.private.with_booted_once())

    def mark_failed_boot(self) -> BootState:
        """Give the running set up: it does not boot again until it is written anew."""
        inactive = self._inactive("mark-failed-boot")
        active, other = self.sets[self.active], self.sets[inactive]
        if not other.will_boot or (active.successful and not other.successful):
            raise NotBootable(
                "mark-failed-boot",
                f"set {inactive.value} is not known to boot instead of it ({other})",
            )
        return self._with({self.active: active.with_tries_left(0).with_successful(False)})

    def restore_try(self) -> BootState:
        """Give back the try that this boot spent: it ends as it should.

        For a confirmed set the try changes nothing but that the boot stage can tell a clean end
        from a restart by dm-verity, which it has to look into.
        """
        flags = self.sets[self.active]
        tries_left = min(flags.tries_left + 1, MAX_TRIES)
        return self._with({self.active: flags.with_tries_left(tries_left)})

    def boot(self) -> BootState:
        """Restart: the set that the boot loader chooses runs, its try spent.

        Raises:
            NothingBoots: No set will boot.
        """
        chosen, sets = boot(self.sets)
        return replace(self, active=chosen, sets=sets)

    def _inactive(self, action: str) -> Slot:
        if self.active.other not in self.sets:
            raise NoInactiveSet(action, f"the disk has set {self.active.value} only, expected two")
        return self.active.other

    def _with(self, flags: Mapping[Slot, BootFlags]) -> BootState:
        return replace(self, sets={**self.sets, **flags})
