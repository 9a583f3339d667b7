"""A repository in one file: read as one on the web is, and every trick of a ZIP refused."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import NOW, Repository
from tests.support.unflushed import Unflushed
from updog.bundle import open_bundle
from updog.errors import BundleInvalid, DownloadFailed, NotFound
from updog.trust import refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from updog.targets import Target
    from updog.transport import Transport

IMAGE = bytes(range(256)) * 1000


@pytest.fixture
def repository() -> Repository:
    repository = Repository()
    repository.add_target("manifest.json", b"{}")
    repository.add_target("root.ext4.lz4", IMAGE)
    repository.publish_all()
    return repository


def members(repository: Repository) -> dict[str, bytes]:
    metadata = {f"metadata/{name}": data for name, data in repository.files.items()}
    return metadata | {f"targets/{name}": data for name, data in repository.target_files.items()}


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def received(transport: Transport, target: Target, *, start: int = 0, step: int = 10_000) -> bytes:
    source = transport.open_target(target, start_bytes=start)
    data, buffer = bytearray(), memoryview(bytearray(step))
    while count := source.readinto(buffer):
        data += buffer[:count]
    source.close()
    return bytes(data)


def test_a_bundle_is_verified_as_a_server_is(repository: Repository, tmp_path: Path) -> None:
    transport = open_bundle(write_zip(tmp_path / "update.zip", members(repository)))
    store = TrustStore(tmp_path / "trusted", tmp_path / "trust.json", kernel=Unflushed())
    trusted = refresh_store(store, repository.shipped_root, transport, NOW)
    assert trusted.read_target("manifest.json", 10) == b"{}"
    target = trusted.target("root.ext4.lz4")
    assert received(transport, target) == IMAGE
    assert received(transport, target, start=255_990) == IMAGE[255_990:]
    assert received(transport, target, start=len(IMAGE)) == b""
    transport.close()


def test_what_is_not_in_it_is_not_found(repository: Repository, tmp_path: Path) -> None:
    transport = open_bundle(write_zip(tmp_path / "update.zip", members(repository)))
    with pytest.raises(NotFound, match="the bundle does not hold it"):
        transport.fetch_metadata("2.root.json", 1000)
    with pytest.raises(DownloadFailed, match="longer than 10 bytes"):
        transport.fetch_metadata("timestamp.json", 10)
    transport.close()


def test_directories_may_be_listed(repository: Repository, tmp_path: Path) -> None:
    files = {"metadata/": b"", "targets/": b""} | members(repository)
    transport = open_bundle(write_zip(tmp_path / "update.zip", files))
    assert transport.fetch_metadata("timestamp.json", 10_000).data
    transport.close()


@pytest.mark.parametrize(
    "name",
    [
        "metadata/../../etc/passwd",
        "../metadata/timestamp.json",
        "/metadata/timestamp.json",
        "metadata//timestamp.json",
        "metadata/./timestamp.json",
        "metadata/%2e%2e/timestamp.json",
        "metadata\\timestamp.json",
        "elsewhere/timestamp.json",
        "timestamp.json",
        "metadata/a\nb",
        "metadata/\x1b[2J",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleInvalid):
        open_bundle(write_zip(tmp_path / "update.zip", {name: b"x"}))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_is_refused(tmp_path: Path, method: int) -> None:
    """A kilobyte of it could become a gigabyte."""
    path = write_zip(tmp_path / "update.zip", {"targets/bomb": bytes(1 << 20)}, method)
    with pytest.raises(BundleInvalid, match="compressed, expected stored"):
        open_bundle(path)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "update.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata/timestamp.json", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("metadata/timestamp.json", b"two")
    with pytest.raises(BundleInvalid, match="twice in it"):
        open_bundle(path)


def two_members() -> bytes:
    """`targets/a` with 4 bytes at 0 and `targets/b` with 4 bytes after it, then the directory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("targets/a", b"AAAA")
        archive.writestr("targets/b", b"BBBB")
    return file.getvalue()


