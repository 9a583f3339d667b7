"""The kinds of steps that a document may hold, and the fields of each.

Kinds are the names of Bottlerocket's helpers, kebab-cased: `AddSettingsMigration` is
`add-settings`. Its own spelling, underscores, and singular or plural are understood too. A field
or kind that is not known is an error: a misspelt step must not pass for one that does nothing.

A kind that takes several of something reads them from the step itself, or from the tables in its
`items`. Any step may say `only = "forward"` or `only = "backward"`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

from migrator import keys, metadata_steps, moving_steps, steps, values
from migrator.fields import Fields
from migrator.templates import Template, in_command_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migrator.fields import Table
    from migrator.steps import Step
    from migrator.templates import Helper


def parse_step(table: Table, helpers: Mapping[str, Helper]) -> Step:
    """Read one step.

    Args:
        table: Its fields.
        helpers: What its templates may use, by name.

    Raises:
        ValueError, KeyInvalid: What is wrong with it.
    """
    fields = Fields(table)
    kind = _kind(fields.string("kind"))
    only = fields.string("only", "both")
    items = fields.items()
    step = KINDS[kind](items, helpers)
    for each in (fields, *items):
        each.finish()
    if only == "both":
        return step
    if only not in {"forward", "backward"}:
        raise ValueError("'only' must be 'forward' or 'backward'")
    return steps.OneWay(step, "forward" if only == "forward" else "backward")


def _kind(text: str) -> str:
    """Return the canonical kind for any accepted spelling of it."""
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text).replace("_", "-").lower()
    kebab = kebab.removesuffix("-migration")
    kebab = _ALIASES.get(kebab, kebab)
    for kind in KINDS:
        if kebab in {kind, kind.removesuffix("s"), kind.removesuffix("es"), f"{kind}s"}:
            return kind
    raise ValueError(f"there is no such kind; known are {', '.join(KINDS)}")


def _settings(items: list[Fields]) -> tuple[str, ...]:
    return tuple(name for each in items for name in each.keys("settings"))


def _prefixes(items: list[Fields]) -> tuple[str, ...]:
    prefixes = tuple(prefix for each in items for prefix in each.strings("prefixes"))
    if "" in prefixes:
        raise ValueError("an empty prefix would cover every setting")
    return prefixes


def _patterns(items: list[Fields]) -> tuple[steps.PrefixSuffix, ...]:
    return tuple(steps.PrefixSuffix(each.string("prefix"), each.string("suffix")) for each in items)


def _text(fields: Fields, field: str) -> str:
    return values.dump(fields.string(field))


def _list_text(fields: Fields, field: str) -> str:
    return values.strings(fields.strings(field))


def _replacements(
    items: list[Fields], text: Callable[[Fields, str], str]
) -> tuple[steps.Replacement, ...]:
    return tuple(
        steps.Replacement(each.key("setting"), text(each, "old"), text(each, "new"))
        for each in items
    )


def _setting_metadata(items: list[Fields]) -> tuple[metadata_steps.SettingMetadata, ...]:
    return tuple(
        metadata_steps.SettingMetadata(
            each.key("setting"), tuple(map(keys.metadata_name, each.strings("metadata")))
        )
        for each in items
    )


def _metadata_replacements(
    items: list[Fields], text: Callable[[Fields, str], str]
) -> tuple[metadata_steps.MetadataReplacement, ...]:
    return tuple(
        metadata_steps.MetadataReplacement(
            each.key("setting"),
            keys.metadata_name(each.string("metadata")),
            text(each, "old"),
            text(each, "new"),
        )
        for each in items
    )


def _renames(items: list[Fields]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, object]] = []
    for each in items:
        if "names" in each:
            pairs += each.table("names").items()
        else:
            pairs.append((each.string("from"), each.string("to")))
    if not all(isinstance(new, str) for _, new in pairs):
        raise ValueError("'names' must map names to names")
    names = tuple((keys.canonical(old), keys.canonical(str(new))) for old, new in pairs)
    if len(dict(names)) < len(names) or len({new for _, new in names}) < len(names):
        raise ValueError("a name is renamed twice, or two are renamed to the same")
    return names


def _convert(items: list[Fields]) -> Step:
    fields = _only_one(items)
    settings, prefixes = fields.keys("settings", ()), fields.strings("prefixes", ())
    if not settings and not prefixes:
        raise ValueError("'settings' or 'prefixes' is missing")
    forward = _conversion(fields, "forward")
    return moving_steps.Convert(settings, prefixes, forward, _conversion(fields, "backward"))


def _conversion(fields: Fields, field: Literal["forward", "backward"]) -> moving_steps.Conversion:
    text = fields.string(field, "none")
    known: tuple[moving_steps.Conversion, ...] = get_args(moving_steps.Conversion)
    for conversion in known:
        if text == conversion:
            return conversion
    raise ValueError(f"'{field}' must be one of {', '.join(known)}")


def _template(
    items: list[Fields],
    helpers: Mapping[str, Helper],
    metadata: Literal["template", "setting-generator"],
) -> Step:
    fields = _only_one(items)
    setting, old, new = fields.key("setting"), fields.string("old"), fields.string("new")
    templates = (old, new)
    if metadata == "setting-generator":
        templates = (in_command_line(old), in_command_line(new))
    return metadata_steps.ReplaceTemplate(
        setting,
        metadata,
        values.dump(old),
        values.dump(new),
        *(Template.parse(template, helpers) for template in templates),
    )


def _only_one(items: list[Fields]) -> Fields:
    if len(items) != 1:
        raise ValueError("this kind takes one of its kind at a time")
    return items[0]


_ALIASES = {
    "noop": "no-op",
    "replace-string-list": "replace-lists",
    "replace-string-lists": "replace-lists",
}

KINDS: Mapping[str, Callable[[list[Fields], Mapping[str, Helper]], Step]] = {
    "add-settings": lambda items, _: steps.AddSettings(_settings(items)),
    "add-prefixes": lambda items, _: steps.AddPrefixes(_prefixes(items)),
    "add-prefix-suffix": lambda items, _: steps.AddPrefixSuffix(_patterns(items)),
    "remove-settings": lambda items, _: steps.RemoveSettings(_settings(items)),
    "remove-prefixes": lambda items, _: steps.RemovePrefixes(_prefixes(items)),
    "replace-string": lambda items, _: steps.ReplaceString(_replacements(items, _text)),
    "replace-lists": lambda items, _: steps.ReplaceLists(_replacements(items, _list_text)),
    "rename-settings": lambda items, _: moving_steps.RenameSettings(_renames(items)),
    "rename-prefixes": lambda items, _: moving_steps.RenamePrefixes(_renames(items)),
    "convert": lambda items, _: _convert(items),
    "add-metadata": lambda items, _: metadata_steps.AddMetadata(_setting_metadata(items)),
    "remove-metadata": lambda items, _: metadata_steps.RemoveMetadata(_setting_metadata(items)),
    "replace-metadata": lambda items, _: metadata_steps.ReplaceMetadata(
        _metadata_replacements(items, _text)
    ),
    "replace-metadata-lists": lambda items, _: metadata_steps.ReplaceMetadataLists(
        _metadata_replacements(items, _list_text)
    ),
    "replace-template": lambda items, helpers: _template(items, helpers, "template"),
    "replace-schnauzer": lambda items, helpers: _template(items, helpers, "setting-generator"),
    "no-op": lambda _items, _: steps.NoOp(),
}
