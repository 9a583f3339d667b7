"""What the documents tell people to type exists: every command, every option, every file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from migrator.cli import migrator
from repo_tools.cli import repo_tools
from signpost.cli import cli as signpost
from updog.cli import cli as updog

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("repo_tools/*.md")]
)
PROGRAMS: dict[str, click.Command] = {
    "updog": updog,
    "signpost": signpost,
    "migrator": migrator,
    "repo-tools": repo_tools,
}


def commands(document: Path) -> list[str]:
    """Lines of code blocks, and code in the text, that begin with one of our programs."""
    text = (ROOT / document).read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line[4:] for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`([^`\n]+)`", text)
    found = (re.sub(r"^\$ ", "", line.strip()) for line in lines)
    return [line for line in found if line.split(" ")[0] in PROGRAMS and " " in line]


def unknown(line: str) -> list[str]:
    """Words of a command line that its program does not know."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    command = PROGRAMS[words[0]]
    known = {"--help", "-h", "--version"}
    problems = []
    for word in words[1:]:
        if word in {"|", "&", ">", ">>", "&&", ";"}:
            break
        known |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        if word.startswith("-") and word != "-":
            if word.strip("[]").split("=")[0].lower() not in {name.lower() for name in known}:
                problems.append(word)
        elif isinstance(command, click.Group):
            context = click.Context(command, resilient_parsing=True)
            command = command.get_command(context, word) or command
    return problems


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_a_document_says_to_type_exists(document: Path) -> None:
    wrong = {line: words for line in commands(document) if (words := unknown(line))}
    assert not wrong


def test_documents_show_commands_at_all() -> None:
    """The test above must not pass by finding nothing."""
    assert sum(len(commands(document)) for document in DOCUMENTS) > 30


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text()
    targets = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in targets if not (ROOT / document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_says_what_it_does(program: str) -> None:
    """A command without help is one that nobody finds."""

    def walk(command: click.Command, name: str) -> list[str]:
        silent = [] if (command.help or "").strip() else [name]
        if isinstance(command, click.Group):
            context = click.Context(command)
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                silent += walk(found, f"{name} {child}")
        return silent

    assert not walk(PROGRAMS[program], program)
