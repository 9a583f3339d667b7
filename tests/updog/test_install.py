"""The procedure on a real disk image: what is written when, what is refused, and what is left.

Images are real file systems, the repository is TUF in memory; flags are read by cgpt, what boots is
told by a boot loader of the tests' own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from partition.errors import InvalidTable, LockHeld, WriteFailed
from signpost.device import BootDisk
from signpost.errors import ActiveNotConfirmed, NoInactiveSet, NotMarkedValid, NoUpgradePending
from signpost.layout import Slot
from signpost.location import Location
from signpost.state import BootState
from tests.support import bootloader
from tests.support.disks import (
    BOOT_A,
    BOOT_B,
    FRESH,
    Flags,
    assert_sound,
    flags,
    make_disk,
    set_flags,
)
from tests.support.host import PARTS, Host, Quiet, publish, release, target_name
from tests.support.repository import NOW, MemoryTransport
from updog import staging
from updog.attempts_file import load_attempts
from updog.errors import (
    ClockNotSet,
    DownloadFailed,
    Interrupted,
    ManifestInvalid,
    MetadataExpired,
    NoMigrationPath,
    NoSuchTarget,
    NoSuchUpdate,
    RebootRefused,
    RehearsalFailed,
    StreamInvalid,
    UpdateInProgress,
)
from updog.exclusion import only_updater
from updog.install import Outcome, Result, Tools, update
from updog.interrupt import Interrupt
from updog.lookup import Request
from updog.pipeline import install_images
from updog.progress import NoProgress
from updog.trust import refresh
from updog.versions import parse_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.repository import Repository

APPLIED = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(2, 1, False)}
STAGED = {BOOT_A: Flags(1, 0, True), BOOT_B: Flags(0, 1, False)}


def both(host: Host) -> dict[int, Flags]:
    return {number: flags(host.disk, number) for number in (BOOT_A, BOOT_B)}


@pytest.fixture
def repository() -> Repository:
    return publish("1.0.0", "1.1.0")


@pytest.fixture
def host(tmp_path: Path, repository: Repository) -> Host:
    return Host.install(tmp_path / "host", "1.0.0", shipped_root=repository.shipped_root)


def no_images(*_: object, **__: object) -> None:
    raise AssertionError("nothing was to be written")


# The whole of it.


def test_an_update_boots_next_and_comes_up(host: Host, repository: Repository) -> None:
    outcome = host.update(repository)
    assert outcome.result is Result.APPLIED
    assert outcome.update is not None
    assert outcome.update.label == "demo 1.1.0"
    assert host.said == ["Starting update to 1.1.0"]
    assert both(host) == APPLIED
    assert_sound(host.disk)
    assert host.boot() == "1.1.0"
    host.signpost(BootState.mark_successful_boot)
    assert host.check_update(repository) is None
    assert load_attempts(host.paths.attempts).failures == {}


def test_staging_and_applying_are_two_steps(host: Host, repository: Repository) -> None:
    outcome = host.update(repository, apply=False)
    assert outcome.result is Result.STAGED
    assert outcome.note == "set B is whole; updog update-apply lets it boot next"
    assert both(host) == STAGED
    assert bootloader.next_boot(host.disk) == "A"
    assert host.update_apply() == "set B (demo 1.1.0) boots next"
    assert both(host) == APPLIED
    assert host.update_apply() == "set B (demo 1.1.0) boots next already"
    assert host.boot() == "1.1.0"


def test_a_flip_can_be_taken_back_and_made_again(host: Host, repository: Repository) -> None:
    host.update(repository)
    assert host.update_revert() == "set A boots next; demo 1.1.0 stays staged"
    assert both(host) == {BOOT_A: Flags(2, 0, True), BOOT_B: Flags(0, 1, False)}
    with pytest.raises(NoUpgradePending):
        host.update_revert()
    host.install_images = no_images
    assert host.update(repository).result is Result.APPLIED
    assert bootloader.next_boot(host.disk) == "B"


def test_applying_needs_something_staged(host: Host) -> None:
    with pytest.raises(NotMarkedValid):
        host.update_apply()
    assert both(host) == FRESH


def test_a_set_staged_by_other_means_is_applied_with_a_word(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.signpost(BootState.mark_inactive_valid)
    assert host.update_apply() == "set B (an unknown version) boots next"
    assert "nothing is remembered of what set B holds" in caplog.text


# The order of it.


@dataclass
class Watch:
    """Notes what is on disk when the images are about to be written, then writes them."""

    host: Host
    flags: dict[int, Flags] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    metadata: set[str] = field(default_factory=set)
    parts: dict[str, str] = field(default_factory=dict)

    def __call__(self, jobs: Any, transport: Any, **more: Any) -> None:  # noqa: ANN401
        self.flags = both(self.host)
        self.cached = {path.name for path in self.host.paths.migrations.iterdir()}
        self.metadata = {path.name for path in self.host.paths.metadata_cache.iterdir()}
        self.parts = {job.part.value: job.region.name.rpartition("#")[2] for job in jobs}
        install_images(jobs, transport, **more)


def test_before_the_first_image_all_else_is_in_place(host: Host, repository: Repository) -> None:
    """Set B is an older system to fall back to; it is cleared before it is written."""
    set_flags(host.disk, BOOT_B, Flags(1, 0, True))
    watch = host.install_images = Watch(host)
    host.update(repository)
    assert watch.flags == FRESH
    assert {name.partition(".")[2] for name in watch.cached} == {
        "manifest.json", "migrate_v1.1.0_greeting.toml.lz4",
    }  # fmt: skip
    assert watch.metadata == {"1.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"}
    assert watch.parts == {"boot": "5", "root": "6", "hash": "7"}


class Notes(Quiet):
    """Notes set B's flags whenever the record of attempts is replaced."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.seen: list[tuple[str, Flags]] = []

    def replace(self, source: Any, target: Any) -> None:  # noqa: ANN401
        super().replace(source, target)
        if Path(target).name == "attempts.json":
            staged = json.loads(Path(target).read_text())["staged"]
            what = "nothing" if staged is None else "flip" if staged["flip"] else "staged"
            self.seen.append((what, flags(self.host.disk, BOOT_B)))


