"""Damaged files of the host's own state: an update ends well in spite of them.

The files are those of a real, interrupted update. Whatever their content, the next update either
arrives with the right bytes, or is refused by an exception of the project's own, and what boots is
whole. A journal that lies may cost time, never more.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partition.errors import PartitionError
from signpost.errors import SignpostError
from tests.support import bootloader
from tests.support.examiner import marked_valid
from tests.support.host import Host, chosen, content, publish
from tests.support.repository import MemorySource, MemoryTransport
from updog.errors import DownloadFailed, UpdogError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.repository import Repository
    from updog.targets import Target

REFUSALS = (UpdogError, PartitionError, SignpostError)
EXTREMES: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, -1, 4096, 1 << 20, 1 << 31, 1 << 63, 10**30, 1.5, None, True, "", "x", "00", [], {}]
)
# More than one unit of the download, which is 1 MiB.
ROOT_MIB = 8
NAMES = ("journal.json", "attempts.json", "trust.json")


@dataclass
class BreakingTransport(MemoryTransport):
    """A network that ends in the middle of the root image."""

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> MemorySource:
        source = super().open_target(target, start_bytes=start_bytes, validator=validator)
        return BreakingSource(source.data) if "root" in target.name else source


class BreakingSource(MemorySource):
    def readinto(self, buffer: memoryview) -> int:
        if self.position > len(self.data) * 2 // 3:
            raise DownloadFailed("memory:/", "the network is gone")
        return super().readinto(buffer)


@pytest.fixture
def interrupted(place: Path) -> tuple[Host, Repository]:
    """A host whose update broke off after much of it had arrived, and its repository."""
    repository = publish("1.0.0", "1.1.0", root_mib=ROOT_MIB)
    host = Host.install(
        place / "host", "1.0.0", shipped_root=repository.shipped_root, root_mib=ROOT_MIB
    )
    host.update(repository, apply=False)  # an attempt to remember
    attempts = host.paths.attempts.read_bytes()
    publish("1.0.0", "1.1.0", "2.0.0", repository=repository, root_mib=ROOT_MIB)
    with pytest.raises(DownloadFailed):
        host.update(repository, transport=BreakingTransport(repository))
    host.paths.attempts.write_bytes(attempts)
    images = json.loads(host.paths.journal.read_text())["images"]
    assert images["hash"]["complete"]
    assert not images["root"]["complete"]
    assert images["root"]["written_bytes"] > 1 << 20
    return host, repository


def damaged(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401  JSON
    """The same value with something wrong somewhere below."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 9)):
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: damaged(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], damaged(draw, value[index]), *value[index + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and draw(st.booleans()):
        return value + draw(st.integers(-4097, 4097))
    return draw(EXTREMES)


@st.composite
def damaged_text(draw: st.DrawFn, text: str) -> bytes:
    """JSON with wrong values; now and then bytes that are no JSON."""
    if not draw(st.integers(0, 9)):
        cut = draw(st.integers(0, len(text)))
        return text[:cut].encode() + draw(st.binary(max_size=3))
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        value = damaged(draw, value)
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_state_file_costs_time_and_nothing_else(
    name: str, interrupted: tuple[Host, Repository], place: Path
) -> None:
    host, repository = interrupted
    texts = (host.paths.state / name).read_text()
    numbers = count()
    arrived = 0

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(damaged_text(texts))
    def check(data: bytes) -> None:
        nonlocal arrived
        copy = host.copy(place / f"{next(numbers)}")
        (copy.paths.state / name).write_bytes(data)
        try:
            copy.update(repository)
        except REFUSALS:
            assert chosen(bootloader.Image(copy.disk), ROOT_MIB)[1] == "1.0.0"
        else:
            arrived += 1
            assert chosen(bootloader.Image(copy.disk), ROOT_MIB)[1] == "2.0.0"
        image = bootloader.Image(copy.disk)
        assert all(content(image, slot, ROOT_MIB) for slot in marked_valid(image))
        shutil.rmtree(copy.directory)

    check()
    assert arrived >= 20
