"""Attempts: what a reboot came to, read from the disk; and the file that remembers it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from partition.errors import StateFileUnsafe
from signpost.flags import BootFlags
from signpost.layout import Slot
from tests.support.unflushed import Unflushed
from updog.attempts import Attempts, Evidence, Failure, Flip, Staged
from updog.attempts_file import load_attempts, store_attempts
from updog.versions import parse_version

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2024, 4, 10, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OLD, NEW = parse_version("1.0.0"), parse_version("1.1.0")
STAGED = Staged("aws-k8s", NEW, Slot.B, 1, {"boot": "aa", "root": "bb", "hash": "cc"})
FLIPPED = Attempts().stage(STAGED).flip(Flip(NOW, "boot-1"))


def flags(priority: int, tries_left: int, *, successful: bool = False) -> BootFlags:
    """Bits 48, 52 and 56, as the contract places them."""
    return BootFlags(priority << 48 | tries_left << 52 | successful << 56)


RUNNING = flags(1, 0, successful=True)


def seen(
    b: BootFlags,
    *,
    active: Slot = Slot.A,
    a: BootFlags = RUNNING,
    boot_id: str | None = "boot-2",
    reason: str | None = None,
) -> Evidence:
    """What a run sees an hour later."""
    running = OLD if active is Slot.A else NEW
    return Evidence(LATER, boot_id, running, active, {Slot.A: a, Slot.B: b}, reason)


def blind(running: str, boot_id: str | None) -> Evidence:
    """What a run sees that cannot read the disk."""
    return Evidence(LATER, boot_id, parse_version(running))


def test_the_new_system_did_not_come_up() -> None:
    """The boot loader spent its one try, and the old system runs."""
    after = FLIPPED.judge(seen(flags(2, 0), reason="network.sh failed"))
    assert after.staged is None
    assert after.failures == {"1.1.0": Failure(1, LATER, "network.sh failed")}
    assert set(after.failed(max_attempts=1)) == {"1.1.0"}
    assert after.failed(max_attempts=2) == {}


def test_a_second_failure_counts_on() -> None:
    once = FLIPPED.judge(seen(flags(2, 0)))
    twice = once.stage(STAGED).flip(Flip(LATER, "boot-2")).judge(seen(flags(2, 0)))
    assert twice.failures["1.1.0"].count == 2
    assert set(twice.failed(max_attempts=2)) == {"1.1.0"}


def test_failures_of_several_versions_are_kept_apart() -> None:
    other = Staged("aws-k8s", parse_version("1.2.0"), Slot.B, 1, {})
    both = FLIPPED.judge(seen(flags(2, 0))).stage(other).flip(Flip(LATER, None))
    after = both.judge(seen(flags(2, 0)))
    assert {version: each.count for version, each in after.failures.items()} == {
        "1.1.0": 1, "1.2.0": 1,
    }  # fmt: skip


def test_running_an_update_again_without_a_reboot_counts_nothing() -> None:
    assert FLIPPED.judge(seen(flags(2, 1), boot_id="boot-1")) == FLIPPED


def test_a_reboot_that_the_boot_loader_did_not_use_counts_nothing() -> None:
    """The try is still there: the set is yet to be tried."""
    assert FLIPPED.judge(seen(flags(2, 1), boot_id="boot-2")) == FLIPPED


def test_the_new_system_came_up_and_was_confirmed() -> None:
    failed_before = Attempts(staged=FLIPPED.staged, failures={
        "1.1.0": Failure(1, NOW), "1.0.5": Failure(1, NOW),
    })  # fmt: skip
    after = failed_before.judge(seen(flags(2, 0, successful=True), active=Slot.B))
    assert after.staged is None
    assert set(after.failures) == {"1.0.5"}


def test_the_new_system_is_on_probation() -> None:
    """It runs, but is not confirmed: nothing is decided, and a failure would still be noticed."""
    during = FLIPPED.judge(seen(flags(2, 0), active=Slot.B))
    assert during == FLIPPED
    after = during.judge(seen(flags(1, 0), active=Slot.A, a=flags(2, 0, successful=True)))
    assert after.failures["1.1.0"].count == 1


def test_going_back_from_a_confirmed_system_is_no_failure() -> None:
    after = FLIPPED.judge(seen(flags(1, 0, successful=True), a=flags(2, 0)))
    assert after == Attempts()


def test_of_three_tries_all_must_be_spent_or_given_up() -> None:
    three = Attempts().stage(Staged("aws-k8s", NEW, Slot.B, 3, {})).flip(Flip(NOW, "boot-1"))
    assert three.judge(seen(flags(2, 3))) == three
    assert three.judge(seen(flags(2, 0))).failures["1.1.0"].count == 1
    # Its health checks sent the host back after one of three boots.
    assert three.judge(seen(flags(1, 2), a=flags(2, 1))).failures["1.1.0"].count == 1


def test_a_power_cut_between_record_and_flip_counts_nothing() -> None:
    after = FLIPPED.judge(seen(flags(0, 1)))
    assert after == Attempts().stage(STAGED)
    assert after.staged is not None
    assert after.staged.is_whole(flags(0, 1))


def test_a_flip_taken_back_counts_nothing() -> None:
    assert FLIPPED.withdraw() == Attempts().stage(STAGED)
    assert FLIPPED.withdraw().judge(seen(flags(0, 1))) == Attempts().stage(STAGED)


def test_a_wiped_set_is_forgotten() -> None:
    assert FLIPPED.judge(seen(flags(0, 0))) == Attempts()
    assert Attempts().stage(STAGED).judge(seen(flags(0, 0))) == Attempts()


def test_a_staged_update_that_signpost_flipped_by_hand_is_watched_too() -> None:
    after = Attempts().stage(STAGED).judge(seen(flags(2, 0)))
    assert after.failures["1.1.0"].count == 1


def test_with_nothing_recorded_nothing_is_judged() -> None:
    assert Attempts().judge(seen(flags(2, 0))) == Attempts()


@pytest.mark.parametrize(
    "running, boot_id, failures",
    [
        ("1.0.0", "boot-1", set()),
        ("1.0.0", "boot-2", {"1.1.0"}),
        ("1.0.0", None, set()),
        ("1.1.0", "boot-2", set()),
    ],
)
def test_without_the_disk_the_boot_id_decides(
    running: str, boot_id: str | None, failures: set[str]
) -> None:
    after = FLIPPED.judge(blind(running, boot_id))
    assert set(after.failures) == failures
    came_up = running == "1.1.0"
    assert (after.staged is None) == (came_up or bool(failures))


def test_without_the_disk_what_was_only_staged_stays() -> None:
    staged = Attempts().stage(STAGED)
    assert staged.judge(blind("1.0.0", "boot-2")) == staged


def test_only_the_most_recent_failures_are_kept() -> None:
    attempts = Attempts()
    for number in range(40):
        staged = Staged("aws-k8s", parse_version(f"1.{number}.0"), Slot.B, 1, {})
        evidence = Evidence(
            NOW + timedelta(days=number), None, OLD, Slot.A, {Slot.A: RUNNING, Slot.B: flags(2, 0)}
        )
        attempts = attempts.stage(staged).flip(Flip(NOW, None)).judge(evidence)
    assert len(attempts.failures) == 32
    assert "1.39.0" in attempts.failures
    assert "1.7.0" not in attempts.failures


def test_a_set_is_whole_while_its_tries_are_untouched() -> None:
    assert STAGED.is_whole(flags(0, 1))
    assert STAGED.is_whole(flags(2, 1))
    assert not STAGED.is_whole(flags(0, 0))
    assert not STAGED.is_whole(flags(2, 0))
    assert not STAGED.is_whole(flags(0, 2))
    assert not STAGED.is_whole(flags(2, 1, successful=True))


# The file.


def test_what_is_stored_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "updog" / "attempts.json"
    attempts = FLIPPED.judge(seen(flags(2, 0), reason="“no” network")).stage(STAGED)
    attempts = attempts.flip(Flip(LATER, None))
    store_attempts(path, attempts, kernel=Unflushed())
    assert load_attempts(path) == attempts
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_file_is_one_that_people_can_read(tmp_path: Path) -> None:
    path = tmp_path / "attempts.json"
    store_attempts(path, FLIPPED, kernel=Unflushed())
    assert json.loads(path.read_text()) == {
        "format": 1,
        "failures": {},
        "staged": {
            "variant": "aws-k8s",
            "version": "1.1.0",
            "set": "B",
            "tries": 1,
            "images": {"boot": "aa", "root": "bb", "hash": "cc"},
            "flip": {"at": "2024-04-10T12:00:00Z", "boot_id": "boot-1"},
        },
    }


def test_no_file_means_nothing_was_tried(tmp_path: Path) -> None:
    assert load_attempts(tmp_path / "none" / "attempts.json") == Attempts()


CORRUPT = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"format": 2, "staged": null, "failures": {}}',
    b'{"format": 1, "staged": null}',
    b'{"format": 1, "staged": null, "failures": []}',
    b'{"format": 1, "staged": null, "failures": {"1.0": {}}}',
    b'{"format": 1, "staged": null, "failures": {"1.0.0": {"count": 1, "last": "then"}}}',
    b'{"format": 1, "staged": null, "failures": {"1.0.0": {"count": "1", "reason": null}}}',
    b'{"format": 1, "staged": {"version": "1.0.0"}, "failures": {}}',
    b'{"format": 1, "staged": "B", "failures": {}}',
    b'{"format": 1, "format": 1, "staged": null, "failures": {}}',
    b"\xff\xfe",
    json.dumps({"format": 1, "failures": {}, "staged": {
        "variant": "a", "version": "1.0.0", "set": "C", "tries": 1, "images": {}, "flip": None,
    }}).encode(),
    json.dumps({"format": 1, "failures": {}, "staged": {
        "variant": "a", "version": "1.0.0", "set": "B", "tries": 1, "images": {},
        "flip": {"at": "then", "boot_id": None},
    }}).encode(),
    b" " * (2 << 20),
]  # fmt: skip


@pytest.mark.parametrize("data", CORRUPT, ids=range(len(CORRUPT)))
def test_a_corrupt_file_is_reported_and_started_afresh(
    data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "attempts.json"
    path.write_bytes(data)
    path.chmod(0o600)
    assert load_attempts(path) == Attempts()
    if data != b"null":
        assert "forgetting earlier attempts" in caplog.text
        assert str(path) in caplog.text
    store_attempts(path, FLIPPED, kernel=Unflushed())
    assert load_attempts(path) == FLIPPED


def test_a_file_that_others_could_have_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "attempts.json"
    store_attempts(path, FLIPPED, kernel=Unflushed())
    path.chmod(0o666)
    with pytest.raises(StateFileUnsafe, match="others may write"):
        load_attempts(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    store_attempts(elsewhere, FLIPPED, kernel=Unflushed())
    os.symlink(elsewhere, tmp_path / "attempts.json")  # noqa: PTH211
    with pytest.raises(StateFileUnsafe, match="symbolic link"):
        load_attempts(tmp_path / "attempts.json")
