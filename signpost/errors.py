"""Why a command of signpost is refused. Refused means: nothing was written.

    SignpostError
    ├── LayoutInvalid            the table does not hold our partitions, in our order
    ├── ActiveSetUnknown         nobody said which set the host runs from, and nothing shows it
    │   └── ActiveSetMissing     the same of a disk image, where it must be said
    ├── HealthConfigInvalid      health.toml has something that it must not have
    ├── RestartFailed            the system would not restart
    └── Refused                  the state of the sets does not allow it
        ├── NoInactiveSet        one set only
        ├── ActiveNotConfirmed   clearing would leave nothing that surely boots
        ├── InactiveNotCleared   something else is, or may be, on the inactive set
        ├── NotMarkedValid       the inactive set is not a fresh, valid one
        ├── NoUpgradePending     there is nothing to cancel
        ├── NotBootable          the set to go to would not boot
        └── NothingBoots         no set would boot

Each knows its facts and renders as one line.
"""

from __future__ import annotations


class SignpostError(Exception):
    """Anything this package refuses; `str()` is the line for the user."""

    exit_code = 1
    hint: str | None = None


class LayoutInvalid(SignpostError):
    """The partitions of `disk` are not two (or one) sets as the boot loader expects them."""

    def __init__(self, disk: str, why: str) -> None:
        self.disk = disk
        self.why = why
        super().__init__(f"cannot find the partition sets of {disk}: {why}")


class ActiveSetUnknown(SignpostError):
    """Which set is active cannot be told."""

    hint = "name it with --active-set A or --active-set B"

    def __init__(self, disk: str, why: str) -> None:
        self.disk = disk
        self.why = why
        super().__init__(f"cannot tell the active set of {disk}: {why}")


class ActiveSetMissing(ActiveSetUnknown):
    """A disk image has no running system: the option is required, and its absence a usage error."""

    exit_code = 2


class HealthConfigInvalid(SignpostError):
    """`path` cannot be used, because of `why`."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"cannot use {path}: {why}")


class RestartFailed(SignpostError):
    """The system was asked to restart, and refused."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"cannot restart the system: {why}")


class Refused(SignpostError):
    """The state of the sets does not allow `action`."""

    def __init__(self, action: str, why: str) -> None:
        self.action = action
        self.why = why
        super().__init__(f"refusing {action}: {why}")


class NoInactiveSet(Refused):
    """There is one set only."""


class ActiveNotConfirmed(Refused):
    """The running set is not one that surely boots again."""

    hint = "once the system is known to be healthy, run signpost mark-successful-boot"


class InactiveNotCleared(Refused):
    """The inactive set still has flags."""

    hint = "run signpost clear-inactive before writing to the inactive set"


class NotMarkedValid(Refused):
    """The inactive set does not have the flags of a fresh, valid one."""


class NoUpgradePending(Refused):
    """What boots next is not an unconfirmed inactive set."""


class NotBootable(Refused):
    """The set in question would not boot."""


class NothingBoots(Refused):
    """No set would boot."""

    hint = "start from a rescue system and give one set a priority and a try"
