"""The files that health checks read and keep, all under a root directory.

/etc/signpost/health.toml              when a boot counts, and what follows when it does not
/var/lib/signpost/health.json          the last verdicts (`signpost.health_record`)
/run/signpost/boot-problems            what the boot stage said of sets that it gave up
/etc/os-release, /usr/lib/os-release   which version a verdict is about
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from partition.durable import make_directory, read_json, write_json
from partition.errors import PartitionError, StateFileCorrupt
from signpost.errors import HealthConfigInvalid
from signpost.health_policy import OnFailure, Policy
from signpost.health_record import History

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG: Final = Path("etc/signpost/health.toml")
HISTORY: Final = Path("var/lib/signpost/health.json")
BOOT_PROBLEMS: Final = Path("run/signpost/boot-problems")
OS_RELEASE: Final = (Path("etc/os-release"), Path("usr/lib/os-release"))

_LIMITS: Final = {
    "deadline_seconds": (1, 86400),
    "retry_seconds": (1, 3600),
    "max_clean_reboots": (0, 1000),
}


def running_version(root: Path) -> str:
    """VERSION_ID of os-release, empty if there is none."""
    for path in OS_RELEASE:
        try:
            text = (root / path).read_text(errors="replace")
        except OSError:
            continue
        found = re.search(r"^VERSION_ID=[\"']?([^\"'\n]*)", text, re.MULTILINE)
        return found[1] if found else ""
    return ""


def load_policy(root: Path) -> Policy:
    """The configuration; its defaults where there is none.

    Raises:
        HealthConfigInvalid: Not TOML, an unknown key, or a value that is not allowed.
    """
    path = root / CONFIG
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Policy()
    except (OSError, ValueError) as error:
        raise HealthConfigInvalid(str(path), str(error)) from error
    for key, value in values.items():
        problem = _problem_with(key, value)
        if problem:
            raise HealthConfigInvalid(str(path), problem)
    if "on_failure" in values:
        values["on_failure"] = OnFailure(values["on_failure"])
    return Policy(**values)


def _problem_with(key: str, value: object) -> str | None:
    if key == "on_failure":
        words = [each.value for each in OnFailure]
        return None if value in words else f"{key} is {value!r}, expected one of {words}"
    if key not in _LIMITS:
        return f"unknown key {key!r}"
    low, high = _LIMITS[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        return f"{key} is {value!r}, expected {low} to {high}"
    return None


def load_history(root: Path) -> History:
    """The record; an empty one where there is none.

    Raises:
        StateFileCorrupt: It cannot be understood.
        PartitionError: It cannot be read, or is not ours.
    """
    path = root / HISTORY
    value = read_json(path)
    if value is None:
        return History()
    try:
        return History.from_json(value)
    except (KeyError, TypeError, ValueError) as error:
        raise StateFileCorrupt(path, f"not a record of boots: {error}") from error


def store_history(root: Path, history: History) -> None:
    """Write the record durably, making its directory if need be."""
    path = root / HISTORY
    make_directory(path.parent)
    write_json(path, history.to_json())


def last_failure(root: Path) -> str | None:
    """The line for `signpost status`; None if there is nothing to tell. Never fails."""
    if not (root / HISTORY).exists():
        return None
    try:
        record = load_history(root).last_failure()
    except PartitionError as error:
        return f"unknown: {error}"
    return record.sentence() if record else None


def boot_problems(root: Path) -> Mapping[str, str]:
    """Why the boot stage gave a set up, for each that it did give up: "A" or "B"."""
    try:
        text = (root / BOOT_PROBLEMS).read_text(errors="replace")
    except OSError:
        return {}
    return dict(re.findall(r"^set ([AB]) does not start: (.*)$", text, re.MULTILINE))
