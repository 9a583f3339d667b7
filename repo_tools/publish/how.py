"""How a change is to be carried out: told, asked, tried, or only proposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from repo_tools.errors import Declined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from repo_tools.publish.release import Outcome


@dataclass(frozen=True, slots=True)
class How:
    """How a change is to be carried out.

    Attributes:
        show: Is given what will change, a line each, before anything is signed.
        confirm: Asks whether to go ahead.
        dry_run: Stop after showing.
        proposal: Write a proposal into this file, for others to sign; publish nothing.
    """

    show: Callable[[str], None]
    confirm: Callable[[str], bool]
    dry_run: bool = False
    proposal: Path | None = None

    def go_ahead(self, outcome: Outcome) -> bool:
        """Show an outcome; say whether it is to be brought about.

        Raises:
            Declined: The user was asked, and said no.
        """
        for line in outcome.changes:
            self.show(line)
        if self.dry_run:
            return False
        publish = "Sign and publish this?"
        if not self.confirm(publish if self.proposal is None else "Propose this?"):
            raise Declined
        return True

    def signed_here(self, roles: Sequence[str]) -> Sequence[str]:
        """The roles whose keys have to be at hand."""
        return roles if self.proposal is None else ()
