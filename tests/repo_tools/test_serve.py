"""The try-out server answers as a real one does; asked by curl."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from repo_tools.serve import RepositoryServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    base = tmp_path / "served"
    (base / "a").mkdir(parents=True)
    (base / "a" / "file with space").write_bytes(CONTENT)
    (base / "empty").write_bytes(b"")
    (base / ".hidden").write_text("secret")
    (base / "a" / ".dir").mkdir()
    (base / "a" / ".dir" / "x").write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (base / "link").symlink_to(tmp_path / "outside")
    with RepositoryServer(base) as server:
        server.quiet = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def curl(*words: str) -> tuple[int, dict[str, str], bytes]:
    """Ask; give the status, the headers in lower case, and the body."""
    out = subprocess.run(
        ["curl", "-s", "-i", "--path-as-is", *words], check=True, capture_output=True
    ).stdout
    head, _, body = out.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    return int(first.split()[1]), headers, body


def test_a_whole_file(url: str) -> None:
    status, headers, body = curl(f"{url}/a/file%20with%20space?version=1.0.0&seed=5")
    assert (status, body) == (200, CONTENT)
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["accept-ranges"] == "bytes"
    assert headers["etag"].startswith('"')
    status, headers, body = curl(f"{url}/empty")
    assert (status, headers["content-length"], body) == (200, "0", b"")


def test_head(url: str) -> None:
    status, headers, body = curl("-I", f"{url}/a/file%20with%20space")
    assert (status, headers["content-length"], body) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize(
    "asked, first, last",
    [("0-9", 0, 9), ("10000-", 10000, 10239), ("-5", 10235, 10239), ("10230-99999", 10230, 10239)],
)
def test_a_range(url: str, asked: str, first: int, last: int) -> None:
    status, headers, body = curl("-r", asked, f"{url}/a/file%20with%20space")
    assert (status, body) == (206, CONTENT[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/10240"


def test_a_range_that_is_none(url: str) -> None:
    status, headers, _ = curl("-r", "20000-", f"{url}/a/file%20with%20space")
    assert (status, headers["content-range"]) == (416, "bytes */10240")
    for odd in ("bytes=5-2-1", "pages=1-2", "bytes=-", "bytes=0-1,5-6"):
        assert curl("-H", f"Range: {odd}", f"{url}/a/file%20with%20space")[0] == 200


def test_a_range_of_another_file_is_the_whole_file(url: str) -> None:
    etag = curl("-I", f"{url}/a/file%20with%20space")[1]["etag"]
    ask = ["-r", "5-9", f"{url}/a/file%20with%20space"]
    assert curl("-H", f"If-Range: {etag}", *ask)[0] == 206
    assert curl("-H", 'If-Range: "other"', *ask)[0] == 200


def test_what_is_unchanged_is_not_sent(url: str) -> None:
    page = f"{url}/a/file%20with%20space"
    headers = curl("-I", page)[1]
    assert curl("-H", f"If-None-Match: {headers['etag']}", page)[0] == 304
    assert curl("-H", f'If-None-Match: "x", W/{headers["etag"]}', page)[0] == 304
    assert curl("-H", 'If-None-Match: "x"', page)[0] == 200
    assert curl("-z", headers["last-modified"], page)[0] == 304
    assert curl("-H", "If-Modified-Since: yesterday", page)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["nothing", "a", "a/", "", ".hidden", "a/.dir/x", "../outside", "%2e%2e/outside",
     "..%2foutside", "link", "a/%00"],
)  # fmt: skip
def test_what_is_not_there(url: str, path: str) -> None:
    status, _, body = curl(f"{url}/{path}")
    assert (status, body) == (404, b"")


def test_a_connection_stays_open(url: str) -> None:
    out = subprocess.run(
        ["curl", "-s", "-v", "-o", "/dev/null", "-o", "/dev/null", f"{url}/empty", f"{url}/no"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "Re-using existing connection" in out.stderr or "Re-using existing http" in out.stderr


def test_many_at_once(url: str) -> None:
    page = ["-o", "/dev/null", f"{url}/a/file%20with%20space"]
    out = subprocess.run(
        ["curl", "-s", "-Z", "-w", "%{http_code}\n", *page * 12],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert out.stdout.split() == ["200"] * 12
