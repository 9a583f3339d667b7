"""Reading the fields of a table that a person wrote: each by name and type, and none unread.

What came out of a TOML document is asked for field by field; `finish` refuses what nobody asked
for, so that a misspelt name is an error and not a default. Errors are ValueErrors that name the
field; who reads the document says where it was.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from migrator import keys

Table: TypeAlias = "dict[str, Any]"

# Every name of a value before and after, as Bottlerocket's helpers call them and as people write.
_OLD = re.compile(r"old(-(val|value|vals|values|template|cmdline|schnauzer-cmdline))?")
_NEW = re.compile(r"new(-(val|value|vals|values|template|cmdline|schnauzer-cmdline))?")
_SINGULAR = {"settings": "setting", "prefixes": "prefix"}
_KINDS: dict[type, str] = {str: "string", list: "list", dict: "table"}


class Fields:
    """The fields of one table, each to be asked for once; `finish` refuses the others.

    `-` and `_` are the same in a name, and so are `old`, `old-val`, `old_vals` and the like.
    """

    def __init__(self, table: Table) -> None:
        self._table: Table = {}
        for field, value in table.items():
            name = field.replace("_", "-")
            name = "old" if _OLD.fullmatch(name) else "new" if _NEW.fullmatch(name) else name
            if name in self._table:
                raise ValueError(f"'{field}' says again what another field says")
            self._table[name] = value

    def __contains__(self, field: str) -> bool:
        return field in self._table

    def take(self, field: str, kind: type, default: Any = None) -> Any:  # noqa: ANN401
        """Return a field's value; None as default makes the field required."""
        value = self._table.pop(field, default)
        if value is None:
            raise ValueError(f"'{field}' is missing")
        if not isinstance(value, kind):
            raise ValueError(f"'{field}' must be a {_KINDS[kind]}")  # noqa: TRY004  bad input
        return value

    def string(self, field: str, default: str | None = None) -> str:
        """Return a string."""
        value: str = self.take(field, str, default)
        return value

    def strings(self, field: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return a list of strings; one string alone stands for a list of one."""
        for name in (field, _SINGULAR.get(field, field)):
            if isinstance(self._table.get(name), str):
                return (self.string(name),)
        value = self.take(field, list, None if default is None else list(default))
        if not all(isinstance(element, str) for element in value):
            raise ValueError(f"'{field}' must be a list of strings")
        return tuple(value)

    def key(self, field: str) -> str:
        """Return a key's canonical name."""
        return keys.canonical(self.string(field))

    def keys(self, field: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return canonical names of keys."""
        return tuple(keys.canonical(name) for name in self.strings(field, default))

    def table(self, field: str) -> Table:
        """Return a table, empty by default."""
        value: Table = self.take(field, dict, {})
        return value

    def tables(self, field: str) -> list[Table]:
        """Return an array of tables."""
        value = self.take(field, list)
        if not all(isinstance(element, dict) for element in value):
            raise ValueError(f"'{field}' must be an array of tables")
        tables: list[Table] = value
        return tables

    def items(self) -> list[Fields]:
        """Return the tables in `items`, or these fields themselves as the only ones."""
        if "items" in self:
            return [Fields(table) for table in self.tables("items")]
        return [self]

    def finish(self) -> None:
        """Refuse what nobody asked for."""
        if self._table:
            raise ValueError(f"there is no field '{next(iter(self._table))}' here")
