"""From what a user types to waves, and to the seeds of real hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repo_tools.errors import InputInvalid, PolicyInvalid
from repo_tools.waves.policies import named_policy
from repo_tools.waves.policy import WavePolicy, parse_policy
from updog.manifest import Manifest
from updog.waves import parse_seed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from updog.versions import Version

NO_WAVES: Final = "none"


@dataclass(frozen=True, slots=True)
class WaveSource:
    """Where waves come from: a policy that starts at some time, or an update in a manifest."""

    policy: str | None
    start_at: datetime
    manifest: Path | None = None
    version: Version | None = None
    variant: str | None = None
    arch: str | None = None

    @property
    def title(self) -> str:
        """What is shown."""
        if self.policy is not None:
            return f"policy {self.policy}"
        return f"{self.variant} {self.arch} {self.version}"


def waves_from(source: WaveSource) -> Mapping[int, datetime]:
    """The waves of a source.

    Raises:
        InputInvalid: It names neither a policy nor one update, or the update is not there.
        PolicyInvalid: The policy is not sound.
    """
    if source.policy is not None:
        return waves_for(source.policy, source.start_at)
    if source.manifest is None:
        raise InputInvalid("the waves", "neither a policy nor --manifest is given")
    manifest = Manifest.from_bytes(source.manifest.read_bytes())
    found = [
        update
        for update in manifest.updates
        if source.variant in {None, update.variant}
        and source.arch in {None, update.arch}
        and source.version in {None, update.version}
    ]
    if len(found) != 1:
        reason = f"{len(found)} updates are meant, not one (--version, --variant, --arch)"
        raise InputInvalid(f"the waves of {source.manifest}", reason)
    return found[0].waves


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


def read_seeds(path: Path) -> list[int]:
    """Read seeds from a file, one a line; empty lines do not count.

    Raises:
        InputInvalid: A line is no seed.
    """
    seeds = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                seeds.append(int(parse_seed(int(line))))
            except ValueError as exc:
                raise InputInvalid(f"line {number} of {path}", str(exc)) from exc
    if not seeds:
        raise InputInvalid(str(path), "it holds no seeds")
    return seeds
