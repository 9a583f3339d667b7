"""Every command, on tables of sgdisk, cgpt and fdisk, looked at by sgdisk, cgpt and fdisk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from partition.disk import Disk
from signpost.cli import cli
from signpost.environment import Environment
from signpost.layout import Slot
from tests.support import bootloader
from tests.support.disks import (
    BOOT_A,
    BOOT_B,
    DATA,
    FRESH,
    PRIVATE_NUMBER,
    Flags,
    assert_sound,
    assert_sound_to_fdisk,
    attributes,
    fdisk_flags,
    flags,
    run,
    set_flags,
)
from tests.support.gptbytes import field, fixture, flip, last_lba, with_types

if TYPE_CHECKING:
    from pathlib import Path


class Host:
    """A disk image, and signpost on it."""

    def __init__(self, path: Path, content: bytes | bytearray, active: str = "A") -> None:
        self.path = path
        self.active = active
        path.write_bytes(content)

    def signpost(self, *arguments: str) -> Result:
        options = ["--os-disk", str(self.path), "--active-set", self.active]
        return CliRunner().invoke(cli, [*options, *arguments], prog_name="signpost")

    def succeeds(self, *arguments: str) -> str:
        result = self.signpost(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    def refuses(self, *arguments: str) -> str:
        """One line on stderr and perhaps a hint, exit code 1, and not a byte changed."""
        before = self.path.read_bytes(), self.path.stat().st_mtime_ns
        result = self.signpost(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert (self.path.read_bytes(), self.path.stat().st_mtime_ns) == before
        message, *hint = result.stderr.splitlines()
        assert message.startswith("signpost: ")
        assert len(hint) <= 1
        assert all(line.startswith("hint: ") for line in hint)
        return message.removeprefix("signpost: ")

    def flags(self) -> dict[str, Flags]:
        return {"A": flags(self.path, BOOT_A), "B": flags(self.path, BOOT_B)}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "disk.img", fixture("sgdisk-fresh"))


class TestAWholeLife:
    """Install, upgrade, boot, confirm, roll back; other tools see the contract's bits."""

    def test_on_a_table_of_sgdisk_as_cgpt_sees_it(self, host: Host) -> None:
        def after(command: str, a: Flags, b: Flags) -> None:
            assert host.succeeds(command) == ""
            assert host.flags() == {"A": a, "B": b}
            assert_sound(host.path)

        after("clear-inactive", Flags(1, 0, True), Flags(0, 0, False))
        after("mark-inactive-valid", Flags(1, 0, True), Flags(0, 1, False))
        after("upgrade-to-inactive", Flags(1, 0, True), Flags(2, 1, False))
        after("cancel-upgrade", Flags(2, 0, True), Flags(0, 1, False))
        after("upgrade-to-inactive", Flags(1, 0, True), Flags(2, 1, False))

        assert bootloader.boot(host.path) == "B"
        host.active = "B"
        assert host.succeeds("has-boot-ever-succeeded") == "false\n"
        after("mark-successful-boot", Flags(1, 0, True), Flags(2, 0, True))
        assert host.succeeds("has-boot-ever-succeeded") == "true\n"
        assert attributes(host.path, PRIVATE_NUMBER) == 1 << 57

        after("rollback-to-inactive", Flags(2, 1, False), Flags(1, 0, True))
        assert bootloader.boot(host.path) == "A"
        host.active = "A"
        after("mark-successful-boot", Flags(2, 0, True), Flags(1, 0, True))
        after("rewrite-table", Flags(2, 0, True), Flags(1, 0, True))

    def test_on_a_table_of_cgpt_with_an_upgrade_pending(self, tmp_path: Path) -> None:
        host = Host(tmp_path / "disk.img", fixture("cgpt-upgrade-pending"))

        host.succeeds("cancel-upgrade")
        assert host.flags() == {"A": Flags(2, 0, True), "B": Flags(0, 1, False)}
        host.succeeds("upgrade-to-inactive")
        assert host.succeeds("choose-boot") == "B\n"
        assert host.flags() == {"A": Flags(1, 0, True), "B": Flags(2, 0, False)}
        assert_sound(host.path)

    def test_on_4096_byte_sectors_as_fdisk_sees_it(self, tmp_path: Path) -> None:
        host = Host(tmp_path / "disk.img", fixture("fdisk-4096"))

        def after(command: str, a: set[int], b: set[int]) -> None:
            host.succeeds(command)
            found = [fdisk_flags(host.path, n, sector_size=4096) for n in (BOOT_A, BOOT_B)]
            assert found == [a, b]
            assert_sound_to_fdisk(host.path, sector_size=4096)

        after("clear-inactive", {48, 56}, set())
        after("mark-inactive-valid", {48, 56}, {52})
        after("upgrade-to-inactive", {48, 56}, {49, 52})
        assert bootloader.boot(host.path, 4096) == "B"
        host.active = "B"
        after("mark-successful-boot", {48, 56}, {49, 56})
        after("rollback-to-inactive", {49, 52}, {48, 56})

    def test_on_256_entries_where_bits_of_others_stay(self, tmp_path: Path) -> None:
        host = Host(tmp_path / "disk.img", fixture("sgdisk-moved-256"))
        foreign = 0x9000_0000_0000_0005
        commands = ["clear-inactive", "mark-inactive-valid", "upgrade-to-inactive"]

        for command in [*commands, "mark-successful-boot"]:
            host.succeeds(command)
            assert "No problems found" in run("sgdisk", "-v", str(host.path))

        assert attributes(host.path, BOOT_A) == foreign | 0x0101 << 48
        assert attributes(host.path, BOOT_B) == foreign | 0x0012 << 48
        assert attributes(host.path, PRIVATE_NUMBER) == foreign | 1 << 57

    def test_several_tries_for_a_new_set(self, host: Host) -> None:
        host.succeeds("clear-inactive")
        host.succeeds("mark-inactive-valid", "--tries", "3")
        host.succeeds("upgrade-to-inactive")

        assert host.flags()["B"] == Flags(2, 3, False)
        assert [host.succeeds("choose-boot") for _ in range(4)] == ["B\n", "B\n", "B\n", "A\n"]


