"""Settings that a data migration is about, made up from what its steps say.

They stand in where nobody has given real ones: on them, `migrator.trial` finds what a migration
cannot bring back, such as a string that is replaced in one direction only. A step that replaces
meets what it replaces, one that renames meets something under the old name, one that converts meets
a value of the type that it converts from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator import metadata_steps, moving_steps, steps, values
from migrator.tree import State, Tree, is_below_value, is_taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.data_migration import DataMigration
    from migrator.steps import Step

_ANYTHING = values.dump("anything")
_BELOW = "sample"
_CONVERTED_FROM: dict[moving_steps.Conversion, str] = {
    "to-list": _ANYTHING,
    "first": values.strings(["first", "second"]),
    "to-string": values.dump(1),
    "none": _ANYTHING,
}


def sample(migration: DataMigration) -> State:
    """Return a store of the older version, with what each step needs; the first to need it wins."""
    tree = Tree()
    for step in migration.steps:
        for name, text in _data(step):
            if name not in tree.data and not is_taken(tree, name):
                tree.data.put(name, text)
        for address, text in _metadata(step):
            if address not in tree.metadata and not is_below_value(tree, address[0]):
                tree.metadata.put(address, text)
    return State(tree.copy())


def _data(step: Step) -> Iterator[tuple[str, str]]:
    match step:
        case steps.OneWay(inner, "forward"):
            yield from _data(inner)
        case steps.RemoveSettings(names):
            yield from ((name, _ANYTHING) for name in names)
        case steps.ReplaceString(replacements) | steps.ReplaceLists(replacements):
            yield from ((each.setting, each.old) for each in replacements)
        case moving_steps.RenameSettings(names):
            yield from ((old, _ANYTHING) for old, _ in names)
        case moving_steps.RenamePrefixes(names):
            yield from ((f"{old}.{_BELOW}", _ANYTHING) for old, _ in names)
        case moving_steps.Convert(names, prefixes, forward, _):
            for name in (*names, *(f"{prefix}{_BELOW}" for prefix in prefixes)):
                yield name, _CONVERTED_FROM[forward]
        case _:
            pass


def _metadata(step: Step) -> Iterator[tuple[tuple[str, str], str]]:
    match step:
        case steps.OneWay(inner, "forward"):
            yield from _metadata(inner)
        case metadata_steps.RemoveMetadata(removed):
            for each in removed:
                yield from (((each.setting, key), _ANYTHING) for key in each.metadata)
        case metadata_steps.ReplaceMetadata(replacements) | metadata_steps.ReplaceMetadataLists(
            replacements
        ):
            yield from (((each.setting, each.metadata), each.old) for each in replacements)
        case _:
            pass
