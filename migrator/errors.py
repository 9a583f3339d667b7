"""What can go wrong with the settings, one class per kind.

MigratorError
├── KeyInvalid
├── ValueInvalid
├── DefaultsInvalid
├── StoreError
│   ├── ChainBroken
│   ├── StoreCorrupt
│   ├── StoreUnwritable
│   ├── NoSpace
│   ├── KeyMissing
│   └── TransactionMissing
└── MigrationError
    ├── CacheIncomplete
    ├── MigrationInvalid
    ├── StepFailed
    ├── MigrationFailed
    ├── ResultInvalid
    └── RoundTripDiffers

Nothing but the standard library is imported here: packed migrations carry this module with them.
"""

from __future__ import annotations


class MigratorError(Exception):
    """Base of all errors of this package; `str()` is the one line that the user sees."""

    exit_code = 1
    hint: str | None = None


class KeyInvalid(MigratorError):
    """A name that the key grammar does not allow."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"refusing key {name!r}: {reason}")


class ValueInvalid(MigratorError):
    """A value that is not JSON, or not of a kind that the datastore holds."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"refusing the value of {where}: {reason}")


class DefaultsInvalid(MigratorError):
    """A defaults file that cannot be used."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot use defaults from {path}: {reason}")


class StoreError(MigratorError):
    """The datastore on disk."""


class ChainBroken(StoreError):
    """The links that lead from `current` to a copy do not."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot follow the datastore's links from {path}: {reason}")


class StoreCorrupt(StoreError):
    """A copy of the datastore holds what the format does not allow."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot read datastore at {path}: {reason}")


class StoreUnwritable(StoreError):
    """The system refused a write."""

    def __init__(self, doing: str, path: str, reason: str) -> None:
        self.doing = doing
        self.path = path
        self.reason = reason
        super().__init__(f"cannot {doing} {path}: {reason}")


class NoSpace(StoreError):
    """The new copy would not fit; nothing was written."""

    def __init__(self, path: str, what: str, needed: int, free: int) -> None:
        self.path = path
        self.needed = needed
        self.free = free
        super().__init__(
            f"refusing to write a new copy to {path}: it needs {needed} {what}, {free} are free"
        )


class KeyMissing(StoreError):
    """A key that was asked for has no value."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"key {name} has no value")


class TransactionMissing(StoreError):
    """A transaction that was named does not exist."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no pending transaction {name!r}")


class MigrationError(MigratorError):
    """Migrations, and where they come from."""


class CacheIncomplete(MigrationError):
    """The files that the update left for this boot are not all there, or not what was signed."""

    hint = "the update has to be fetched again before it can be booted"

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"cannot use the cached {what}: {reason}")


class MigrationInvalid(MigrationError):
    """A migration that cannot be understood; nothing was run."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"cannot use migration {name}: {reason}")


class StepFailed(MigrationError):
    """A step of a data migration met what it cannot decide; becomes a MigrationFailed."""


class MigrationFailed(MigrationError):
    """A migration ran and did not succeed.

    Attributes:
        output: The last of what an executable printed; empty for data.
    """

    def __init__(self, name: str, direction: str, reason: str, output: str = "") -> None:
        self.name = name
        self.direction = direction
        self.reason = reason
        self.output = output
        tail = f"; it printed: {output}" if output else ""
        super().__init__(f"migration {name} failed going {direction}: {reason}{tail}")


class ResultInvalid(MigrationError):
    """Settings that a migration or a change has left so that they cannot be stored or used."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"refusing the resulting settings: {reason}")


class RoundTripDiffers(MigrationError):
    """A rehearsed migration lost or invented settings without its author saying so."""

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        self.name = name
        self.keys = keys
        shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")  # noqa: PLR2004
        super().__init__(f"migration {name} does not bring back what was there: {shown}")
