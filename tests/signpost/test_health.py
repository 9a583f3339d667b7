"""A boot is judged: real checks, a real disk image, looked at by cgpt and another boot loader."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from signpost.cli import cli
from signpost.environment import Environment
from signpost.health_files import last_failure
from signpost.layout import Slot
from tests.support import bootloader
from tests.support.disks import BOOT_A, BOOT_B, Flags, assert_sound, flags, set_flags
from tests.support.gptbytes import fixture

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = Flags(priority=1, tries_left=0, successful=True)
ON_PROBATION = Flags(priority=2, tries_left=0, successful=False)
PASSES = "exit 0"


class Host:
    """A host that has just booted set B after an upgrade: set A is confirmed, B on probation."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.disk = directory / "disk.img"
        self.disk.write_bytes(fixture("sgdisk-fresh"))
        set_flags(self.disk, BOOT_A, GOOD)
        set_flags(self.disk, BOOT_B, ON_PROBATION)
        self.active = Slot.B
        for kind in ("required.d", "wanted.d"):
            (self.root / "etc/signpost/health" / kind).mkdir(parents=True)
        (self.root / "etc/os-release").write_text('ID=testos\nVERSION_ID="2.0.0"\n')
        self.boot_id("one")

    def boot_id(self, name: str) -> None:
        """Another boot."""
        path = self.root / "proc/sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"boot-{name}\n")

    def check(
        self, name: str, script: str, *, kind: str = "required.d", under: str = "etc"
    ) -> Path:
        path = self.root / under / "signpost/health" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def configure(self, text: str) -> None:
        (self.root / "etc/signpost/health.toml").write_text(text)

    def signpost(self, *arguments: str) -> Result:
        environment = Environment(self.disk, self.active, root=self.root, proc=self.root / "proc")
        result = CliRunner().invoke(cli, arguments, obj=environment, prog_name="signpost")
        assert_sound(self.disk)
        return result

    def last_failure(self) -> str | None:
        """What `signpost status` says of it on a running host."""
        return last_failure(self.root)

    @property
    def record(self) -> dict[str, object]:
        """The newest verdict."""
        boots: list[dict[str, object]] = json.loads(self.history.read_text())["boots"]
        return boots[0]

    @property
    def history(self) -> Path:
        return self.root / "var/lib/signpost/health.json"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_boot_whose_required_checks_pass_is_confirmed(host: Host) -> None:
    host.check("10-net", 'echo "set $SIGNPOST_ACTIVE_SET"')
    host.check("20-web", PASSES)
    result = host.signpost("health-check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "required check 10-net passed" in result.stdout
    assert flags(host.disk, BOOT_B) == Flags(2, 0, True)
    assert flags(host.disk, BOOT_A) == GOOD
    assert host.record["passed"] is True
    assert host.record["version"] == "2.0.0"
    assert host.record["checks"] == [
        {
            "name": "10-net",
            "required": True,
            "outcome": "passed",
            "detail": "",
            "output": "set B\n",
        },
        {"name": "20-web", "required": True, "outcome": "passed", "detail": "", "output": ""},
    ]
    assert host.last_failure() is None


def test_wanted_checks_are_noted_and_decide_nothing(host: Host) -> None:
    host.check("10-printer", "echo no paper; exit 1", kind="wanted.d")
    result = host.signpost("health-check")
    assert result.exit_code == 0
    assert "wanted check 10-printer failed (exit status 1): no paper" in result.stdout
    assert flags(host.disk, BOOT_B).successful


def test_confirming_can_be_left_to_another_unit(host: Host) -> None:
    assert host.signpost("health-check", "--no-mark").exit_code == 0
    assert flags(host.disk, BOOT_B) == ON_PROBATION


def test_a_failed_required_check_is_recorded_and_the_set_given_up(host: Host) -> None:
    host.check("10-db", "echo starting; echo no answer >&2; exit 3")
    host.check("20-web", PASSES)
    result = host.signpost("health-check")
    assert result.exit_code == 1
    # A disk image has no machine to restart.
    assert f"not restarting: {host.disk} is a disk image" in result.stderr
    reason = "required check 10-db failed (exit status 3): no answer"
    assert host.record["reason"] == reason
    assert host.last_failure() == f"Set B (2.0.0) at {host.record['at']} failed: {reason}"
    assert flags(host.disk, BOOT_B) == Flags(2, 0, False)
    assert bootloader.boot(host.disk) == "A"


def test_with_tries_left_it_is_given_up_all_the_same(host: Host) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 3, False))
    host.check("10-db", "exit 1")
    host.signpost("health-check")
    assert flags(host.disk, BOOT_B) == Flags(2, 0, False)
    assert bootloader.boot(host.disk) == "A"