@dataclass(frozen=True)
class Refusal:
    """A command that is refused on certain flags, and why."""

    command: str
    why: str
    a: Flags = FRESH[BOOT_A]
    b: Flags = FRESH[BOOT_B]


REFUSALS = [
    Refusal(
        "clear-inactive",
        "refusing clear-inactive: the running set A is not known to boot "
        "(priority=2 tries_left=0 successful=false), set B may be the only way back",
        a=Flags(2, 0, False),
        b=Flags(1, 0, True),
    ),
    Refusal(
        "mark-inactive-valid",
        "refusing mark-inactive-valid: set B was not cleared "
        "(priority=0 tries_left=1 successful=false)",
        b=Flags(0, 1, False),
    ),
    Refusal(
        "mark-inactive-valid",
        "refusing mark-inactive-valid: set B was not cleared "
        "(priority=1 tries_left=0 successful=true)",
        b=Flags(1, 0, True),
    ),
    Refusal(
        "upgrade-to-inactive",
        "refusing upgrade-to-inactive: set B was never marked valid "
        "(priority=0 tries_left=0 successful=false)",
    ),
    Refusal(
        "upgrade-to-inactive",
        "refusing upgrade-to-inactive: set B is in use already "
        "(priority=2 tries_left=1 successful=false), expected priority=0 and successful=false",
        b=Flags(2, 1, False),
    ),
    Refusal(
        "upgrade-to-inactive",
        "refusing upgrade-to-inactive: set B is in use already "
        "(priority=0 tries_left=1 successful=true), expected priority=0 and successful=false",
        b=Flags(0, 1, True),
    ),
    Refusal(
        "cancel-upgrade",
        "refusing cancel-upgrade: no upgrade to set B is pending "
        "(priority=1 tries_left=0 successful=true)",
        a=Flags(2, 0, True),
        b=Flags(1, 0, True),
    ),
    Refusal(
        "cancel-upgrade",
        "refusing cancel-upgrade: no upgrade to set B is pending "
        "(priority=0 tries_left=1 successful=false)",
        b=Flags(0, 1, False),
    ),
    Refusal(
        "rollback-to-inactive",
        "refusing rollback-to-inactive: set B would not boot "
        "(priority=2 tries_left=0 successful=false)",
        b=Flags(2, 0, False),
    ),
    Refusal(
        "rollback-to-inactive",
        "refusing rollback-to-inactive: set B would not boot "
        "(priority=0 tries_left=1 successful=true)",
        b=Flags(0, 1, True),
    ),
    Refusal(
        "choose-boot",
        "refusing to choose a set: none will boot "
        "(set A: priority=0 tries_left=0 successful=true, "
        "set B: priority=1 tries_left=0 successful=false)",
        a=Flags(0, 0, True),
        b=Flags(1, 0, False),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.why[9:60])
@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "json"])
def test_a_refusal_writes_nothing(host: Host, refusal: Refusal, json_too: list[str]) -> None:
    set_flags(host.path, BOOT_A, refusal.a)
    set_flags(host.path, BOOT_B, refusal.b)

    assert host.refuses(refusal.command, *json_too) == refusal.why


