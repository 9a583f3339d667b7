"""What is fuzzed: each target takes any bytes and must end well.

Ending well means: a value that keeps its promises (it is written again to the same bytes, another
implementation agrees, bounds hold), or a refusal by an exception of the package's own. Everything
else, an exception of another kind or a promise that was broken, is a finding.

The same functions are driven by hypothesis in the test suite and by atheris in `python -m fuzz`.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_DISK_BYTES_MAX: Final = 1 << 20


class BrokenPromise(Exception):
    """The code under test accepted something and then did not do with it what it promises."""


def require(promise: str, *, kept: bool) -> None:
    """Raise unless a promise is kept."""
    if not kept:
        raise BrokenPromise(promise)


# The kernel of each target imports what it needs by itself, so that one target's run neither loads
# nor instruments the packages of the others.


def gpt(data: bytes) -> None:
    """A disk with any content: either no table, or one that survives being written.

    The first byte chooses the sector size and whether checksums are made right, without which
    nothing behind them would ever be reached.
    """
    from partition.errors import InvalidTable, WriteFailed
    from partition.gpt import Write, read_table, write_plan

    choice, disk = data[:1], bytearray(data[1 : 1 + _DISK_BYTES_MAX])
    sector_size = (None, 512, 4096)[(choice or b"\0")[0] % 3]
    if choice and choice[0] & 0x80:
        _make_checksums_right(disk, sector_size or 512)

    def read(offset: int, length: int) -> bytes:
        require("reads stay on the disk", kept=offset >= 0 and length >= 0)
        return bytes(disk[offset : offset + length])

    try:
        found = read_table(read, len(disk), sector_size)
        plan = write_plan(found.table)
    except (InvalidTable, WriteFailed):
        return
    _layout(found.table)
    for step in plan:
        if isinstance(step, Write):
            end = step.offset + len(step.data)
            require("writes stay on the disk", kept=step.offset >= 0 and end <= len(disk))
            disk[step.offset : end] = step.data
    again = read_table(read, len(disk), found.table.sector_size)
    require("what was written is what was read", kept=again.table.entries == found.table.entries)
    require("a written table has no problems", kept=not again.problems)


def _layout(table: object) -> None:
    from partition.gpt import Table
    from signpost.errors import SignpostError
    from signpost.layout import find_layout

    if isinstance(table, Table):
        with contextlib.suppress(SignpostError):
            find_layout(table, disk="fuzz")


def _make_checksums_right(disk: bytearray, sector_size: int) -> None:
    """Seal both headers, as a hostile but careful author would."""
    for header in (sector_size, len(disk) // sector_size * sector_size - sector_size):
        sector = disk[header : header + sector_size]
        if len(sector) < 92 or header < sector_size:
            continue
        sector[:8] = b"EFI PART"
        array = int.from_bytes(sector[72:80], "little") * sector_size
        length = int.from_bytes(sector[80:84], "little") * int.from_bytes(sector[84:88], "little")
        if length <= len(disk):
            sector[88:92] = zlib.crc32(disk[array : array + length]).to_bytes(4, "little")
        size = min(int.from_bytes(sector[12:16], "little"), sector_size)
        sector[16:20] = bytes(4)
        sector[16:20] = zlib.crc32(sector[:size]).to_bytes(4, "little")
        disk[header : header + sector_size] = sector


def verity(data: bytes) -> None:
    """Any bytes as a hash image's superblock: refused, or packed again to the same 512 bytes."""
    from partition import verity as trees
    from partition.errors import VerityError

    try:
        superblock = trees.Superblock.parse(data)
    except VerityError:
        return
    require("a superblock packs to what was parsed", kept=superblock.pack() == data[:512])
    levels = trees.levels(superblock.data_blocks)
    require("a tree has at most 8 levels", kept=len(levels) <= 8)
    require("the top level is one block", kept=not levels or levels[-1].blocks == 1)


def lz4(data: bytes) -> None:
    """Any bytes as a compressed image, cut into pieces by its first byte.

    The reference decoder is asked too: what it accepts must decode to the same here.
    """
    from lz4.frame import LZ4FrameDecompressor

    from updog.errors import StreamInvalid

    step, stream = (data[:1] or b"\0")[0] + 1, data[1:]
    try:
        decoder = LZ4FrameDecompressor()
        expected: bytes | None = decoder.decompress(stream, max_length=64 << 20)
        if not decoder.eof or decoder.unused_data:
            expected = None
    except (RuntimeError, EOFError):
        expected = None
    try:
        decoded = _decode_in_steps(stream, step)
    except StreamInvalid as error:
        # A dictionary is the one thing that is refused although the reference takes it.
        allowed = expected is None or "dictionary" in str(error)
        require(f"a good frame is decoded ({error})", kept=allowed)
        return
    if expected is not None:
        require("both decoders agree", kept=decoded == zlib.crc32(expected))


