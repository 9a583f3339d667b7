"""Settings as nested maps: how authors of migrations see them, and JSON Schema.

`settings.a."b.c"` with the value 1 is `{"settings": {"a": {"b.c": 1}}}`. A map is a group; whatever
else stands in a map is a value. A group without any value in it is no group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from migrator import keys, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Nested: TypeAlias = "dict[str, Any]"


def nest(data: Mapping[str, str]) -> Nested:
    """Return the nested maps for key names and JSON texts; no name may lie below another."""
    top: Nested = {}
    for name, text in data.items():
        *groups, last = keys.parse(name)
        place = top
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = values.parse(text)
    return top


def flatten(nested: Nested) -> dict[str, str]:
    """Return key names and JSON texts for nested maps.

    Raises:
        KeyInvalid: A map's key is not text, or cannot be part of a setting's name.
        ValueError: A value has no JSON form; names the setting.
    """
    return dict(_flatten(nested, ()))


def _flatten(nested: Nested, above: keys.Segments) -> Iterator[tuple[str, str]]:
    for key, value in nested.items():
        if not isinstance(key, str):
            raise ValueError(f"a map holds the key {key!r}; keys are text")  # noqa: TRY004
        segments = (*above, key)
        if isinstance(value, dict):
            yield from _flatten(value, segments)
        else:
            name = keys.name_of(segments)
            try:
                yield name, values.dump(value)
            except ValueError as error:
                raise ValueError(f"value of {name}: {error}") from None
