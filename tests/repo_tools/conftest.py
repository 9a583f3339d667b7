"""Owners to start from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.repo_tools.owner import Owner, fresh

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def owner(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """An owner with keys, a root and an empty repository."""
    return fresh(tmp_path, tmp_path_factory.getbasetemp() / "founded")


@pytest.fixture
def newcomer(tmp_path: Path) -> Owner:
    """An owner with nothing."""
    return Owner(tmp_path / "owner")


@pytest.fixture
def today(tmp_path: Path) -> Owner:
    """An owner with an empty repository, made today: for programs that look at the real clock."""
    owner = Owner(tmp_path / "today", datetime.now(UTC))
    owner.found()
    return owner