def test_what_is_about_to_happen_is_recorded_before_it_does(
    host: Host, repository: Repository
) -> None:
    notes = host.kernel = Notes(host)
    host.update(repository)
    assert notes.seen == [("staged", Flags(0, 0, False)), ("flip", Flags(0, 1, False))]
    host.update_revert()
    assert notes.seen[2:] == [("staged", Flags(0, 1, False))]
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
    host.update(repository)
    assert notes.seen[3] == ("nothing", Flags(0, 1, False))


def test_what_is_cached_is_what_was_served(host: Host, repository: Repository) -> None:
    host.update(repository)
    for path in host.paths.migrations.iterdir():
        assert path.read_bytes() == repository.target_files[path.name]
        assert path.name.startswith(hashlib.sha256(path.read_bytes()).hexdigest())
    for path in host.paths.metadata_cache.iterdir():
        assert path.read_bytes() == repository.files[path.name]


def test_the_repository_is_told_where_the_host_goes(host: Host, repository: Repository) -> None:
    run = Run(host, repository)
    run.update()
    assert run.transport.announced == [
        ("1.1.0", ("migrate_v1.1.0_greeting.toml.lz4", "manifest.json"))
    ]


def test_files_of_an_earlier_update_are_pruned_once_their_set_is_cleared(
    host: Host, repository: Repository
) -> None:
    host.update(repository)
    assert host.boot() == "1.1.0"
    host.signpost(BootState.mark_successful_boot)
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
    watch = host.install_images = Watch(host)
    host.update(repository)
    for names in (watch.cached, {path.name for path in host.paths.migrations.iterdir()}):
        assert {name.partition(".")[2] for name in names} == {
            "manifest.json", "migrate_v2.0.0_time.toml.lz4",
        }  # fmt: skip


@dataclass
class Run:
    """An update with some of its tools replaced."""

    host: Host
    repository: Repository
    interrupt: Interrupt = field(default_factory=Interrupt)
    rehearse: Callable[..., None] = lambda *_, **__: None
    refreshed: int = 0

    def __post_init__(self) -> None:
        self.transport = MemoryTransport(self.repository)

    def update(self, *, apply: bool = True, reboot: bool = False, image: str | None = None) -> Any:  # noqa: ANN401
        def counted(env: Any, transport: Any) -> Any:  # noqa: ANN401
            self.refreshed += 1
            return refresh(env, transport)

        tools = Tools(
            transport=self.transport,
            refresh=counted,
            install_images=self.host.install_images,
            rehearse=self.rehearse,
            progress=NoProgress(),
            say=self.host.said.append,
            interrupt=self.interrupt,
        )
        request = Request(parse_version(image) if image else None)
        return update(self.host.environment(), request, tools, apply=apply, reboot=reboot)


