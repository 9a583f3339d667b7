"""Migrations on the owner's side: a class becomes a program, and no loss is published unknown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.migrator.builders import read_files, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo_tools.owner import Owner

AUTHORS = '''
from migrator import Migration


class DropMotd(Migration):
    """The message of the day goes."""

    lossy = ("settings.motd",)

    def forward(self, data):
        data["settings"].pop("motd", None)

    def backward(self, data):
        pass
'''


def test_an_authors_class_becomes_a_program_that_runs_by_itself(
    owner: Owner, tmp_path: Path
) -> None:
    file, out = tmp_path / "drop_motd.py", tmp_path / "migrate_v1.1.0_drop-motd"
    file.write_text(AUTHORS)
    done = owner.do("migration", "pack", file, out)
    assert done == {"program": str(out), "class": "DropMotd", "lossy": ["settings.motd"]}
    first = out.read_bytes()
    owner.do("migration", "pack", file, out)
    assert out.read_bytes() == first

    write_files(tmp_path / "v1", {"live/settings/motd": '"hi"', "live/settings/x": "1"})
    command = [str(out), "--forward", "--source-datastore", "v1", "--target-datastore", "v2"]
    environment = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert read_files(tmp_path / "v2") == {"live/settings/x": "1"}


def test_what_is_no_migration_is_not_packed(owner: Owner, tmp_path: Path) -> None:
    file, out = tmp_path / "nothing.py", tmp_path / "out"
    file.write_text("x = 1")
    said = owner.refused("migration", "pack", file, out)
    assert said == (
        "cannot use migration nothing.py: it has 0 classes that derive from Migration, expected one"
    )
    assert not out.exists()


@dataclass(frozen=True)
class Refusal:
    why: str
    name: str
    document: str
    says: str


REFUSALS = [
    Refusal(
        "a string that does not come back",
        "migrate_v1.1.0_x.toml",
        '[[steps]]\nkind = "replace-string"\nonly = "forward"\n'
        'setting = "settings.source"\nold = "v1"\nnew = "v2"',
        "migration migrate_v1.1.0_x.toml loses settings.source: 'lossy' must say so",
    ),
    Refusal(
        "metadata that does not come back",
        "migrate_v1.1.0_x.toml",
        '[[steps]]\nkind = "replace-metadata"\nmetadata = "m"\nonly = "forward"\n'
        'setting = "settings.a"\nold = "1"\nnew = "2"',
        "loses settings.a",
    ),
    Refusal(
        "a list of which only the first is kept",
        "migrate_v1.1.0_x.toml",
        '[[steps]]\nkind = "convert"\nprefixes = ["settings.taints."]\n'
        'forward = "first"\nbackward = "to-list"',
        "loses settings.taints.sample",
    ),
    Refusal(
        "a type that has no way back",
        "migrate_v1.1.0_x.toml",
        '[[steps]]\nkind = "convert"\nsettings = ["settings.dns"]\nforward = "to-list"',
        "loses settings.dns",
    ),
    Refusal(
        "a step that hosts do not know",
        "migrate_v1.1.0_x.toml",
        '[[steps]]\nkind = "rename-setting"\nfrom = "settings.a"\nto = "settings..b"',
        "cannot use migration migrate_v1.1.0_x.toml: step 1 (rename-setting): refusing key",
    ),
    Refusal("an author's file", "migrate_v1.1.0_x.py", AUTHORS, "pack it (`migration pack`)"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: each.why)
def test_what_loses_settings_without_saying_so_is_not_published(
    owner: Owner, tmp_path: Path, refusal: Refusal
) -> None:
    migration = tmp_path / refusal.name
    migration.write_text(refusal.document)
    before = sorted(owner.repo.rglob("*"))
    said = owner.refused(*owner.publishing("1.1.0", "--migration", migration, start="1.0.0"))
    assert refusal.says in said
    assert sorted(owner.repo.rglob("*")) == before


def test_what_is_declared_is_published_and_said(owner: Owner, tmp_path: Path) -> None:
    declared = tmp_path / "migrate_v1.1.0_a.toml"
    declared.write_text(f'lossy = ["settings.source"]\n{REFUSALS[0].document}')
    removing = tmp_path / "migrate_v1.1.0_b.toml"
    removing.write_text('[[steps]]\nkind = "remove-settings"\nsettings = ["settings.motd"]')
    renaming = tmp_path / "migrate_v1.1.0_c.toml"
    renaming.write_text(
        '[[steps]]\nkind = "rename-prefixes"\nfrom = "settings.a"\nto = "settings.b"'
    )
    authors, program = tmp_path / "drop.py", tmp_path / "migrate_v1.1.0_d"
    authors.write_text(AUTHORS)
    owner.do("migration", "pack", authors, program)
    migrations = [declared, removing, renaming, program]
    options = [word for path in migrations for word in ("--migration", path)]
    done = owner.publish("1.1.0", *options, start="1.0.0")
    assert [note for note in done["changes"] if note.startswith("migration ")] == [
        "migration migrate_v1.1.0_a.toml drops settings.source",
        "migration migrate_v1.1.0_b.toml drops settings.motd",
        "migration migrate_v1.1.0_d says that it loses settings.motd",
    ]
