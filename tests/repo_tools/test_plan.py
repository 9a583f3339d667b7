"""The order of writes, as it is documented: nothing is named before it is there."""

from __future__ import annotations

from repo_tools.publish.plan import publish_plan


def test_targets_then_metadata_from_the_leaves_up_and_the_timestamp_last() -> None:
    plan = publish_plan(
        "v/a",
        targets={"targets/1.manifest.json": b"m", "targets/2.image": b"i"},
        metadata={
            "timestamp.json": b"t", "10.targets.json": b"", "9.snapshot.json": b"",
            "10.root.json": b"", "9.root.json": b"",
        },
        replacing=b"old",
    )  # fmt: skip
    assert [write.name for write in plan] == [
        "targets/2.image", "targets/1.manifest.json",
        "v/a/9.root.json", "v/a/10.root.json",
        "v/a/10.targets.json", "v/a/9.snapshot.json", "v/a/timestamp.json",
    ]  # fmt: skip
    assert [write.replacing for write in plan if write.moves_on] == [b"old"]
    assert {write.replacing for write in plan if not write.moves_on} == {None}
