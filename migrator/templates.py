"""The templates that settings are generated from, as far as a migration needs them.

A template is text with `{{ expression }}` in it. An expression is the name of a setting, or the
name of a helper and one argument: a setting, or a literal in quotes. That is the part of
Handlebars which real templates of host settings use:

    {{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.11.10

A helper is a table that the migration brings along (`Helper`), so nothing here depends on the
code of the version that the host comes from or goes to. Values are put in as they are, unescaped.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from migrator import keys, values
from migrator.errors import KeyInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.tree import DataKey, Layer

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_LITERAL = re.compile(r"\"([^\"]*)\"|'([^']*)'")


@dataclass(frozen=True, slots=True)
class Helper:
    """A function from text to text, as a table.

    Attributes:
        values: Results by argument.
        default: The result for any other argument; None: there is none, nothing is generated.
    """

    values: Mapping[str, str]
    default: str | None = None

    def apply(self, argument: str) -> str | None:
        """Return the result for an argument, or None."""
        return self.values.get(argument, self.default)


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of a setting."""

    name: str

    def render(self, data: Layer[DataKey]) -> str | None:
        """Return the value as text, or None if it has none or is a list."""
        text = data.get(self.name)
        if text is None:
            return None
        value = values.parse(text)
        if isinstance(value, str):
            return value
        return None if isinstance(value, list) else text


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself."""

    text: str

    def render(self, _data: Layer[DataKey]) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class Call:
    """A helper applied to its argument."""

    helper: Helper
    argument: Setting | Literal

    def render(self, data: Layer[DataKey]) -> str | None:
        """Return the helper's result, or None."""
        argument = self.argument.render(data)
        return None if argument is None else self.helper.apply(argument)


Part: TypeAlias = Setting | Literal | Call


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str, helpers: Mapping[str, Helper]) -> Template:
        """Parse a template.

        Raises:
            ValueError: An expression of another form, or a helper that is not in `helpers`.
        """
        parts: list[Part] = []
        for index, piece in enumerate(_EXPRESSION.split(text)):
            if index % 2:
                parts.append(_parse_expression(piece.strip(), helpers))
            elif piece:
                parts.append(Literal(piece))
        return cls(tuple(parts))

    def render(self, data: Layer[DataKey]) -> str | None:
        """Return the text for these settings, or None if one that it needs is not there."""
        rendered = [part.render(data) for part in self.parts]
        if None in rendered:
            return None
        return "".join(piece for piece in rendered if piece is not None)


def in_command_line(command_line: str) -> str:
    """Return the template in a generator's command line, `… render … --template '…'`.

    Raises:
        ValueError: There is none.
    """
    words = shlex.split(command_line)
    for index, word in enumerate(words):
        if word == "--template" and index + 1 < len(words):
            return words[index + 1]
        if word.startswith("--template="):
            return word.removeprefix("--template=")
    raise ValueError("the command line has no --template")


def _parse_expression(expression: str, helpers: Mapping[str, Helper]) -> Part:
    name, _, argument = expression.partition(" ")
    if not argument:
        return _parse_argument(name)
    helper = helpers.get(name)
    if helper is None:
        raise ValueError(f"the template uses a helper {name!r}, which 'helpers' does not define")
    return Call(helper, _parse_argument(argument.strip()))


def _parse_argument(text: str) -> Setting | Literal:
    literal = _LITERAL.fullmatch(text)
    if literal:
        return Literal(literal[1] if literal[1] is not None else literal[2])
    try:
        return Setting(keys.canonical(text))
    except KeyInvalid as error:
        raise ValueError(f"in the template's expression {text!r}: {error.reason}") from None
