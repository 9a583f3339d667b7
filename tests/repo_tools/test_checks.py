"""Reasons to refuse an update: reachability agrees with the walk that hosts take, at any size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repo_tools.care.lint import manifest_problems
from repo_tools.publish.checks import migration_problems, running_versions
from repo_tools.publish.manifest_edit import Line
from updog.errors import NoMigrationPath
from updog.manifest import Images, Manifest, Update
from updog.migrations import find_path
from updog.versions import Version

LINE = Line("v", "a")


def manifest_of(count: int, steps: list[tuple[int, int]]) -> Manifest:
    """Versions 0.0.1 to 0.0.count, and steps between them."""
    top = Version(0, 0, count)
    updates = tuple(
        Update("v", "a", Version(0, 0, n), top, {}, Images("b", "r", "h"))
        for n in range(1, count + 1)
    )
    return Manifest(updates, {(Version(0, 0, a), Version(0, 0, b)): () for a, b in steps})


def walks(manifest: Manifest, current: Version, wanted: Version) -> bool:
    try:
        find_path(manifest.migrations, current, wanted)
    except NoMigrationPath:
        return False
    return True


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=14, unique=True))
def test_a_path_is_missing_exactly_if_updog_finds_none(steps: list[tuple[int, int]]) -> None:
    manifest = manifest_of(8, steps)
    versions = running_versions(manifest, LINE)
    for version in versions:
        expected = {
            f"there is no migration path from {a} to {b}"
            for other in versions
            for a, b in ((other, version), (version, other))
            if not walks(manifest, a, b)
        }
        assert set(migration_problems(manifest, LINE, [version])) == expected


def test_a_thousand_updates() -> None:
    """A walk for each of a million pairs would take hours."""
    manifest = manifest_of(1000, [(n, n + 1) for n in range(1, 1000)])
    assert list(manifest_problems(manifest, {"b", "r", "h"})) == []