@pytest.mark.parametrize(
    "command",
    [
        "clear-inactive",
        "mark-inactive-valid",
        "upgrade-to-inactive",
        "cancel-upgrade",
        "rollback-to-inactive",
    ],
)
def test_a_disk_with_one_set_has_nothing_to_change_to(tmp_path: Path, command: str) -> None:
    host = Host(tmp_path / "disk.img", fixture("sgdisk-single-set"))

    assert host.refuses(command) == f"refusing {command}: the disk has set A only, expected two"


def test_a_disk_with_one_set_boots_and_is_confirmed(tmp_path: Path) -> None:
    host = Host(tmp_path / "disk.img", fixture("sgdisk-single-set"))

    assert host.succeeds("choose-boot") == "A\n"
    host.succeeds("mark-successful-boot")
    assert host.succeeds("has-boot-ever-succeeded") == "true\n"
    assert "Set B" not in host.succeeds("status")
    host.active = "B"
    assert host.refuses("status") == f"cannot tell the active set of {host.path}: it has no set B"


def test_a_rollback_from_an_unconfirmed_set_leaves_the_only_sure_one_sure(host: Host) -> None:
    """Or a loss of power right after it, before anything was confirmed, would leave nothing."""
    for command in ("clear-inactive", "mark-inactive-valid", "upgrade-to-inactive"):
        host.succeeds(command)
    assert bootloader.boot(host.path) == "B"
    host.active = "B"

    host.succeeds("rollback-to-inactive")

    assert host.flags() == {"A": Flags(2, 1, True), "B": Flags(1, 0, False)}
    assert [bootloader.boot(host.path) for _ in range(3)] == ["A", "A", "A"]


