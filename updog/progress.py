"""What a running update tells its user.

Decided here: what is told. How it looks is decided in `updog.progress_display`; what `updog status`
can read meanwhile in `updog.activity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Progress(Protocol):
    """Told by the install procedure and the pipeline, in one thread."""

    def phase(self, text: str) -> None:
        """A step begins; `text` is a few words for a person, such as `checking metadata`."""

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """A download begins.

        Args:
            image: `boot`, `root` or `hash`.
            total_bytes: Length as downloaded, compressed.
            done_bytes: How much an earlier run has left here already.
        """

    def advanced(self, image: str, done_bytes: int) -> None:
        """So much of it is here now, from its first byte on. Called as often as one likes."""

    def finished(self, image: str) -> None:
        """All of it arrived, was verified and written."""


class NoProgress:
    """Tells nobody."""

    def phase(self, text: str) -> None:
        """Nothing."""

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """Nothing."""

    def advanced(self, image: str, done_bytes: int) -> None:
        """Nothing."""

    def finished(self, image: str) -> None:
        """Nothing."""


class Everybody:
    """Tells several, in order."""

    def __init__(self, audience: Sequence[Progress]) -> None:
        self._audience = audience

    def phase(self, text: str) -> None:
        """See `Progress`."""
        for each in self._audience:
            each.phase(text)

    def started(self, image: str, total_bytes: int, done_bytes: int = 0) -> None:
        """See `Progress`."""
        for each in self._audience:
            each.started(image, total_bytes, done_bytes)

    def advanced(self, image: str, done_bytes: int) -> None:
        """See `Progress`."""
        for each in self._audience:
            each.advanced(image, done_bytes)

    def finished(self, image: str) -> None:
        """See `Progress`."""
        for each in self._audience:
            each.finished(image)
