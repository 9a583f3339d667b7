"""The state of repositories in OpenMetrics text, for monitoring. Pure.

Specification: https://github.com/prometheus/OpenMetrics, version 1.0.0. A repository that cannot be
read or trusted is told as `updog_repository_up` 0, without its other figures, so that an alarm on
their absence or age fires too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from repo_tools.care.expiry import RoleExpiry
    from repo_tools.rollout.state import RolloutState


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """One repository; without roles if it could not be read."""

    variant: str
    arch: str
    roles: Sequence[RoleExpiry] = ()
    rollouts: Sequence[RolloutState] = ()

    @property
    def labels(self) -> dict[str, str]:
        """What tells it from others."""
        return {"variant": self.variant, "arch": self.arch}


def openmetrics(state: RepositoryState) -> str:
    """The exposition, with its end mark."""
    lines = [
        *_family("updog_repository_up", "Whether the repository can be read and trusted."),
        _sample("updog_repository_up", state.labels, int(bool(state.roles))),
    ]
    if state.roles:
        lines += _family(
            "updog_repository_expiry_timestamp_seconds",
            "When the role's metadata expires.",
            unit="seconds",
        )
        lines += [
            _sample(
                "updog_repository_expiry_timestamp_seconds",
                {**state.labels, "role": role.role},
                int(role.expires.timestamp()),
            )
            for role in state.roles
        ]
        lines += _family("updog_repository_metadata_version", "Version of the role's metadata.")
        lines += [
            _sample(
                "updog_repository_metadata_version",
                {**state.labels, "role": role.role},
                role.version,
            )
            for role in state.roles
        ]
    if state.rollouts:
        lines += _family(
            "updog_rollout_share_ratio",
            "Part of the fleet whose turn has come.",
            unit="ratio",
        )
        lines += [
            _sample("updog_rollout_share_ratio", _rollout_labels(state, each), each.share)
            for each in state.rollouts
        ]
        lines += _family("updog_rollout_paused", "Whether the rollout is paused.")
        lines += [
            _sample(
                "updog_rollout_paused",
                _rollout_labels(state, each),
                int(each.paused_since is not None),
            )
            for each in state.rollouts
        ]
        lines += _family("updog_rollout_recalled", "Whether the update is recalled.")
        lines += [
            _sample("updog_rollout_recalled", _rollout_labels(state, each), int(each.recalled))
            for each in state.rollouts
        ]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _rollout_labels(state: RepositoryState, rollout: RolloutState) -> dict[str, str]:
    return {**state.labels, "version": rollout.version}


def _family(name: str, text: str, *, unit: str = "") -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {text}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
