"""Every error as its user reads it: one line that says what, to what, and why."""

from __future__ import annotations

import pytest

from updog import errors
from updog.errors import UpdogError
from updog.versions import parse_version

OLD, NEW = parse_version("1.0.0"), parse_version("1.1.0")
URL = "https://updates.example.com/metadata/timestamp.json"

RENDERED: list[tuple[UpdogError, str]] = [
    (
        errors.ConfigInvalid("/etc/updog.toml", "sed", "unknown key, did you mean seed?"),
        "cannot use the configuration /etc/updog.toml: sed: unknown key, did you mean seed?",
    ),
    (
        errors.ConfigInvalid("/etc/updog.toml", None, "No such file or directory"),
        "cannot use the configuration /etc/updog.toml: No such file or directory",
    ),
    (
        errors.ReleaseInvalid("/etc/os-release", "VERSION_ID", "missing"),
        "cannot tell which release this host runs from /etc/os-release: VERSION_ID: missing",
    ),
    (
        errors.ManifestInvalid("updates[3].version", "'1.0' is not a version such as 1.2.3"),
        "cannot use the manifest: updates[3].version: '1.0' is not a version such as 1.2.3",
    ),
    (
        errors.ManifestInvalid("", "it is not JSON: Expecting value"),
        "cannot use the manifest: it is not JSON: Expecting value",
    ),
    (
        errors.NoUpdateAvailable("this host runs 1.0.0, there is none newer"),
        "no update available: this host runs 1.0.0, there is none newer",
    ),
    (
        errors.NoSuchUpdate(NEW, "it is above max_version 1.0.0"),
        "cannot update to 1.1.0: it is above max_version 1.0.0",
    ),
    (
        errors.NoMigrationPath(OLD, NEW),
        "refusing to go from 1.0.0 to 1.1.0: the manifest has no migration path",
    ),
    (
        errors.UpdateInProgress(4242),
        "cannot start: an update is already running (process 4242)",
    ),
    (
        errors.UpdateInProgress(None),
        "cannot start: an update is already running (another process)",
    ),
    (
        errors.RehearsalFailed(NEW, "migrate_v1.1.0_x.lz4 crashed"),
        "refusing to update to 1.1.0: rehearsing its migrations: migrate_v1.1.0_x.lz4 crashed",
    ),
    (
        errors.RebootRefused("disk.img is a disk image, this host does not run from it"),
        "refusing --reboot: disk.img is a disk image, this host does not run from it",
    ),
    (
        errors.RebootFailed("shutdown -r now ended with 4"),
        "cannot reboot: shutdown -r now ended with 4",
    ),
    (errors.DownloadFailed(URL, "it stalled"), f"cannot download {URL}: it stalled"),
    (errors.NotFound(URL, "404 Not Found"), f"cannot download {URL}: 404 Not Found"),
    (errors.Forbidden(URL, "403 Forbidden"), f"cannot download {URL}: 403 Forbidden"),
    (errors.CannotResume(URL, "another file"), f"cannot download {URL}: another file"),
    (
        errors.AddressInvalid("it names no host"),
        "refusing the repository's address: it names no host",
    ),
    (
        errors.BundleInvalid("update.zip", "it is not a ZIP"),
        "cannot use the bundle update.zip: it is not a ZIP",
    ),
    (
        errors.ClockNotSet("1970-01-01T00:00:07Z"),
        (
            "cannot tell whether metadata has expired: this clock says 1970-01-01T00:00:07Z, "
            "it is not set"
        ),
    ),
    (
        errors.RepositoryInvalid("https://updates.example.com/", "snapshot", "wrongly signed"),
        "refusing the snapshot metadata of https://updates.example.com/: wrongly signed",
    ),
    (
        errors.MetadataExpired(
            "https://updates.example.com/",
            "timestamp",
            "2026-01-01T00:00:00Z",
            "2026-02-01T00:00:00Z",
        ),
        (
            "refusing the timestamp metadata of https://updates.example.com/: it expired on "
            "2026-01-01T00:00:00Z; this clock says 2026-02-01T00:00:00Z"
        ),
    ),
    (
        errors.NoSuchTarget("https://updates.example.com/", "manifest.json"),
        "https://updates.example.com/ lists no target 'manifest.json'",
    ),
    (
        errors.UnsafeTargetName("../x", "it steps outside its directory"),
        "refusing target name '../x': it steps outside its directory",
    ),
    (
        errors.StreamInvalid("root.lz4", "it ends after 7 bytes, expected 9"),
        "refusing root.lz4: it ends after 7 bytes, expected 9",
    ),
    (
        errors.ImageMismatch("root.lz4", "/dev/sda6", "block 7 differs"),
        "cannot trust root.lz4 on /dev/sda6: block 7 differs",
    ),
    (errors.Interrupted("checking metadata"), "interrupted while checking metadata"),
]


@pytest.mark.parametrize("error, told", RENDERED, ids=lambda each: type(each).__name__)
def test_an_error_is_one_line(error: UpdogError, told: str) -> None:
    assert str(error) == told
    assert "\n" not in told
    assert not told.endswith(".")


def subclasses(base: type[UpdogError]) -> set[type[UpdogError]]:
    return {each for direct in base.__subclasses__() for each in {direct, *subclasses(direct)}}


def test_none_is_left_out() -> None:
    ours = {each for each in subclasses(UpdogError) if each.__module__ == errors.__name__}
    assert {type(error) for error, _ in RENDERED} == ours
    for each in ours:
        assert f" {each.__name__}\n" in f"{errors.__doc__}\n"


def test_only_a_check_without_an_update_ends_with_3() -> None:
    codes = {type(error).__name__: error.exit_code for error, _ in RENDERED}
    assert codes.pop("NoUpdateAvailable") == 3
    assert set(codes.values()) == {1}