class TestStatus:
    def test_lines(self, host: Host) -> None:
        set_flags(host.path, BOOT_B, Flags(2, 1, False))
        disk = host.path
        parts_a = f"boot={disk}#1 root={disk}#2 hash={disk}#3"
        parts_b = f"boot={disk}#5 root={disk}#6 hash={disk}#7"

        assert host.succeeds("status").splitlines() == [
            f"OS disk: {disk}",
            f"Set A: {parts_a} priority=1 tries_left=0 successful=true",
            f"Set B: {parts_b} priority=2 tries_left=1 successful=false",
            "Active: Set A",
            "Next: Set B",
        ]

    def test_next_is_none_when_nothing_boots(self, host: Host) -> None:
        set_flags(host.path, BOOT_A, Flags(1, 0, False))

        assert host.succeeds("status").splitlines()[-1] == "Next: None"
        assert json.loads(host.succeeds("--json", "status"))["next"] is None

    @pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"]])
    def test_json(self, host: Host, arguments: list[str]) -> None:
        set_flags(host.path, BOOT_B, Flags(2, 1, False))
        disk = str(host.path)

        assert json.loads(host.succeeds(*arguments)) == {
            "os_disk": disk,
            "sets": {
                "A": {
                    "boot": f"{disk}#1",
                    "root": f"{disk}#2",
                    "hash": f"{disk}#3",
                    "priority": 1,
                    "tries_left": 0,
                    "successful": True,
                    "will_boot": True,
                },
                "B": {
                    "boot": f"{disk}#5",
                    "root": f"{disk}#6",
                    "hash": f"{disk}#7",
                    "priority": 2,
                    "tries_left": 1,
                    "successful": False,
                    "will_boot": True,
                },
            },
            "active": "A",
            "next": "B",
            "upgrade_pending": True,
            "has_boot_ever_succeeded": False,
            "table_source": "primary",
            "problems": [],
            "last_failure": None,
        }

    def test_changes_nothing_and_needs_no_right_to_write(self, host: Host) -> None:
        flip(content := bytearray(host.path.read_bytes()), 512 + 50)
        host.path.write_bytes(content)
        host.path.chmod(0o400)
        before = host.path.stat().st_mtime_ns

        assert host.signpost("status").exit_code == 0
        assert host.signpost("has-boot-ever-succeeded").exit_code == 0
        assert (host.path.read_bytes(), host.path.stat().st_mtime_ns) == (bytes(content), before)


class TestJson:
    def test_of_a_change_is_the_new_status(self, host: Host) -> None:
        host.succeeds("clear-inactive")

        shown = json.loads(host.succeeds("--json", "mark-inactive-valid"))

        assert shown["sets"]["B"]["tries_left"] == 1
        assert shown == json.loads(host.succeeds("--json", "status"))

    @pytest.mark.parametrize(
        "command, value",
        [("choose-boot", "A"), ("has-boot-ever-succeeded", False)],
    )
    def test_of_an_answer_is_the_answer(self, host: Host, command: str, value: object) -> None:
        assert json.loads(host.succeeds("--json", command)) == value

    def test_of_a_repair_says_that_nothing_is_wrong(self, host: Host) -> None:
        assert json.loads(host.succeeds("rewrite-table", "--json")) == {
            "os_disk": str(host.path),
            "table_source": "primary",
            "problems": [],
        }


class TestDamage:
    @pytest.mark.parametrize("copy", ["primary", "backup"])
    @pytest.mark.parametrize("part", ["header", "entries"])
    def test_of_one_copy_is_told_and_repaired_by_the_next_write(
        self, host: Host, copy: str, part: str
    ) -> None:
        content = fixture("sgdisk-fresh")
        lba = 1 if copy == "primary" else last_lba(content)
        flip(content, (lba if part == "header" else field(content, lba, "entries_lba")) * 512 + 70)
        host.path.write_bytes(content)

        status = host.signpost("--json", "status")
        assert status.exit_code == 0
        assert status.stderr.startswith(
            f"signpost: warning: partition table of {host.path}: {copy} copy is damaged: "
        )
        told = json.loads(status.stdout)
        assert told["table_source"] == ("backup" if copy == "primary" else "primary")
        assert len(told["problems"]) == 1

        assert host.signpost("mark-successful-boot").exit_code == 0
        assert_sound(host.path)
        assert host.succeeds("status").startswith("OS disk: ")

    def test_is_repaired_by_rewrite_table_to_the_last_byte(self, host: Host) -> None:
        content = fixture("sgdisk-fresh")
        flip(content, 1024 + 5)
        host.path.write_bytes(content)

        result = host.signpost("rewrite-table")

        assert result.exit_code == 0
        assert "primary copy is damaged" in result.stderr
        assert host.path.read_bytes() == fixture("sgdisk-fresh")

    def test_of_an_image_that_has_grown_is_repaired(self, host: Host) -> None:
        os.truncate(host.path, 13 << 20)

        assert "backup copy is at LBA 24575, not at the end" in host.signpost("status").stderr
        host.signpost("rewrite-table")

        assert_sound(host.path)
        assert host.signpost("status").stderr == ""

    def test_of_both_copies_is_one_line(self, host: Host) -> None:
        content = fixture("sgdisk-fresh")
        flip(content, 512 + 50)
        flip(content, len(content) - 512 + 50)
        host.path.write_bytes(content)

        for command in ("status", "rewrite-table", "mark-successful-boot", "choose-boot"):
            message = host.refuses(command)
            assert message.startswith(f"cannot read the partition table of {host.path}: primary")
            assert "; backup copy is damaged: header checksum" in message

    @pytest.mark.parametrize(
        "content, why",
        [
            (b"", "there is no GPT signature at either end"),
            (bytes(1 << 20), "there is no GPT signature at either end"),
            (with_types(DATA), "it has 0 boot partitions, expected 1 or 2"),
        ],
        ids=["empty file", "blank disk", "somebody else's disk"],
    )
    def test_what_is_no_disk_of_ours_is_one_line(
        self, tmp_path: Path, content: bytes, why: str
    ) -> None:
        host = Host(tmp_path / "disk.img", content)

        for command in ("status", "rewrite-table", "clear-inactive", "choose-boot"):
            assert host.refuses(command).endswith(f"{host.path}: {why}")