def test_unless_the_owner_wants_them_used(host: Host) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 1, False))
    host.configure('on_failure = "retry"')
    host.check("10-db", "exit 1")
    assert host.signpost("health-check").exit_code == 1
    assert flags(host.disk, BOOT_B) == Flags(2, 1, False)
    assert bootloader.boot(host.disk) == "B"
    host.boot_id("two")
    assert host.signpost("health-check").exit_code == 1
    assert bootloader.boot(host.disk) == "A"


def test_an_owner_may_want_to_be_told_only(host: Host) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 1, False))
    host.configure('on_failure = "report"')
    host.check("10-db", "exit 1")
    result = host.signpost("health-check")
    assert (result.exit_code, result.stderr) == (1, "")
    assert flags(host.disk, BOOT_B) == Flags(2, 1, False)


def test_with_nothing_else_to_boot_it_keeps_running(host: Host) -> None:
    set_flags(host.disk, BOOT_A, Flags(0, 0, False))
    set_flags(host.disk, BOOT_B, Flags(2, 1, False))
    host.check("10-db", "exit 1")
    result = host.signpost("health-check")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "no other set boots, so this one keeps running" in result.stdout
    assert flags(host.disk, BOOT_B) == Flags(2, 1, False)


def test_a_set_that_was_confirmed_before_is_not_undone(host: Host) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 0, True))
    host.check("10-net", "exit 1")
    result = host.signpost("health-check")
    assert (result.exit_code, result.stderr) == (1, "")
    assert flags(host.disk, BOOT_B) == Flags(2, 0, True)
    assert (host.last_failure() or "").startswith("Set B (2.0.0) at ")


def test_the_deadline_ends_a_check_and_what_it_started(host: Host, tmp_path: Path) -> None:
    host.configure("deadline_seconds = 1")
    child = tmp_path / "child"
    host.check("10-hangs", f"echo waiting for godot; sleep 1000 & echo $! >{child}; wait")
    host.check("20-never", f"touch {tmp_path}/ran")
    assert host.signpost("health-check").exit_code == 1
    assert host.record["reason"] == (
        "required check 10-hangs timed out (killed at the deadline): waiting for godot; "
        "required check 20-never not run (deadline passed)"
    )
    assert (
        not Path(f"/proc/{child.read_text().strip()}/cmdline").exists()
        or not Path(f"/proc/{child.read_text().strip()}/cmdline").read_bytes()
    )
    assert not (tmp_path / "ran").exists()


def test_a_check_that_never_stops_printing_is_stopped_and_its_last_words_kept(host: Host) -> None:
    host.configure("deadline_seconds = 1")
    host.check("10-chatty", "exec yes 'I am fine'")
    assert host.signpost("health-check").exit_code == 1
    checks = host.record["checks"]
    assert isinstance(checks, list)
    assert checks[0]["outcome"] == "timed out"
    assert 0 < len(checks[0]["output"]) <= 2048


def test_a_check_may_leave_something_running_with_its_output_open(host: Host) -> None:
    host.check("10-daemon", "echo started; sleep 1000 & exit 0")
    assert host.signpost("health-check").exit_code == 0
    assert flags(host.disk, BOOT_B).successful


def test_a_check_that_is_not_ready_is_asked_again(host: Host, tmp_path: Path) -> None:
    host.configure("retry_seconds = 1")
    host.check("10-net", f"[ -e {tmp_path}/up ] || {{ touch {tmp_path}/up; exit 75; }}")
    assert host.signpost("health-check").exit_code == 0
    assert flags(host.disk, BOOT_B).successful


def test_but_not_beyond_the_deadline(host: Host) -> None:
    host.configure("deadline_seconds = 1\nretry_seconds = 1")
    host.check("10-net", "echo no carrier; exit 75")
    assert host.signpost("health-check").exit_code == 1
    assert host.record["reason"] == (
        "required check 10-net timed out (still not ready): no carrier"
    )


def test_a_check_killed_by_a_signal_has_failed(host: Host) -> None:
    host.check("10-crash", "kill -SEGV $$")
    assert host.signpost("health-check").exit_code == 1
    assert host.record["reason"] == "required check 10-crash failed (killed by signal 11)"


def test_a_check_that_cannot_be_executed_is_not_passed_over(host: Host) -> None:
    host.check("10-net", PASSES).chmod(0o644)
    assert host.signpost("health-check").exit_code == 1
    assert host.record["reason"] == (
        "required check 10-net failed (cannot be executed: Permission denied)"
    )


