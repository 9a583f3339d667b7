"""Manual pages from the commands themselves: one page for each program, in man(7) macros.

What a page says is what `--help` says, so the two cannot differ. Pure: from a command to text.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERBATIM: Final = "\b"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that gets a page: where its command is, and the section that the page is in."""

    name: str
    command: str
    section: int


PROGRAMS: Final = (
    Program("updog", "updog.cli:cli", 8),
    Program("signpost", "signpost.cli:cli", 8),
    Program("migrator", "migrator.cli:migrator", 8),
    Program("repo-tools", "repo_tools.cli:repo_tools", 1),
    Program("updata", "repo_tools.updata.cli:updata", 1),
)


def man_page(program: Program, command: click.Command, version: str) -> str:
    """The page of a program.

    Args:
        program: Its name and section.
        command: Its command.
        version: Version of the distribution, for the footer.
    """
    title = program.name.upper().replace("-", "\\-")
    lines = [
        f'.TH {title} {program.section} "" "updog {version}" "updog"',
        ".SH NAME",
        f"{_text(program.name)} \\- {_text(_summary(command))}",
    ]
    context = _context(command, program.name, None)
    lines += [".SH SYNOPSIS", *_synopsis(context, command)]
    lines += [".SH DESCRIPTION", *_paragraphs(command.help or "")]
    lines += _options(context, command, ".SH OPTIONS")
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        lines += _commands(context, command)
    return "\n".join(lines) + "\n"


def _commands(parent: click.Context, group: click.Group) -> Iterator[str]:
    """A subsection for every command, those of groups under their full names."""
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        context = _context(command, name, parent)
        if isinstance(command, click.Group):
            yield from _commands(context, command)
            continue
        path = context.command_path.partition(" ")[2]
        yield f".SS {_text(path)}"
        yield from _synopsis(context, command)
        yield ".PP"
        yield from _paragraphs(command.help or "")
        yield from _options(context, command, "")


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    """As when the command is run, without running it."""
    return command.make_context(name, [], parent=parent, resilient_parsing=True)


def _synopsis(context: click.Context, command: click.Command) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(command.collect_usage_pieces(context)))


def _options(context: click.Context, command: click.Command, heading: str) -> Iterator[str]:
    records = [
        record
        for param in command.get_params(context)
        if (record := param.get_help_record(context)) is not None
    ]
    if records and heading:
        yield heading
    for option, explanation in records:
        yield ".TP"
        yield f".B {_text(option)}"
        yield _text(explanation)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text; one that starts with a mark is set as it is."""
    for number, paragraph in enumerate(_clean(text).split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith(_VERBATIM):
            yield ".nf"
            yield from (_text(line) for line in paragraph.split("\n")[1:])
            yield ".fi"
        else:
            yield _text(" ".join(paragraph.split()))


def _summary(command: click.Command) -> str:
    """The first sentence, without its full stop."""
    first = _clean(command.help or "").split("\n\n")[0]
    return " ".join(first.split()).partition(". ")[0].rstrip(".")


def _clean(text: str) -> str:
    return inspect.cleandoc(text)


def _text(text: str) -> str:
    """Text for troff: no escape, no request at the start of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped
