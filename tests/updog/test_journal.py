"""The journal file: what is kept, what is believed, and how often it is written."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition.errors import StateFileUnsafe
from partition.region import Region
from updog.digests import DigestState
from updog.journal import Entry, Journal, Mark, Span
from updog.lz4frame import Frame, Position
from updog.targets import Target

TARGET = Target("root.lz4", 1000, {"sha256": "ab" * 32})
REGION = Region(Path("/dev/vda6"), 0, 1 << 20, 6, is_node=True)
SHA256 = DigestState(tuple(range(8)), 640, b"")
ENTRY = Entry(
    Mark(640, 8192, Position(Frame(4 << 20, content_size=9000), 0, 1), 8192, {"sha256": SHA256}),
    (Span(0, 4096, "00" * 32), Span(4096, 8192, None)),
    complete=False,
    validator='"6b01-166"',
)


class Clock:
    """Moves on by so much at each look."""

    def __init__(self) -> None:
        self.now, self.step = 0.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state / "journal.json"


def test_an_entry_is_found_by_the_next_run(path: Path) -> None:
    for entry in (
        ENTRY,
        replace(ENTRY, complete=True, validator=None),
        replace(ENTRY, mark=replace(ENTRY.mark, position=Position(None, 77, 3), digests={})),
        Entry(Mark(), (), complete=False, validator=None),
    ):
        Journal(path).record("root", TARGET, REGION, entry)
        assert Journal(path).find("root", TARGET, REGION) == entry
        assert Journal(path).find("boot", TARGET, REGION) is None
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "target,region",
    [
        (replace(TARGET, name="other.lz4"), REGION),
        (replace(TARGET, length_bytes=1001), REGION),
        (replace(TARGET, hashes={"sha256": "cd" * 32}), REGION),
        (replace(TARGET, hashes={"sha256": "ab" * 32, "sha512": "ef"}), REGION),
        (TARGET, Region(Path("/dev/vdb6"), 0, 1 << 20, 6, is_node=True)),
        (TARGET, Region(Path("/dev/vda6"), 0, 2 << 20, 6, is_node=True)),
        (TARGET, Region(Path("/dev/vda6"), 512, 1 << 20, 6, is_node=True)),
    ],
)
def test_an_entry_for_something_else_is_ignored(path: Path, target: Target, region: Region) -> None:
    Journal(path).record("root", TARGET, REGION, ENTRY)
    assert Journal(path).find("root", target, region) is None


def test_forgetting_and_clearing(path: Path) -> None:
    journal = Journal(path)
    for part in ("root", "boot"):
        journal.record(part, TARGET, REGION, replace(ENTRY, complete=True))
    journal.forget("root")
    assert Journal(path).find("root", TARGET, REGION) is None
    assert Journal(path).find("boot", TARGET, REGION) is not None
    journal.clear()
    assert not path.exists()
    journal.clear()  # nothing to clear is fine
    journal.forget("root")
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 2, "images": {}}',
        b'{"format": 1, "images": []}',
        b'{"format": 1, "images": {"root": 1}}',
        b'{"format": true}',
        b"\xff",
        b"{" * 100_000,
    ],
)
def test_a_damaged_file_is_ignored_with_a_line(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        assert Journal(path).find("root", TARGET, REGION) is None
    assert len(caplog.messages) == (0 if content == b"null" else 1)
    assert all("starting over" in message for message in caplog.messages)


@pytest.mark.parametrize(
    "change",
    [
        {"received_bytes": -1},
        {"received_bytes": True},
        {"received_bytes": 641},  # the digests are of 640
        {"written_bytes": 4096},  # the spans end at 8192
        {"spans": [[0, 4096, None], [4097, 8192, None]]},
        {"spans": [[0, 4096, None], [4096, 8192, 5]]},
        {"spans": [[0, 0, None], [0, 8192, None]]},
        {"spans": [[0, 8192]]},
        {"complete": "yes"},
        {"validator": 7},
        {"position": {"frame": {"block_size": 1}, "skip_bytes": 0, "frames": 1}},
        {"position": None},
        {"digests": {"sha256": {"words": [1], "length_bytes": 640, "pending": "zz"}}},
        {"digests": []},
    ],
)
def test_an_entry_that_cannot_be_is_ignored_with_a_line(
    path: Path, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    Journal(path).record("root", TARGET, REGION, ENTRY)
    kept = json.loads(path.read_text())
    kept["images"]["root"].update(change)
    path.write_text(json.dumps(kept))
    with caplog.at_level(logging.WARNING):
        assert Journal(path).find("root", TARGET, REGION) is None
    assert "its entry for root is damaged" in caplog.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(["position", "digests", "spans", "mark", "validator", "written_bytes"]), JSON
)
def test_no_content_makes_it_fail(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    path = tmp_path_factory.mktemp("state") / "journal.json"
    Journal(path).record("root", TARGET, REGION, ENTRY)
    kept = json.loads(path.read_text())
    kept["images"]["root"][key] = value
    path.write_text(json.dumps(kept))
    found = Journal(path).find("root", TARGET, REGION)
    assert found is None or found.mark.written_bytes == 8192


def test_a_file_that_anybody_could_have_written_is_refused(path: Path) -> None:
    Journal(path).record("root", TARGET, REGION, ENTRY)
    path.chmod(0o666)
    with pytest.raises(StateFileUnsafe):
        Journal(path)


def test_a_disk_that_is_full_costs_a_resume_not_the_update(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "absent" / "journal.json")
    with caplog.at_level(logging.WARNING):
        journal.record("root", TARGET, REGION, ENTRY)
    assert "an interrupted update will start over" in caplog.text


def test_writing_takes_a_fiftieth_of_the_time(path: Path) -> None:
    """Each write seems to take a second here; then fifty seconds pass before the next."""
    clock = Clock()
    journal = Journal(path, clock=clock)

    def record(received: int) -> int:
        """Record, and tell what the file says now."""
        mark = replace(ENTRY.mark, received_bytes=received, digests={})
        journal.record("root", TARGET, REGION, replace(ENTRY, mark=mark))
        kept = Journal(path).find("root", TARGET, REGION)
        assert kept is not None
        return kept.mark.received_bytes

    clock.step = 1.0
    assert record(1) == 1  # the first at once
    clock.step = 0.0
    ended = clock.now
    for seconds in (0.0, 10.0, 49.0):
        clock.now = ended + seconds
        assert record(2) == 1
    clock.now = ended + 51.0
    assert record(3) == 3

    clock.now = ended + 51.0
    assert record(4) == 4  # it took no time at all
    clock.step = 1.0
    assert record(5) == 5
    clock.step = 0.0
    assert record(6) == 5
    journal.record("root", TARGET, REGION, replace(ENTRY, complete=True))
    kept = Journal(path).find("root", TARGET, REGION)
    assert kept is not None
    assert kept.complete  # what is complete is never put off


@pytest.mark.parametrize("digest", [None, "ab" * 32], ids=["root image", "boot image"])
def test_a_day_on_a_slow_link_is_still_read(path: Path, digest: str | None) -> None:
    """A span every two seconds, 40,000 of them; a journal too long to be read starts over."""
    step, count = 20_000, 40_000
    spans = tuple(Span(n * step, (n + 1) * step, digest) for n in range(count))
    entry = Entry(Mark(1, step * count), spans, complete=False, validator=None)
    Journal(path).record("root", TARGET, REGION, entry)
    kept = Journal(path).find("root", TARGET, REGION)
    assert kept is not None
    assert [(kept.spans[0].start, kept.spans[-1].stop)] == [(0, step * count)]
    assert {span.sha256 for span in kept.spans} == {digest}
    if digest is None:
        assert path.stat().st_size < 10_000
        assert all(span.stop - span.start <= 16 << 20 for span in kept.spans)
