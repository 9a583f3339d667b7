"""Steps for what is known about settings: their metadata, and the templates that generate them.

The same rules hold as for `migrator.steps`. Named and behaving like Bottlerocket's helpers:

| step | forward | backward |
|---|---|---|
| AddMetadata | nothing: defaults fill it | removes what is named |
| RemoveMetadata | removes what is named | nothing |
| ReplaceMetadata, ReplaceMetadataLists | old becomes new | new becomes old |
| ReplaceTemplate | the template, and the value if the old template made it | the same, swapped |

ReplaceTemplate also stands for ReplaceSchnauzer, whose templates sit in a command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator import values
from migrator.errors import StepFailed
from migrator.steps import check_strings, replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.templates import Template
    from migrator.tree import Layer, MetadataKey, Tree


@dataclass(frozen=True, slots=True)
class SettingMetadata:
    """Some of the metadata of one setting."""

    setting: str
    metadata: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddMetadata:
    """Metadata that the older version does not know."""

    metadata: tuple[SettingMetadata, ...]

    def forward(self, tree: Tree) -> None:
        """Leave everything: the newer version's defaults hold it."""

    def backward(self, tree: Tree) -> None:
        """Remove the metadata."""
        _remove_metadata(tree.metadata, self.metadata)


@dataclass(frozen=True, slots=True)
class RemoveMetadata:
    """Metadata that the newer version does not know."""

    metadata: tuple[SettingMetadata, ...]

    def forward(self, tree: Tree) -> None:
        """Remove the metadata."""
        _remove_metadata(tree.metadata, self.metadata)

    def backward(self, tree: Tree) -> None:
        """Leave everything."""


@dataclass(frozen=True, slots=True)
class MetadataReplacement:
    """One metadata value for another, as JSON texts."""

    setting: str
    metadata: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ReplaceMetadata:
    """A metadata string that differs between the two versions."""

    replacements: tuple[MetadataReplacement, ...]

    def forward(self, tree: Tree) -> None:
        """Replace each old string by the new one."""
        for each in self.replacements:
            replace(tree.metadata, (each.setting, each.metadata), each.old, each.new)

    def backward(self, tree: Tree) -> None:
        """Replace each new string by the old one."""
        for each in reversed(self.replacements):
            replace(tree.metadata, (each.setting, each.metadata), each.new, each.old)


@dataclass(frozen=True, slots=True)
class ReplaceMetadataLists:
    """A metadata list of strings that differs between the two versions."""

    replacements: tuple[MetadataReplacement, ...]

    def forward(self, tree: Tree) -> None:
        """Replace each old list by the new one."""
        for each in self.replacements:
            self._replace(tree, each, each.old, each.new)

    def backward(self, tree: Tree) -> None:
        """Replace each new list by the old one."""
        for each in reversed(self.replacements):
            self._replace(tree, each, each.new, each.old)

    @staticmethod
    def _replace(tree: Tree, each: MetadataReplacement, old: str, new: str) -> None:
        address = (each.setting, each.metadata)
        check_strings(tree.metadata.get(address), f"metadata {each.metadata} of {each.setting}")
        replace(tree.metadata, address, old, new)


@dataclass(frozen=True, slots=True)
class ReplaceTemplate:
    """A setting that is generated from a template, which differs between the two versions.

    The metadata text changes if it is the expected one. The value changes too, but only if it is
    what the expected template generates: otherwise somebody set it. A template that needs a
    setting which is not there generates nothing, and the value stays.

    Attributes:
        setting: The generated setting.
        metadata: The metadata key that holds the template: `template` or `setting-generator`.
        old_text, new_text: What that metadata holds, as JSON texts.
        old, new: The templates in them.
    """

    setting: str
    metadata: str
    old_text: str
    new_text: str
    old: Template
    new: Template

    def forward(self, tree: Tree) -> None:
        """Replace the old template by the new one, and the value that it generates."""
        self._replace(tree, (self.old_text, self.old), (self.new_text, self.new))

    def backward(self, tree: Tree) -> None:
        """Replace the new template by the old one, and the value that it generates."""
        self._replace(tree, (self.new_text, self.new), (self.old_text, self.old))

    def _replace(self, tree: Tree, old: tuple[str, Template], new: tuple[str, Template]) -> None:
        text = tree.data.get(self.setting)
        if text is None:
            return
        value = values.parse(text)
        if not isinstance(value, str):
            raise StepFailed(f"{self.setting} is generated from a template but is not a string")
        found = tree.metadata.get((self.setting, self.metadata))
        if found is None or not values.same(found, old[0]):
            return
        tree.metadata.put((self.setting, self.metadata), new[0])
        generated = new[1].render(tree.data)
        if old[1].render(tree.data) == value and generated is not None:
            tree.data.put(self.setting, values.dump(generated))


def _remove_metadata(layer: Layer[MetadataKey], metadata: Iterable[SettingMetadata]) -> None:
    for each in metadata:
        for metadata_key in each.metadata:
            layer.put((each.setting, metadata_key), None)
