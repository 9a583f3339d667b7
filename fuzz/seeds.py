"""Make the seed corpus with the tools that hosts and owners use: `python -m fuzz.seeds`.

Seeds are small, valid or nearly so, and committed; making them again needs sgdisk, veritysetup and
lz4. Their bytes are not reproducible (GUIDs, salts), their meaning is.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS: Final = Path(__file__).parent / "corpus"

_KIB = 1024
_BOOT = "6b636168-7420-6568-2070-6c616e657421"
_ROOT = "5526016a-1a97-4ea4-b39a-b7c8c6ca4502"
_HASH = "598f10af-c955-4456-6a99-7720068a6cea"
_PRIVATE = "440408bb-eb0b-4328-a6e5-a29038fad706"

_ADDRESSES = 'metadata_base_url = "https://u.example/m"\ntargets_base_url = "file:///t"\n'
_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


def main() -> None:
    """Write every seed into `fuzz/corpus/<target>/`."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        for target, name, data in (
            *_gpt(work),
            *_verity(work),
            *_lz4(work),
            *_manifests(),
            *_texts(),
        ):
            place = CORPUS / target
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)


def _run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def _gpt(work: Path) -> Iterator[tuple[str, str, bytes]]:
    disk = work / "disk"
    layouts = {
        "two-sets": [_BOOT, _ROOT, _HASH, _BOOT, _ROOT, _HASH, _PRIVATE],
        "one-set": [_BOOT, _ROOT, _HASH, _PRIVATE],
        "wrong-order": [_BOOT, _HASH, _ROOT, _BOOT, _ROOT, _HASH, _PRIVATE],
    }
    for name, types in layouts.items():
        disk.write_bytes(bytes(48 * _KIB))
        _run("sgdisk", "-a", "1", *(f"-n{n}:0:+1" for n, _ in enumerate(types, 1)), disk)
        _run("sgdisk", *(f"-t{n}:{guid}" for n, guid in enumerate(types, 1)), disk)
        _run("sgdisk", "-A", "1:=:0101000000000000", disk)
        data = disk.read_bytes()
        # The first byte is the fuzz target's own: sector size, and whether checksums are repaired.
        yield "gpt", f"{name}-sgdisk", b"\1" + data
        small = _with_fewer_entries(data)
        yield "gpt", name, b"\x82" + small
        yield "gpt", f"{name}-unknown-sector-size", b"\0" + small
        yield "gpt", f"{name}-primary-gone", b"\1" + small[:512] + bytes(512) + small[1024:]


def _with_fewer_entries(disk: bytes) -> bytes:
    """The same table with 8 entries on 44 sectors, which a fuzzer gets around in."""
    small, sectors, array = bytearray(44 * 512), 44, disk[1024 : 1024 + 8 * 128]
    for my_lba, other_lba, entries_lba in ((1, 43, 2), (43, 1, 41)):
        header = bytearray(disk[512:1024])
        struct.pack_into("<QQQQ", header, 24, my_lba, other_lba, 4, sectors - 4)
        struct.pack_into("<QI", header, 72, entries_lba, 8)
        header[88:92] = zlib.crc32(array).to_bytes(4, "little")
        header[16:20] = bytes(4)
        header[16:20] = zlib.crc32(header[:92]).to_bytes(4, "little")
        small[my_lba * 512 : my_lba * 512 + 512] = header
        small[entries_lba * 512 : entries_lba * 512 + len(array)] = array
    return bytes(small)


def _verity(work: Path) -> Iterator[tuple[str, str, bytes]]:
    root, tree = work / "root", work / "tree"
    root.write_bytes(bytes(range(256)) * 16 * 300)
    for name, salt in {"salted": "aa" * 32, "unsalted": "-", "long-salt": "5a" * 256}.items():
        _run("veritysetup", "format", f"--salt={salt}", root, tree)
        yield "verity", name, tree.read_bytes()[:512]
    _run("veritysetup", "format", "--hash=sha512", root, tree)
    yield "verity", "sha512", tree.read_bytes()[:512]


def _lz4(work: Path) -> Iterator[tuple[str, str, bytes]]:
    plain, packed = work / "plain", work / "packed"
    options = {
        "ours": ["-9", "-BI", "-B4", "--content-size"],
        "linked": ["-BD", "-B4"],
        "checksums": ["-BX", "-B5"],
        "no-frame-checksum": ["--no-frame-crc"],
        "legacy": ["-l"],
    }
    text = b"".join(b"line %d of a file that compresses well\n" % n for n in range(2500))
    plain.write_bytes(text)
    frames = {}
    for name, chosen in options.items():
        _run("lz4", "-q", "-f", *chosen, plain, packed)
        frames[name] = packed.read_bytes()
        yield "lz4", name, b"\x20" + frames[name]
        yield "lz4", f"{name}-cut", b"\x20" + frames[name][:-9]
    skippable = bytes.fromhex("502a4d1805000000") + b"hello"
    yield "lz4", "skippable-between", b"\x07" + frames["ours"] + skippable + frames["linked"]
    yield "lz4", "trailing", b"\x07" + frames["ours"] + b"trailing"
    plain.write_bytes(b"")
    _run("lz4", "-q", "-f", plain, packed)
    yield "lz4", "empty", b"\x00" + packed.read_bytes()
    plain.write_bytes(bytes(12 << 20))
    _run("lz4", "-q", "-f", "-9", "-BI", "-B7", plain, packed)
    yield "lz4", "bomb", b"\xff" + packed.read_bytes()


