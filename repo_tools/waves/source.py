"""From what a user types for `--waves` to the waves of a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from repo_tools.errors import PolicyInvalid
from repo_tools.waves.policies import named_policy
from repo_tools.waves.policy import WavePolicy, parse_policy

if TYPE_CHECKING:
    from datetime import datetime

NO_WAVES: Final = "none"


def load_policy(policy: str) -> WavePolicy:
    """A policy by name, or from a TOML file.

    Raises:
        PolicyInvalid: There is neither, or it is not a sound policy.
    """
    path = Path(policy)
    if not path.is_file():
        return named_policy(policy)
    try:
        return parse_policy(path.read_text(encoding="utf-8"), policy)
    except (OSError, UnicodeDecodeError) as exc:
        raise PolicyInvalid(policy, f"{exc}") from exc


def waves_for(policy: str, start_at: datetime) -> dict[int, datetime]:
    """The waves that a policy comes to; none for `none`."""
    if policy == NO_WAVES:
        return {}
    return load_policy(policy).starting_at(start_at.replace(microsecond=0))
