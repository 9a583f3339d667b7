"""An author's Python file becomes one executable that needs nothing but a Python."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from migrator import Migration, executable, pack
from migrator.errors import MigrationFailed, MigrationInvalid
from migrator.executable import Limits
from migrator.library import migrate
from tests.migrator.builders import read_files, write_files

if TYPE_CHECKING:
    from pathlib import Path

SPLIT = '''
"""Endpoints."""

from migrator import Migration


class SplitEndpoint(Migration):
    """settings.api.endpoint becomes host and port.

    And more that does not matter here.
    """

    lossy = ("settings.api.note",)

    def forward(self, data, metadata):
        api = data.get("settings", {}).get("api", {})
        if "endpoint" in api:
            host, _, port = api.pop("endpoint").partition(":")
            api["host"], api["port"] = host, int(port)
        for names in metadata.values():
            names.pop("old", None)

    def backward(self, data, metadata):
        api = data.get("settings", {}).get("api", {})
        if "host" in api and "port" in api:
            api["endpoint"] = f"{api.pop('host')}:{api.pop('port')}"
'''
BEFORE = {
    "live/settings/api/endpoint": '"example.com:443"',
    "live/settings/api/weight": "1.50",
    "live/settings/labels/a%2Eb": "[]",
    "live/settings/api.old": '"x"',
    "live/settings/api.kept": '{"a":1}',
    "pending/tx%201/settings/api/endpoint": '"other:1"',
    "pending/tx%202/settings/motd": '"hi"',
}
AFTER = {
    "live/settings/api/host": '"example.com"',
    "live/settings/api/port": "443",
    "live/settings/api/weight": "1.50",
    "live/settings/labels/a%2Eb": "[]",
    "live/settings/api.kept": '{"a":1}',
    "pending/tx%201/settings/api/host": '"other"',
    "pending/tx%201/settings/api/port": "1",
    "pending/tx%202/settings/motd": '"hi"',
}


def author(tmp_path: Path, source: str) -> Path:
    path = tmp_path / "split.py"
    path.write_text(source)
    return path


def carry(program: bytes, tmp_path: Path, direction: str, files: dict[str, str]) -> dict[str, str]:
    """Run a program as the migrator does, from one copy to another."""
    number = len(list(tmp_path.iterdir()))
    source, target = tmp_path / f"s{number}", tmp_path / f"t{number}"
    (source / "live").mkdir(parents=True)
    write_files(source, files)
    executable.run("m", program, direction, source=source, target=target, limits=Limits(seconds=20))
    return read_files(target)


def test_it_runs_from_sealed_memory_both_ways(tmp_path: Path) -> None:
    program = pack.pack(author(tmp_path, SPLIT))
    assert carry(program, tmp_path, "forward", BEFORE) == AFTER
    back = dict(BEFORE)
    del back["live/settings/api.old"]
    assert carry(program, tmp_path, "backward", AFTER) == back


def test_it_runs_under_a_python_that_knows_nothing_of_us(tmp_path: Path) -> None:
    """Isolated: no site packages, no current directory, no environment."""
    program = tmp_path / "program"
    program.write_bytes(pack.pack(author(tmp_path, SPLIT)))
    write_files(tmp_path / "s", BEFORE)
    command = [sys.executable, "-I", "-S", str(program), "--forward"]
    places = ["--source-datastore", f"{tmp_path}/s", "--target-datastore", f"{tmp_path}/t"]
    subprocess.run(command + places, check=True, env={}, cwd="/")
    assert read_files(tmp_path / "t") == AFTER


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    assert pack.pack(author(tmp_path, SPLIT)) == pack.pack(author(tmp_path, SPLIT))


def test_it_says_what_it_is(tmp_path: Path) -> None:
    program = pack.pack(author(tmp_path, SPLIT))
    assert program.startswith(b"#!/usr/bin/env python3\n")
    about = pack.about_packed(program)
    assert about == pack.About(
        "SplitEndpoint", "settings.api.endpoint becomes host and port.", ("settings.api.note",)
    )
    with zipfile.ZipFile(BytesIO(program)) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("migration.json"))["name"] == "SplitEndpoint"
    assert pack.about_packed(b"#!/bin/sh\n") is None
    assert pack.about_packed(b"#!/usr/bin/env python3\nprint()\n") is None


@pytest.mark.parametrize(
    "source, why",
    [
        ("def (", "it is not Python"),
        ("\0", "it is not Python"),
        ("x = 1", "it has 0 classes that derive from Migration"),
        (SPLIT + SPLIT, "it has 2 classes that derive from Migration"),
        (SPLIT.replace("def backward", "def back"), "has no method backward"),
        (SPLIT.replace('("settings.api.note",)', "names()"), "must be a literal tuple"),
        (SPLIT.replace('("settings.api.note",)', '("a..b",)'), "must be a literal tuple"),
        (SPLIT.replace('("settings.api.note",)', "(1,)"), "must be a literal tuple"),
    ],
)
def test_what_is_no_migration_is_refused(tmp_path: Path, source: str, why: str) -> None:
    with pytest.raises(MigrationInvalid, match=why):
        pack.pack(author(tmp_path, source))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MigrationInvalid, match="cannot read it: No such file"):
        pack.pack(tmp_path / "absent.py")


BODIES: dict[str, tuple[str, str]] = {
    "an exception": ("raise KeyError('motd')", "it printed: KeyError: 'motd'"),
    "a name that is none": ("data['a\\n'] = 1", "control character"),
    "a key that is no text": ("data[1] = 1", "a map holds the key 1"),
    "a value without a form": ("data['a'] = {'b': {1, 2}}", "value of a.b: it has no JSON form"),
    "not a number": ("data['a'] = float('nan')", "value of a: "),
    "another return value": ("return 1", "return a map, or nothing"),
    "metadata of no setting": ("metadata['a..b'] = {'m': 1}", "a segment is empty"),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_fault_of_the_author_is_one_line(tmp_path: Path, body: str) -> None:
    code, why = BODIES[body]
    source = f"""
