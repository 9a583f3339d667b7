"""The choice: the contract's rules, one story each, and a reason for every update not taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog.attempts import Failure
from updog.choose import Choice, Obstacle, Wish, choose
from updog.manifest import Images, Manifest, Update
from updog.release import Release
from updog.versions import parse_version
from updog.waves import Seed, parse_time

FIXTURES = Path(__file__).parents[2] / "fixtures" / "manifests"
NOW = datetime(2024, 4, 10, 12, 0, tzinfo=UTC)
IMAGES = Images("boot.lz4", "root.lz4", "hash.lz4")
FAILED_ONCE = Failure(1, NOW)


def offer(
    version: str,
    max_version: str = "9.9.9",
    waves: dict[int, str] | None = None,
    *,
    variant: str = "aws-k8s",
    arch: str = "x86_64",
) -> Update:
    starts = {seed: parse_time(text) for seed, text in (waves or {}).items()}
    return Update(variant, arch, parse_version(version), parse_version(max_version), starts, IMAGES)


def wish(running: str = "1.0.0", **more: object) -> Wish:
    release = Release("aws-k8s", parse_version(running), "x86_64")
    return replace(Wish(release=release, seed=Seed(7), now=NOW), **more)  # type: ignore[arg-type]


def chosen(offers: list[Update], what: Wish) -> str | None:
    update = choose(Manifest(tuple(offers)), what).update
    return str(update.version) if update else None


def obstacles(choice: Choice) -> dict[str, list[str]]:
    return {
        str(each.update.version): [obstacle.value for obstacle in each.obstacles]
        for each in choice.findings
    }


TOMORROW = {0: "2024-04-11T12:00:00Z"}
YESTERDAY = {0: "2024-04-09T12:00:00Z"}


def test_the_newest_is_taken_wherever_it_stands() -> None:
    assert chosen([offer("1.1.0"), offer("1.10.0"), offer("1.9.0")], wish()) == "1.10.0"


def test_what_runs_and_what_is_older_is_not_taken() -> None:
    choice = choose(Manifest((offer("1.0.0"), offer("0.9.0"))), wish("1.0.0"))
    assert choice.update is None
    assert obstacles(choice) == {"1.0.0": ["running"], "0.9.0": ["older"]}


def test_other_variants_and_architectures_are_not_ours() -> None:
    choice = choose(
        Manifest((offer("1.2.0", variant="aws-ecs"), offer("1.3.0", arch="aarch64"))), wish()
    )
    assert choice.update is None
    assert obstacles(choice) == {"1.3.0": ["arch"], "1.2.0": ["variant"]}
    assert choice.candidates == ()


def test_a_version_above_its_maximum_is_no_candidate() -> None:
    assert chosen([offer("1.25.0", "1.20.0"), offer("1.15.0", "1.20.0")], wish()) == "1.15.0"


def test_a_recalled_release_comes_down_to_the_newest_allowed() -> None:
    """The host runs 1.25.0; the owner lowered the maximum to 1.20.0."""
    offers = [offer("1.25.0", "1.20.0"), offer("1.15.0", "1.20.0"), offer("1.13.0", "1.20.0")]
    assert chosen(offers, wish("1.25.0")) == "1.15.0"


def test_a_recalled_release_waits_for_the_wave_all_the_same() -> None:
    offers = [offer("1.15.0", "1.20.0", TOMORROW), offer("1.13.0", "1.20.0", YESTERDAY)]
    assert chosen(offers, wish("1.25.0")) == "1.13.0"


def test_at_the_maximum_nothing_comes_down() -> None:
    assert chosen([offer("1.15.0", "1.20.0")], wish("1.20.0")) is None


def test_a_wave_that_has_not_come_hides_an_update() -> None:
    offers = [offer("1.3.0", waves=TOMORROW), offer("1.2.0", waves=YESTERDAY)]
    choice = choose(Manifest(tuple(offers)), wish())
    assert choice.update == offers[1]
    assert obstacles(choice) == {"1.3.0": ["wave"], "1.2.0": []}
    assert choice.findings[0].ready_at == datetime(2024, 4, 11, 12, 0, tzinfo=UTC)


def test_the_turn_comes_at_the_microsecond() -> None:
    offers = [offer("1.3.0", waves={0: "2024-04-10T11:00:00Z", 14: "2024-04-10T13:00:00Z"})]
    assert chosen(offers, wish(now=NOW - timedelta(microseconds=1))) is None
    assert chosen(offers, wish(now=NOW)) == "1.3.0"


def test_waves_can_be_ignored() -> None:
    offers = [offer("1.3.0", waves=TOMORROW), offer("1.2.0", waves=YESTERDAY)]
    assert chosen(offers, wish(ignore_waves=True)) == "1.3.0"


def test_a_delay_adds_to_the_turn() -> None:
    offers = [offer("1.3.0", waves=YESTERDAY)]
    assert chosen(offers, wish(delay=timedelta(hours=25))) is None
    assert chosen(offers, wish(delay=timedelta(hours=24))) == "1.3.0"


def test_a_delay_beyond_the_calendar_is_never() -> None:
    choice = choose(
        Manifest((offer("1.3.0", waves={0: "9999-12-31T23:00:00Z"}),)),
        wish(delay=timedelta(hours=2)),
    )
    assert choice.update is None
    assert choice.findings[0].ready_at == datetime.max.replace(tzinfo=UTC)


def test_a_named_image_is_taken_whatever_stands_in_its_way() -> None:
    """Not its turn, another lock, older than what runs, failed before: the operator knows."""
    offers = [offer("1.3.0"), offer("0.9.0", waves=TOMORROW)]
    asked = wish(
        image=parse_version("0.9.0"),
        version_lock=parse_version("1.3.0"),
        failed={"0.9.0": FAILED_ONCE},
    )
    choice = choose(Manifest(tuple(offers)), asked)
    assert choice.update == offers[1]
    assert obstacles(choice) == {"1.3.0": ["image"], "0.9.0": []}


def test_even_the_running_version_can_be_named() -> None:
    assert chosen([offer("1.0.0")], wish("1.0.0", image=parse_version("1.0.0"))) == "1.0.0"


@pytest.mark.parametrize(
    "offered",
    [
        offer("1.2.0", "1.1.0"),
        offer("1.2.0", variant="aws-ecs"),
        offer("1.2.0", arch="aarch64"),
        offer("1.2.1"),
        offer("1.2.0-rc.1"),
    ],
)
def test_a_named_image_must_be_a_candidate_otherwise(offered: Update) -> None:
    assert chosen([offered], wish(image=parse_version("1.2.0"))) is None


def test_a_named_build_is_that_build() -> None:
    offers = [offer("1.2.0+one"), offer("1.2.0+two")]
    assert chosen(offers, wish(image=parse_version("1.2.0+two"))) == "1.2.0+two"
    assert chosen(offers, wish(image=parse_version("1.2.0"))) == "1.2.0+one"


def test_a_lock_goes_to_exactly_that_version() -> None:
    offers = [offer("1.3.0"), offer("1.2.0"), offer("0.9.0")]
    assert chosen(offers, wish(version_lock=parse_version("1.2.0"))) == "1.2.0"
    assert chosen(offers, wish(version_lock=parse_version("0.9.0"))) == "0.9.0"
    assert chosen(offers, wish(version_lock=parse_version("1.4.0"))) is None


def test_a_lock_to_what_runs_stays() -> None:
    choice = choose(
        Manifest((offer("1.3.0"), offer("1.0.0"))), wish(version_lock=parse_version("1.0.0"))
    )
    assert choice.update is None
    assert obstacles(choice) == {"1.3.0": ["version_lock"], "1.0.0": ["running"]}


def test_a_lock_waits_for_the_wave_and_keeps_to_the_maximum() -> None:
    lock = parse_version("1.2.0")
    assert chosen([offer("1.2.0", waves=TOMORROW)], wish(version_lock=lock)) is None
    assert chosen([offer("1.2.0", "1.1.0")], wish(version_lock=lock)) is None


def test_a_lock_holds_even_above_the_maximum() -> None:
    """The running release was recalled, and the owner of the host locked it elsewhere."""
    offers = [offer("1.15.0", "1.20.0"), offer("1.13.0", "1.20.0")]
    assert chosen(offers, wish("1.25.0", version_lock=parse_version("1.13.0"))) == "1.13.0"


def test_a_version_that_failed_is_passed_over_for_the_next_one() -> None:
    offers = [offer("1.3.0"), offer("1.2.0")]
    choice = choose(Manifest(tuple(offers)), wish(failed={"1.3.0": FAILED_ONCE}))
    assert choice.update == offers[1]
    assert obstacles(choice) == {"1.3.0": ["failed"], "1.2.0": []}


def test_a_newer_version_than_the_failed_one_is_taken() -> None:
    offers = [offer("1.4.0"), offer("1.3.0")]
    assert chosen(offers, wish(failed={"1.3.0": FAILED_ONCE})) == "1.4.0"


def test_all_reasons_are_told_not_only_the_first() -> None:
    choice = choose(
        Manifest((offer("0.5.0", "0.4.0", TOMORROW, variant="other", arch="riscv64"),)),
        wish(failed={"0.5.0": FAILED_ONCE}, version_lock=parse_version("1.0.0")),
    )
    assert choice.findings[0].obstacles == (
        Obstacle.VARIANT,
        Obstacle.ARCH,
        Obstacle.MAX_VERSION,
        Obstacle.WAVE,
        Obstacle.VERSION_LOCK,
        Obstacle.FAILED,
    )


def test_candidates_are_all_that_could_be_had_now_newest_first() -> None:
    offers = [
        offer("0.9.0"), offer("1.3.0", waves=TOMORROW), offer("1.1.0"), offer("1.0.0"),
        offer("1.2.0", arch="aarch64"), offer("2.0.0", "1.9.0"), offer("1.2.0"),
    ]  # fmt: skip
    choice = choose(Manifest(tuple(offers)), wish(failed={"1.1.0": FAILED_ONCE}))
    versions = [str(each.version) for each in choice.candidates]
    assert versions == ["1.2.0", "1.1.0", "1.0.0", "0.9.0"]


def test_of_two_entries_for_one_version_the_first_counts() -> None:
    first, second = offer("1.2.0", "3.0.0"), offer("1.2.0", "4.0.0")
    choice = choose(Manifest((first, second)), wish())
    assert choice.update is first
    assert choice.findings[1].obstacles == (Obstacle.SUPERSEDED,)


def test_pre_releases_come_before_their_release() -> None:
    offers = [offer("1.2.0-rc.2"), offer("1.2.0"), offer("1.2.0-rc.10")]
    assert chosen(offers, wish("1.2.0-rc.2")) == "1.2.0"
    assert chosen([offer("1.2.0-rc.2"), offer("1.2.0-rc.10")], wish("1.2.0-rc.2")) == "1.2.0-rc.10"


# Manifests of the shape that a real distribution publishes.


def published(name: str) -> Manifest:
    return Manifest.from_bytes((FIXTURES / name).read_bytes())


def host(variant: str, running: str, seed: int, now: str, **more: object) -> Wish:
    release = Release(variant, parse_version(running), "x86_64")
    base = Wish(release=release, seed=Seed(seed), now=parse_time(now))
    return replace(base, **more)  # type: ignore[arg-type]


def test_several_updates_and_one_that_fits() -> None:
    manifest = published("several.json")
    asked = host("dev-kit", "1.10.0", 123, "2024-01-01T00:00:00Z")
    update = choose(manifest, asked).update
    assert update is not None
    assert str(update.version) == "1.15.0"
    named = choose(manifest, replace(asked, image=parse_version("1.13.0"))).update
    assert named is not None
    assert str(named.version) == "1.13.0"


def test_a_withdrawn_update_is_not_taken() -> None:
    asked = host("dev-kit", "1.18.0", 123, "2024-01-01T00:00:00Z")
    assert choose(published("withdrawn.json"), asked).update is None


def test_a_host_above_the_maximum_comes_down_in_its_turn() -> None:
    manifest = published("same-instant.json")
    late = host("aws-k8s-1.15", "0.1.3", 1487, "2024-01-01T00:00:00Z")
    update = choose(manifest, late).update
    assert update is not None
    assert str(update.version) == "0.1.2"
    # 3600 s * 1487 / 2047 = 2615.1441… s after 17:55:03
    for now, expected in (
        ("2019-09-27T18:38:38.144113Z", "0.1.1"),
        ("2019-09-27T18:38:38.144114Z", "0.1.2"),
        ("2019-09-20T22:59:59.999999Z", None),
    ):
        update = choose(manifest, host("aws-k8s-1.15", "0.1.3", 1487, now)).update
        assert (str(update.version) if update else None) == expected


def test_a_release_in_six_days_reaches_each_host_at_its_second() -> None:
    manifest = published("long-history.json")
    # Wave 204 to 512, from the 4th to the 7th: 3 d * (358 - 204) / 308 = 36 h.
    before = host("aws-k8s-1.28", "1.19.4", 358, "2024-04-05T11:59:59Z")
    assert choose(manifest, before).update is None
    update = choose(manifest, replace(before, now=parse_time("2024-04-05T12:00:00Z"))).update
    assert update is not None
    assert update.label == "aws-k8s-1.28 1.19.5"


OFFERS = st.lists(
    st.builds(
        offer,
        st.sampled_from(["1.0.0", "1.1.0", "1.2.0-rc.1", "1.2.0", "2.0.0"]),
        st.sampled_from(["1.1.0", "1.2.0", "9.9.9"]),
        st.sampled_from([None, TOMORROW, YESTERDAY]),
        variant=st.sampled_from(["aws-k8s", "other"]),
        arch=st.sampled_from(["x86_64", "aarch64"]),
    ),
    max_size=6,
)
VERSION = st.sampled_from(["1.0.0", "1.1.0", "1.2.0", "2.0.0", "3.0.0"]).map(parse_version)


@given(OFFERS, VERSION, st.none() | VERSION, st.none() | VERSION, st.booleans())
def test_what_is_taken_is_what_the_contract_says(
    offers: list[Update],
    running: object,
    lock: object,
    image: object,
    ignore_waves: bool,  # noqa: FBT001
) -> None:
    """The contract's paragraph, read from top to bottom."""
    asked = wish(str(running), version_lock=lock, image=image, ignore_waves=ignore_waves)
    tomorrow = offer("1.0.0", waves=TOMORROW).waves
    ours = [
        each
        for each in offers
        if (each.variant, each.arch) == ("aws-k8s", "x86_64") and each.version <= each.max_version
    ]
    eligible = [each for each in ours if ignore_waves or each.waves != tomorrow]
    newest_first = sorted(eligible, key=lambda each: each.version, reverse=True)
    if image is not None:
        expected = [each for each in ours if each.version == image]
    elif lock is not None:
        expected = [each for each in newest_first if each.version == lock != running]
    else:
        now = parse_version(str(running))
        expected = [each for each in newest_first if each.version > now or now > each.max_version]
    assert choose(Manifest(tuple(offers)), asked).update == (expected[0] if expected else None)
