"""Repositories in a directory: nothing outside it is ever opened."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from updog.connect import connect
from updog.errors import CannotResume, DownloadFailed, NotFound, UnsafeTargetName
from updog.targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    from updog.transport import RepositoryTransport

DIGEST = "ab" * 32
IMAGE = Target("dir/image", 1000, {"sha256": DIGEST})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A repository whose path needs percent-encoding, and a secret beside it."""
    base = tmp_path / "a repo%41"
    (base / "metadata").mkdir(parents=True)
    (base / "targets/dir").mkdir(parents=True)
    (base / "metadata/timestamp.json").write_bytes(b"{}")
    (base / "targets/dir" / f"{DIGEST}.image").write_bytes(bytes(range(250)) * 4)
    (tmp_path / "secret.json").write_bytes(b"secret")
    return base


@pytest.fixture
def transport(base: Path) -> RepositoryTransport:
    return connect(f"{base.as_uri()}/metadata", f"{base.as_uri()}/targets/")


def test_files_are_read(transport: RepositoryTransport) -> None:
    assert transport.fetch_metadata("timestamp.json", 2).data == b"{}"
    with pytest.raises(DownloadFailed, match="longer than 1 bytes"):
        transport.fetch_metadata("timestamp.json", 1)
    with pytest.raises(NotFound):
        transport.fetch_metadata("1.root.json", 100)
    transport.close()


def test_targets_are_read_from_any_position(transport: RepositoryTransport) -> None:
    with closing(transport.open_target(IMAGE)) as source:
        buffer = memoryview(bytearray(2000))
        assert source.readinto(buffer[:10]) == 10
        assert source.readinto(buffer) == 990
        assert source.readinto(buffer) == 0
        validator = source.validator
    with closing(transport.open_target(IMAGE, start_bytes=998, validator=validator)) as source:
        assert source.readinto(buffer) == 2
        assert bytes(buffer[:2]) == b"\xf8\xf9"


def test_another_file_is_not_continued(transport: RepositoryTransport) -> None:
    with pytest.raises(CannotResume, match="another file there by now"):
        transport.open_target(IMAGE, start_bytes=10, validator='"other"')


def test_another_length_is_refused(transport: RepositoryTransport) -> None:
    with pytest.raises(DownloadFailed, match="it has 1000 bytes, expected 999"):
        transport.open_target(Target("dir/image", 999, {"sha256": DIGEST}))


def test_a_file_that_shrinks_meanwhile(base: Path, transport: RepositoryTransport) -> None:
    with closing(transport.open_target(IMAGE)) as source:
        os.truncate(base / "targets/dir" / f"{DIGEST}.image", 400)
        buffer = memoryview(bytearray(2000))
        assert source.readinto(buffer) == 400
        with pytest.raises(DownloadFailed, match="it ends after 400 of 1000 bytes"):
            source.readinto(buffer)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "..%2fsecret.json",
        "%2e%2e/secret.json",
        "/etc/passwd",
        "x/../../secret.json",
    ],
)
def test_names_do_not_lead_out(transport: RepositoryTransport, name: str) -> None:
    with pytest.raises(NotFound):
        transport.fetch_metadata(name, 1000)


def test_targets_do_not_lead_out(transport: RepositoryTransport) -> None:
    with pytest.raises(UnsafeTargetName):
        transport.open_target(Target("../secret.json", 6, {"sha256": DIGEST}))


def test_links_do_not_lead_out(base: Path, transport: RepositoryTransport) -> None:
    (base / "metadata/1.root.json").symlink_to(base.parent / "secret.json")
    with pytest.raises(DownloadFailed, match="it leads out of the repository"):
        transport.fetch_metadata("1.root.json", 100)
    (base / "metadata/2.root.json").symlink_to("timestamp.json")
    assert transport.fetch_metadata("2.root.json", 100).data == b"{}"


def test_what_is_not_a_file_is_refused(base: Path, transport: RepositoryTransport) -> None:
    """Also what would wait for a writer for ever."""
    os.mkfifo(base / "metadata/1.root.json")
    (base / "metadata/2.root.json").mkdir()
    for name in ("1.root.json", "2.root.json"):
        with pytest.raises(DownloadFailed, match="it is not a regular file"):
            transport.fetch_metadata(name, 100)


def test_the_web_and_a_directory_go_together(base: Path) -> None:
    """Metadata from a disk, targets from a server, as the configuration allows."""
    transport = connect(f"{base.as_uri()}/metadata", "http://repo.invalid/targets")
    assert transport.fetch_metadata("timestamp.json", 100).data == b"{}"
    transport.close()
