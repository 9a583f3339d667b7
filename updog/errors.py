"""What can go wrong with an update, one class per kind.

UpdogError
├── DownloadFailed
│   ├── NotFound
│   └── CannotResume
└── UnsafeTargetName
"""

from __future__ import annotations


class UpdogError(Exception):
    """Base of all errors of this package; `str()` is the one line that the user sees."""

    exit_code = 1
    hint: str | None = None


class DownloadFailed(UpdogError):
    """Bytes did not arrive, or cannot be what was asked for."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"cannot download {url}: {reason}")


class NotFound(DownloadFailed):
    """The repository says that it has no such file."""


class CannotResume(DownloadFailed):
    """The server cannot continue where the data at hand ends; starting over may work."""


class UnsafeTargetName(UpdogError):
    """A target's name cannot be used as a file name or in a URL."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"refusing target name {name!r}: {problem}")
