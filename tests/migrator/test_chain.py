"""The links from `current` to a copy: followed, refused, flipped, collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import chain
from migrator.errors import ChainBroken
from partition.kernel import KERNEL
from tests.migrator.builders import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = "0" * 16, "b" * 16, "C" * 16


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.install("1.5.2", {"live/a": "1"})
    return host


def test_a_chain_is_followed(host: Host) -> None:
    found = chain.read(host.base)
    assert found is not None
    assert found.version == Version(1, 5, 2)
    assert found.links == ("v1", "v1.5", "v1.5.2")
    assert found.path == host.base / "v1.5.2_0123456789abcdef"


@pytest.mark.parametrize("version", ["1.5.2-rc.1", "1.5.2+build.7", "1.5.2-rc.1+build.7", "0.0.0"])
def test_the_version_is_all_of_the_last_link(tmp_path: Path, version: str) -> None:
    host = Host(tmp_path)
    host.install(version, {"live/a": "1"})
    found = chain.read(host.base)
    assert found is not None
    assert str(found.version) == version


def test_several_versions_may_use_one_copy(host: Host) -> None:
    chain.flip(host.base, Version(1, 6, 0), "v1.5.2_0123456789abcdef", KERNEL)
    found = chain.read(host.base)
    assert found is not None
    assert found.version == Version(1, 6, 0)
    assert found.copy == "v1.5.2_0123456789abcdef"


def test_no_datastore_yet(tmp_path: Path) -> None:
    assert chain.read(tmp_path / "absent") is None
    assert chain.read(tmp_path) is None


def test_a_copy_to_which_nothing_ever_led_is_no_datastore(host: Host) -> None:
    for name in ("current", "v1", "v1.5", "v1.5.2"):
        (host.base / name).unlink()
    assert chain.read(host.base) is None


def relink(link: Path, target: str) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def detour(base: Path) -> None:
    relink(base / "x", "v1.5")
    relink(base / "v1", "x")


def replace_by_directory(base: Path) -> None:
    (base / "current").unlink()
    (base / "current" / "live").mkdir(parents=True)


def replace_by_file(base: Path) -> None:
    relink(base / "v1.5.2", "file")
    (base / "file").write_text("")


def rename(base: Path, old: str, new: str) -> None:
    (base / old).rename(base / new)
    relink(base / "v1.5", new)


def move_copy(base: Path) -> None:
    (base / "v1.5.2_0123456789abcdef").rename(base / "elsewhere")


BREAKAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a missing link": (lambda base: (base / "v1.5").unlink(), "v1.5, which does not exist"),
    "a missing copy": (
        move_copy,
        "v1.5.2_0123456789abcdef, which does not exist",
    ),
    "a missing current": (lambda base: (base / "current").unlink(), "v1 leads to settings"),
    "a circle": (lambda base: relink(base / "v1.5.2", "current"), "more than 4 links"),
    "a link to itself": (lambda base: relink(base / "v1", "v1"), "more than 4 links"),
    "an absolute link": (lambda base: relink(base / "v1", str(base / "v1.5")), "an absolute path"),
    "a way out": (lambda base: relink(base / "v1", "../datastore/v1.5"), "another directory"),
    "a short cut": (
        lambda base: relink(base / "v1", "v1.5.2_0123456789abcdef"),
        "expected 4 links",
    ),
    "a detour": (detour, "more than 4 links"),
    "a directory for current": (replace_by_directory, "expected 4 links"),
    "another version": (
        lambda base: rename(base, "v1.5.2", "v1.4.2"),
        "found v1 -> v1.5 -> v1.4.2",
    ),
    "no version": (lambda base: rename(base, "v1.5.2", "vlatest"), "its name is not a version"),
    "a file for a copy": (replace_by_file, "is not a directory"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_chain_is_refused(host: Host, breakage: str) -> None:
    make, why = BREAKAGES[breakage]
    make(host.base)
    with pytest.raises(ChainBroken) as caught:
        chain.read(host.base)
    assert why in str(caught.value)
    assert str(caught.value).startswith("cannot follow the datastore's links from ")


class TestFlip:
    @pytest.mark.parametrize(
        "version, expected",
        [
            ("1.5.3", "current -> v1 -> v1.5 -> v1.5.3 -> new"),
            ("1.6.0", "current -> v1 -> v1.6 -> v1.6.0 -> new"),
            ("2.0.0-rc.1+7", "current -> v2 -> v2.0 -> v2.0.0-rc.1+7 -> new"),
            ("0.9.9", "current -> v0 -> v0.9 -> v0.9.9 -> new"),
            ("1.5.2", "current -> v1 -> v1.5 -> v1.5.2 -> new"),
        ],
    )
    def test_all_links_lead_to_the_new_copy(self, host: Host, version: str, expected: str) -> None:
        (host.base / "new").mkdir()
        chain.flip(host.base, Version.parse(version), "new", KERNEL)
        assert host.chain() == expected

    def test_it_goes_over_links_that_were_left_in_work(self, host: Host) -> None:
        (host.base / "new").mkdir()
        (host.base / ".v1.new").symlink_to("nonsense")
        (host.base / ".current.new").symlink_to("nonsense")
        chain.flip(host.base, Version(1, 6, 0), "new", KERNEL)
        assert host.chain() == "current -> v1 -> v1.6 -> v1.6.0 -> new"


class TestCollect:
    def test_current_and_previous_stay_and_nothing_else(self, host: Host) -> None:
        base = host.base
        for version, suffix in (
            (Version(1, 5, 1), A),
            (Version(1, 6, 0), B),
            (Version(2, 0, 0), C),
        ):
            name = chain.copy_name(version, suffix)
            (base / name / "live").mkdir(parents=True)
            chain.flip(base, version, name, KERNEL)
        # Copies of attempts that came to nothing, and links left in work.
        (base / f"v2.0.0_{A}").mkdir()
        (base / f"v3.0.0-rc.1_{A}" / "live").mkdir(parents=True)
        (base / ".v2.new").symlink_to("x")
        chain.collect(base, (Version(2, 0, 0), Version(1, 6, 0)), KERNEL)
        assert host.names() == [
            "current",
            "v1",
            "v1.6",
            "v1.6.0",
            f"v1.6.0_{B}",
            "v2",
            "v2.0",
            "v2.0.0",
            f"v2.0.0_{C}",
        ]
        assert host.chain() == f"current -> v2 -> v2.0 -> v2.0.0 -> v2.0.0_{C}"

    def test_a_copy_that_two_versions_use_stays_with_either(self, host: Host) -> None:
        chain.flip(host.base, Version(1, 5, 3), "v1.5.2_0123456789abcdef", KERNEL)
        chain.collect(host.base, (Version(1, 5, 3),), KERNEL)
        assert host.names() == ["current", "v1", "v1.5", "v1.5.2_0123456789abcdef", "v1.5.3"]

    def test_what_is_not_ours_stays(self, host: Host) -> None:
        for name in ("lost+found", "backup", "v1.5.2_short", "vfoo_0123456789abcdef"):
            (host.base / name).mkdir()
        (host.base / "notes").write_text("x")
        (host.base / "mine").symlink_to("notes")
        before = host.names()
        chain.collect(host.base, None, KERNEL)
        assert host.names() == before

    def test_without_versions_only_what_no_link_leads_to_goes(self, host: Host) -> None:
        name = chain.copy_name(Version(1, 6, 0), B)
        (host.base / name).mkdir()
        chain.flip(host.base, Version(1, 6, 0), name, KERNEL)
        (host.base / f"v1.6.0_{C}").mkdir()
        chain.collect(host.base, None, KERNEL)
        assert "v1.5.2_0123456789abcdef" in host.names()
        assert f"v1.6.0_{C}" not in host.names()

    def test_through_a_link_to_the_base(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "alias").symlink_to(host.base)
        chain.collect(tmp_path / "alias", (Version(1, 5, 2),), KERNEL)
        assert "v1.5.2_0123456789abcdef" in host.names()


@pytest.mark.parametrize("given", ["current", "", "v1", "v1.5.2", "v1.5.2_0123456789abcdef"])
def test_any_path_into_a_datastore_finds_its_base(host: Host, given: str) -> None:
    assert chain.base_of(host.base / given) == host.base
