"""What migrations do not bring back by themselves, told before they are published.

A document is tried out on settings made up from its own steps (`migrator.sample`): what it loses
there without declaring it refuses the update, and so does a document that hosts could not read.
What it declares, and what a program says of itself, is said; a program is not run here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator import pack, trial
from migrator.data_migration import DataMigration
from migrator.errors import MigrationFailed, MigrationInvalid, ResultInvalid
from migrator.executable import Limits
from migrator.sample import sample

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from migrator.carry import Program
    from migrator.plan import Change

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found.

    Attributes:
        problems: Why an update with these migrations is refused.
        notes: What its owner should know.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_losses(migrations: Iterable[Path]) -> Findings:
    """Look at every migration of an update."""
    found = [_look_at(path) for path in migrations]
    return Findings(
        tuple(problem for each in found for problem in each.problems),
        tuple(note for each in found for note in each.notes),
    )


def _look_at(path: Path) -> Findings:
    if path.name.removesuffix(".lz4").endswith(".py"):
        problem = f"{path.name} is an author's file, no program: pack it (`migration pack`)"
        return Findings(problems=(problem,))
    try:
        body = trial.load(path)
        if not isinstance(body, DataMigration):
            return Findings(notes=_about(body))
        tried = trial.run(body, sample(body), Limits())
    except MigrationInvalid as error:
        return Findings(problems=(str(error),))
    except (MigrationFailed, ResultInvalid):
        # Settings that were made up need not fit together; real ones, `migrator test` looks at.
        return Findings()
    if tried.undeclared:
        names = _names(tried.undeclared)
        return Findings(problems=(f"migration {path.name} loses {names}: 'lossy' must say so",))
    lost = _names(tried.back)
    return Findings(notes=(f"migration {path.name} drops {lost}",) if lost else ())


def _about(program: Program) -> tuple[str, ...]:
    about = pack.about_packed(program.load())
    if about is None or not about.lossy:
        return ()
    return (f"migration {program.name} says that it loses {', '.join(about.lossy)}",)


def _names(found: tuple[Change, ...]) -> str:
    names = list(dict.fromkeys(change.key for change in found))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