def test_the_owners_directory_replaces_and_switches_off_what_the_image_has(host: Host) -> None:
    host.check("10-settings", "exit 1", under="usr/lib")
    host.check("20-net", "exit 1", under="usr/lib")
    host.check("10-settings", PASSES)
    (host.root / "etc/signpost/health/required.d/20-net").symlink_to("/dev/null")
    host.check(".10-hidden", "exit 1")
    host.check("10-settings~", "exit 1")
    assert host.signpost("health-check").exit_code == 0
    checks = host.record["checks"]
    assert isinstance(checks, list)
    assert [each["name"] for each in checks] == ["10-settings"]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("dead_line = 5", "unknown key 'dead_line'"),
        ("deadline_seconds = 0", "deadline_seconds is 0, expected 1 to 86400"),
        ("retry_seconds = true", "retry_seconds is True, expected 1 to 3600"),
        ("max_clean_reboots = 'x'", "max_clean_reboots is 'x', expected 0 to 1000"),
        ("on_failure = 'explode'", "on_failure is 'explode', expected one of"),
        ("on_failure", "Expected '='"),
    ],
)
def test_a_configuration_that_makes_no_sense_fails_the_boot(
    host: Host, text: str, problem: str
) -> None:
    """The image is at fault: it goes back, by the defaults, and says why."""
    host.configure(text)
    assert host.signpost("health-check").exit_code == 1
    reason = str(host.record["reason"])
    assert reason.startswith(f"cannot use {host.root}/etc/signpost/health.toml: ")
    assert problem in reason
    assert bootloader.boot(host.disk) == "A"


def test_a_boot_that_never_gets_to_its_checks_is_declared_failed(host: Host) -> None:
    """What the deadline's unit does."""
    result = host.signpost("health-check", "--failed", "deadline")
    assert result.exit_code == 0
    assert host.record["reason"] == "deadline"
    assert bootloader.boot(host.disk) == "A"


def test_the_deadline_comes_too_late_for_a_boot_that_has_passed(host: Host) -> None:
    host.signpost("health-check")
    before = host.history.read_bytes()
    result = host.signpost("health-check", "--failed", "deadline")
    assert result.stdout == "set B (2.0.0): this boot has passed, too late for: deadline\n"
    assert host.history.read_bytes() == before
    assert flags(host.disk, BOOT_B).successful


def test_a_failure_that_is_told_twice_keeps_its_reason(host: Host) -> None:
    """The check's unit fails, and so boot-complete.target cannot be reached, and says so."""
    host.check("10-db", "exit 3")
    host.signpost("health-check")
    host.signpost("health-check", "--failed", "boot-complete")
    assert host.record["reason"] == "required check 10-db failed (exit status 3)"
    assert len(json.loads(host.history.read_text())["boots"]) == 1


def test_a_clean_end_on_probation_gives_the_try_back_three_times(host: Host) -> None:
    for number in range(3):
        result = host.signpost("restore-try")
        assert result.stdout == "set B (2.0.0): clean end, the try is given back\n"
        assert bootloader.boot(host.disk) == "B"
        host.boot_id(f"after {number}")
    result = host.signpost("restore-try")
    assert "the try stays spent: it was given back 3 times already" in result.stdout
    assert bootloader.boot(host.disk) == "A"


def test_another_version_starts_counting_anew(host: Host) -> None:
    host.configure("max_clean_reboots = 1")
    host.signpost("restore-try")
    assert bootloader.boot(host.disk) == "B"
    (host.root / "etc/os-release").write_text("VERSION_ID=2.0.1\n")
    host.signpost("restore-try")
    assert bootloader.boot(host.disk) == "B"


def test_a_failed_boot_does_not_get_its_try_back(host: Host) -> None:
    host.configure('on_failure = "report"')
    host.check("10-db", "exit 1")
    host.signpost("health-check")
    result = host.signpost("restore-try")
    assert "the try stays spent: this boot was judged a failure" in result.stdout
    assert bootloader.boot(host.disk) == "A"


def test_the_try_of_a_confirmed_set_marks_that_it_was_ended_cleanly(host: Host) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 0, True))
    host.signpost("restore-try")
    assert flags(host.disk, BOOT_B) == Flags(2, 1, True)
    host.signpost("restore-try")
    assert flags(host.disk, BOOT_B) == Flags(2, 1, True)


