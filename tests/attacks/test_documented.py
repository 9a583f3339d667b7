"""docs/security.md names a test for each attack, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)+)`", TABLE)))
ROWS = re.findall(
    r"^\| ([^|]+) \|.*\| ([^|]*) \|$", TABLE.partition("## The attacks")[2], re.MULTILINE
)

# TUF specification 1.5.2, and the project's own list.
ATTACKS = (
    "Arbitrary software",
    "Endless data",
    "Extraneous dependencies",
    "Fast-forward",
    "Indefinite freeze",
    "Malicious mirror",
    "Mix-and-match",
    "Rollback",
    "Slow retrieval",
    "Key compromise",
    "Wrong software",
    "Decompression bomb",
    "Image larger than the partition",
    "Path tricks in target names",
    "A manifest that names another variant's images",
    "Recall used for a downgrade",
    "Clock set back",
    "Clock set far forward",
    "Symlink in a state directory",
    "State files with loose permissions",
    "Replay of a bundle",
)


def definitions(body: list[ast.stmt]) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {node.name: node for node in found}


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    """A function that pytest runs, or a class that holds at least one."""
    file, first, *rest = named.split("::")
    node = definitions(ast.parse((ROOT / file).read_text(encoding="utf-8")).body)[first]
    for name in rest:
        node = definitions(node.body)[name]
    names = definitions(node.body) if isinstance(node, ast.ClassDef) else [node.name]
    assert any(name.startswith("test_") for name in names)


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_a_row_with_a_test(attack: str) -> None:
    (shown,) = [tests for name, tests in ROWS if name == attack]
    assert [named for named in NAMED if named in shown]
