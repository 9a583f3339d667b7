"""What all command lines of the project share: how errors, pipes and interrupts end a command.

An error of ours is one line on stderr, `<program>: <message>`, perhaps one with a hint, and the
error's own exit code; a usage error is click's, exit code 2. A traceback is shown for `--verbose`
alone. Answers go to stdout, everything else to stderr.

    @click.group(cls=Cli)
    @verbose_option
    @version_option
    def program() -> None: ...

    def main() -> None:
        program(prog_name="program")
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

_VERBOSE = "signpost.verbose"
_JSON = "signpost.json"


class Cli(click.Group):
    """A group of commands that ends in one line, whatever goes wrong.

    Every exception with an integer `exit_code` is an error of ours; `hint`, if it has one, tells
    the user what to do. Anything else is a fault of the program, and says so in one line too.
    """

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and end it on an error as the module says."""
        try:
            result: object = super().invoke(ctx)
            # Here, not when Python exits: a full disk behind stdout must change the exit code.
            if sys.stdout:
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            exit_code = _report(ctx, error, "interrupted", hint=None, exit_code=1)
        except Exception as error:  # noqa: BLE001  the one place that ends a program
            exit_code = _report_error(ctx, error)
        else:
            return result
        raise click.exceptions.Exit(exit_code)


def printable(text: str) -> str:
    """A message as one line that any terminal takes: names come from disks and repositories."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def warn(message: str) -> None:
    """One line on stderr, under the program's name; the command goes on."""
    program = click.get_current_context().find_root().info_name
    click.echo(f"{program}: warning: {printable(message)}", err=True)


def verbose_option(function: F) -> F:
    """`-v`, `--verbose`: show tracebacks."""
    return _flag(_VERBOSE, "-v", "--verbose", help="Show a traceback when something fails.")(
        function
    )


def json_option(function: F) -> F:
    """`--json`, on a group or on a command; ask with `json_wanted`."""
    return _flag(_JSON, "--json", help="Print the answer as JSON.")(function)


def version_option(function: F) -> F:
    """`--version`: the version of the installed distribution."""
    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Show the version and exit.",
    )(function)


def json_wanted() -> bool:
    """Whether the running command is to print JSON."""
    return bool(click.get_current_context().meta.get(_JSON))


def echo_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    import json  # noqa: PLC0415  most runs print text, and start faster without

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _flag(key: str, *names: str, help: str) -> Callable[[F], F]:  # noqa: A002  click's own word
    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
        # Shared by a group and its commands: either place turns it on, none turns it off.
        ctx.meta[key] = ctx.meta.get(key, False) or value

    return click.option(
        *names, is_flag=True, is_eager=True, expose_value=False, callback=remember, help=help
    )


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if not value or ctx.resilient_parsing:
        return
    from importlib import metadata  # noqa: PLC0415  slow to import

    try:
        version = metadata.version("updog")
    except metadata.PackageNotFoundError:
        version = "of a source tree that is not installed"
    click.echo(f"{ctx.find_root().info_name} {version}")
    ctx.exit()


def _report_error(ctx: click.Context, error: Exception) -> int:
    hint = getattr(error, "hint", None)
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        return _report(ctx, error, str(error), hint=hint, exit_code=exit_code)
    if isinstance(error, OSError):
        _discard_unwritable_answer()
        if error.errno == errno.EPIPE:
            # Whoever read the answer has gone: nothing to tell, and nobody to tell it.
            return 1
        place = f"{error.filename}: " if error.filename else ""
        message = f"cannot go on: {place}{error.strerror or error}"
    else:
        message = f"unexpected {type(error).__name__}: {error}"
        hint = "this is a fault of the program; --verbose shows where"
    return _report(ctx, error, message, hint=hint, exit_code=1)


def _report(
    ctx: click.Context, error: BaseException, message: str, *, hint: str | None, exit_code: int
) -> int:
    if ctx.meta.get(_VERBOSE):
        import traceback  # noqa: PLC0415  rarely wanted, slow to import

        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"{ctx.find_root().info_name}: {printable(message)}", err=True)
    if hint:
        click.echo(f"hint: {printable(hint)}", err=True)
    return exit_code


def _discard_unwritable_answer() -> None:
    # What is still buffered for a closed pipe or a full disk would be written once more at exit,
    # with a complaint and another exit code (library reference, "Note on SIGPIPE").
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