def test_the_choice_is_made_once(host: Host, repository: Repository) -> None:
    """A newer release is published while the chosen one is on its way."""

    def meanwhile(jobs: Any, transport: Any, **more: Any) -> None:  # noqa: ANN401
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        install_images(jobs, transport, **more)

    host.install_images = meanwhile
    run = Run(host, repository)
    assert str(run.update().update.version) == "1.1.0"
    assert run.refreshed == 1
    assert host.said == ["Starting update to 1.1.0"]
    assert host.boot() == "1.1.0"


# Again, and on top of another one.


def test_an_update_that_boots_next_already_is_not_written_again(
    host: Host, repository: Repository
) -> None:
    host.update(repository)
    host.install_images = no_images
    outcome = host.update(repository)
    assert outcome.result is Result.ALREADY
    assert outcome.note == "demo 1.1.0 boots next already, on set B"
    assert host.update(repository, apply=False).result is Result.ALREADY
    assert both(host) == APPLIED


def test_an_update_that_is_staged_already_is_not_written_again(
    host: Host, repository: Repository
) -> None:
    host.update(repository, apply=False)
    host.install_images = no_images
    outcome = host.update(repository, apply=False)
    assert (outcome.result, outcome.note) == (
        Result.ALREADY, "demo 1.1.0 is staged already, on set B",
    )  # fmt: skip


@pytest.mark.parametrize("apply", [True, False])
def test_a_newer_one_replaces_what_is_staged(
    apply: bool,  # noqa: FBT001
    host: Host,
    repository: Repository,
) -> None:
    host.update(repository, apply=apply)
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
    watch = host.install_images = Watch(host)
    assert host.update(repository).result is Result.APPLIED
    assert watch.flags == FRESH
    assert host.boot() == "2.0.0"
    assert load_attempts(host.paths.attempts).failures == {}


def label(outcome: Outcome) -> str | None:
    return outcome.update.label if outcome.update and outcome.was_written else None


LATER = {"2.0.0": {"0": "2026-04-01T00:00:00Z"}}


def test_what_was_taken_ahead_of_its_turn_is_not_replaced_by_an_older_one(
    host: Host, repository: Repository
) -> None:
    """An administrator says --now; at night the timer, which does not, finds only 1.1.0."""
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository, waves=LATER)
    assert label(host.update(repository, now=True)) == "demo 2.0.0"
    host.install_images = no_images
    outcome = host.update(repository)
    assert outcome.result is Result.ALREADY
    assert outcome.note == "demo 2.0.0 was applied before, boots next, and is newer"
    assert both(host) == APPLIED
    assert host.boot() == "2.0.0"


def test_unless_it_was_only_staged_or_is_recalled_or_another_is_named(
    host: Host, repository: Repository
) -> None:
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository, waves=LATER)
    host.update(repository, now=True, apply=False)
    assert label(host.update(repository)) == "demo 1.1.0"
    host.update(repository, now=True)
    assert label(host.update(repository, image="1.1.0")) == "demo 1.1.0"
    host.update(repository, now=True)
    publish("1.0.0", "2.0.0", "1.1.0", repository=repository, waves=LATER)
    assert label(host.update(repository)) == "demo 1.1.0"
    assert host.boot() == "1.1.0"


def test_the_same_version_with_other_images_is_written_again(
    host: Host, repository: Repository
) -> None:
    """The owner replaced an image before anybody booted it."""
    host.update(repository)
    publish(
        "1.0.0", "1.1.0", repository=repository,
        broken={target_name("1.1.0", "boot"): release("2.0.0").packed["boot"]},
    )  # fmt: skip
    watch = host.install_images = Watch(host)
    assert host.update(repository).result is Result.APPLIED
    assert watch.flags == FRESH
    assert both(host) == APPLIED


