"""`updata`: Bottlerocket's flags, and an error wherever its tool succeeded in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from repo_tools.updata.cli import updata
from updog.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path

POLICY = (
    '[[waves]]\nstart_after="1 hour"\nfleet_percentage=1\n'
    '[[waves]]\nstart_after="1 day"\nfleet_percentage=100\n'
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest with two updates, made as Bottlerocket's documentation makes one."""
    path = tmp_path / "manifest.json"
    done("init", path)
    done("add-update", path, "-f", "aws-ecs-1", "-v", "1.11.0", "-a", "x86_64",
         "-b", "boot", "-r", "root", "-h", "hash")  # fmt: skip
    done("add-update", path, "--variant", "aws-ecs-1", "--version", "1.12.0", "--arch", "x86_64",
         "--boot", "boot2", "--root", "root2", "--hash", "hash2")  # fmt: skip
    return path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(updata, [str(word) for word in words])


def done(*words: str | Path) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(path: Path, *words: str | Path) -> str:
    """A command that must fail with one line, and leave the file as it was."""
    before = path.read_bytes() if path.exists() else None
    result = run(*words)
    assert result.exit_code == 1, result.output
    assert (path.read_bytes() if path.exists() else None) == before
    (line,) = [each for each in result.stderr.splitlines() if each.startswith("updata: ")]
    return line.removeprefix("updata: ")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def test_an_empty_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    done("init", path)
    assert read(path) == {"updates": [], "migrations": {}}
    done("init", path)  # nothing is lost


def test_updates_are_added_in_bottlerockets_shape(manifest: Path) -> None:
    updates = read(manifest)["updates"]
    assert updates[1] == {
        "variant": "aws-ecs-1", "arch": "x86_64", "version": "1.12.0", "max_version": "1.12.0",
        "waves": {}, "images": {"boot": "boot2", "root": "root2", "hash": "hash2"},
    }  # fmt: skip
    assert list(updates[1]) == ["variant", "arch", "version", "max_version", "waves", "images"]
    # A new maximum counts for the older ones too.
    assert updates[0]["max_version"] == "1.12.0"


def test_the_default_maximum_is_not_another_variants(manifest: Path) -> None:
    done("add-update", manifest, "-f", "metal", "-v", "1.0.0", "-a", "x86_64",
         "-b", "b", "-r", "r", "-h", "h")  # fmt: skip
    assert [u["max_version"] for u in read(manifest)["updates"]] == ["1.12.0", "1.12.0", "1.0.0"]


def test_a_maximum_of_ones_own(manifest: Path) -> None:
    """Bottlerocket's own test: the last maximum that was named holds for all."""
    done("add-update", manifest, "-f", "aws-ecs-1", "-v", "1.13.0", "-a", "x86_64", "-m", "1.11.0",
         "-b", "b", "-r", "r", "-h", "h")  # fmt: skip
    assert {u["max_version"] for u in read(manifest)["updates"]} == {"1.11.0"}


def test_waves(manifest: Path, tmp_path: Path) -> None:
    policy = tmp_path / "waves.toml"
    policy.write_text(POLICY)
    done("set-waves", manifest, "-l", "aws-ecs-1", "-v", "1.12.0", "-a", "x86_64", "-w", policy,
         "--start-at", "2020-02-02T02:00:00Z")  # fmt: skip
    assert read(manifest)["updates"][1]["waves"] == {
        "0": "2020-02-02T03:00:00Z",
        "20": "2020-02-03T02:00:00Z",
    }


def test_migrations(manifest: Path, tmp_path: Path) -> None:
    release = tmp_path / "Release.toml"
    release.write_text(
        'version = "1.12.0"\n\n[migrations]\n"(1.11.0, 1.12.0)" = ["migrate_v1.12.0_x.lz4"]\n'
    )
    done("set-migrations", "--from", release, "--to", manifest)
    assert read(manifest)["migrations"] == {"(1.11.0, 1.12.0)": ["migrate_v1.12.0_x.lz4"]}
    done("validate", manifest)


@pytest.mark.parametrize("flag", ["-v", "-m", "--max-version"])
def test_the_maximum_of_all(manifest: Path, flag: str) -> None:
    done("set-max-version", manifest, flag, "1.11.0")
    assert {u["max_version"] for u in read(manifest)["updates"]} == {"1.11.0"}


def test_removing(manifest: Path) -> None:
    done("remove-update", manifest, "-l", "aws-ecs-1", "-v", "1.12.0", "-a", "x86_64")
    (left,) = read(manifest)["updates"]
    assert (left["version"], left["max_version"]) == ("1.11.0", "1.12.0")


