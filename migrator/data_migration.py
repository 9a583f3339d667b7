"""A migration as a TOML document: from its text to the steps it stands for.

What is decided here is the document's form; the kinds of steps are in `migrator.step_kinds`, what
they do in `migrator.steps`, `moving_steps` and `metadata_steps`. docs/migrations.md shows them all.

    description = "time servers moved"

    [[steps]]
    kind = "rename-settings"
    names = { "settings.ntp.servers" = "settings.time.servers" }
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator import keys
from migrator.errors import KeyInvalid, MigrationInvalid
from migrator.fields import Fields
from migrator.step_kinds import parse_step
from migrator.templates import Helper

if TYPE_CHECKING:
    from migrator.steps import Step
    from migrator.tree import Tree


@dataclass(frozen=True, slots=True)
class DataMigration:
    """A migration that runs in memory.

    Attributes:
        name: The target's name, for messages.
        steps: In forward order.
        lossy: Settings that a round trip may change, as the author declared: each covers itself
            and what is below it.
        description: What the author says of it.
    """

    name: str
    steps: tuple[Step, ...]
    lossy: tuple[str, ...] = ()
    description: str = ""

    def forward(self, tree: Tree) -> None:
        """Run all steps; raises StepFailed or KeyInvalid."""
        for step in self.steps:
            step.forward(tree)

    def backward(self, tree: Tree) -> None:
        """Run all steps backward, last first; raises StepFailed or KeyInvalid."""
        for step in reversed(self.steps):
            step.backward(tree)


def parse(name: str, document: bytes) -> DataMigration:
    """Read a migration.

    Raises:
        MigrationInvalid: Not TOML, or not a migration; says which step and which field.
    """
    try:
        tables = tomllib.loads(document.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MigrationInvalid(name, f"it is not TOML: {error}") from None
    try:
        top = Fields(tables)
        helpers = {key: _helper(key, table) for key, table in top.table("helpers").items()}
        steps = top.tables("steps")
        lossy = tuple(keys.canonical(each) for each in top.strings("lossy", ()))
        description = top.string("description", "")
        top.finish()
    except (ValueError, KeyInvalid) as error:
        raise MigrationInvalid(name, str(error)) from None
    parsed = []
    for number, table in enumerate(steps, start=1):
        try:
            parsed.append(parse_step(table, helpers))
        except (ValueError, KeyInvalid) as error:
            kind = table.get("kind", "no kind")
            raise MigrationInvalid(name, f"step {number} ({kind}): {error}") from None
    return DataMigration(name, tuple(parsed), lossy, description)


def _helper(name: str, table: object) -> Helper:
    if not isinstance(table, dict):
        raise ValueError(f"'helpers.{name}' must be a table")  # noqa: TRY004  bad input
    fields = Fields(table)
    default = fields.string("default") if "default" in fields else None
    results = fields.table("values")
    fields.finish()
    if not all(isinstance(result, str) for result in results.values()):
        raise ValueError(f"'helpers.{name}.values' must hold strings")
    return Helper(results, default)
