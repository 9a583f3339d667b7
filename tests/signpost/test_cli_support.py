"""How a command ends, whatever goes wrong: one line, the right code, a traceback only if asked."""

from __future__ import annotations

import errno

import click
import pytest
from click.testing import CliRunner, Result

from signpost.cli_support import (
    Cli,
    echo_json,
    json_option,
    json_wanted,
    verbose_option,
    version_option,
    warn,
)


class OursError(Exception):
    exit_code = 3
    hint = "look\nelsewhere"


class PlainError(Exception):
    exit_code = 1


FAILURES: dict[str, BaseException] = {
    "ours": OursError("cannot do it: \x1b[31mred\x1b[0m and\ntwo lines"),
    "plain": PlainError("cannot do it"),
    "bug": ZeroDivisionError("division by zero"),
    "system": OSError(errno.ENOSPC, "No space left on device", "/var/lib/updog"),
    "pipe": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "interrupt": KeyboardInterrupt(),
    "usage": click.UsageError("that makes no sense"),
    "exit": click.exceptions.Exit(7),
}


@click.group(cls=Cli)
@json_option
@verbose_option
@version_option
def program() -> None:
    """A program."""


@program.command()
@click.argument("kind")
def fail(kind: str) -> None:
    """Fail."""
    click.echo("before")
    raise FAILURES[kind]


@program.command()
@json_option
def answer() -> None:
    """Answer."""
    warn("careful:\tit is late")
    if json_wanted():
        echo_json({"naïve": 1})
    else:
        click.echo("text")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, list(arguments), prog_name="updog")


@pytest.mark.parametrize(
    "kind, code, lines",
    [
        (
            "ours",
            3,
            [
                r"updog: cannot do it: \x1b[31mred\x1b[0m and\ntwo lines",
                r"hint: look\nelsewhere",
            ],
        ),
        ("plain", 1, ["updog: cannot do it"]),
        (
            "bug",
            1,
            [
                "updog: unexpected ZeroDivisionError: division by zero",
                "hint: this is a fault of the program; --verbose shows where",
            ],
        ),
        ("system", 1, ["updog: cannot go on: /var/lib/updog: No space left on device"]),
        ("pipe", 1, []),
        ("interrupt", 1, ["updog: interrupted"]),
        ("exit", 7, []),
    ],
)
def test_an_error_is_a_line_and_a_code(kind: str, code: int, lines: list[str]) -> None:
    result = run("fail", kind)

    assert result.exit_code == code
    assert result.stderr.splitlines() == lines
    assert result.stdout == "before\n"


def test_a_usage_error_is_clicks_with_code_2() -> None:
    result = run("fail", "usage")

    assert result.exit_code == 2
    assert result.stderr.endswith("Error: that makes no sense\n")


@pytest.mark.parametrize("kind", ["ours", "bug"])
def test_a_traceback_is_shown_when_asked(kind: str) -> None:
    result = run("--verbose", "fail", kind)

    assert "Traceback (most recent call last):" in result.stderr
    assert "raise FAILURES[kind]" in result.stderr
    assert "Traceback" not in run("fail", kind).stderr


@pytest.mark.parametrize("arguments", [["--json", "answer"], ["answer", "--json"]])
def test_json_is_asked_for_in_either_place(arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.stdout == '{\n  "naïve": 1\n}\n'
    assert result.stderr == "updog: warning: careful:\\tit is late\n"


def test_text_is_what_comes_without() -> None:
    assert run("answer").stdout == "text\n"
