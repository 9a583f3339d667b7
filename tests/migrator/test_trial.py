"""`migrator test`: an author is told what a migration loses, unless it was said before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lz4.frame
import pytest

from migrator import trial
from migrator.errors import MigrationFailed, MigrationInvalid
from migrator.executable import Limits
from tests.migrator.builders import state, tree

if TYPE_CHECKING:
    from pathlib import Path

    from migrator.plan import Change
    from migrator.tree import State

LIMITS = Limits(seconds=20)
BEFORE = {"settings.a": "x", "settings.b": ["1", "2"], "settings.c": 3}

PYTHON = """
from migrator import Migration

class Drop(Migration):
    LOSSY

    def forward(self, data, metadata):
        data.get("settings", {}).pop("c", None)

    def backward(self, data, metadata):
        BACKWARD
"""


def tried(
    tmp_path: Path, name: str, content: str | bytes, before: State | None = None
) -> trial.Trial:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return trial.run(trial.load(path), before or state(BEFORE), LIMITS)


def keys(changes: tuple[Change, ...]) -> list[str]:
    return [change.key for change in changes]


def test_a_rename_comes_back(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "rename-settings"\nfrom = "settings.a"\nto = "settings.z"'
    found = tried(tmp_path, "m.toml", document)
    assert keys(found.forward) == ["settings.a", "settings.z"]
    assert found.back == found.again == found.undeclared == ()


def test_a_rename_onto_something_does_not(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "rename-settings"\nfrom = "settings.a"\nto = "settings.c"'
    found = tried(tmp_path, "m.toml", document)
    assert keys(found.undeclared) == ["settings.c"]
    assert list(found.undeclared[0].lines()) == ["- settings.c = 3"]


def test_removing_what_the_step_names_is_declared_by_naming_it(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "remove-settings"\nsettings = ["settings.a"]'
    found = tried(tmp_path, "m.toml", document)
    assert keys(found.back) == ["settings.a"]
    assert found.undeclared == ()


def test_a_conversion_that_drops_something_is_not(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "convert"\nsettings = ["settings.b"]\nforward = "first"'
    document += '\nbackward = "to-list"'
    found = tried(tmp_path, "m.toml", document)
    assert keys(found.undeclared) == ["settings.b"]
    declared = tried(tmp_path, "m.toml", f'lossy = ["settings.b"]\n{document}')
    assert keys(declared.back) == ["settings.b"]
    assert declared.undeclared == ()


def test_a_replacement_that_meets_its_own_result_invents_one(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "replace-string"\nsetting = "settings.a"\nold = "w"\nnew = "x"'
    found = tried(tmp_path, "m.toml", document)
    assert keys(found.undeclared) == ["settings.a"]


@pytest.mark.parametrize(
    "lossy, backward, undeclared",
    [
        ("", "pass", ["settings.c"]),
        ('lossy = ("settings.c",)', "pass", []),
        ('lossy = ("settings",)', "pass", []),
        ('lossy = ("settings.a",)', "pass", ["settings.c"]),
        ("", 'data.setdefault("settings", {})["c"] = 3', []),
        ("", 'data.setdefault("settings", {})["c"] = 4', ["settings.c"]),
    ],
)
def test_an_authors_program(
    tmp_path: Path, lossy: str, backward: str, undeclared: list[str]
) -> None:
    source = PYTHON.replace("LOSSY", lossy).replace("BACKWARD", backward)
    assert keys(tried(tmp_path, "drop.py", source).undeclared) == undeclared


def test_what_is_different_the_second_time_is_told(tmp_path: Path) -> None:
    """Backward puts something back that makes forward take another way."""
    source = PYTHON.replace("LOSSY", "").replace(
        "BACKWARD", 'data["settings"] = {**data["settings"], "c": 3, "invented": 1}'
    )
    found = tried(tmp_path, "drop.py", source)
    assert keys(found.back) == ["settings.invented"]
    assert keys(found.again) == ["settings.invented"]
    assert keys(found.undeclared) == ["settings.invented", "settings.invented"]


def test_pending_transactions_and_metadata_are_looked_at_too(tmp_path: Path) -> None:
    before = state({"b": 1}, tx={"settings.c": 3})
    before.live = tree({"b": 1}, {"b": {"m": "1"}})
    document = """
[[steps]]
kind = "convert"
settings = ["settings.c"]
forward = "to-string"
[[steps]]
kind = "replace-metadata"
setting = "b"
metadata = "m"
old = "0"
new = "1"
"""
    found = tried(tmp_path, "m.toml", document, before)
    assert [(each.transaction, each.key, each.metadata) for each in found.undeclared] == [
        (None, "b", "m"),
        ("tx", "settings.c", None),
    ]


def test_compressed_files_are_what_they_hold(tmp_path: Path) -> None:
    document = b'[[steps]]\nkind = "remove-settings"\nsettings = ["settings.a"]'
    found = tried(tmp_path, "migrate_v1.0.0_x.toml.lz4", lz4.frame.compress(document))
    assert keys(found.forward) == ["settings.a"]
    script = b'#!/bin/sh\ncp -r "$3" "$5"\n'
    found = tried(tmp_path, "migrate_v1.0.0_x.lz4", lz4.frame.compress(script))
    assert found.forward == found.undeclared == ()
    assert tried(tmp_path, "program", script).forward == ()


def test_a_report_for_people(tmp_path: Path) -> None:
    document = '[[steps]]\nkind = "rename-settings"\nfrom = "settings.a"\nto = "settings.c"'
    assert list(trial.lines(tried(tmp_path, "m.toml", document))) == [
        "forward changes: 2",
        '  - settings.a = "x"',
        "  - settings.c = 3",
        '  + settings.c = "x"',
        "back again, what differs from the start: 1",
        "! - settings.c = 3",
        "forward once more, what differs from the first time: nothing",
    ]


def test_one_that_fails_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MigrationFailed, match="going forward: it exited with 3"):
        tried(tmp_path, "m", "#!/bin/sh\nexit 3\n")
    with pytest.raises(MigrationInvalid, match="cannot read it"):
        trial.load(tmp_path / "absent.toml")
    with pytest.raises(MigrationInvalid, match="not an LZ4 frame"):
        tried(tmp_path, "m.lz4", "no such thing")