def test_a_recall_of_what_boots_next_is_told(host: Host, repository: Repository) -> None:
    host.update(repository)
    publish("1.0.0", repository=repository)
    outcome = host.update(repository)
    assert outcome.result is Result.NOTHING
    assert outcome.note.endswith("; demo 1.1.0 was applied before and boots next")


# Nothing to do, and what is refused before anything is written.


def untouched(host: Host) -> bytes:
    """The whole disk, and that nothing was cached."""
    assert not host.paths.migrations.exists()
    assert not host.paths.metadata_cache.exists()
    return host.disk.read_bytes()


def test_nothing_to_do_is_said(tmp_path: Path, repository: Repository) -> None:
    host = Host.install(tmp_path / "host", "1.1.0", shipped_root=repository.shipped_root)
    before = untouched(host)
    outcome = host.update(repository)
    assert (outcome.result, outcome.update) == (Result.NOTHING, None)
    assert outcome.note == "No update required: this host runs 1.1.0, there is none newer"
    assert host.said == []
    assert untouched(host) == before


def test_a_version_that_was_asked_for_and_is_not_there_is_an_error(
    host: Host, repository: Repository
) -> None:
    before = untouched(host)
    with pytest.raises(NoSuchUpdate, match=r"3\.0\.0: the repository does not have 3\.0\.0"):
        host.update(repository, image="3.0.0")
    assert untouched(host) == before


def test_without_a_migration_path_nothing_is_written(
    tmp_path: Path, repository: Repository
) -> None:
    host = Host.install(tmp_path / "host", "2.1.0", shipped_root=repository.shipped_root)
    (host.paths.root / "etc/os-release").write_text("VARIANT_ID=demo\nVERSION_ID=0.9.0\n")
    before = untouched(host)
    with pytest.raises(NoMigrationPath, match=r"refusing to go from 0\.9\.0 to 1\.1\.0"):
        host.update(repository)
    assert untouched(host) == before
    assert host.said == []


def test_an_unconfirmed_system_does_not_give_up_the_other_one(
    host: Host, repository: Repository
) -> None:
    set_flags(host.disk, BOOT_A, Flags(2, 0, False))
    set_flags(host.disk, BOOT_B, Flags(1, 0, True))
    before = untouched(host)
    with pytest.raises(ActiveNotConfirmed) as caught:
        host.update(repository)
    assert caught.value.hint is not None
    assert "mark-successful-boot" in caught.value.hint
    assert untouched(host) == before


def test_a_disk_that_is_none_of_ours_is_refused_before_the_network(
    host: Host, repository: Repository
) -> None:
    host.disk.write_bytes(bytes(1 << 20))
    run = Run(host, repository)
    with pytest.raises(InvalidTable):
        run.update()
    assert run.refreshed == 0


def test_one_set_cannot_be_updated(host: Host, repository: Repository) -> None:
    make_disk(host.disk, sets=1)
    before = untouched(host)
    with pytest.raises(NoInactiveSet):
        host.update(repository)
    assert untouched(host) == before


def test_a_reboot_is_refused_before_anything_is_asked(host: Host, repository: Repository) -> None:
    run = Run(host, repository)
    with pytest.raises(RebootRefused, match=r"disk\.img is a disk image"):
        run.update(reboot=True)
    assert run.refreshed == 0
    with pytest.raises(RebootRefused):
        staging.apply_staged(host.environment(), reboot=True)


@pytest.mark.parametrize(
    "broken, error",
    [
        ({"manifest.json": b"not json"}, ManifestInvalid),
        ({"manifest.json": b'{"updates": [], "updates": []}'}, ManifestInvalid),
    ],
)
def test_a_bad_manifest_stops_before_anything_is_written(
    broken: dict[str, bytes], error: type[Exception], tmp_path: Path
) -> None:
    repository = publish("1.0.0", "1.1.0", broken=broken)
    host = Host.install(tmp_path / "host", "1.0.0", shipped_root=repository.shipped_root)
    before = untouched(host)
    with pytest.raises(error):
        host.update(repository)
    assert untouched(host) == before


@pytest.mark.parametrize("name", ["demo-1.1.0-root.lz4", "migrate_v1.1.0_greeting.toml.lz4"])
def test_a_target_that_is_not_listed_stops_before_the_set_is_cleared(
    name: str, host: Host, repository: Repository
) -> None:
    del repository.targets.targets[name]
    repository.publish_all()
    set_flags(host.disk, BOOT_B, Flags(1, 0, True))
    with pytest.raises(NoSuchTarget):
        host.update(repository)
    assert flags(host.disk, BOOT_B) == Flags(1, 0, True)
    assert not host.paths.metadata_cache.exists()


