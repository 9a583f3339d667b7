"""Defaults that an image ships for its settings: a TOML document, made into a tree.

    [settings.ntp]
    time-servers = ["169.254.169.123"]

    [metadata.settings.ntp]
    affected-services = ["chronyd"]

Tables are groups, everything else is a value; a dotted name in TOML and a quoted one mean what
they mean for keys. Below `metadata`, the last name is the metadata key and the rest the setting.

Defaults fill what is missing and never overwrite: what the user removed on purpose is for the
author of defaults to leave out.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, TypeAlias

from migrator import keys, tree, values
from migrator.errors import DefaultsInvalid, KeyInvalid, ResultInvalid
from migrator.nested import flatten
from migrator.tree import Layer, State, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

Table: TypeAlias = "dict[str, Any]"
_METADATA = "metadata"


def parse(name: str, document: bytes) -> Tree:
    """Read a defaults document.

    Args:
        name: Of the file, for messages.
        document: Its content.

    Raises:
        DefaultsInvalid: Not TOML, or something in it cannot be a setting; says what.
    """
    try:
        tables = tomllib.loads(document.decode())
        metadata = tables.pop(_METADATA, {})
        if not isinstance(metadata, dict):
            raise DefaultsInvalid(name, f"'{_METADATA}' must be a table")
        found = Tree(Layer(flatten(tables)), Layer(dict(_metadata(metadata, ()))))
        tree.check(State(found))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DefaultsInvalid(name, f"it is not TOML: {error}") from None
    except (ValueError, KeyInvalid, ResultInvalid) as error:
        raise DefaultsInvalid(name, str(error)) from None
    return found


def fill(target: Tree, defaults: Tree) -> bool:
    """Put into a tree whatever defaults it lacks; return whether it lacked any.

    A default whose name is a group in the tree, or lies below a value there, is left out.
    """
    groups = {
        keys.name_of(segments[:length])
        for segments in map(keys.parse, target.data)
        for length in range(1, len(segments))
    }
    for name, text in defaults.data.values.items():
        segments = keys.parse(name)
        above = (keys.name_of(segments[:length]) for length in range(1, len(segments)))
        if name not in target.data and name not in groups and not _any_in(above, target):
            target.data.put(name, text)
    for address, text in defaults.metadata.values.items():
        if address not in target.metadata:
            target.metadata.put(address, text)
    return bool(target.data.before or target.metadata.before)


def _any_in(names: Iterator[str], target: Tree) -> bool:
    return any(name in target.data for name in names)


def _metadata(table: Table, above: keys.Segments) -> Iterator[tuple[tuple[str, str], str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _metadata(value, (*above, key))
        else:
            name = keys.name_of(above) if above else ""
            if not name:
                raise ValueError(f"metadata {key!r} belongs to no setting")
            yield (name, key), values.dump(value)
