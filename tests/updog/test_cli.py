"""The command line: what is printed where, exit codes, and every option's place."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.support import bootloader
from tests.support.disks import BOOT_A, BOOT_B, FRESH, Flags, flags, make_disk
from tests.support.host import PARTS, Host, publish, release
from tests.support.repository import Repository
from tests.support.servers import answering
from updog.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from tests.support.servers import Handler, Request

NOW = datetime.now(UTC)
ROOT = Path(__file__).parents[2]


@dataclass
class Desk:
    """A host, its repository as files, and the command line on it."""

    host: Host
    repository: Repository
    served: Path

    @property
    def words(self) -> list[str]:
        """The global options for this host."""
        return [
            "--root", str(self.host.paths.root),
            "--os-disk", str(self.host.disk),
            "--active-set", self.host.slot,
        ]  # fmt: skip

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [*self.words, *words], prog_name="updog")
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    def publish(self, *updates: dict[str, object]) -> None:
        """Serve a manifest with these updates instead."""
        steps = ("(1.0.0, 1.1.0)", "(1.1.0, 2.0.0)")
        value = {"updates": updates, "migrations": {step: [] for step in steps}}
        data = json.dumps(value).encode()
        self.repository.add_target("manifest.json", data)
        self.repository.publish_all()
        self.repository.write(self.served)

    def configure(self, extra: str, base: str = "") -> None:
        base = base or self.served.as_uri()
        (self.host.paths.root / "etc/updog.toml").write_text(
            f'metadata_base_url = "{base}/metadata/"\ntargets_base_url = "{base}/targets/"\n'
            f"seed = 51\nmax_retries = 0\nrehearse_migrations = false\n{extra}"
        )

    def flags(self) -> dict[int, Flags]:
        return {number: flags(self.host.disk, number) for number in (BOOT_A, BOOT_B)}


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Levels are the process's own; another test's lines must not be lost to `--log-level`."""
    loggers = [logging.getLogger(name) for name in (None, "partition", "signpost", "updog")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    repository = publish("1.0.0", "1.1.0", repository=Repository(now=NOW))
    host = Host.install(tmp_path / "host", "1.0.0", shipped_root=repository.shipped_root)
    desk = Desk(host, repository, tmp_path / "served")
    repository.write(desk.served)
    desk.configure("")
    return desk


def entry(version: str, **more: object) -> dict[str, object]:
    return {
        "variant": "demo", "arch": os.uname().machine, "version": version, "max_version": "9.0.0",
        "waves": {}, "images": {part: f"demo-1.1.0-{part}.lz4" for part in PARTS},
        **more,
    }  # fmt: skip


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# check-update.


@pytest.mark.parametrize("command", ["check-update", "whats"])
def test_the_update_is_one_line(command: str, desk: Desk) -> None:
    result = desk.run(command)
    assert result.stdout == "demo 1.1.0\n"
    assert result.stderr == ""
    assert desk.flags() == FRESH


def test_json_is_the_manifests_own_object(desk: Desk) -> None:
    offered = entry("1.1.0", waves={"0": "2020-07-01T00:00:00Z"}, status="Ready")
    desk.publish(offered)
    for words in (["check-update", "--json"], ["--json", "check-update"]):
        assert json.loads(desk.run(*words).stdout) == offered


def test_all_candidates_newest_first(desk: Desk) -> None:
    offers = [entry("0.9.0"), entry("2.0.0"), entry("1.0.0"), entry("3.0.0", variant="other")]
    desk.publish(*offers)
    assert desk.run("check-update", "--all").stdout == "demo 2.0.0\ndemo 1.0.0\ndemo 0.9.0\n"
    listed = json.loads(desk.run("check-update", "-a", "--json").stdout)
    assert listed == [offers[1], offers[2], offers[0]]


def test_none_is_exit_code_3_and_a_reason(desk: Desk) -> None:
    desk.publish(entry("1.0.0"))
    result = desk.run("check-update", code=3)
    assert result.stdout == ""
    assert result.stderr == (
        "updog: no update available: this host runs 1.0.0, there is none newer\n"
    )
    assert desk.run("check-update", "--json", code=3).stdout == ""


def test_no_candidate_at_all_is_an_empty_list(desk: Desk) -> None:
    desk.publish(entry("2.0.0", arch="other"))
    assert desk.run("check-update", "--all", code=3).stdout == ""
    assert json.loads(desk.run("check-update", "--all", "--json", code=3).stdout) == []


def test_candidates_without_a_choice_are_an_answer(desk: Desk) -> None:
    desk.publish(entry("1.0.0"))
    assert desk.run("check-update", "--all").stdout == "demo 1.0.0\n"


def test_a_wave_is_waited_for_and_ignored(desk: Desk) -> None:
    """Seed 51 of the first 102 goes when half of the wave is over."""
    start = datetime.now(UTC) - timedelta(hours=1)
    soon, past = start + timedelta(hours=4), start + timedelta(minutes=100)
    desk.publish(entry("2.0.0", waves={"0": rfc3339(start), "102": rfc3339(soon)}))
    turn = rfc3339(start.replace(microsecond=0) + timedelta(hours=2))
    told = desk.run("check-update", code=3).stderr
    assert f"2.0.0: this host's turn comes at {turn} (seed 51)" in told
    for option in ("--now", "-n", "--ignore-waves"):
        assert desk.run("check-update", option).stdout == "demo 2.0.0\n"
    assert desk.run("check-update", "--image", "2.0.0").stdout == "demo 2.0.0\n"
    desk.publish(entry("2.0.0", waves={"0": rfc3339(start), "102": rfc3339(past)}))
    assert desk.run("check-update").stdout == "demo 2.0.0\n"


def test_a_delay_can_be_configured(desk: Desk) -> None:
    """Owners of hosts want others to go first: an hour into the last wave is not two."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    desk.publish(entry("2.0.0", waves={"0": rfc3339(start)}))
    desk.configure("delay_hours = 2\n")
    told = desk.run("check-update", code=3).stderr
    turn = rfc3339(start + timedelta(hours=2))
    assert f"2.0.0: this host's turn comes at {turn} (seed 51)" in told
    assert desk.run("check-update", "--now").stdout == "demo 2.0.0\n"
    desk.configure("delay_hours = 1\n")
    assert desk.run("check-update").stdout == "demo 2.0.0\n"


def test_ignoring_waves_can_be_configured(desk: Desk) -> None:
    desk.publish(entry("2.0.0", waves={"0": rfc3339(NOW + timedelta(days=1))}))
    desk.configure("ignore_waves = true\n")
    assert desk.run("check-update").stdout == "demo 2.0.0\n"


def test_of_all_candidates_just_the_named_one(desk: Desk) -> None:
    desk.publish(entry("1.1.0"), entry("2.0.0", waves={"0": rfc3339(NOW + timedelta(days=1))}))
    assert desk.run("check-update", "--all").stdout == "demo 1.1.0\n"
    assert desk.run("check-update", "--all", "--image", "2.0.0").stdout == "demo 2.0.0\n"


def test_a_lock_is_kept_and_overruled_by_name(desk: Desk) -> None:
    desk.publish(entry("1.1.0"), entry("2.0.0"))
    desk.configure('version_lock = "v1.1.0"\n')
    assert desk.run("check-update").stdout == "demo 1.1.0\n"
    assert desk.run("check-update", "-i", "2.0.0").stdout == "demo 2.0.0\n"
    assert desk.run("check-update", "-i", "v0.1.0", code=3).stdout == ""


def test_every_update_is_explained(desk: Desk) -> None:
    desk.publish(entry("1.1.0"), entry("2.0.0", variant="other"))
    assert desk.run("check-update", "--explain").stdout == (
        "demo 1.1.0\n"
        f"no       other 2.0.0 {os.uname().machine}: this host's variant is demo\n"
        f"chosen   demo 1.1.0 {os.uname().machine}\n"
    )
    value = json.loads(desk.run("check-update", "--explain", "--json").stdout)
    assert value["chosen"]["version"] == "1.1.0"
    assert [each["version"] for each in value["updates"]] == ["2.0.0", "1.1.0"]


def test_an_explanation_does_not_change_the_exit_code(desk: Desk) -> None:
    desk.publish(entry("1.0.0"))
    result = desk.run("check-update", "--explain", code=3)
    assert "this host runs it" in result.stdout
    assert (
        json.loads(desk.run("check-update", "--explain", "--json", code=3).stdout)["chosen"] is None
    )


def test_checking_needs_no_disk(desk: Desk) -> None:
    words = ["--root", str(desk.host.paths.root), "check-update"]
    assert CliRunner().invoke(cli, words).stdout == "demo 1.1.0\n"


# update, update-image, update-apply, update-revert.


def test_an_update_says_what_the_contract_says(desk: Desk) -> None:
    result = desk.run("update")
    assert result.stdout == "Update applied: demo 1.1.0\n"
    assert "Starting update to 1.1.0\n" in result.stderr
    assert bootloader.next_boot(desk.host.disk) == "B"
    again = desk.run("update")
    assert again.stdout == ""
    assert again.stderr.endswith("demo 1.1.0 boots next already, on set B\n")


def test_an_update_in_json(desk: Desk) -> None:
    result = desk.run("update", "--json", "--progress", "json")
    assert json.loads(result.stdout)["version"] == "1.1.0"
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert {"event": "message", "text": "Starting update to 1.1.0"} in events
    finished = [event["image"] for event in events if event["event"] == "finished"]
    assert sorted(finished) == ["boot", "hash", "root"]


def test_nothing_to_do_is_exit_code_0_and_a_line(desk: Desk) -> None:
    desk.publish(entry("1.0.0"))
    result = desk.run("update")
    assert result.stdout == ""
    told = "No update required: this host runs 1.0.0, there is none newer\n"
    assert result.stderr.endswith(told)
    assert desk.flags() == FRESH


def test_a_named_version_that_is_not_there_is_exit_code_1(desk: Desk) -> None:
    result = desk.run("update", "--image", "7.0.0", "--progress", "none", code=1)
    assert result.stderr == "updog: cannot update to 7.0.0: the repository does not have 7.0.0\n"


def test_image_apply_revert(desk: Desk) -> None:
    result = desk.run("update-image", "--progress", "none")
    assert result.stdout == "Update applied: demo 1.1.0\n"
    assert result.stderr == (
        "Starting update to 1.1.0\nset B is whole; updog update-apply lets it boot next\n"
    )
    assert desk.flags()[BOOT_B] == Flags(0, 1, False)
    for path in desk.served.rglob("*"):
        path.chmod(0)  # from here on without a repository
    (desk.host.paths.root / "etc/updog.toml").unlink()
    assert desk.run("update-apply").stderr == "set B (demo 1.1.0) boots next\n"
    assert desk.flags()[BOOT_B] == Flags(2, 1, False)
    assert desk.run("update-revert").stderr == "set A boots next; demo 1.1.0 stays staged\n"
    assert desk.flags()[BOOT_B] == Flags(0, 1, False)
    told = desk.run("update-revert", code=1).stderr
    assert told.startswith("updog: refusing cancel-upgrade: no upgrade to set B is pending")


def test_applying_nothing_is_refused(desk: Desk) -> None:
    told = desk.run("update-apply", code=1).stderr
    assert told.startswith("updog: refusing upgrade-to-inactive: set B was never marked valid")
    assert desk.flags() == FRESH


@pytest.mark.parametrize("command", ["update", "update-apply"])
def test_a_reboot_of_an_image_is_refused_first(command: str, desk: Desk) -> None:
    told = desk.run(command, "--reboot", code=1).stderr
    assert told == (
        f"updog: refusing --reboot: {desk.host.disk} is a disk image, "
        "this host does not run from it\n"
    )
    assert desk.flags() == FRESH


def test_an_update_without_waiting(desk: Desk) -> None:
    desk.publish(entry("1.1.0", waves={"0": rfc3339(NOW + timedelta(days=1))}))
    assert "this host's turn comes at" in desk.run("update").stderr
    assert desk.run("update", "-n").stdout == "Update applied: demo 1.1.0\n"


def test_a_bundle_stands_for_the_repository(desk: Desk, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(desk.served.rglob("*.*")):
            archive.write(path, path.relative_to(desk.served))
    remove_repository(desk)
    assert desk.run("check-update", "--bundle", str(bundle)).stdout == "demo 1.1.0\n"
    result = desk.run("update", "--bundle", str(bundle))
    assert result.stdout == "Update applied: demo 1.1.0\n"
    assert bootloader.next_boot(desk.host.disk) == "B"
    assert desk.host.boot() == "1.1.0"


# status.


def test_status_before_and_after(desk: Desk) -> None:
    assert desk.run("status").stdout == "Update: none running\nStaged: nothing\n"
    desk.run("update-image")
    assert desk.run("status").stdout.splitlines()[1] == "Staged: demo 1.1.0 on set B, not applied"
    desk.run("update-apply")
    assert desk.run("status").stdout.splitlines()[1] == "Staged: demo 1.1.0 on set B, boots next"
    assert json.loads(desk.run("status", "--json").stdout) == {
        "update": None,
        "staged": {"variant": "demo", "version": "1.1.0", "set": "B", "state": "boots next"},
        "failures": {},
    }
    bootloader.boot(desk.host.disk)
    assert desk.run("status").stdout.splitlines()[1] == "Staged: demo 1.1.0 on set B, tried"
    desk.run("update")
    told = desk.run("status").stdout.splitlines()
    assert told[1] == "Staged: nothing"
    assert told[2].startswith("Failed: 1.1.0 did not boot, once, last noticed ")
    assert "1.1.0: it failed to boot once" in desk.run("check-update", code=3).stderr


def test_words_from_outside_cannot_steer_the_terminal(desk: Desk) -> None:
    desk.run("update")
    bootloader.boot(desk.host.disk)
    problems = desk.host.paths.root / "run/signpost/boot-problems"
    problems.parent.mkdir()
    problems.write_text("set B does not start: \x1b[2J gone\n")
    for result in (
        desk.run("check-update", "--explain", code=3), desk.run("update"), desk.run("status"),
    ):  # fmt: skip
        assert "\x1b" not in result.output
        assert "\\x1b[2J gone" in result.output


def test_status_works_without_disk_and_configuration(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--root", str(tmp_path), "status"])
    assert (result.exit_code, result.stdout) == (0, "Update: none running\nStaged: nothing\n")


# What goes wrong.


@pytest.mark.parametrize(
    "words",
    [
        ["--frobnicate"],
        ["frobnicate"],
        ["--active-set", "C", "status"],
        ["--root", "/no/such/directory", "status"],
        ["--log-level", "loud", "status"],
        ["update", "--image", "newest"],
        ["update", "--image"],
        ["update", "--progress", "loud"],
        ["update", "--bundle", "/no/such/bundle"],
        ["check-update", "superfluous"],
    ],
)
def test_usage_errors_are_exit_code_2(words: list[str]) -> None:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_an_image_without_its_active_set_is_a_usage_error(desk: Desk) -> None:
    words = ["--root", str(desk.host.paths.root), "--os-disk", str(desk.host.disk), "update"]
    result = CliRunner().invoke(cli, words, prog_name="updog")
    assert result.exit_code == 2
    assert "updog: cannot tell the active set of" in result.stderr


def test_the_disk_may_come_from_the_environment(desk: Desk) -> None:
    words = ["--root", str(desk.host.paths.root), "update-apply"]
    env = {"SIGNPOST_OS_DISK": str(desk.host.disk), "SIGNPOST_ACTIVE_SET": "A"}
    result = CliRunner().invoke(cli, words, env=env, prog_name="updog")
    assert result.exit_code == 1
    assert "set B was never marked valid" in result.stderr


def test_another_configuration(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("sed = 1\n")
    told = desk.run("--config", str(tmp_path / "other.toml"), "check-update", code=1).stderr
    assert told == (
        f"updog: cannot use the configuration {tmp_path}/other.toml: "
        "sed: unknown key, did you mean seed?\n"
    )


def spoil_root(desk: Desk) -> None:
    (desk.host.paths.root / "usr/share/updog/root.json").unlink()


def spoil_release(desk: Desk) -> None:
    (desk.host.paths.root / "etc/os-release").unlink()


def spoil_manifest(desk: Desk) -> None:
    desk.repository.add_target("manifest.json", b"{")
    desk.repository.publish_all()
    desk.repository.write(desk.served)


def spoil_disk(desk: Desk) -> None:
    desk.host.disk.write_bytes(bytes(1 << 20))


def remove_disk(desk: Desk) -> None:
    desk.host.disk.unlink()


def spoil_sets(desk: Desk) -> None:
    make_disk(desk.host.disk, sets=1)


def spoil_state(desk: Desk) -> None:
    (desk.host.paths.root / "var/lib/updog").write_text("a file")


def loosen_state(desk: Desk) -> None:
    (desk.host.paths.root / "var/lib/updog").mkdir(mode=0o777)
    (desk.host.paths.root / "var/lib/updog").chmod(0o777)


def remove_repository(desk: Desk) -> None:
    desk.served.rename(desk.served.with_name("gone"))


@pytest.mark.parametrize(
    "spoil, told",
    [
        (spoil_root, "usr/share/updog/root.json"),
        (spoil_release, "updog: cannot tell which release this host runs from"),
        (spoil_manifest, "updog: cannot use the manifest: it is not JSON"),
        (spoil_disk, "updog: cannot read the partition table of"),
        (remove_disk, "updog: cannot find"),
        (spoil_sets, "updog: refusing clear-inactive: the disk has set A only"),
        (spoil_state, "var/lib/updog"),
        (loosen_state, "updog: refusing to use"),
        (remove_repository, "updog: cannot download"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_1(spoil: object, told: str, desk: Desk) -> None:
    assert callable(spoil)
    spoil(desk)
    lines = desk.run("update", "--progress", "none", code=1).stderr.splitlines()
    assert told in lines[0]
    assert len([line for line in lines if not line.startswith("hint: ")]) == 1, lines


def test_a_traceback_is_shown_to_who_asks(desk: Desk) -> None:
    spoil_release(desk)
    result = CliRunner().invoke(cli, [*desk.words, "-v", "check-update"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_log_levels(desk: Desk) -> None:
    loud = desk.run("--log-level", "debug", "check-update")
    quiet = desk.run("check-update", "--log-level", "error")
    assert loud.stdout == quiet.stdout == "demo 1.1.0\n"


# As a process, over HTTP.


def command(desk: Desk, *words: str) -> list[str]:
    return [sys.executable, "-m", "updog", *desk.words, *words]


def test_sigterm_while_the_root_image_arrives(desk: Desk) -> None:
    """The server stops in the middle of it; the signal ends the update in one line."""
    half = release("1.1.0").packed["root"]
    stuck: list[str] = []

    def answer(handler: Handler, request: Request) -> None:
        path = desk.served / request.name.lstrip("/")
        if not path.exists():
            handler.send_body(b"", status=404)
            return
        data = path.read_bytes()
        if data != half:
            handler.send_body(data)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        stuck.append(request.path)
        time.sleep(60)

    with answering(answer) as server:
        desk.configure("", base=server.url)
        process = subprocess.Popen(
            command(desk, "update", "--progress", "none"),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            while not stuck:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            watched = desk.run("status").stdout.splitlines()[0]
            assert "writing demo 1.1.0 to set B" in watched
            assert f"process {process.pid}" in watched
            second = subprocess.run(
                command(desk, "update"), cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert second.returncode == 1
            assert f"an update is already running (process {process.pid})" in second.stderr
            process.send_signal(signal.SIGTERM)
            told = process.communicate(timeout=30)[1]
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 1
    assert "updog: interrupted while " in told
    assert desk.flags() == FRESH
    desk.configure("")
    assert desk.run("update").stdout == "Update applied: demo 1.1.0\n"
    assert "seed=51" in stuck[0]
    assert "version=1.0.0" in stuck[0]
    assert "target=1.1.0" in stuck[0]


@pytest.mark.parametrize("words", [["check-update"], ["update", "--progress", "none"]])
def test_sigterm_while_a_server_is_silent(words: list[str], desk: Desk) -> None:
    asked = threading.Event()

    def answer(_handler: Handler, _request: Request) -> None:
        asked.set()
        time.sleep(60)

    with answering(answer) as server:
        desk.configure("", base=server.url)
        process = subprocess.Popen(
            command(desk, *words),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert asked.wait(30)
            process.send_signal(signal.SIGTERM)
            told = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 1
    assert told[0] == ""
    assert told[1].startswith("updog: interrupted while ")
    assert len(told[1].splitlines()) == 2


def test_a_check_loads_no_more_than_it_needs(desk: Desk) -> None:
    """When nothing is new: not the TUF library, nor bars, LZ4 or the web client."""
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from updog.cli import cli\n"
        f"print(CliRunner().invoke(cli, {[*desk.words, 'check-update']!r}).stdout, end='')\n"
        "print(*sorted({'tuf', 'rich', 'lz4', 'requests', 'parted'} & set(sys.modules)))\n"
    )
    desk.run("check-update")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "demo 1.1.0\n\n"