from migrator import Migration

class Faulty(Migration):
    def forward(self, data, metadata):
        {code}

    def backward(self, data, metadata):
        pass
"""
    with pytest.raises(MigrationFailed) as caught:
        carry(pack.pack(author(tmp_path, source)), tmp_path, "forward", BEFORE)
    assert why in str(caught.value)


def test_a_method_may_leave_metadata_out_and_return_another_map(tmp_path: Path) -> None:
    source = """
import migrator

class Prune(migrator.Migration):
    def forward(self, data):
        return {"only": data["settings"]["api"]["weight"]} if "api" in data["settings"] else data

    def backward(self, data):
        data["empty"] = {"group": {}}
"""
    program = pack.pack(author(tmp_path, source))
    after = carry(program, tmp_path, "forward", {"live/settings/api/weight": "2"})
    assert after == {"live/only": "2"}
    assert carry(program, tmp_path, "backward", after) == {"live/only": "2"}


class Nothing(Migration):
    """Changes nothing."""

    def forward(self, data: object, metadata: object) -> None:
        """Change nothing."""

    def backward(self, data: object, metadata: object) -> None:
        """Change nothing."""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--forward"],
        ["--forward", "--source-datastore", "a"],
        ["--forward", "--source-datastore", "a", "--target-datastore", "a"],
        ["--forward", "--backward", "--source-datastore", "a", "--target-datastore", "b"],
        ["--sideways", "--source-datastore", "a", "--target-datastore", "b"],
        ["--forward", "--source-datastore", "a", "--target-datastore"],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert migrate(Nothing(), arguments) == 2
    assert capsys.readouterr().err.startswith("usage: --forward|--backward")


def test_a_source_that_is_no_datastore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--source-datastore", f"{tmp_path}/s", "--target-datastore", f"{tmp_path}/t"]
    assert migrate(Nothing(), ["--forward", *places]) == 1
    assert "it has no directory 'live'" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