class TestOptions:
    def test_come_from_the_environment_too(self, host: Host) -> None:
        environment = {"SIGNPOST_OS_DISK": str(host.path), "SIGNPOST_ACTIVE_SET": "B"}

        result = CliRunner().invoke(cli, ["status"], env=environment)

        assert "Active: Set B" in result.stdout

    def test_win_over_the_environment(self, host: Host) -> None:
        environment = {"SIGNPOST_OS_DISK": "/nonexistent", "SIGNPOST_ACTIVE_SET": "B"}
        options = ["--os-disk", str(host.path), "--active-set", "A"]

        result = CliRunner().invoke(cli, [*options, "status"], env=environment)

        assert "Active: Set A" in result.stdout

    def test_an_image_needs_its_active_set(self, host: Host) -> None:
        result = CliRunner().invoke(
            cli, ["--os-disk", str(host.path), "status"], prog_name="signpost"
        )

        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            f"signpost: cannot tell the active set of {host.path}: a disk image does not run",
            "hint: name it with --active-set A or --active-set B",
        ]

    @pytest.mark.parametrize("command", ["choose-boot", "rewrite-table", "has-boot-ever-succeeded"])
    def test_a_boot_stage_needs_no_active_set(self, host: Host, command: str) -> None:
        result = CliRunner().invoke(cli, ["--os-disk", str(host.path), command])

        assert (result.exit_code, result.stderr) == (0, "")

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["stauts"],
            ["--active-set", "C", "status"],
            ["mark-inactive-valid", "--tries", "0"],
            ["mark-inactive-valid", "--tries", "16"],
            ["status", "extra"],
        ],
    )
    def test_what_cannot_be_understood_ends_with_2(self, host: Host, arguments: list[str]) -> None:
        before = host.path.read_bytes()

        assert CliRunner().invoke(cli, arguments).exit_code == 2
        assert host.path.read_bytes() == before

    def test_a_mistyped_disk_is_not_created(self, tmp_path: Path) -> None:
        missing = tmp_path / "dsik.img"
        options = ["--os-disk", str(missing), "--active-set", "A"]
        for command in ("status", "mark-successful-boot", "choose-boot"):
            result = CliRunner().invoke(cli, [*options, command], prog_name="signpost")

            assert result.exit_code == 1
            assert result.stderr == f"signpost: cannot find {missing}: No such file or directory\n"
        assert list(tmp_path.iterdir()) == []


