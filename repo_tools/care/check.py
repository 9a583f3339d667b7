"""How a repository stands: when its metadata expires, and how far its rollouts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repo_tools.care.expiry import ALARM, ROLES, expiries
from repo_tools.care.metrics import RepositoryState, openmetrics
from repo_tools.errors import ExpiryNear, RepoToolsError
from repo_tools.publish.published import load_published
from repo_tools.rollout.state import rollout_states
from updog.errors import UpdogError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from repo_tools.publish.manifest_edit import Line
    from updog.transport import Transport


@dataclass(frozen=True, slots=True)
class Found:
    """The state of one repository, or why it could not be seen."""

    where: str
    state: RepositoryState
    failure: RepoToolsError | UpdogError | None = None

    @property
    def text(self) -> str:
        """What a person is told."""
        return "\n".join([self.where, *(f"  {role.text}" for role in self.state.roles)])

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "repository": self.where,
            "readable": self.failure is None,
            "roles": [role.to_json() for role in self.state.roles],
            "rollouts": [rollout.to_json() for rollout in self.state.rollouts],
        }

    def openmetrics(self) -> str:
        """The state in OpenMetrics text."""
        return openmetrics(self.state)

    def fail_if_near(self) -> None:
        """Raise if the repository could not be seen, or something expires soon.

        Raises:
            ExpiryNear: For what expires first.
        """
        if self.failure is not None:
            raise self.failure
        near = [role for role in self.state.roles if role.near]
        if near:
            first = min(near, key=lambda role: role.expires)
            raise ExpiryNear(self.where, first.role, first.expires, expired=first.expired)


def check_repository(
    transport: Transport,
    line: Line,
    trusted: bytes,
    now: datetime,
    *,
    within: timedelta | None = None,
    root_within: timedelta | None = None,
) -> Found:
    """Look at a repository.

    Args:
        transport: To it.
        line: Its variant and architecture.
        trusted: A root that is trusted.
        now: The time, UTC.
        within: Time left under which a role other than root is near; `None`: `ALARM`.
        root_within: The same for root.
    """
    windows = {role: ALARM[role] if within is None else within for role in ROLES}
    windows["root"] = ALARM["root"] if root_within is None else root_within
    try:
        published = load_published(transport, trusted)
        rollouts = rollout_states(published.manifest, line, now)
    except (RepoToolsError, UpdogError) as exc:
        return Found(transport.label, RepositoryState(line.variant, line.arch), exc)
    roles = expiries(published, now, windows)
    return Found(transport.label, RepositoryState(line.variant, line.arch, roles, rollouts))