def _decode_in_steps(stream: bytes, step: int) -> int:
    from updog.decoder import PIECE_SIZE, Decoder
    from updog.lz4block import HISTORY_SIZE, Memory
    from updog.lz4frame import Scanner

    crc = 0

    def take() -> Memory:
        return Memory(HISTORY_SIZE + PIECE_SIZE)

    def give(memory: Memory, length: int) -> None:
        nonlocal crc
        require("pieces are bounded", kept=memory.size <= HISTORY_SIZE + (8 << 20))
        crc = zlib.crc32(memory.view[HISTORY_SIZE : HISTORY_SIZE + length], crc)

    scanner = Scanner("fuzz")
    decoder = Decoder("fuzz", take, give, lambda _: None)
    source = Memory(len(stream) + 1)
    rest = b""
    for start in range(0, len(stream), step * 16):
        chunk = rest + stream[start : start + step * 16]
        source.view[: len(chunk)] = chunk
        scan = scanner.scan(source.view[: len(chunk)])
        require("what is needed is bounded", kept=0 < scan.needed <= (9 << 20))
        decoder.feed(source, scan.events)
        decoder.flush()
        rest = chunk[scan.consumed :]
    scanner.finish(len(rest))
    return crc


def manifest(data: bytes) -> None:
    """Any bytes as a manifest: refused, or written and read again to the same, and usable."""
    from updog.errors import ManifestInvalid, NoMigrationPath
    from updog.manifest import Manifest
    from updog.migrations import find_path
    from updog.waves import Seed, ready_at

    try:
        parsed = Manifest.from_bytes(data)
    except ManifestInvalid:
        return
    written = parsed.to_bytes()
    require("a manifest survives being written", kept=Manifest.from_bytes(written) == parsed)
    require("equal manifests, equal bytes", kept=Manifest.from_bytes(written).to_bytes() == written)
    for update in parsed.updates:
        times = [ready_at(update.waves, Seed(seed)) for seed in (0, 1, 511, 512, 1024, 2047)]
        known = [time for time in times if time is not None]
        require("turns never fall as seeds rise", kept=known == sorted(known))
        require("waves decide for all or for none", kept=len(known) in {0, len(times)})
    for start, end in parsed.migrations:
        with contextlib.suppress(NoMigrationPath):
            find_path(parsed.migrations, start, end)
            find_path(parsed.migrations, end, start)


def version(data: bytes) -> None:
    """Any text as a version: refused by ValueError, or written and read again to the same."""
    from updog.versions import parse_version

    try:
        parsed = parse_version(data.decode(errors="replace"))
    except ValueError:
        return
    require("a version survives being written", kept=parse_version(str(parsed)) == parsed)


def wave_time(data: bytes) -> None:
    """Any text as a time, and as a wave's first seed."""
    from updog.waves import format_time, parse_key, parse_time

    text = data.decode(errors="replace")
    with contextlib.suppress(ValueError):
        moment = parse_time(text)
        require("a time survives being written", kept=parse_time(format_time(moment)) == moment)
    with contextlib.suppress(ValueError):
        require("a seed is 32 bits", kept=0 <= parse_key(text) < 1 << 32)


def release(data: bytes) -> None:
    """Any text as os-release: assignments that a shell would make, on one line each."""
    from updog.release import parse_os_release

    for name, value in parse_os_release(data.decode(errors="replace")).items():
        require("names are names", kept=name.isidentifier() and name.isupper())
        require("a value is a line", kept=len(value.splitlines()) <= 1)


def config(data: bytes) -> None:
    """Any bytes as the configuration: refused with the key's name, or within its ranges."""
    from pathlib import Path

    from updog.config import parse_config
    from updog.errors import ConfigInvalid

    try:
        parsed = parse_config(data, Path("updog.toml"))
    except ConfigInvalid:
        return
    require("seeds are 0 to 2047", kept=0 <= parsed.seed < 2048)
    require("tries are 1 to 15", kept=1 <= parsed.tries <= 15)