def test_expired_metadata_stops_everything(host: Host, repository: Repository) -> None:
    before = untouched(host)
    host.boots += 24 * 31
    with pytest.raises(MetadataExpired):
        host.update(repository)
    assert untouched(host) == before


# What fails on the way.


def test_the_build_time_stands_in_for_a_clock_if_the_host_is_told_so(
    host: Host, repository: Repository
) -> None:
    root = host.paths.root
    epoch = root / "usr/lib/clock-epoch"
    epoch.parent.mkdir(exist_ok=True)
    epoch.touch()
    os.utime(epoch, (NOW.timestamp(), NOW.timestamp()))

    def told_the_time() -> datetime:
        never_set = replace(host.environment(), now=datetime(1970, 1, 1, tzinfo=UTC))
        return refresh(never_set, MemoryTransport(repository)).now

    with pytest.raises(ClockNotSet):
        told_the_time()
    with (root / "etc/updog.toml").open("a") as config:
        config.write('clock_floor = "build-time"\n')
    assert told_the_time() == NOW


def test_a_bad_image_leaves_a_set_that_cannot_boot(tmp_path: Path) -> None:
    """Set B was the system to fall back to; the new root image is cut short."""
    cut = release("1.1.0").packed["root"][:-4000]
    repository = publish("1.0.0", "1.1.0", broken={target_name("1.1.0", "root"): cut})
    host = Host.install(tmp_path / "host", "1.0.0", shipped_root=repository.shipped_root)
    set_flags(host.disk, BOOT_B, Flags(1, 0, True))
    with pytest.raises(StreamInvalid):
        host.update(repository)
    assert both(host) == FRESH
    assert host.boot() == "1.0.0"
    with pytest.raises(NotMarkedValid):
        host.update_apply()


def test_a_download_that_fails_can_be_started_again(host: Host, repository: Repository) -> None:
    run = Run(host, repository)
    root = next(name for name in repository.target_files if name.endswith("1.1.0-root.lz4"))
    run.transport.answers[root] = DownloadFailed(root, "connection reset")
    with pytest.raises(DownloadFailed):
        run.update()
    assert both(host) == FRESH
    run.transport.answers.clear()
    assert run.update().result is Result.APPLIED
    assert not host.paths.journal.exists()
    assert host.boot() == "1.1.0"


def test_a_failing_rehearsal_stops_the_flip(host: Host, repository: Repository) -> None:
    def failing(paths: Any, version: Any, **_: object) -> None:  # noqa: ANN401
        assert paths == host.paths
        raise RehearsalFailed(version, "migrate_v1.1.0_greeting.toml.lz4 failed")

    run = Run(host, repository, rehearse=failing)
    with pytest.raises(RehearsalFailed, match=r"refusing to update to 1\.1\.0: rehearsing its"):
        run.update()
    assert both(host) == FRESH
    assert load_attempts(host.paths.attempts).staged is None


@pytest.mark.parametrize("why", ["switched off", "no settings yet", "no migrations on the path"])
def test_a_rehearsal_that_makes_no_sense_is_not_made(
    why: str, host: Host, repository: Repository
) -> None:
    if why == "switched off":
        config = host.paths.root / "etc/updog.toml"
        config.write_text(config.read_text() + "rehearse_migrations = false\n")
    elif why == "no settings yet":
        host.paths.datastore.unlink()
    else:
        (host.paths.root / "etc/os-release").write_text("VARIANT_ID=demo\nVERSION_ID=2.0.0\n")
        publish("1.0.0", "1.1.0", "2.1.0", repository=repository)

    def rehearse(*_: object, **__: object) -> None:
        raise AssertionError(why)

    assert Run(host, repository, rehearse=rehearse).update().result is Result.APPLIED


def test_a_signal_while_images_are_written(host: Host, repository: Repository) -> None:
    """The event is set by the signal's handler, and the pipeline stops in order."""
    run = Run(host, repository)

    def interrupted(*arguments: Any, **more: Any) -> None:  # noqa: ANN401
        more["cancel"].set()
        install_images(*arguments, **more)

    host.install_images = interrupted
    with pytest.raises(Interrupted):
        run.update()
    assert both(host) == FRESH
    host.install_images = install_images
    assert Run(host, repository).update().result is Result.APPLIED


