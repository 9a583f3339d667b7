"""A choice in words: each reason as the user reads it, and the same in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from updog.attempts import Failure
from updog.choose import Wish, choose
from updog.explain import lines, summary, to_json
from updog.manifest import Images, Manifest, Update
from updog.release import Release
from updog.versions import parse_version
from updog.waves import Seed, parse_time

NOW = datetime(2020, 7, 1, 10, 0, tzinfo=UTC)
WISH = Wish(
    release=Release("aws-k8s-1.15", parse_version("1.1.0"), "x86_64"), seed=Seed(51), now=NOW
)
WAVES = {0: "2020-07-01T00:00:00Z", 102: "2020-07-02T00:00:00Z"}


def offer(
    version: str,
    max_version: str = "9.0.0",
    waves: dict[int, str] | None = None,
    variant: str = "aws-k8s-1.15",
    arch: str = "x86_64",
) -> Update:
    starts = {seed: parse_time(text) for seed, text in (waves or {}).items()}
    images = Images("b.lz4", "r.lz4", "h.lz4")
    return Update(variant, arch, parse_version(version), parse_version(max_version), starts, images)


EVERYTHING = Manifest(
    (
        offer("1.0.0"),
        offer("1.1.0"),
        offer("1.2.0"),
        offer("1.3.0"),
        offer("1.4.0", waves=WAVES),
        offer("1.5.0", "1.4.0"),
        offer("1.6.0", variant="vmware"),
        offer("1.7.0", arch="aarch64"),
        offer("1.8.0"),
    )
)


def test_every_update_has_its_line() -> None:
    failed = {"1.8.0": Failure(1, datetime(2020, 6, 30, 8, 0, 0, 77, tzinfo=UTC), "no network")}
    choice = choose(EVERYTHING, replace(WISH, failed=failed))
    assert list(lines(choice)) == [
        (
            "no       aws-k8s-1.15 1.8.0 x86_64: it failed to boot once, last noticed "
            "2020-06-30T08:00:00Z (no network); --image 1.8.0 tries it again"
        ),
        "no       aws-k8s-1.15 1.7.0 aarch64: this host is x86_64",
        "no       vmware 1.6.0 x86_64: this host's variant is aws-k8s-1.15",
        "no       aws-k8s-1.15 1.5.0 x86_64: it is above max_version 1.4.0",
        (
            "not now  aws-k8s-1.15 1.4.0 x86_64: this host's turn comes at 2020-07-01T12:00:00Z "
            "(seed 51)"
        ),
        "chosen   aws-k8s-1.15 1.3.0 x86_64",
        "no       aws-k8s-1.15 1.2.0 x86_64: 1.3.0 is newer",
        "no       aws-k8s-1.15 1.1.0 x86_64: this host runs it",
        "no       aws-k8s-1.15 1.0.0 x86_64: this host runs 1.1.0",
    ]


def test_a_lock_and_a_named_image_are_told() -> None:
    manifest = Manifest((offer("1.2.0"),))
    locked = choose(manifest, replace(WISH, version_lock=parse_version("1.3.0")))
    assert list(lines(locked)) == ["no       aws-k8s-1.15 1.2.0 x86_64: version_lock is 1.3.0"]
    named = choose(manifest, replace(WISH, image=parse_version("1.3.0")))
    assert list(lines(named)) == ["no       aws-k8s-1.15 1.2.0 x86_64: --image asks for 1.3.0"]


LOCK = parse_version("1.3.0")
FAILED = {"1.2.0": Failure(3, NOW)}


@pytest.mark.parametrize(
    "offers, wish, told",
    [
        ((), WISH, "the repository has nothing for aws-k8s-1.15 on x86_64"),
        (
            (offer("2.0.0", arch="aarch64"),),
            WISH,
            "the repository has nothing for aws-k8s-1.15 on x86_64",
        ),
        ((offer("1.1.0"),), WISH, "this host runs 1.1.0, there is none newer"),
        ((offer("1.0.0"),), WISH, "this host runs 1.1.0, there is none newer"),
        (
            (offer("1.3.0", "1.0.0"), offer("1.2.0", waves=WAVES), offer("1.1.0")),
            WISH,
            "1.2.0: this host's turn comes at 2020-07-01T12:00:00Z (seed 51)",
        ),
        (
            (offer("1.2.0"),),
            replace(WISH, failed=FAILED),
            (
                "1.2.0: it failed to boot 3 times, last noticed 2020-07-01T10:00:00Z; "
                "--image 1.2.0 tries it again"
            ),
        ),
        ((offer("1.2.0", "1.1.0"),), WISH, "1.2.0: it is above max_version 1.1.0"),
        (
            (offer("1.2.0"),),
            replace(WISH, version_lock=LOCK),
            "version_lock is 1.3.0, which the repository does not have",
        ),
        (
            (offer("1.1.0"),),
            replace(WISH, version_lock=parse_version("1.1.0")),
            "version_lock is 1.1.0: this host runs it",
        ),
        (
            (offer("1.3.0", waves=WAVES),),
            replace(WISH, version_lock=LOCK),
            "version_lock is 1.3.0: this host's turn comes at 2020-07-01T12:00:00Z (seed 51)",
        ),
        (
            (offer("1.2.0"),),
            replace(WISH, image=LOCK),
            "the repository does not have 1.3.0",
        ),
        (
            (offer("1.3.0", "1.2.0"),),
            replace(WISH, image=LOCK),
            "it is above max_version 1.2.0",
        ),
    ],
)
def test_why_there_is_nothing_is_one_line(
    offers: tuple[Update, ...], wish: Wish, told: str
) -> None:
    choice = choose(Manifest(offers), wish)
    assert choice.update is None
    assert summary(choice) == told


def test_the_same_in_json() -> None:
    choice = choose(EVERYTHING, WISH)
    value = json.loads(json.dumps(to_json(choice)))
    assert value["running"] == {"variant": "aws-k8s-1.15", "arch": "x86_64", "version": "1.1.0"}
    assert (value["now"], value["seed"]) == ("2020-07-01T10:00:00Z", 51)
    assert (value["version_lock"], value["image"], value["ignore_waves"]) == ("latest", None, False)
    assert value["chosen"]["version"] == "1.8.0"
    assert len(value["updates"]) == 9
    waiting = next(each for each in value["updates"] if each["version"] == "1.4.0")
    assert waiting == {
        "variant": "aws-k8s-1.15",
        "arch": "x86_64",
        "version": "1.4.0",
        "max_version": "9.0.0",
        "chosen": False,
        "candidate": False,
        "ready_at": "2020-07-01T12:00:00Z",
        "reasons": [
            {
                "code": "wave",
                "text": "this host's turn comes at 2020-07-01T12:00:00Z (seed 51)",
            }
        ],
    }
    assert [each["chosen"] for each in value["updates"]] == [True, *[False] * 8]


def test_json_says_when_there_is_nothing() -> None:
    value = to_json(choose(Manifest(), replace(WISH, image=LOCK, version_lock=LOCK)))
    assert value["chosen"] is None
    assert value["summary"] == "the repository has nothing for aws-k8s-1.15 on x86_64"
    assert (value["image"], value["version_lock"]) == ("1.3.0", "1.3.0")
