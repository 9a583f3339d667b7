"""Names of targets, where they become a path, a file name or part of a URL."""

from __future__ import annotations

import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog.errors import UnsafeTargetName
from updog.targets import Target, name_problem

DIGEST = "c14aeb4ac9f4a8fc0d83d12482b9197452f6adf3eb710e3b1e2b79e8d14cb681"


def target(name: str, **hashes: str) -> Target:
    return Target(name, 1, hashes or {"sha256": DIGEST})


def test_the_example_of_the_specification() -> None:
    """TUF specification 6.2: c14aeb…681.foobar.tar.gz, and in a directory before the last part."""
    assert target("foobar.tar.gz").file_name() == f"{DIGEST}.foobar.tar.gz"
    assert target("foobar.tar.gz").url_path() == f"{DIGEST}.foobar.tar.gz"
    assert target("dir/foobar.tar.gz").url_path() == f"dir/{DIGEST}.foobar.tar.gz"


def test_without_consistent_snapshots() -> None:
    assert Target("a/b", 1, {"sha256": DIGEST}, prefixed=False).url_path() == "a/b"


def test_sha256_names_the_file_where_it_is_listed() -> None:
    assert target("f", sha512="aa", sha256="bb").file_name() == "bb.f"
    assert target("f", sha512="aa").file_name() == "aa.f"


@pytest.mark.parametrize(
    "name, path",
    [
        ("migrate_v1.2.3+build_x.lz4", "migrate_v1.2.3+build_x.lz4"),
        ("a b", "a%20b"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("a%20b", "a%20b"),
        ("ä", "%C3%A4"),
        ("[x]", "%5Bx%5D"),
    ],
)
def test_urls(name: str, path: str) -> None:
    assert target(name).url_path() == f"{DIGEST}.{path}"


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a/./b", "a\\b",
        "a\0b", "a\nb", "\x1b[31m", "\u202e", "%2e%2e/x", "a/%2E%2e/x", "..%2fx", "%2fetc/passwd",
        "a%5c..", ".", "%2e",
    ],
)  # fmt: skip
def test_names_that_lead_astray(name: str) -> None:
    assert name_problem(name) is not None
    with pytest.raises(UnsafeTargetName):
        target(name).relative_path()
    with pytest.raises(UnsafeTargetName):
        target(name).file_name()


def test_a_cached_file_is_one_file_in_one_directory() -> None:
    with pytest.raises(UnsafeTargetName, match="it names a directory"):
        target("a/b").file_name()
    assert target("x" * 190).file_name()
    with pytest.raises(UnsafeTargetName, match="longer than 255 bytes"):
        target("x" * 191).file_name()
    with pytest.raises(UnsafeTargetName, match="longer than 255 bytes"):
        target("ä" * 96).file_name()


class TestAnyName:
    """Whatever a name holds, its URL path stays below the base and holds no query."""

    PIECES = (*string.punctuation, "a", "9", " ", "ä", "..", "%2e", "%2F", "%c3", "%")

    @given(st.lists(st.sampled_from(PIECES)).map("".join))
    def test_below_the_base(self, name: str) -> None:
        try:
            path = target(name).url_path()
        except UnsafeTargetName:
            return
        assert set(path) <= set(string.ascii_letters + string.digits + "/!$&'()*+,;=:@-._~%")
        assert not path.startswith("/")
        assert ".." not in unquote(path).split("/")


@pytest.mark.parametrize("length, hashes", [(-1, {"sha256": DIGEST}), (1, {})])
def test_no_target_without_a_length_and_a_digest(length: int, hashes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="needs a length and at least one digest"):
        Target("f", length, hashes)
