"""Counts that tests keep as floors mean something only if every run has the same cases."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PROFILE

if TYPE_CHECKING:
    from pathlib import Path


def drawn() -> list[tuple[int, str]]:
    """What a derandomized test is given."""
    cases: list[tuple[int, str]] = []

    @given(st.integers(0, 1 << 40), st.text(max_size=20))
    def test(number: int, text: str) -> None:
        cases.append((number, text))

    test()
    return cases


@pytest.mark.skipif(PROFILE != "ci", reason="other profiles are meant to vary")
def test_the_same_cases_whatever_else_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module full of constants, from a path like that of a project's own."""
    before = drawn()
    assert len(before) == 60
    place = tmp_path / "project" / "neighbour.py"
    place.parent.mkdir()
    place.write_text(f"NUMBERS = {[10**9 + n for n in range(500)]}\nTEXT = 'quetzalcoatl'\n")
    spec = spec_from_file_location("neighbour", place)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "neighbour", module)
    spec.loader.exec_module(module)
    assert drawn() == before
