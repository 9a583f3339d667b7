"""The path through the migrations: forward, backward, and around dead ends."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from updog.errors import NoMigrationPath
from updog.manifest import Manifest
from updog.migrations import Direction, find_path, targets
from updog.versions import Version, parse_version

FIXTURES = Path(__file__).parents[2] / "fixtures" / "manifests"


def steps(*lines: str) -> dict[tuple[Version, Version], tuple[str, ...]]:
    """`1.0.0 1.1.0 name name`, one step a line."""
    result = {}
    for line in lines:
        start, end, *names = line.split()
        result[parse_version(start), parse_version(end)] = tuple(names)
    return result


def walk(migrations: dict[tuple[Version, Version], tuple[str, ...]], start: str, end: str) -> str:
    """The versions that a path visits."""
    path = find_path(migrations, parse_version(start), parse_version(end))
    return " ".join([start, *(str(step.to_version) for step in path)])


# The contract's two steps.
CONTRACT = steps("0.3.4 0.4.0", "0.4.0 0.4.1 migrate_v0.4.1_add-version-lock.lz4")


def test_one_step_forward_and_the_same_back() -> None:
    (forward,) = find_path(CONTRACT, parse_version("0.4.0"), parse_version("0.4.1"))
    assert (str(forward.from_version), str(forward.to_version)) == ("0.4.0", "0.4.1")
    assert forward.names == ("migrate_v0.4.1_add-version-lock.lz4",)
    assert forward.direction is Direction.FORWARD
    (backward,) = find_path(CONTRACT, parse_version("0.4.1"), parse_version("0.4.0"))
    assert (str(backward.from_version), str(backward.to_version)) == ("0.4.1", "0.4.0")
    assert backward.direction is Direction.BACKWARD


def test_a_step_without_migrations_is_a_step() -> None:
    path = find_path(CONTRACT, parse_version("0.3.4"), parse_version("0.4.0"))
    assert len(path) == 1
    assert targets(path) == ()


def test_the_same_version_needs_nothing() -> None:
    assert find_path(CONTRACT, parse_version("9.9.9"), parse_version("9.9.9")) == ()
    assert find_path({}, parse_version("1.0.0+a"), parse_version("1.0.0+b")) == ()


def test_backward_is_the_forward_list_reversed() -> None:
    chain = steps("1.0.0 1.1.0 a b", "1.1.0 1.2.0", "1.2.0 1.3.0 c d e")
    up = find_path(chain, parse_version("1.0.0"), parse_version("1.3.0"))
    down = find_path(chain, parse_version("1.3.0"), parse_version("1.0.0"))
    assert targets(up) == ("a", "b", "c", "d", "e")
    assert targets(down) == ("e", "d", "c", "b", "a")
    assert [step.direction for step in down] == [Direction.BACKWARD] * 3


def test_the_larger_step_is_taken() -> None:
    """Two paths to 1.5.0; the direct one, in both directions."""
    manifest = Manifest.from_bytes((FIXTURES / "unpadded-dates.json").read_bytes())
    low, high = parse_version("1.0.0"), parse_version("1.5.0")
    expected = (
        "migrate_v1.1.0_first.lz4",
        "migrate_v1.1.0_second.lz4",
        "migrate_v1.5.0_direct.lz4",
    )
    assert targets(find_path(manifest.migrations, low, high)) == expected
    assert targets(find_path(manifest.migrations, high, low)) == expected[::-1]


def test_a_large_step_into_a_dead_end_is_not_taken() -> None:
    migrations = steps("1.0.0 1.1.0", "1.0.0 1.3.0", "1.1.0 1.4.0")
    assert walk(migrations, "1.0.0", "1.4.0") == "1.0.0 1.1.0 1.4.0"


def test_a_dead_end_further_on_is_seen_from_the_start() -> None:
    migrations = steps(
        "1.0.0 2.0.0", "2.0.0 3.0.0", "3.0.0 3.5.0",
        "1.0.0 1.5.0", "1.5.0 1.6.0", "1.6.0 4.0.0",
    )  # fmt: skip
    assert walk(migrations, "1.0.0", "4.0.0") == "1.0.0 1.5.0 1.6.0 4.0.0"


def test_the_larger_step_first_even_if_the_path_gets_longer() -> None:
    migrations = steps(
        "1.0.0 1.3.0", "1.3.0 1.4.0", "1.4.0 1.5.0", "1.5.0 2.0.0",
        "1.0.0 1.2.0", "1.2.0 2.0.0",
    )  # fmt: skip
    assert walk(migrations, "1.0.0", "2.0.0") == "1.0.0 1.3.0 1.4.0 1.5.0 2.0.0"


def test_a_step_beyond_the_destination_is_not_taken() -> None:
    migrations = steps("1.0.0 1.9.0", "1.0.0 1.1.0", "1.1.0 1.2.0", "1.9.0 1.2.0")
    assert walk(migrations, "1.0.0", "1.2.0") == "1.0.0 1.1.0 1.2.0"


def test_steps_that_go_down_or_nowhere_are_not_walked() -> None:
    migrations = steps("1.0.0 1.1.0", "1.1.0 1.0.0 trap", "1.1.0 1.1.0 trap", "1.1.0 1.2.0")
    assert walk(migrations, "1.0.0", "1.2.0") == "1.0.0 1.1.0 1.2.0"
    assert walk(migrations, "1.2.0", "1.0.0") == "1.2.0 1.1.0 1.0.0"


def test_pre_releases_have_their_place() -> None:
    migrations = steps("1.0.0 1.1.0-rc.1 a", "1.1.0-rc.1 1.1.0 b")
    assert walk(migrations, "1.0.0", "1.1.0") == "1.0.0 1.1.0-rc.1 1.1.0"


def test_build_metadata_does_not_hide_a_step() -> None:
    assert walk(steps("1.0.0 1.1.0+b7", "1.1.0 1.2.0"), "1.0.0+b1", "1.2.0+b9") == (
        "1.0.0+b1 1.1.0 1.2.0"
    )


@pytest.mark.parametrize(
    "migrations, start, end",
    [
        ({}, "1.0.0", "1.1.0"),
        (steps("1.0.0 1.1.0"), "1.0.0", "1.2.0"),
        (steps("1.1.0 1.2.0"), "1.0.0", "1.2.0"),
        (steps("1.0.0 1.1.0", "1.2.0 1.3.0"), "1.0.0", "1.3.0"),
        (steps("1.0.0 1.1.0", "1.2.0 1.3.0"), "1.3.0", "1.0.0"),
        (steps("1.0.0 1.3.0"), "1.0.0", "1.2.0"),
        (steps("1.2.0 1.0.0"), "1.0.0", "1.2.0"),
    ],
)
def test_no_path_is_said_with_both_ends(
    migrations: dict[tuple[Version, Version], tuple[str, ...]], start: str, end: str
) -> None:
    with pytest.raises(NoMigrationPath) as caught:
        find_path(migrations, parse_version(start), parse_version(end))
    assert str(caught.value) == (
        f"refusing to go from {start} to {end}: the manifest has no migration path"
    )


def test_a_history_of_real_length_from_end_to_end() -> None:
    manifest = Manifest.from_bytes((FIXTURES / "long-history.json").read_bytes())
    first, last = parse_version("0.3.1"), parse_version("1.19.5")
    up = targets(find_path(manifest.migrations, first, last))
    assert len(up) == 189
    assert up[0] == "migrate_v0.3.2_1.lz4"
    assert up[-1] == "migrate_v1.19.5_2.lz4"
    assert targets(find_path(manifest.migrations, last, first)) == up[::-1]
    middle = find_path(manifest.migrations, parse_version("1.9.2"), parse_version("1.10.1"))
    assert [str(step.to_version) for step in middle] == ["1.10.0", "1.10.1"]


def test_many_shortcuts_do_not_multiply() -> None:
    """Every pair of 120 versions is a step, and none reaches the last but one of them.

    Looking at each of the 2^118 paths would never end; each step is looked at once.
    """
    versions = [parse_version(f"1.{minor}.0") for minor in range(120)]
    migrations: dict[tuple[Version, Version], tuple[str, ...]] = {
        (start, end): ()
        for place, start in enumerate(versions[:-1])
        for end in versions[place + 1 : -1]
    }
    migrations[versions[1], versions[-1]] = ()
    path = find_path(migrations, versions[0], versions[-1])
    assert [str(step.to_version) for step in path] == ["1.1.0", "1.119.0"]


NUMBERS = st.integers(0, 9)


@given(st.sets(st.tuples(NUMBERS, NUMBERS), max_size=25), NUMBERS, NUMBERS)
def test_a_path_is_found_exactly_when_there_is_one(
    pairs: set[tuple[int, int]], start: int, end: int
) -> None:
    """Against a search through all paths; and of those, the largest steps in order."""
    assume(start != end)
    migrations = {
        (parse_version(f"{low}.0.0"), parse_version(f"{high}.0.0")): (f"{low}-{high}",)
        for low, high in pairs
    }
    low, high = sorted((start, end))
    arriving: list[tuple[int, ...]] = []

    def search(trail: tuple[int, ...]) -> None:
        if trail[-1] == high:
            arriving.append(trail)
        for begin, stop in pairs:
            if begin == trail[-1] and begin < stop <= high:
                search((*trail, stop))

    search((low,))
    wanted = parse_version(f"{start}.0.0"), parse_version(f"{end}.0.0")
    if not arriving:
        with pytest.raises(NoMigrationPath):
            find_path(migrations, *wanted)
        return
    best = max(arriving)
    names = tuple(f"{begin}-{stop}" for begin, stop in itertools.pairwise(best))
    assert targets(find_path(migrations, *wanted)) == (names if start < end else names[::-1])