def _manifests() -> Iterator[tuple[str, str, bytes]]:
    update = {
        "variant": "aws-k8s-1.15",
        "arch": "x86_64",
        "version": "0.4.1",
        "max_version": "0.4.1",
        "waves": {"0": "2020-07-01T00:00:00Z", "102": "2020-07-02T00:00:00Z"},
        "images": {"boot": "b.ext4.lz4", "root": "r.ext4.lz4", "hash": "r.verity.lz4"},
    }
    steps = {"(0.3.4, 0.4.0)": [], "(0.4.0, 0.4.1)": ["migrate_v0.4.1_add-version-lock.lz4"]}
    good = {"updates": [update], "migrations": steps, "of-another-age": {"kept": [1, 2.5, None]}}
    twice = '{"updates": [], "updates": [], "migrations": {}}'
    yield "manifest", "good", json.dumps(good, indent=1).encode()
    yield "manifest", "empty", b'{"updates": [], "migrations": {}}'
    yield "manifest", "a-key-twice", twice.encode()
    yield "manifest", "deep", b'{"updates": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    yield "manifest", "huge-number", b'{"updates": [], "x": ' + b"9" * 5000 + b"}"
    yield "manifest", "infinite", b'{"updates": [], "x": 1e999, "y": -0.0}'
    yield "manifest", "half-a-surrogate", b'{"updates": [], "\\ud800": 1}'


def _texts() -> Iterator[tuple[str, str, bytes]]:
    texts = {
        "version": [
            "1.2.3",
            "v1.2.3-rc.1+build.7",
            "01.2.3",
            "1.2",
            "1.2.3-",
            "18446744073709551616.0.0",
        ],
        "wave-time": [
            "2020-07-01T00:00:00Z",
            "2020-06-30 23:59:60.123456789+23:59",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:60Z",
            "2047",
            "00",
        ],
        "key-name": ['settings."a.b".c', "settings.motd", r'"\"\\"', "a%2Eb.c%25", "%C3%A4", "é.ü"],
        "target-name": ["boot.ext4.lz4", "dir/x", "../x", "%2e%2e/x", "a%2Fb", "x" * 200, "a\0b"],
        "release": [
            "VARIANT_ID=demo\nVERSION_ID=1.2.3\n",
            'VARIANT_ID="de\\"mo"\nVERSION_ID=\'1.2.3\'\n# x\n',
            "VARIANT_ID=a\nVARIANT_ID=b\nVERSION_ID=1\n",
            "VARIANT_ID='open\n",
        ],
        "config": [
            f"{_ADDRESSES}seed = 17\n",
            f'{_ADDRESSES}seed = 2047\nversion_lock = "v1.2.3"\nno_proxy = ["a"]\ntries = 15\n',
            "seed = 2048\nseeed = 1\n",
            "a = " + "[" * 3000,
            "x = 1979-05-27T07:32:00Z\n",
        ],
    }
    chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    texts |= {
        "http-answer": [
            f'\x00200 OK\nContent-Length:10\nETag:"tag"\nLast-Modified:{_DATE}\nDate:{_DATE}',
            '\x07206 Partial Content\nContent-Range:bytes 5-9/10\nContent-Length:5\nETag:"tag"',
            f"\x00200 OK\nLast-Modified:Mon, 01 Jan {10**20} 00:00:00 GMT\nDate:{_DATE}",
            "\x03416 Range Not Satisfiable\nContent-Range:bytes */10",
            f"\x02503 Busy\nRetry-After:{_DATE}\nDate:{_DATE}",
            "\x01200 OK\nContent-Encoding:gzip\nTransfer-Encoding:chunked",
        ],
        "http-body": [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            f"{chunked}5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
            f"{chunked}-5\r\nhello",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello",
        ],
        "redirect": [
            "/elsewhere/file?x=1",
            "https://user:pw@mirror.example:8443/a/../file",
            "http://[::1",
            "file:///etc/passwd",
            "//mirror.example",
        ],
    }
    for target, lines in texts.items():
        for number, line in enumerate(lines):
            yield target, f"{number}", line.encode()


if __name__ == "__main__":
    main()
