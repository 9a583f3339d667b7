"""The command line as the boot, updog and people use it, on a cache that is really signed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import lz4.frame
import pytest
from click.testing import CliRunner, Result

from migrator.cli import migrator
from tests.migrator.builders import Host
from tests.support.repository import Repository

LIVE = {"live/settings/motd": '"hi"', "live/settings/source": '"v1"'}
REMOVE = '[[steps]]\nkind = "remove-settings"\nsettings = ["settings.motd"]'
REPLACE = '[[steps]]\nkind = "replace-string"\nsetting = "settings.source"\nold = "v1"\nnew = "v2"'
LONG_AGO = datetime(2011, 1, 1, tzinfo=UTC)


@dataclass
class Booted:
    """A host that has just booted a newer version."""

    host: Host
    repository: Repository
    metadata: Path
    root: Path

    def options(self, version: str | None = "1.1.0") -> list[str]:
        to = ["--migrate-to-version", version] if version else []
        return [
            "--datastore-path",
            str(self.host.current),
            "--migration-directory",
            str(self.host.cache),
            "--root-path",
            str(self.root),
            "--metadata-directory",
            str(self.metadata),
            *to,
        ]

    def publish(self, steps: dict[str, list[str]], migrations: dict[str, bytes]) -> None:
        manifest = json.dumps({"updates": [], "migrations": steps}).encode()
        for name, data in {"manifest.json": manifest, **migrations}.items():
            self.repository.add_target(name, data)
        self.repository.publish_all()
        self.store()

    def store(self) -> None:
        """As the update caches it."""
        for name, data in self.repository.files.items():
            (self.metadata / name).write_bytes(data)
        for name, data in self.repository.target_files.items():
            (self.host.cache / name).write_bytes(data)


@pytest.fixture
def booted(tmp_path: Path) -> Booted:
    # All metadata expired long ago: the host was off.
    repository = Repository(now=LONG_AGO)
    host = Host(tmp_path)
    host.install("1.0.0", LIVE)
    found = Booted(host, repository, tmp_path / "metadata", tmp_path / "root.json")
    found.metadata.mkdir()
    found.root.write_bytes(repository.shipped_root)
    found.publish(
        {"(1.0.0, 1.1.0)": ["r.toml.lz4"], "(1.1.0, 1.2.0)": ["s.toml.lz4"]},
        {
            "r.toml.lz4": lz4.frame.compress(REMOVE.encode()),
            "s.toml.lz4": lz4.frame.compress(REPLACE.encode()),
        },
    )
    return found


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(migrator, arguments, prog_name="migrator")


class TestAtBoot:
    def test_the_bare_command_migrates_by_metadata_that_has_expired(self, booted: Booted) -> None:
        command = [sys.executable, "-m", "migrator", *booted.options("v1.2.0")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{booted.host.current}: migrated (1.2.0)\n")
        assert done.stderr.splitlines() == [
            "INFO migrating forward: r.toml.lz4",
            "INFO migrating forward: s.toml.lz4",
        ]
        assert booted.host.files() == {"live/settings/source": '"v2"'}
        assert invoke(*booted.options("1.0.0")).exit_code == 0
        assert booted.host.files() == LIVE

    def test_the_version_of_the_booted_system(self, booted: Booted, tmp_path: Path) -> None:
        etc = tmp_path / "system" / "etc"
        etc.mkdir(parents=True)
        (etc / "os-release").write_text("VARIANT_ID=x\nVERSION_ID=1.1.0\n")
        options = [*booted.options(None), "--migrate-to-version-from-os-release"]
        result = invoke(*options, "--root", str(tmp_path / "system"))
        assert result.exit_code == 0, result.output
        assert booted.host.files() == {"live/settings/source": '"v1"'}

    def test_the_schema_of_the_booted_system(self, booted: Booted, tmp_path: Path) -> None:
        schema = tmp_path / "system/usr/share/updog/datastore-schema.json"
        schema.parent.mkdir(parents=True)
        schema.write_text('{"required": ["missing"]}')
        result = invoke(*booted.options(), "--root", str(tmp_path / "system"))
        assert result.exit_code == 1
        assert 'expected required ["missing"]' in result.stderr
        assert booted.host.files() == LIVE

    def test_nothing_to_do(self, booted: Booted, tmp_path: Path) -> None:
        result = invoke(*booted.options("1.0.0"))
        assert result.exit_code == 0
        assert "has that version already" in result.stdout
        options = booted.options()
        options[1] = str(tmp_path / "nowhere" / "current")
        result = invoke(*options)
        assert result.exit_code == 0
        assert "there is no datastore yet" in result.stdout

    @pytest.mark.parametrize("level", ["info", "ERROR", "debug", "trace", "warn", "off"])
    def test_log_levels(self, booted: Booted, level: str) -> None:
        command = [sys.executable, "-m", "migrator", *booted.options(), "--log-level", level]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert bool(done.stderr) is (level in {"info", "debug", "trace"})

    @pytest.mark.parametrize(
        "change",
        [
            lambda options: options[2:],
            lambda options: options[:2] + options[4:],
            lambda options: options[:-2],
            lambda options: [*options, "--migrate-to-version-from-os-release"],
            lambda options: [*options[:-1], "1.2"],
            lambda options: [*options, "--log-level", "loud"],
            lambda options: [*options, "--migration-timeout", "0"],
            lambda options: [*options, "plan"],
            lambda options: [*options, "nonsense"],
        ],
    )
    def test_a_wrong_command_line_is_a_usage_error(self, booted: Booted, change: object) -> None:
        result = invoke(*change(booted.options()))  # type: ignore[operator]
        assert result.exit_code == 2
        assert booted.host.files() == LIVE

    def test_a_signal_is_an_interruption(self, booted: Booted) -> None:
        program = lz4.frame.compress(b"#!/bin/sh\nsleep 30\n")
        booted.publish({"(1.0.0, 1.1.0)": ["p.lz4"]}, {"p.lz4": program})
        command = [sys.executable, "-m", "migrator", *booted.options()]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 20
            while not list(booted.host.base.glob(".migrating_*")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.terminate()
            assert process.stderr is not None
            assert process.stderr.read().splitlines()[-1] == "migrator: interrupted"
        assert process.returncode == 1
        assert booted.host.files() == LIVE
        assert not list(booted.host.base.glob(".migrating_*"))


def remove(name: str) -> object:
    return lambda booted: (booted.metadata / name).unlink()


def another_root(booted: Booted) -> None:
    booted.root.write_bytes(Repository(now=LONG_AGO).shipped_root)


def spoil_migration(booted: Booted) -> None:
    for path in booted.host.cache.glob("*.r.toml.lz4"):
        path.write_bytes(lz4.frame.compress(REPLACE.encode()))


def half_published(booted: Booted) -> None:
    """The targets changed after the snapshot was cached, as when a publish comes in between."""
    booted.repository.add_target("new", b"x")
    booted.repository.publish("targets")
    booted.repository.publish("snapshot", "timestamp")
    for name in ("3.targets.json", "timestamp.json"):
        (booted.metadata / name).write_bytes(booted.repository.files[name])


CACHES: dict[str, tuple[object, str]] = {
    "no timestamp": (remove("timestamp.json"), "timestamp.json is missing, the set is incomplete"),
    "no snapshot": (remove("2.snapshot.json"), "2.snapshot.json is missing"),
    "no targets": (remove("2.targets.json"), "2.targets.json is missing"),
    "no root": (lambda booted: booted.root.unlink(), "cannot use the cached trusted root"),
    "a root that is none": (
        lambda booted: booted.root.write_text("{}"),
        "refusing the root metadata of",
    ),
    "the root of somebody else": (another_root, "timestamp was signed by 0/1 keys"),
    "half a publication": (half_published, "3.snapshot.json is missing"),
    "a changed migration": (spoil_migration, "'r.toml.lz4'"),
}


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_that_cannot_be_trusted_is_refused(booted: Booted, cache: str) -> None:
    breakage, why = CACHES[cache]
    breakage(booted)  # type: ignore[operator]
    result = invoke(*booted.options())
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if not line.startswith("hint: ")]
    assert len(lines) == 1
    assert lines[0].startswith("migrator: ")
    assert why in lines[0]
    assert booted.host.files() == LIVE


class TestBeforeTheReboot:
    def test_a_plan(self, booted: Booted) -> None:
        result = invoke("plan", *booted.options("1.2.0"))
        assert (result.exit_code, result.stdout.splitlines()) == (
            0,
            [
                "1.0.0 to 1.2.0: 2 migrations succeed, 2 values change",
                "  forward r.toml.lz4",
                "  forward s.toml.lz4",
                '- settings.motd = "hi"',
                '- settings.source = "v1"',
                '+ settings.source = "v2"',
            ],
        )
        assert booted.host.files() == LIVE

    def test_a_plan_as_json(self, booted: Booted) -> None:
        result = invoke("plan", *booted.options("1.2.0"), "--json")
        assert json.loads(result.stdout) == {
            "from": "1.0.0",
            "to": "1.2.0",
            "migrations": [
                {"name": "r.toml.lz4", "direction": "forward"},
                {"name": "s.toml.lz4", "direction": "forward"},
            ],
            "changes": [
                {"key": "settings.motd", "old": "hi"},
                {"key": "settings.source", "old": "v1", "new": "v2"},
            ],
        }

    def test_a_rehearsal(self, booted: Booted) -> None:
        """As updog runs it."""
        command = [sys.executable, "-P", "-m", "migrator", "rehearse", *booted.options("1.2.0")]
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "1.0.0 to 1.2.0: 2 migrations succeed, 2 values change\n"
        result = invoke("rehearse", "--and-back", *booted.options("1.2.0"), "--json")
        assert json.loads(result.stdout)["to"] == "1.2.0"
        assert booted.host.files() == LIVE

    def test_a_rehearsal_that_fails(self, booted: Booted) -> None:
        program = lz4.frame.compress(b"#!/bin/sh\necho no >&2; exit 1\n")
        booted.publish({"(1.0.0, 1.1.0)": ["p.lz4"]}, {"p.lz4": program})
        result = invoke("rehearse", *booted.options())
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == (
            "migrator: migration p.lz4 failed going forward: it exited with 1; it printed: no"
        )
        assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(".migrating_*"))  # noqa: S108

    def test_a_way_back_that_does_not_lead_back(self, booted: Booted) -> None:
        script = b'#!/bin/sh\ncp -r "$3" "$5"\n[ "$1" = --forward ] || echo 1 > "$5/live/x"\n'
        booted.publish({"(1.0.0, 1.1.0)": ["p.lz4"]}, {"p.lz4": lz4.frame.compress(script)})
        result = invoke("rehearse", "--and-back", *booted.options())
        assert result.exit_code == 1
        assert "path to 1.1.0 and back does not bring back what was there: x" in result.stderr


class TestForAuthors:
    def test_a_good_migration(self, booted: Booted, tmp_path: Path) -> None:
        (tmp_path / "m.toml").write_text(REPLACE)
        result = invoke("test", str(tmp_path / "m.toml"), "--datastore", str(booted.host.base))
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == "forward changes: 1"

    def test_a_lossy_one(self, booted: Booted, tmp_path: Path) -> None:
        path = tmp_path / "m.toml"
        path.write_text(REPLACE.replace("v1", "v0").replace("v2", "v1"))
        store = ("--datastore", str(booted.host.current))
        result = invoke("test", str(path), *store)
        assert result.exit_code == 1
        assert result.stderr == (
            "migrator: migration m.toml does not bring back what was there: settings.source\n"
        )
        assert invoke("test", str(path), *store, "--declare", "settings.source").exit_code == 0
        result = invoke("test", str(path), *store, "--json")
        found = json.loads(result.stdout)
        assert [each["key"] for each in found["undeclared"]] == ["settings.source"]
        assert booted.host.files() == LIVE

    def test_one_that_is_none(self, booted: Booted, tmp_path: Path) -> None:
        (tmp_path / "m.toml").write_text("x")
        result = invoke("test", str(tmp_path / "m.toml"), "--datastore", str(booted.host.base))
        assert result.exit_code == 1
        assert result.stderr.startswith("migrator: cannot use migration m.toml: it is not TOML")
        assert invoke("test", str(tmp_path / "absent")).exit_code == 2


class TestDatastore:
    def test_get(self, booted: Booted) -> None:
        store = ("--datastore", str(booted.host.current))
        assert invoke("datastore", "get", "settings.motd", *store).stdout == "hi\n"
        assert invoke("datastore", "get", "settings.motd", "--json", *store).stdout == '"hi"\n'
        result = invoke("datastore", "get", "settings.absent", *store)
        assert (result.exit_code, result.stderr) == (
            1,
            "migrator: key settings.absent has no value\n",
        )
        result = invoke("datastore", "get", "settings..x", *store)
        assert (result.exit_code, result.stderr) == (
            1,
            "migrator: refusing key 'settings..x': a segment is empty\n",
        )

    def test_set_list_and_unset(self, booted: Booted) -> None:
        store = ("--datastore", str(booted.host.current))
        pairs = ("settings.port", "80", 'settings."a.b"', "[1]", "settings.text", "plain words")
        assert invoke("datastore", "set", *pairs, *store).exit_code == 0
        assert invoke("datastore", "set", "settings.zip", "01234", *store).exit_code == 0
        assert invoke("datastore", "set", "settings.n", "1", "--string", *store).exit_code == 0
        assert invoke("datastore", "list", *store).stdout.splitlines() == [
            'settings."a.b" = [1]',
            'settings.motd = "hi"',
            'settings.n = "1"',
            "settings.port = 80",
            'settings.source = "v1"',
            'settings.text = "plain words"',
            'settings.zip = "01234"',
        ]
        found = invoke("datastore", "list", "settings.p", "--json", *store).stdout
        assert json.loads(found) == {"settings.port": 80}
        assert invoke("datastore", "set", "a", "word", "--json", *store).exit_code == 1
        assert invoke("datastore", "set", "a", *store).exit_code == 2
        assert invoke("datastore", "unset", "settings.n", "settings.zip", *store).exit_code == 0
        assert invoke("datastore", "get", "settings.n", *store).exit_code == 1

    def test_transactions(self, booted: Booted) -> None:
        store = ("--datastore", str(booted.host.current))
        invoke("datastore", "set", "settings.motd", "ho", "-t", "my tx", *store)
        assert invoke("datastore", "transactions", *store).stdout == "my tx\n"
        assert invoke("datastore", "transactions", "--json", *store).stdout == '[\n  "my tx"\n]\n'
        got = invoke("datastore", "get", "settings.motd", "-t", "my tx", *store)
        assert got.stdout == "ho\n"
        assert invoke("datastore", "commit", "my tx", *store).stdout == "settings.motd\n"
        assert invoke("datastore", "get", "settings.motd", *store).stdout == "ho\n"
        result = invoke("datastore", "commit", "my tx", *store)
        assert (result.exit_code, result.stderr) == (
            1,
            "migrator: there is no pending transaction 'my tx'\n",
        )
        invoke("datastore", "set", "settings.motd", "he", "-t", "x", *store)
        assert invoke("datastore", "discard", "x", *store).exit_code == 0
        assert invoke("datastore", "transactions", *store).stdout == ""
        invoke("datastore", "set", "b", "1", "-t", "y", *store)
        assert json.loads(invoke("datastore", "commit", "y", "--json", *store).stdout) == ["b"]

    def test_metadata(self, booted: Booted) -> None:
        path = booted.host.current / "live" / "settings.affected-services"
        path.write_text('["all"]')
        store = ("--datastore", str(booted.host.current))
        got = invoke("datastore", "get", "settings.motd", "-m", "affected-services", *store)
        assert got.stdout == '["all"]\n'
        listed = invoke("datastore", "list", "--metadata", *store)
        assert listed.stdout == 'settings (affected-services) = ["all"]\n'
        listed = invoke("datastore", "list", "--metadata", "--json", *store)
        assert json.loads(listed.stdout) == {"settings": {"affected-services": ["all"]}}
        got = invoke("datastore", "get", "settings.motd", "-m", "other", *store)
        assert got.stderr == "migrator: key settings.motd (metadata other) has no value\n"

    def test_diff(self, booted: Booted, tmp_path: Path) -> None:
        store = ("--datastore", str(booted.host.current))
        other = Host(tmp_path / "other")
        other.install("2.0.0", {"live/settings/motd": '"ho"', "live/x": "1"})
        result = invoke("datastore", "diff", str(other.base), *store)
        assert (result.exit_code, result.stdout.splitlines()) == (
            0,
            [
                '- settings.motd = "hi"',
                '+ settings.motd = "ho"',
                '- settings.source = "v1"',
                "+ x = 1",
            ],
        )
        result = invoke("datastore", "diff", str(other.base), "--exit-code", "--json", *store)
        assert result.exit_code == 1
        assert json.loads(result.stdout)[2] == {"key": "x", "new": 1}
        same = invoke("datastore", "diff", str(booted.host.base), "--exit-code", *store)
        assert (same.exit_code, same.stdout) == (0, "")

    def test_init(self, tmp_path: Path) -> None:
        store = ("--datastore", str(tmp_path / "new" / "current"))
        (tmp_path / "d.toml").write_text("settings.motd = 'hi'")
        initial = ("datastore", "init", "--defaults", str(tmp_path / "d.toml"), *store)
        assert invoke(*initial, "--for-version", "1.0.0").exit_code == 0
        assert invoke("datastore", "get", "settings.motd", *store).stdout == "hi\n"
        assert invoke(*initial).exit_code == 2
        result = invoke(*initial, "--for-version", "2.0.0")
        assert result.exit_code == 1
        assert "expected a migration first" in result.stderr
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/os-release").write_text("VARIANT_ID=x\nVERSION_ID=1.0.0\n")
        from_release = ("--for-version-from-os-release", "--root", str(tmp_path))
        assert invoke(*initial, *from_release).exit_code == 0

    def test_there_is_none(self, tmp_path: Path) -> None:
        result = invoke("datastore", "list", "--datastore", str(tmp_path / "current"))
        assert result.exit_code == 1
        assert "there is no datastore yet" in result.stderr


def test_every_command_has_help() -> None:
    for arguments in (
        (),
        ("plan",),
        ("rehearse",),
        ("test",),
        ("datastore",),
        *((("datastore", name)) for name in ("get", "set", "list", "diff", "commit", "init")),
    ):
        result = invoke(*arguments, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: migrator ")


def test_help_starts_without_what_only_a_migration_needs() -> None:
    """At boot every tenth of a second counts, and a person's question is not a migration."""
    code = (
        "import sys; from migrator.cli import migrator;"
        "import contextlib\n"
        "with contextlib.suppress(SystemExit): migrator(['datastore', '--help'])\n"
        "print(sorted({'tuf', 'requests', 'jsonschema', 'lz4', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_interrupting_leaves_no_program_running(booted: Booted, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    script = f"#!/bin/sh\necho $$ > {marker}.new; mv {marker}.new {marker}\nsleep 30\n"
    program = lz4.frame.compress(script.encode())
    booted.publish({"(1.0.0, 1.1.0)": ["p.lz4"]}, {"p.lz4": program})
    command = [sys.executable, "-m", "migrator", *booted.options()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not marker.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    # The kernel ends it with its parent; its place in /proc vanishes when init has noticed.
    place = Path("/proc", marker.read_text().strip())
    while place.exists() and "\nState:\tZ" not in (place / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