class TestTogether:
    def test_a_writer_keeps_writers_out_and_lets_status_in(self, host: Host) -> None:
        waits_not = Environment(host.path, Slot.A, lock_wait_seconds=0)
        before = host.path.read_bytes()
        with Disk.open(host.path, writable=True) as updater:
            updater.lock()

            refused = CliRunner().invoke(
                cli, ["mark-successful-boot"], obj=waits_not, prog_name="signpost"
            )
            shown = CliRunner().invoke(cli, ["status"], obj=waits_not)

        assert refused.exit_code == 1
        assert refused.stderr.splitlines()[0] == (
            f"signpost: cannot lock {host.path}: process {os.getpid()} is at work on it"
        )
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert host.path.read_bytes() == before

    def test_many_writers_at_once_leave_a_sound_table(self, host: Host) -> None:
        set_flags(host.path, BOOT_B, Flags(2, 15, False))
        options = ["--os-disk", str(host.path), "--active-set", "A"]
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "signpost", *options, "choose-boot"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]

        assert [writer.communicate()[0] for writer in writers] == ["B\n"] * 4
        assert flags(host.path, BOOT_B) == Flags(2, 11, False)
        assert_sound(host.path)


def test_choosing_is_what_a_boot_loader_does(host: Host) -> None:
    other = host.path.with_name("other.img")
    cases = 0
    for a in (Flags(0, 1, True), Flags(1, 0, True), Flags(2, 2, False), Flags(15, 15, True)):
        for b in (Flags(0, 0, False), Flags(1, 1, False), Flags(2, 0, True), Flags(15, 1, False)):
            set_flags(host.path, BOOT_A, a)
            set_flags(host.path, BOOT_B, b)
            other.write_bytes(host.path.read_bytes())
            try:
                expected = bootloader.boot(other)
            except bootloader.Stops:
                host.refuses("choose-boot")
            else:
                assert host.succeeds("choose-boot") == f"{expected}\n"
                cases += 1
            assert host.path.read_bytes() == other.read_bytes()
    assert cases == 15


class TestProcess:
    """What only shows in a process of its own."""

    def signpost(self, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "signpost", *arguments]
        return subprocess.run(command, text=True, check=False, **more)  # type: ignore[call-overload, no-any-return]

    def test_status_imports_nothing_that_it_does_not_need(self, host: Host) -> None:
        options = ["--os-disk", str(host.path), "--active-set", "A"]
        command = [sys.executable, "-X", "importtime", "-m", "signpost", *options, "status"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)

        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        packages = {name.partition(".")[0] for name in imported}
        assert "signpost" in packages
        assert not packages & {
            "requests", "urllib3", "tuf", "securesystemslib", "rich", "parted", "_ped", "lz4",
            "updog", "migrator", "repo_tools", "json", "subprocess", "tempfile", "shutil", "ctypes",
            "logging", "tomllib", "ssl", "socket", "asyncio", "importlib_metadata",
        }  # fmt: skip

    def test_a_reader_that_goes_away_is_no_error_to_tell(self, host: Host) -> None:
        reading, writing = os.pipe()
        os.close(reading)

        options = ["--os-disk", str(host.path), "--active-set", "A"]
        done = self.signpost(*options, "status", stdout=writing, stderr=subprocess.PIPE)

        os.close(writing)
        assert (done.returncode, done.stderr) == (1, "")

    def test_an_answer_that_cannot_be_written_is_an_error(self, host: Host) -> None:
        options = ["--os-disk", str(host.path), "--active-set", "A"]
        with open("/dev/full", "w") as full:  # noqa: PTH123  not a path, a device
            done = self.signpost(*options, "status", stdout=full, stderr=subprocess.PIPE)

        assert done.returncode == 1
        assert done.stderr == "signpost: cannot go on: No space left on device\n"

    def test_the_version_and_the_commands_are_told(self) -> None:
        shown = self.signpost("--version", stdout=subprocess.PIPE).stdout
        helped = self.signpost("--help", stdout=subprocess.PIPE).stdout

        assert shown.startswith("signpost ")
        for command in ("status", "choose-boot", "rewrite-table", "has-boot-ever-succeeded"):
            assert f"\n  {command} " in helped

    def test_a_shell_is_helped_to_complete(self) -> None:
        wanted = {"COMP_WORDS": "signpost cl", "COMP_CWORD": "1"}
        environment = {**os.environ, **wanted, "_SIGNPOST_COMPLETE": "bash_complete"}

        shown = self.signpost(stdout=subprocess.PIPE, env=environment).stdout

        assert shown == "plain,clear-inactive\n"