# Offsets in that file by APPNOTE.TXT 4.3: local headers of 30 + 9 bytes with 4 of data each, then
# central headers of 46 + 9 bytes, then the end of 22 bytes.
SECOND_LOCAL = 43
DIRECTORY = 86
SECOND_CENTRAL = DIRECTORY + 55
END = DIRECTORY + 2 * 55


def patched(offset: int, layout: str, *values: int) -> Callable[[bytearray], None]:
    def patch(data: bytearray) -> None:
        struct.pack_into(layout, data, offset, *values)

    return patch


@pytest.mark.parametrize(
    "patch, why",
    [
        (patched(SECOND_CENTRAL + 42, "<I", 0), "its header says something else"),
        (patched(DIRECTORY + 20, "<II", 40, 40), "it overlaps something else"),
        (patched(SECOND_CENTRAL + 20, "<II", 400, 400), "it overlaps something else"),
        (patched(SECOND_CENTRAL + 42, "<I", 5), "its header says something else"),
        (patched(SECOND_LOCAL + 30, "<B", ord("x")), "its header says something else"),
        (patched(SECOND_LOCAL + 28, "<H", 4), "it overlaps something else"),
        (patched(DIRECTORY + 8, "<H", 1), "encrypted"),
        (patched(DIRECTORY + 20, "<I", 3), "compressed"),
        (patched(END + 12, "<I", 0xFFFFFF0), "not a ZIP file"),
        (patched(END, "<I", 0), "not a ZIP file"),
        (patched(END + 16, "<I", DIRECTORY + 100), "its header says something else"),
        (patched(SECOND_CENTRAL + 42, "<I", 0xFFFFFFF0), "its header says something else"),
    ],
    ids=[
        "both at the same header",
        "the first reaches into the second",
        "the second reaches into the directory",
        "no header where it should be",
        "the header has another name",
        "an extra field hides the data",
        "encrypted",
        "two lengths",
        "an endless directory",
        "no end of the directory",
        "a directory that says it begins later",
        "a header far behind the file",
    ],
)
def test_headers_that_disagree_are_refused(
    tmp_path: Path, patch: Callable[[bytearray], None], why: str
) -> None:
    path = tmp_path / "update.zip"
    data = bytearray(two_members())
    path.write_bytes(data)
    open_bundle(path).close()
    patch(data)
    path.write_bytes(data)
    with pytest.raises(BundleInvalid, match=why):
        open_bundle(path)


def test_an_endless_directory_is_not_read(tmp_path: Path) -> None:
    """The file is as long as its directory claims to be, but sparse; reading it would hurt."""
    path = tmp_path / "update.zip"
    data = bytearray(two_members())
    struct.pack_into("<II", data, END + 12, 1 << 30, 0)
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, io.SEEK_END)
        file.write(data[END:])
    with pytest.raises(BundleInvalid, match="its directory has more than 8388608 bytes"):
        open_bundle(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "update.zip"
    whole = two_members()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleInvalid):
            open_bundle(path)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="No such file"):
        open_bundle(tmp_path / "missing.zip")
    with pytest.raises(BundleInvalid, match="not a regular file"):
        open_bundle(tmp_path)


def test_a_target_of_another_length_is_refused(repository: Repository, tmp_path: Path) -> None:
    files = members(repository)
    (name,) = [name for name in files if name.endswith("root.ext4.lz4")]
    transport = open_bundle(write_zip(tmp_path / "update.zip", files | {name: IMAGE[1:]}))
    store = TrustStore(tmp_path / "trusted", tmp_path / "trust.json", kernel=Unflushed())
    trusted = refresh_store(store, repository.shipped_root, transport, NOW)
    with pytest.raises(DownloadFailed, match="it has 255999 bytes, expected 256000"):
        transport.open_target(trusted.target("root.ext4.lz4"))
    transport.close()
