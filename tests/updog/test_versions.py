"""Versions: SemVer's own order and grammar."""

from __future__ import annotations

from itertools import combinations

import pytest

from updog.versions import is_exactly, parse_version, precedence

# Ascending, from semver.org clause 11, and releases of a real distribution.
ASCENDING = [
    "0.3.4",
    "0.4.0",
    "0.4.1",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.8",
    "1.9.2",
    "1.10.0",
    "1.10.1",
    "2.0.0",
    "10.0.0",
]


def test_the_order_is_that_of_the_specification() -> None:
    pairs = list(combinations(ASCENDING, 2))
    assert len(pairs) == 136
    for low, high in pairs:
        assert parse_version(low) < parse_version(high), (low, high)
        assert not parse_version(high) < parse_version(low), (low, high)


def test_build_metadata_does_not_count_in_the_order() -> None:
    one, other = parse_version("1.2.3+a"), parse_version("1.2.3+b")
    assert one == other
    assert precedence(one) == precedence(other)
    assert hash(precedence(one)) == hash(precedence(parse_version("1.2.3")))


@pytest.mark.parametrize(
    "offered, wanted, same",
    [
        ("1.2.3", "1.2.3", True),
        ("1.2.3+b1", "1.2.3", True),
        ("1.2.3+b1", "1.2.3+b1", True),
        ("1.2.3+b1", "1.2.3+b2", False),
        ("1.2.3", "1.2.3+b2", False),
        ("1.2.3-rc.1", "1.2.3", False),
        ("1.2.4", "1.2.3", False),
    ],
)
def test_who_names_a_build_means_that_build(offered: str, wanted: str, same: bool) -> None:  # noqa: FBT001
    assert is_exactly(parse_version(offered), parse_version(wanted)) is same


def test_a_leading_v_is_for_people_alone() -> None:
    assert parse_version("v1.19.4") == parse_version("1.19.4")
    with pytest.raises(ValueError, match=r"'v1\.19\.4' is not a version"):
        parse_version("v1.19.4", leading_v=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.2.03",
        "1.2.3-01",
        "1.2.3-",
        "1.2.3+",
        "-1.2.3",
        "1.2.x",
        " 1.2.3",
        "1.2.3 ",
        "1.2.3\n",
        "vv1.2.3",
        "V1.2.3",
        "\u0661.\u0662.\u0663",
        "latest",
        "1.2.18446744073709551616",
        "1.2.3-" + "a" * 300,
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="version"):
        parse_version(text)
