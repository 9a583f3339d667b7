"""Steps of a migration that is data: what each does to settings, forward and backward.

A step never fails because something is missing: stores of different variants hold different keys,
and a pending transaction holds few. Steps named like one of Bottlerocket's migration helpers do
what the helper does, in both directions (sources/api/migration/migration-helpers,
`common_migrations.rs`); the others are **ours**:

| step | forward | backward |
|---|---|---|
| NoOp | nothing | nothing |
| AddSettings, AddPrefixes, AddPrefixSuffix | nothing: defaults fill them | removes what is named |
| RemoveSettings | removes the settings | nothing |
| ReplaceString | the old string becomes the new one | the new becomes the old |
| ReplaceLists | the old list of strings becomes the new one | the new becomes the old |
| RemovePrefixes (**ours**) | removes every setting under the prefixes | nothing |
| OneWay (**ours**) | another step, or nothing | nothing, or another step |

Replacing needs the very value that is expected; anything else was set by somebody and stays. What
removing or overwriting loses, the migrator keeps and brings back: `migrator.kept`. Further steps
are in `migrator.moving_steps` (names and types) and `migrator.metadata_steps`.

Within one step, and within a migration, going backward takes the reverse order (**ours** within a
step: theirs goes backward from first to last too, which only differs where one step names a setting
twice, and then does not undo what going forward did).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from migrator import values
from migrator.errors import StepFailed

if TYPE_CHECKING:
    from migrator.tree import DataKey, K, Layer, Tree


class Step(Protocol):
    """One change, and its undoing."""

    def forward(self, tree: Tree) -> None:
        """Change the tree as the newer version needs it.

        Raises:
            StepFailed: A list to be compared holds something else than strings.
        """

    def backward(self, tree: Tree) -> None:
        """Change the tree as the older version needs it; raises as `forward`."""


@dataclass(frozen=True, slots=True)
class NoOp:
    """Nothing, for a migration that applies to other variants only."""

    def forward(self, tree: Tree) -> None:
        """Leave everything as it is."""

    def backward(self, tree: Tree) -> None:
        """Leave everything as it is."""


@dataclass(frozen=True, slots=True)
class AddSettings:
    """Settings that the older version does not know."""

    settings: tuple[str, ...]

    def forward(self, tree: Tree) -> None:
        """Leave everything: the newer version has defaults."""

    def backward(self, tree: Tree) -> None:
        """Remove the settings."""
        for setting in self.settings:
            tree.data.put(setting, None)


@dataclass(frozen=True, slots=True)
class AddPrefixes:
    """Settings with user-chosen names that the older version does not know.

    A prefix is a string, not a path: `settings.ntp` is a prefix of `settings.ntp-servers`, as it
    is for Bottlerocket.
    """

    prefixes: tuple[str, ...]

    def forward(self, tree: Tree) -> None:
        """Leave everything: the newer version has defaults."""

    def backward(self, tree: Tree) -> None:
        """Remove every setting whose name starts with one of the prefixes."""
        _remove_starting_with(tree.data, self.prefixes)


@dataclass(frozen=True, slots=True)
class PrefixSuffix:
    """Names that start with `<prefix>.`, end with `.<suffix>`, and have something in between."""

    prefix: str
    suffix: str

    def matches(self, name: str) -> bool:
        """Say whether a key's name is one of these."""
        shortest = len(self.prefix) + len(self.suffix) + 3  # two dots and one character
        return (
            len(name) >= shortest
            and name.startswith(f"{self.prefix}.")
            and name.endswith(f".{self.suffix}")
        )


@dataclass(frozen=True, slots=True)
class AddPrefixSuffix:
    """A new member of every element of a map: `settings.host-containers.<any>.command`."""

    patterns: tuple[PrefixSuffix, ...]

    def forward(self, tree: Tree) -> None:
        """Leave everything: the newer version has defaults."""

    def backward(self, tree: Tree) -> None:
        """Remove every setting that matches one of the patterns."""
        for each in self.patterns:
            for name in tree.data.starting_with(f"{each.prefix}."):
                if each.matches(name):
                    tree.data.put(name, None)


@dataclass(frozen=True, slots=True)
class RemoveSettings:
    """Settings that the newer version does not know."""

    settings: tuple[str, ...]

    def forward(self, tree: Tree) -> None:
        """Remove the settings."""
        for setting in self.settings:
            tree.data.put(setting, None)

    def backward(self, tree: Tree) -> None:
        """Leave everything: what was removed is brought back by the migrator, or by defaults."""


@dataclass(frozen=True, slots=True)
class RemovePrefixes:
    """Settings with user-chosen names that the newer version does not know."""

    prefixes: tuple[str, ...]

    def forward(self, tree: Tree) -> None:
        """Remove every setting whose name starts with one of the prefixes."""
        _remove_starting_with(tree.data, self.prefixes)

    def backward(self, tree: Tree) -> None:
        """Leave everything."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """One value for another, as JSON texts."""

    setting: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ReplaceString:
    """A string that the two versions spell differently."""

    replacements: tuple[Replacement, ...]

    def forward(self, tree: Tree) -> None:
        """Replace each old string by the new one."""
        for each in self.replacements:
            replace(tree.data, each.setting, each.old, each.new)

    def backward(self, tree: Tree) -> None:
        """Replace each new string by the old one."""
        for each in reversed(self.replacements):
            replace(tree.data, each.setting, each.new, each.old)


@dataclass(frozen=True, slots=True)
class ReplaceLists:
    """A list of strings that differs between the two versions."""

    replacements: tuple[Replacement, ...]

    def forward(self, tree: Tree) -> None:
        """Replace each old list by the new one."""
        for each in self.replacements:
            check_strings(tree.data.get(each.setting), each.setting)
            replace(tree.data, each.setting, each.old, each.new)

    def backward(self, tree: Tree) -> None:
        """Replace each new list by the old one."""
        for each in reversed(self.replacements):
            check_strings(tree.data.get(each.setting), each.setting)
            replace(tree.data, each.setting, each.new, each.old)


@dataclass(frozen=True, slots=True)
class OneWay:
    """Another step, in one of the two directions only."""

    step: Step
    direction: Literal["forward", "backward"]

    def forward(self, tree: Tree) -> None:
        """Do as the step does, if this is its direction."""
        if self.direction == "forward":
            self.step.forward(tree)

    def backward(self, tree: Tree) -> None:
        """Do as the step does, if this is its direction."""
        if self.direction == "backward":
            self.step.backward(tree)


def _remove_starting_with(data: Layer[DataKey], prefixes: tuple[str, ...]) -> None:
    for prefix in prefixes:
        for name in data.starting_with(prefix):
            data.put(name, None)


def replace(layer: Layer[K], key: K, old: str, new: str) -> None:
    """Put `new` where a key holds just `old`; both are JSON texts."""
    found = layer.get(key)
    if found is not None and values.same(found, old):
        layer.put(key, new)


def check_strings(text: str | None, where: str) -> None:
    """Refuse a list that is not all strings, as Bottlerocket does: it cannot be compared.

    Raises:
        StepFailed: It is such a list; `where` names it.
    """
    if text is None:
        return
    value = values.parse(text)
    if isinstance(value, list) and not all(isinstance(element, str) for element in value):
        raise StepFailed(f"{where} is a list that holds something else than strings")