def test_what_it_changed_as_json(manifest: Path) -> None:
    result = done("set-max-version", manifest, "-v", "1.11.0", "--json")
    assert json.loads(result.stdout)["changes"] == [
        "~ update aws-ecs-1 x86_64 1.11.0: maximum version 1.12.0 -> 1.11.0",
        "~ update aws-ecs-1 x86_64 1.12.0: maximum version 1.12.0 -> 1.11.0",
    ]


ONE = ["-l", "aws-ecs-1", "-v", "9.9.9", "-a", "x86_64"]


def test_a_wave_file_of_any_name(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`none` means no waves elsewhere; here it is a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").write_text(POLICY)
    done("set-waves", manifest, "-l", "aws-ecs-1", "-v", "1.12.0", "-a", "x86_64", "-w", "none")
    assert list(read(manifest)["updates"][1]["waves"]) == ["0", "20"]


class TestWhatSucceededInSilence:
    """Each of these exits 0 in Bottlerocket's tool."""

    def test_init_over_a_manifest(self, manifest: Path) -> None:
        assert "it is not empty" in refused(manifest, "init", manifest)

    def test_waves_of_an_update_that_is_not_there(self, manifest: Path, tmp_path: Path) -> None:
        policy = tmp_path / "waves.toml"
        policy.write_text(POLICY)
        said = refused(manifest, "set-waves", manifest, *ONE, "-w", policy)
        assert said == (
            "cannot set the waves of aws-ecs-1 x86_64 9.9.9: there is no such update"
            " (there: 1.11.0, 1.12.0)"
        )

    def test_removing_what_is_not_there(self, manifest: Path) -> None:
        assert "no such update" in refused(manifest, "remove-update", manifest, *ONE)

    def test_adding_twice(self, manifest: Path) -> None:
        said = refused(
            manifest, "add-update", manifest, "-f", "aws-ecs-1", "-v", "1.12.0", "-a", "x86_64",
            "-b", "b", "-r", "r", "-h", "h",
        )  # fmt: skip
        assert "that version is there already" in said

    def test_a_maximum_of_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "manifest.json"
        done("init", path)
        said = refused(path, "set-max-version", path, "-v", "1.0.0")
        assert said == "cannot set the maximum version to 1.0.0: there is no such update"

    def test_a_step_that_leads_down(self, manifest: Path, tmp_path: Path) -> None:
        release = tmp_path / "Release.toml"
        release.write_text('[migrations]\n"(1.12.0, 1.11.0)" = []\n')
        said = refused(manifest, "set-migrations", "-f", release, "-t", manifest)
        assert "step 1.12.0 -> 1.11.0 does not lead upwards" in said

    def test_a_manifest_that_parses_and_is_not_sound(self, manifest: Path) -> None:
        result = run("validate", manifest)
        assert result.exit_code == 1
        assert "there is no migration path from 1.11.0 to 1.12.0" in result.stderr
        assert "there is no migration path from 1.12.0 to 1.11.0" in result.stderr
        found = json.loads(run("validate", manifest, "--json").stdout)
        assert len(found["problems"]) == 2


@pytest.mark.parametrize(
    "text, says",
    [
        (None, "there is no such file"),
        ("{", "it is not JSON"),
        ('{"updates": [], "updates": []}', "occurs twice"),
        ('{"updates": 7}', "updates: expected a list"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    assert says in refused(path, "validate", path)
    assert says in refused(path, "set-max-version", path, "-v", "1.0.0")


@pytest.mark.parametrize(
    "words",
    [
        ["add-update", "m", "-f", "v", "-v", "one", "-a", "a", "-b", "b", "-r", "r", "-h", "h"],
        ["set-waves", "m", *ONE],
        ["set-waves", "m", *ONE, "-w", "nowhere.toml"],
        ["set-max-version", "m"],
        ["frobnicate"],
    ],
)
def test_usage_errors_end_with_2(words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_unknown_fields_survive(manifest: Path) -> None:
    known = read(manifest)
    known["updates"][0]["note"] = {"kept": True}
    known["datastore_versions"] = {}
    manifest.write_text(json.dumps(known))
    done("set-max-version", manifest, "-v", "1.11.0")
    after = read(manifest)
    assert after["updates"][0]["note"] == {"kept": True}
    assert after["datastore_versions"] == {}
    assert len(Manifest.from_bytes(manifest.read_bytes()).updates) == 2
