"""Whole updates over a bad network: the new system boots, or one line says why it does not.

`tests/network/test_faults.py` has every fault against the transport. Here they lie in the way of
whole updates, from metadata to the last image, on a host with a disk; nginx serves.
"""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from partition.errors import PartitionError
from tests.support import faulty_proxy as spoil
from tests.support.host import Host, publish, rehearse, target_name
from tests.support.servers import nginx
from updog import install
from updog.connect import connect
from updog.errors import UpdogError
from updog.interrupt import Interrupt
from updog.lookup import Request
from updog.pipeline import install_images
from updog.progress import NoProgress
from updog.retries import Limits
from updog.trust import refresh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faulty_proxy import Answer, Fault, FaultyProxy
    from tests.support.repository import Repository
    from tests.support.servers import Handler

QUICK = Limits(
    connect_timeout_seconds=5,
    stall_timeout_seconds=1,
    max_retries=3,
    first_wait_seconds=0.01,
    longest_wait_seconds=0.02,
    longest_retry_after_seconds=1.5,
    min_bytes_per_second=500,
    rate_window_seconds=1,
)


@dataclass(frozen=True)
class Scene:
    """A host before its update, and a proxy in front of the server with it."""

    host: Host
    repository: Repository
    proxy: FaultyProxy

    def update(self) -> None:
        url = self.proxy.url
        with closing(connect(f"{url}/metadata", f"{url}/targets", limits=QUICK)) as transport:
            tools = install.Tools(
                transport=transport,
                refresh=refresh,
                install_images=install_images,
                rehearse=rehearse,
                progress=NoProgress(),
                say=lambda _: None,
                interrupt=Interrupt(),
            )
            install.update(self.host.environment(), Request(), tools, apply=True)

    def received(self) -> list[str]:
        """Names of what was asked for."""
        return [request.name.rpartition("/")[2] for request in self.proxy.requests]


@dataclass(frozen=True)
class Prepared:
    """What all tests start from."""

    host: Host
    repository: Repository
    url: str


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    directory: Path = tmp_path_factory.mktemp("updates")
    repository = publish("1.0.0", "1.1.0")
    repository.write(directory / "www")
    host = Host.install(directory / "host", "1.0.0", shipped_root=repository.shipped_root)
    with nginx(directory / "www") as server:
        yield Prepared(host, repository, server.url)


@pytest.fixture
def scene(prepared: Prepared, tmp_path: Path) -> Iterator[Scene]:
    with spoil.faulty(prepared.url) as proxy:
        yield Scene(prepared.host.copy(tmp_path / "host"), prepared.repository, proxy)


class AtRandom:
    """One of some faults now and then, and no fault otherwise; the same in every run."""

    def __init__(self, *faults: Fault, often: float, seed: int) -> None:
        self.faults, self.often = faults, often
        self.generator = random.Random(seed)  # noqa: S311  reproducible on purpose
        self.hits = 0

    def __call__(self, handler: Handler, answer: Answer) -> None:
        hit = self.generator.random() < self.often
        self.hits += hit
        (self.generator.choice(self.faults) if hit else spoil.passed_on)(handler, answer)


def only_for(name: str, fault: Fault) -> Fault:
    """A fault for one file alone."""

    def chosen(handler: Handler, answer: Answer) -> None:
        (fault if answer.request.name.endswith(name) else spoil.passed_on)(handler, answer)

    return chosen


SURVIVED: dict[str, Fault] = {
    "no fault": spoil.passed_on,
    "resets all the time": AtRandom(
        spoil.reset(after=500), spoil.reset(after=70_000), often=0.5, seed=1
    ),
    "bodies that end early": AtRandom(
        spoil.truncate(after=100), spoil.truncate(after=200_000), often=0.4, seed=2
    ),
    "a server that is busy": AtRandom(
        spoil.status(503), spoil.status(429, Retry_After="0"), often=0.4, seed=3
    ),
    "no ranges": spoil.whole,
    "no validators": spoil.without("ETag", "Last-Modified"),
    "no lengths": spoil.chunked,
    "everything at once": AtRandom(
        spoil.refuse,
        spoil.status(500),
        spoil.status(502),
        spoil.reset(after=1000),
        spoil.truncate(after=50_000),
        spoil.chunked_cut_off(after=30_000),
        often=0.4,
        seed=4,
    ),
}


@pytest.mark.parametrize("story", SURVIVED)
def test_the_update_arrives(scene: Scene, story: str) -> None:
    fault = scene.proxy.always = SURVIVED[story]
    scene.update()
    assert scene.host.boot() == "1.1.0"
    if isinstance(fault, AtRandom):
        assert fault.hits > 2


BOOT, ROOT, HASH = (target_name("1.1.0", part) for part in ("boot", "root", "hash"))
ENDED: dict[str, tuple[Fault, str]] = {
    "403 for metadata": (only_for("2.root.json", spoil.status(403)), r"2\.root\.json: 403"),
    "no timestamp": (only_for("timestamp.json", spoil.status(404)), r"timestamp\.json: 404"),
    "a page for metadata": (only_for("timestamp.json", spoil.html), "timestamp metadata"),
    "corrupted metadata": (only_for("snapshot.json", spoil.corrupt(at=99)), "snapshot metadata"),
    "metadata compressed": (only_for("targets.json", spoil.gzipped), "encoded as 'gzip'"),
    "no manifest": (only_for("manifest.json", spoil.status(404)), r"manifest\.json: 404"),
    "no migration": (only_for("greeting.toml.lz4", spoil.status(404)), "greeting.*404"),
    "a corrupted image": (only_for(BOOT, spoil.corrupt(at=5000)), "demo-1.1.0-boot"),
    "a reordered image": (only_for(HASH, spoil.reorder), "demo-1.1.0-hash"),
    "an image with its end lost": (only_for(ROOT, spoil.wrong_length(-7)), "expected"),
    "an image and more": (only_for(ROOT, spoil.wrong_length(7)), "expected"),
    "silence": (only_for(ROOT, spoil.silence), "no answer within"),
    "a crawl": (only_for(ROOT, spoil.slow(20, pause_seconds=0.05)), "bytes per second"),
    "away for an hour": (only_for(ROOT, spoil.status(429, Retry_After="3600")), "3600 s"),
    "a circle of redirects": (only_for(ROOT, spoil.redirect("?")), "redirected more than"),
}


@pytest.mark.parametrize("story", ENDED)
def test_the_update_ends_with_one_line(scene: Scene, story: str) -> None:
    fault, why = ENDED[story]
    scene.proxy.always = fault
    with pytest.raises((UpdogError, PartitionError), match=why) as caught:
        scene.update()
    assert "\n" not in str(caught.value)
    assert scene.host.boot() == "1.0.0"
    # And nothing that was left behind keeps the next one from arriving.
    scene.proxy.always = spoil.passed_on
    scene.update()
    assert scene.host.boot() == "1.1.0"


def test_what_arrived_before_a_break_is_not_downloaded_again(scene: Scene) -> None:
    """The root image comes last; the others are whole on their partitions by then."""
    scene.proxy.always = only_for(ROOT, spoil.status(500))
    with pytest.raises(UpdogError, match="500"):
        scene.update()
    scene.proxy.requests.clear()
    scene.proxy.always = spoil.passed_on
    scene.update()
    received = " ".join(scene.received())
    assert ROOT in received
    assert BOOT not in received
    assert HASH not in received
    assert scene.host.boot() == "1.1.0"
