"""What this host runs: os-release as a shell reads it, and the machine."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog.errors import ReleaseInvalid
from updog.release import load_release, parse_os_release
from updog.rooted import resolve_inside

TEXT = """\
NAME=Bottlerocket
ID=bottlerocket
VERSION="1.19.4 (aws-k8s-1.28)"
PRETTY_NAME="Bottlerocket OS 1.19.4 (aws-k8s-1.28)"
VARIANT_ID=aws-k8s-1.28
VERSION_ID=1.19.4
BUILD_ID=25ac0ac0
HOME_URL="https://github.com/bottlerocket-os/bottlerocket"
"""


def system(root: Path, text: str = TEXT, place: str = "etc/os-release") -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


def test_variant_and_version_and_machine(tmp_path: Path) -> None:
    release = load_release(system(tmp_path), "x86_64")
    assert release.variant == "aws-k8s-1.28"
    assert str(release.version) == "1.19.4"
    assert release.arch == "x86_64"


@pytest.mark.parametrize(
    "machine, arch",
    [("x86_64", "x86_64"), ("aarch64", "aarch64"), ("arm64", "aarch64"), ("amd64", "x86_64"),
     ("riscv64", "riscv64")],
)  # fmt: skip
def test_machines_have_the_names_that_manifests_use(
    machine: str, arch: str, tmp_path: Path
) -> None:
    assert load_release(system(tmp_path), machine).arch == arch


def test_the_vendors_file_is_used_where_there_is_no_other(tmp_path: Path) -> None:
    system(tmp_path, place="usr/lib/os-release")
    assert str(load_release(tmp_path, "x86_64").version) == "1.19.4"
    system(tmp_path, TEXT.replace("1.19.4", "2.0.0"))
    assert str(load_release(tmp_path, "x86_64").version) == "2.0.0"


@pytest.mark.parametrize("target", ["../usr/lib/os-release", "/usr/lib/os-release"])
def test_a_link_means_a_file_of_the_same_system(target: str, tmp_path: Path) -> None:
    system(tmp_path, place="usr/lib/os-release")
    (tmp_path / "etc").mkdir()
    os.symlink(target, tmp_path / "etc/os-release")  # noqa: PTH211
    assert load_release(tmp_path, "x86_64").variant == "aws-k8s-1.28"


def test_the_build_time_is_that_of_the_image(tmp_path: Path) -> None:
    system(tmp_path)
    os.utime(tmp_path / "etc/os-release", (1_700_000_000, 1_700_000_000))
    release = load_release(tmp_path, "x86_64")
    assert release.build_time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    epoch = system(tmp_path, "", "usr/lib/clock-epoch") / "usr/lib/clock-epoch"
    os.utime(epoch, (1_600_000_000, 1_600_000_000))
    release = load_release(tmp_path, "x86_64")
    assert release.build_time == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    "line, told",
    [
        ("", "VERSION_ID: missing"),
        ("VERSION_ID=", "VERSION_ID: missing"),
        ('VERSION_ID="12"', "VERSION_ID: '12' is not a version"),
        ("VERSION_ID=v1.2.3", "VERSION_ID: 'v1.2.3' is not a version"),
        ("VERSION_ID=1.2.3 beta", "VERSION_ID: missing, or not as a shell would read it"),
        ('VERSION_ID="1.2.3', "VERSION_ID: missing, or not as a shell would read it"),
    ],
)
def test_a_version_is_needed(line: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ReleaseInvalid, match=told):
        load_release(system(tmp_path, TEXT.replace("VERSION_ID=1.19.4", line)), "x86_64")


@pytest.mark.parametrize("line", ["", "VARIANT_ID=", "VARIANT_ID='a\tb'", "#VARIANT_ID=x"])
def test_a_variant_is_needed(line: str, tmp_path: Path) -> None:
    text = TEXT.replace("VARIANT_ID=aws-k8s-1.28", line)
    with pytest.raises(ReleaseInvalid, match="VARIANT_ID: missing, or not a name"):
        load_release(system(tmp_path, text), "x86_64")


def test_a_system_that_does_not_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseInvalid, match="etc/os-release: no such file"):
        load_release(tmp_path, "x86_64")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_bytes(b"VARIANT_ID=\xff\n")
    with pytest.raises(ReleaseInvalid, match="cannot tell which release this host runs"):
        load_release(tmp_path, "x86_64")


LINES = [
    "A=plain",
    'A="double quoted"',
    "A='single quoted'",
    "A='it'\\''s'",
    'A="a \\"quoted\\" word and a \\$dollar and a \\\\ and \\n"',
    "A=back\\ slash",
    "A=two'parts'\"of\"one",
    "A=with#hash",
    "A=word # and a comment",
    'A="word"   ',
    "A=",
    'A=""',
    "A=é",
    "A=first\nA=second",
    "# A=comment\nA=real",
    "  A=indented",
    "A=1.2.3-rc.1+build",
]


@pytest.mark.parametrize("text", LINES)
def test_values_are_what_a_shell_makes_of_them(text: str) -> None:
    """The witness is the shell itself."""
    shell = subprocess.run(
        ["/bin/sh", "-c", f'{text}\nprintf %s "$A"'],
        capture_output=True, text=True, check=True, env={},
    )  # fmt: skip
    assert parse_os_release(text)["A"] == shell.stdout


NOT_A_WORD = [
    "A=$HOME", "A=`id`", 'A="$(id)"', "A=a;id", "A=a b", "A='open", 'A="open', "A=a\\", "a=b", "A",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_A_WORD)
def test_what_a_shell_would_expand_or_refuse_is_left_out(text: str) -> None:
    assert parse_os_release(f"A=before\n{text}" if text.startswith("A=") else text) == {}


@given(st.text())
def test_any_text_is_read_without_a_fault(text: str) -> None:
    fields = parse_os_release(text)
    assert all(name.isidentifier() for name in fields)


# Paths below another root.


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    for link, target in (
        ("etc", "/usr/etc"),
        ("up", "../../../.."),
        ("loop", "/loop"),
    ):
        os.symlink(target, root / link)  # noqa: PTH211
    assert resolve_inside(root, Path("/etc/updog.toml")) == root / "usr/etc/updog.toml"
    assert resolve_inside(root, Path("/up/etc/passwd")) == root / "usr/etc/passwd"
    assert resolve_inside(root, Path("/../../x")) == root / "x"
    assert resolve_inside(root, Path("/loop/x")) == root / "loop/x"
    assert resolve_inside(Path("/"), Path("/proc/self/../1")) != Path("/proc/1/../1")