def key_name(data: bytes) -> None:
    """Any text as the name of a setting, and as a file name: both ways and back."""
    from migrator import keys
    from migrator.errors import KeyInvalid

    text = data.decode(errors="surrogateescape")
    with contextlib.suppress(KeyInvalid):
        segments = keys.parse(text)
        require(
            "a name's canonical spelling is the same key",
            kept=keys.parse(keys.canonical(text)) == segments,
        )
        path = keys.path_of(segments)
        back = tuple(keys.decode(name) for name in path.split("/"))
        require("a key survives its file name", kept=back == segments)
    with contextlib.suppress(KeyInvalid):
        segment, metadata = keys.split_file_name(text)
        encoded = keys.encode(segment) + ("" if metadata is None else f".{keys.encode(metadata)}")
        require("one file name for one key", kept=encoded == text)


def target_name(data: bytes) -> None:
    """Any text as a target's name: never a file outside its directory, nor a URL that climbs."""
    from urllib.parse import unquote

    from updog.errors import UnsafeTargetName
    from updog.targets import Target

    target = Target(data.decode(errors="surrogateescape"), 1, {"sha256": "0" * 64})
    with contextlib.suppress(UnsafeTargetName):
        name = target.file_name()
        require("a file name is flat", kept="/" not in name and "\0" not in name)
        require("a file name fits", kept=len(name.encode()) <= 255)
    with contextlib.suppress(UnsafeTargetName):
        path = unquote(target.url_path())
        require(
            "a URL stays below its base",
            kept=not path.startswith("/") and ".." not in path.split("/"),
        )


def http_answer(data: bytes) -> None:
    """Any status and headers: taken within the limits, or refused.

    The first byte chooses what is known of the file and how much of it is here, the first line is
    the status, the others are headers.
    """
    from updog.errors import DownloadFailed
    from updog.http_answers import Unsuitable, Wanted, judge
    from updog.retries import Broken

    choice = (data[:1] or b"\0")[0]
    status, *lines = data[1:].decode("latin-1").split("\n")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    position = (0, 5)[choice & 1]
    length = (None, 10)[choice >> 1 & 1]
    told = headers.get("Content-Length", "")
    wanted = Wanted(
        shown="fuzz",
        position_bytes=position,
        length_bytes=length,
        max_bytes=length or 100,
        validator=(None, '"tag"')[choice >> 2 & 1],
        unless=(None, '"tag"')[choice >> 3 & 1],
        digest_is_known=length is not None,
    )
    code = int(status[:3]) if status[:3].isascii() and status[:3].isdecimal() else 200
    body = int(told[:18]) if told.isascii() and told[:18].isdecimal() else None
    try:
        accepted = judge(code, "", headers, body, wanted)
    except (Broken, DownloadFailed, Unsuitable):
        return
    if accepted.not_modified:
        return
    require("nothing is longer than it may be", kept=(accepted.length_bytes or 0) <= 100)
    require("a length that is known stays", kept=length in {None, accepted.length_bytes})
    require("what is here is all that is skipped", kept=accepted.skip_bytes in {0, position})


def redirect(data: bytes) -> None:
    """Any text as the place that a redirect leads to: refused, or the web, without a password."""
    from urllib.parse import urlsplit

    from updog.addresses import redirected
    from updog.errors import AddressInvalid

    with contextlib.suppress(AddressInvalid):
        url = redirected("https://repo.example/base/file?seed=1", data.decode("latin-1"))
        parts = urlsplit(url)
        require("https stays https", kept=parts.scheme == "https")
        require("nobody else's credentials", kept="@" not in parts.netloc)


def http_body(data: bytes) -> None:
    """Any bytes as a whole answer: a body of as many bytes as came at most, or an error."""
    import http.client
    import io

    from updog.http_connection import Body

    class Wire:
        def makefile(self, _mode: str) -> io.BufferedReader:
            return io.BufferedReader(io.BytesIO(data))

    view, received = memoryview(bytearray(64)), 0
    with (
        contextlib.closing(Body(Wire(), method="GET")) as body,  # type: ignore[arg-type]
        contextlib.suppress(http.client.HTTPException, OSError),
    ):
        body.begin()
        while count := body.receive(view):
            received += count
            require("what was received came", kept=received <= len(data))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        gpt,
        verity,
        lz4,
        manifest,
        version,
        wave_time,
        release,
        config,
        key_name,
        target_name,
        http_answer,
        http_body,
        redirect,
    )
}
"""Every target by the name it has on the command line and in `fuzz/corpus`."""
