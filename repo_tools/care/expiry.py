"""What expires when, and whether that is soon. Pure.

`near` is decided per role: a role is near its expiry when less than its window is left. The windows
leave time to notice an alarm and act: three days for what a timer renews, a month for a root, which
people have to meet for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repo_tools.publish.published import Published

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
ALARM: Final[Mapping[str, timedelta]] = {
    "root": timedelta(days=30),
    "targets": timedelta(days=7),
    "snapshot": timedelta(days=3),
    "timestamp": timedelta(days=3),
}
"""`check` fails when less than this is left."""


@dataclass(frozen=True, slots=True)
class RoleExpiry:
    """One role's metadata, and how long it is good."""

    role: str
    version: int
    expires: datetime
    left: timedelta
    near: bool

    @property
    def expired(self) -> bool:
        """Whether hosts refuse it."""
        return self.left <= timedelta()

    @property
    def text(self) -> str:
        """One line."""
        days = self.left.total_seconds() / 86400
        state = f"expired {-days:.1f} days ago" if self.expired else f"{days:.1f} days left"
        warning = " - NEAR" if self.near and not self.expired else ""
        return (
            f"{self.role:<9} version {self.version:<5} expires"
            f" {self.expires:%Y-%m-%dT%H:%M:%SZ}, {state}{warning}"
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "role": self.role,
            "version": self.version,
            "expires": f"{self.expires:%Y-%m-%dT%H:%M:%SZ}",
            "seconds_left": int(self.left.total_seconds()),
            "near": self.near,
            "expired": self.expired,
        }


def expiries(
    published: Published, now: datetime, windows: Mapping[str, timedelta] = ALARM
) -> tuple[RoleExpiry, ...]:
    """The expiry of every role, root first.

    Args:
        published: The repository.
        now: The time, UTC.
        windows: Role to the time left under which it is near.
    """
    found = []
    for role in ROLES:
        signed = published.signed[role]
        left = signed.expires - now
        found.append(RoleExpiry(role, signed.version, signed.expires, left, left < windows[role]))
    return tuple(found)