def test_a_signal_during_the_rehearsal_still_stops(host: Host, repository: Repository) -> None:
    run = Run(host, repository)
    run.rehearse = lambda *_, **__: run.interrupt.event.set()
    with pytest.raises(Interrupted, match="interrupted while rehearsing migrations"):
        run.update()
    assert both(host) == FRESH


def test_a_signal_after_the_last_byte_still_stops(host: Host, repository: Repository) -> None:
    run = Run(host, repository)

    def interrupted(*arguments: Any, **more: Any) -> None:  # noqa: ANN401
        install_images(*arguments, **more)
        run.interrupt.event.set()

    host.install_images = interrupted
    with pytest.raises(Interrupted, match="interrupted while"):
        run.update()
    assert both(host) == FRESH


class Full(Quiet):
    """A full file system at one place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def open(self, path: Any, flags: int, mode: int = 0o600, *, dir_fd: int | None = None) -> int:  # noqa: ANN401
        if self.place in str(path) and flags & 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return super().open(path, flags, mode, dir_fd=dir_fd)


@pytest.mark.parametrize(
    "place", ["bottlerocket-migrations", "bottlerocket-metadata", "updog/metadata", "updog/lock"]
)
def test_a_full_var_is_one_clear_line_and_an_untouched_disk(
    place: str, host: Host, repository: Repository
) -> None:
    set_flags(host.disk, BOOT_B, Flags(1, 0, True))
    before = host.disk.read_bytes()
    host.kernel = Full(place)
    with pytest.raises(WriteFailed, match=f"cannot write .*{place}.*: No space left on device"):
        host.update(repository)
    assert host.disk.read_bytes() == before


def test_a_record_that_cannot_be_written_stops_before_the_set_is_valid(
    host: Host, repository: Repository
) -> None:
    host.kernel = Full("attempts.json")
    with pytest.raises(WriteFailed, match=r"attempts\.json"):
        host.update(repository)
    assert both(host) == FRESH


# Versions that do not come up.


def fall_back(host: Host) -> None:
    """The new system starts, does not come up, and the boot loader goes back."""
    assert bootloader.boot(host.disk) == "B"
    assert host.boot() == "1.0.0"


def test_a_version_that_did_not_come_up_is_not_tried_again(
    host: Host, repository: Repository
) -> None:
    host.update(repository)
    fall_back(host)
    assert host.check_update(repository) is None
    host.install_images = no_images
    outcome = host.update(repository)
    assert outcome.result is Result.NOTHING
    assert "1.1.0: it failed to boot once" in outcome.note
    assert "--image 1.1.0 tries it again" in outcome.note
    assert load_attempts(host.paths.attempts).failures["1.1.0"].count == 1


def test_a_check_keeps_the_verdict(host: Host, repository: Repository) -> None:
    """Whatever happens to the set afterwards, it is known that the version failed."""
    host.update(repository)
    fall_back(host)
    host.check_update(repository)
    host.signpost(BootState.clear_inactive)
    assert host.update(repository).result is Result.NOTHING


def test_a_check_beside_a_running_update_decides_without_keeping(
    host: Host, repository: Repository
) -> None:
    host.update(repository)
    fall_back(host)
    with only_updater(host.environment()):
        assert host.check_update(repository) is None
    assert load_attempts(host.paths.attempts).failures == {}


def test_the_operator_can_have_it_tried_again(host: Host, repository: Repository) -> None:
    host.update(repository)
    fall_back(host)
    assert host.update(repository, image="1.1.0").result is Result.APPLIED
    fall_back(host)
    assert host.update(repository).result is Result.NOTHING
    assert load_attempts(host.paths.attempts).failures["1.1.0"].count == 2


def test_a_newer_version_is_tried(host: Host, repository: Repository) -> None:
    host.update(repository)
    fall_back(host)
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
    assert host.update(repository).result is Result.APPLIED
    assert host.boot() == "2.0.0"
    host.signpost(BootState.mark_successful_boot)
    assert host.check_update(repository) is None


def test_as_many_attempts_as_the_host_allows(host: Host, repository: Repository) -> None:
    config = host.paths.root / "etc/updog.toml"
    config.write_text(config.read_text() + "max_attempts = 2\n")
    for _ in range(2):
        assert host.update(repository).result is Result.APPLIED
        fall_back(host)
    assert host.update(repository).result is Result.NOTHING


def test_the_reason_that_health_checks_left_is_told(host: Host, repository: Repository) -> None:
    host.update(repository)
    fall_back(host)
    health = host.paths.root / "var/lib/signpost/health.json"
    health.parent.mkdir()
    record = {
        "set": "B", "version": "1.1.0", "boot_id": "b", "at": "2026-03-01T12:30:00+00:00",
        "passed": False, "reason": "network.sh failed: no route", "decision": "", "checks": [],
    }  # fmt: skip
    health.write_text(json.dumps({
        "format": 1, "boots": [record], "probation": ["", ""], "clean_reboots": 0,
        "expected_set": "",
    }))  # fmt: skip
    health.chmod(0o600)
    assert "(network.sh failed: no route)" in host.update(repository).note


def test_tries_are_as_many_as_configured(host: Host, repository: Repository) -> None:
    config = host.paths.root / "etc/updog.toml"
    config.write_text(config.read_text() + "tries = 3\n")
    host.update(repository)
    assert flags(host.disk, BOOT_B) == Flags(2, 3, False)
    host.install_images = no_images
    assert host.update(repository).result is Result.ALREADY
    assert [bootloader.boot(host.disk) for _ in range(4)] == ["B", "B", "B", "A"]
    assert host.update(repository).result is Result.NOTHING


# One at a time.


def test_a_second_updater_is_turned_away(host: Host, repository: Repository) -> None:
    before = untouched(host)
    with only_updater(host.environment()), pytest.raises(UpdateInProgress) as caught:
        host.update(repository)
    assert "an update is already running" in str(caught.value)
    assert untouched(host) == before


def test_two_roots_with_one_disk_exclude_each_other(
    tmp_path: Path, host: Host, repository: Repository
) -> None:
    other = host.copy(tmp_path / "other")
    other.disk.unlink()
    other.disk.symlink_to(host.disk)
    location = Location(host.disk, Slot.A, is_image=True)
    with (
        BootDisk.open(location, writable=True, wait_seconds=0),
        pytest.raises(LockHeld, match="is at work on it"),
    ):
        other.update(repository)
    assert both(host) == FRESH


def test_a_rollback_during_an_update_is_turned_away(host: Host, repository: Repository) -> None:
    """From the first write to the last: it would make a half-written set the next to boot."""
    set_flags(host.disk, BOOT_B, Flags(1, 0, True))
    location = Location(host.disk, Slot.A, is_image=True)
    boots_next: list[str | None] = []

    def rolling_back(*_: object, **__: object) -> None:
        with (
            pytest.raises(LockHeld, match="is at work on it"),
            BootDisk.open(location, writable=True, wait_seconds=0) as disk,
        ):
            disk.store(disk.state.rollback_to_inactive())
        boots_next.append(bootloader.next_boot(host.disk))

    def between(jobs: Any, transport: Any, **more: Any) -> None:  # noqa: ANN401
        rolling_back()
        install_images(jobs, transport, **more)

    host.install_images = between
    Run(host, repository, rehearse=rolling_back).update()
    assert boots_next == ["A", "A"]
    assert both(host) == APPLIED


def test_signpost_shows_the_disk_while_an_update_runs(host: Host, repository: Repository) -> None:
    seen: list[Slot | None] = []

    def looking(*arguments: Any, **more: Any) -> None:  # noqa: ANN401
        with host.boot_disk() as disk:
            seen.append(disk.state.next_slot())
        install_images(*arguments, **more)

    host.install_images = looking
    host.update(repository)
    assert seen == [Slot.A]


def test_the_images_of_the_set_are_the_releases(host: Host, repository: Repository) -> None:
    host.update(repository)
    data = host.disk.read_bytes()
    # Partitions 5, 6 and 7 as `make_disk` lays them out: after 1 + 1 + 4 + 1 + 1 MiB.
    places = {"boot": 8 << 20, "root": 9 << 20, "hash": 13 << 20}
    for part in PARTS:
        plain = release("1.1.0").plain[part]
        assert data[places[part] : places[part] + len(plain)] == plain
