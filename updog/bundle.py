"""A repository in one file: a ZIP that holds `metadata/…` and `targets/<sha256>.<name>`, stored.

For hosts without a network. A bundle is trusted no more than a web server: what it says is verified
by the same workflow, against the same trusted state, so an old bundle is refused as an old
repository is.

It is not a general ZIP. Members must be stored, not compressed, so that a target can be read from
any position and nothing can be larger than the file itself. Refused besides: names twice, names
that are not one file in one of the two directories, members that overlap each other or the
directory at the end, encryption, and a directory too long to be real. Members are read from where
their own headers say, and those must agree with the directory.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from partition.errors import reason
from updog.errors import BundleInvalid, DownloadFailed, NotFound
from updog.local import LocalSource
from updog.targets import name_problem
from updog.transport import Fetched, RepositoryTransport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from updog.targets import Target

# 40,000 members with names of usual length: ten thousand targets and all their metadata.
_MAX_DIRECTORY_BYTES: Final = 8 << 20
# APPNOTE.TXT 4.3.7: signature, 22 bytes that the directory repeats, lengths of name and extra.
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE: Final = b"PK\3\4"
_FLAG_ENCRYPTED: Final = 0x1


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file lies in the bundle."""

    name: str
    start: int
    length_bytes: int


def open_bundle(path: Path) -> RepositoryTransport:
    """Return a transport for a bundle; its directory is checked at once, its contents are not.

    Raises:
        BundleInvalid: It cannot be opened, or see this module.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BundleInvalid(path, reason(error)) from error
    try:
        members = _read_members(path, fd)
    except BaseException:
        os.close(fd)
        raise
    bundle = _Bundle(path, fd, members)
    return RepositoryTransport(_BundleBase(bundle, "metadata"), _BundleBase(bundle, "targets"), {})


class _Bundle:
    """An open bundle; keeps the file open until it is closed."""

    def __init__(self, path: Path, fd: int, members: Mapping[str, Member]) -> None:
        self.path = path
        self._fd = fd
        self._members = members

    def open(self, name: str) -> LocalSource:
        shown = f"{self.path}: {name}"
        member = self._members.get(name)
        if member is None:
            raise NotFound(shown, "the bundle does not hold it")
        if self._fd < 0:
            raise DownloadFailed(shown, "the bundle is closed")
        return LocalSource(os.dup(self._fd), shown, member.start, member.length_bytes, None)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _BundleBase:
    """One of the two directories in a bundle."""

    def __init__(self, bundle: _Bundle, directory: str) -> None:
        self.label = f"{bundle.path}: {directory}/"
        self._bundle = bundle
        self._directory = directory

    def fetch(self, file_name: str, max_bytes: int, validator: str | None) -> Fetched:
        """See `updog.transport.Transport.fetch_metadata`; `validator` is not needed."""
        del validator
        source = self._bundle.open(f"{self._directory}/{unquote(file_name)}")
        return Fetched(source.read_all(max_bytes), None)

    def open(self, target: Target, start_bytes: int, validator: str | None) -> LocalSource:
        """See `updog.transport.Transport.open_target`; any position will do."""
        source = self._bundle.open(f"{self._directory}/{target.relative_path()}")
        return source.starting_at(start_bytes, target.length_bytes, validator)

    def close(self) -> None:
        """Let go of the bundle."""
        self._bundle.close()


class _BoundedFile(io.FileIO):
    """A file of which nobody reads more at once than a real directory takes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has more than {_MAX_DIRECTORY_BYTES} bytes")
        return super().read(size)


def _read_members(path: Path, fd: int) -> dict[str, Member]:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise BundleInvalid(path, "it is not a regular file")
    try:
        with _BoundedFile(fd, closefd=False) as file, zipfile.ZipFile(file) as archive:
            infos, directory_start = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise BundleInvalid(path, f"it is not a ZIP file: {error}") from error
    members: dict[str, Member] = {}
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.is_dir() and info.file_size == 0:
            continue
        problem = _problem(info) or ("twice in it" if info.filename in members else None)
        if problem is not None:
            raise BundleInvalid(path, f"{info.filename!r}: {problem}")
        start = _data_start(path, fd, info)
        if info.header_offset < end or start + info.file_size > directory_start:
            raise BundleInvalid(path, f"{info.filename!r}: it overlaps something else")
        end = start + info.file_size
        members[info.filename] = Member(info.filename, start, info.file_size)
    return members


def _problem(info: zipfile.ZipInfo) -> str | None:
    """Say what is wrong with a member, or None."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        return "compressed, expected stored"
    if info.flag_bits & _FLAG_ENCRYPTED:
        return "encrypted"
    directory, _, name = info.filename.partition("/")
    if info.orig_filename != info.filename or directory not in {"metadata", "targets"}:
        return "neither in metadata/ nor in targets/"
    return name_problem(name)


def _data_start(path: Path, fd: int, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin, by its own header, which must bear the same name."""
    utf8 = 0x800
    name = info.filename.encode("utf-8" if info.flag_bits & utf8 else "cp437")
    # A directory that claims to begin later than it does moves the members before the file.
    place = max(info.header_offset, 0)
    try:
        header = os.pread(fd, _LOCAL_HEADER.size + len(name), place)
    except OSError as error:
        raise BundleInvalid(path, f"{info.filename!r}: {reason(error)}") from error
    if place == info.header_offset and len(header) == _LOCAL_HEADER.size + len(name):
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(header)
        if signature == _LOCAL_SIGNATURE and name_bytes == len(name) and header.endswith(name):
            return info.header_offset + len(header) + int(extra_bytes)
    raise BundleInvalid(path, f"{info.filename!r}: its header says something else")
