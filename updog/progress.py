"""What a running update tells its user.

Decided here: what is told. How it looks (bars, lines, JSON) is decided by each implementation.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by the pipeline and the install procedure; may be called from several threads."""

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