def test_a_try_is_given_back_only_while_the_system_goes_down(host: Host) -> None:
    """The tests' machine is not shutting down."""
    result = host.signpost("restore-try", "--at-shutdown")
    assert (result.exit_code, result.output) == (0, "")
    assert flags(host.disk, BOOT_B) == ON_PROBATION


def test_a_set_that_was_to_boot_and_does_not_come_up_is_remembered(host: Host) -> None:
    """From set A, confirmed, B boots next; the clean shutdown knows. B panics; A runs again."""
    host.active = Slot.A
    set_flags(host.disk, BOOT_B, Flags(2, 1, False))
    host.signpost("restore-try")
    assert bootloader.boot(host.disk) == "B"
    assert bootloader.boot(host.disk) == "A"
    host.boot_id("two")
    result = host.signpost("health-check")
    assert result.exit_code == 0
    assert "it was to boot and did not come up" in result.stderr
    assert (host.last_failure() or "").startswith("Set B at ")
    # It is said of one boot, not of all that follow.
    host.boot_id("three")
    assert "did not come up" not in host.signpost("health-check").stderr


def test_a_set_that_does_come_up_is_not_missed(host: Host) -> None:
    host.active = Slot.A
    set_flags(host.disk, BOOT_B, Flags(2, 1, False))
    host.signpost("restore-try")
    host.active = Slot(bootloader.boot(host.disk))
    host.boot_id("two")
    assert host.signpost("health-check").exit_code == 0
    assert host.last_failure() is None


def test_what_the_boot_stage_had_to_say_is_kept(host: Host) -> None:
    host.active = Slot.A
    problems = host.root / "run/signpost/boot-problems"
    problems.parent.mkdir(parents=True)
    problems.write_text(
        "/dev/vda: no partitions in the kernel's eyes, writing both tables again\n"
        "set B does not start: no root hash in the file root-hash of /dev/vda4\n"
    )
    host.signpost("health-check")
    host.signpost("health-check")
    assert (host.last_failure() or "").endswith("no root hash in the file root-hash of /dev/vda4")
    assert len(json.loads(host.history.read_text())["boots"]) == 2


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"format": 2}', '{"format": 1, "format": 1}', '{"format": 1, "boots": [1]}'],
)
def test_a_record_that_cannot_be_understood_is_started_afresh(host: Host, content: str) -> None:
    host.signpost("restore-try")
    host.history.write_text(content)
    assert (host.last_failure() or "").startswith("unknown: cannot use ")
    result = host.signpost("health-check")
    assert result.exit_code == 0
    assert "starting a new record" in result.stderr
    assert host.record["passed"] is True


def test_the_verdict_counts_even_if_it_cannot_be_kept(host: Host) -> None:
    """/var may be what is broken: the machine must get away from it all the same."""
    (host.root / "var").write_text("not a directory")
    host.check("10-db", "exit 1")
    result = host.signpost("health-check")
    assert result.exit_code == 1
    assert "the verdict is not kept" in result.stderr
    assert bootloader.boot(host.disk) == "A"


def test_the_record_does_not_grow_for_ever(host: Host) -> None:
    for number in range(12):
        host.boot_id(f"{number}")
        host.signpost("health-check")
    boots = json.loads(host.history.read_text())["boots"]
    assert [boot["boot_id"] for boot in boots] == [f"boot-{number}" for number in range(11, 1, -1)]


def test_the_verdict_as_json(host: Host) -> None:
    host.check("10-db", "exit 1")
    result = host.signpost("health-check", "--json")
    assert json.loads(result.stdout) == host.record


def test_giving_a_set_up_by_hand(host: Host) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 2, True))
    assert host.signpost("mark-failed-boot").exit_code == 0
    assert flags(host.disk, BOOT_B) == Flags(2, 0, False)
    assert bootloader.boot(host.disk) == "A"


def ended(process: int) -> bool:
    """Whether a process ends, within the time that being killed takes."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def forget(host: Host) -> None:
    set_flags(host.disk, BOOT_A, Flags(0, 0, False))


def unconfirm(host: Host) -> None:
    set_flags(host.disk, BOOT_A, Flags(1, 1, False))


@pytest.mark.parametrize("lose", [forget, unconfirm])
def test_the_last_set_that_surely_boots_cannot_be_given_up(
    host: Host, lose: Callable[[Host], None]
) -> None:
    set_flags(host.disk, BOOT_B, Flags(2, 0, True))
    lose(host)
    before = host.disk.read_bytes()
    result = host.signpost("mark-failed-boot")
    assert result.exit_code == 1
    assert result.stderr.startswith("signpost: refusing mark-failed-boot: set A is not known to")
    assert host.disk.read_bytes() == before
