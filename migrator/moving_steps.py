"""Steps that move settings to other names and convert them to other types; **ours**.

The same rules hold as for `migrator.steps`.

| step | forward | backward |
|---|---|---|
| RenameSettings, RenamePrefixes | moves values and metadata | moves them back |
| Convert | changes the type of values | changes it back |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from migrator import keys, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migrator.tree import K, Layer, Tree


@dataclass(frozen=True, slots=True)
class RenameSettings:
    """Settings that have another name in the newer version; all are renamed at once.

    The metadata of exactly these keys moves with the values. A value that is already at the new
    name is overwritten: the version that the store belongs to does not know that name.
    """

    names: tuple[tuple[str, str], ...]

    def forward(self, tree: Tree) -> None:
        """Move from the old names to the new ones."""
        _rename(tree, dict(self.names))

    def backward(self, tree: Tree) -> None:
        """Move from the new names to the old ones."""
        _rename(tree, {new: old for old, new in self.names})


@dataclass(frozen=True, slots=True)
class RenamePrefixes:
    """Groups of settings that have another name in the newer version; all are renamed at once.

    A prefix here is whole segments: `settings.ntp` covers `settings.ntp` and what is below it,
    and not `settings.ntp-servers`. Metadata moves along.
    """

    names: tuple[tuple[str, str], ...]

    def forward(self, tree: Tree) -> None:
        """Move from below the old prefixes to below the new ones."""
        _rename(tree, _names_below(tree, self.names))

    def backward(self, tree: Tree) -> None:
        """Move from below the new prefixes to below the old ones."""
        _rename(tree, _names_below(tree, [(new, old) for old, new in self.names]))


Conversion = Literal["to-list", "first", "to-string", "none"]


@dataclass(frozen=True, slots=True)
class Convert:
    """Settings whose type differs between the two versions.

    Conversions: `to-list` makes a string a list of one; `first` makes a list of strings its first
    element, and removes an empty list; `to-string` makes a number or a boolean the string that
    spells it; `none` changes nothing. A value of another type than the conversion is for stays.
    """

    settings: tuple[str, ...]
    prefixes: tuple[str, ...]
    on_forward: Conversion
    on_backward: Conversion

    def forward(self, tree: Tree) -> None:
        """Convert the named settings and all those under the prefixes."""
        self._convert(tree, self.on_forward)

    def backward(self, tree: Tree) -> None:
        """Convert them the other way."""
        self._convert(tree, self.on_backward)

    def _convert(self, tree: Tree, conversion: Conversion) -> None:
        below = [name for prefix in self.prefixes for name in tree.data.starting_with(prefix)]
        for name in {*below, *self.settings}:
            text = tree.data.get(name)
            if text is not None:
                tree.data.put(name, _converted(text, conversion))


def _rename(tree: Tree, names: Mapping[str, str]) -> None:
    _move(tree.data, names)
    addresses = [address for name in names for address in tree.metadata.starting_with(name)]
    moves = {(name, key): (names[name], key) for name, key in addresses if name in names}
    _move(tree.metadata, moves)


def _names_below(tree: Tree, prefixes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Map each name in use below a prefix to the same name below that prefix's partner.

    Of several prefixes that a name is below, the longest counts.
    """
    pairs = sorted((keys.parse(source), keys.parse(target)) for source, target in prefixes)
    moves = {}
    for source, target in sorted(pairs, key=lambda pair: len(pair[0])):
        start = keys.name_of(source)
        settings = (setting for setting, _ in tree.metadata.starting_with(start))
        for name in {*tree.data.starting_with(start), *settings}:
            segments = keys.parse(name)
            if keys.is_below(segments, source):
                moves[name] = keys.name_of(target + segments[len(source) :])
    return moves


def _move(layer: Layer[K], moves: Mapping[K, K]) -> None:
    # In the order of names: where two move to one place, it must be the same one that stays there
    # on every host and in every run.
    taken = {key: text for key in sorted(moves) if (text := layer.get(key)) is not None}
    for key in taken:
        layer.put(key, None)
    for key, text in taken.items():
        layer.put(moves[key], text)


def _converted(text: str, conversion: Conversion) -> str | None:
    value = values.parse(text)
    match conversion:
        case "to-list" if isinstance(value, str):
            return values.dump([value])
        case "first" if isinstance(value, list) and not value:
            return None
        case "first" if isinstance(value, list) and isinstance(value[0], str):
            return values.dump(value[0])
        case "to-string" if isinstance(value, int | float):
            return values.dump(text)
        case _:
            return text
