"""Run commands as a reader would type them: the line, its output, a check of its exit code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


class DemoFailed(Exception):
    """A command of the demo did not do what the demo says that it does."""


@dataclass
class Shell:
    """A working directory and an environment; commands are echoed with what they print.

    Attributes:
        directory: Where commands run; paths on the lines are relative to it.
        environment: Variables that the reader would have exported.
    """

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Print what comes next."""
        print(f"\n# {text}", flush=True)

    def run(self, line: str, *, expect: int = 0, show: str | None = None) -> str:
        """Run one command line, without a shell, and return what it wrote to stdout.

        Args:
            line: The words, quoted as for a shell.
            expect: The exit code that the story needs.
            show: Print only output lines that contain this text; the command line says so.

        Raises:
            DemoFailed: Another exit code.
        """
        print(f"$ {line}" + (f" | grep {shlex.quote(show)}" if show else ""), flush=True)
        result = subprocess.run(
            shlex.split(line),
            cwd=self.directory,
            env=self._variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if expect else None,
            text=True,
            check=False,
        )
        for text in result.stdout.splitlines():
            if show is None or show in text:
                print(text, flush=True)
        if result.returncode != expect:
            raise DemoFailed(f"exit code {result.returncode}, expected {expect}: {line}")
        return result.stdout

    def start(self, line: str) -> Background:
        """Start a server; its first line of output tells where it is."""
        print(f"$ {line} &", flush=True)
        return Background(
            subprocess.Popen(
                shlex.split(line),
                cwd=self.directory,
                env=self._variables(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )

    def _variables(self) -> dict[str, str]:
        # The console scripts of this very environment, and where Debian keeps sgdisk and mkfs.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
        return {**os.environ, **self.environment, "PATH": path}


@dataclass
class Background:
    """A running server; stopped at the end of `with`."""

    process: subprocess.Popen[str]

    def first_line(self) -> str:
        """Wait for its first line, and print it."""
        line = (self.process.stdout or sys.stdin).readline().rstrip("\n")
        print(line, flush=True)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
