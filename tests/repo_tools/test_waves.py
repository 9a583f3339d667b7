"""Policies become the waves that Bottlerocket's tool would write; the curve is what updog does."""

from __future__ import annotations

import json
import re
import struct
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tools.errors import PolicyInvalid
from repo_tools.rollout.schedule import pause
from repo_tools.waves.curve import Curve, curve_of, samples
from repo_tools.waves.policies import named_policy, policy_names
from repo_tools.waves.policy import parse_offset, parse_policy
from repo_tools.waves.render import chart, svg, table
from updog.choose import Wish, choose
from updog.manifest import Images, Manifest, Update
from updog.release import Release
from updog.versions import Version
from updog.waves import MAX_SEED, Seed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo_tools.owner import Owner, Words

START = datetime(2026, 1, 1, tzinfo=UTC)

# What Bottlerocket's update-metadata computes, `(percentage as f32 / 100.0 * 2048.0) as u32` of the
# wave before, for the policies that it ships.
EXPECTED = {
    "default": {0: "01T01", 20: "01T04", 102: "02T00", 204: "04T00", 512: "07T00"},
    "accelerated": {0: "01T01", 61: "01T04", 245: "01T08", 1024: "02T00"},
    "slow": {
        0: "01T01", 20: "02T00", 102: "04T00", 307: "08T00", 819: "10T00", 1228: "13T00",
        1843: "14T00",
    },
    "emergency": {0: "01T01", 102: "01T02", 512: "01T03"},
    "steady": {0: "01T01", 20: "01T04", 102: "02T00", 204: "04T00", 512: "06T00", 2027: "08T00"},
}  # fmt: skip


def test_there_are_no_other_policies() -> None:
    assert set(policy_names()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_named_policies(name: str) -> None:
    waves = named_policy(name).starting_at(START)
    written = {seed: start.strftime("%dT%H") for seed, start in waves.items()}
    assert written == EXPECTED[name]
    assert list(waves) == sorted(waves)


def single(percentage: int) -> str:
    return (
        f'[[waves]]\nstart_after="1 hour"\nfleet_percentage={percentage}\n'
        '[[waves]]\nstart_after="2 hours"\nfleet_percentage=100\n'
    )


def test_every_percentage_is_rounded_as_bottlerocket_rounds_it() -> None:
    """32-bit floats, emulated: the quotient rounded to 24 bits, times a power of two."""
    for percentage in range(1, 100):
        quotient = struct.unpack("f", struct.pack("f", percentage / 100))[0]
        expected = int(quotient * 2048)
        waves = parse_policy(single(percentage), "p").starting_at(START)
        assert list(waves) == [0, expected]


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("30 minutes", 1800),
        ("1 minute", 60),
        ("in 4 hours", 14400),
        ("  2   days ", 172800),
        ("1 week", 604800),
        ("0 hours", 0),
    ],
)
def test_offsets(text: str, seconds: int) -> None:
    assert parse_offset(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "hours", "in", "0 hou", "in 1 month", "-1 hours", "1.5 days",
                                  "on 2 days", "9999999999 hours", "999999999 weeks"])  # fmt: skip
def test_what_is_no_offset(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|long"):
        parse_offset(text)


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "it has no [[waves]]"),
        ("waves = 3", "it has no [[waves]]"),
        ("[[waves]\n", "it is not TOML"),
        ("[[wave]]\n", "unknown key 'wave'"),
        ('[[waves]]\nstart_after="1 hour"', "needs start_after and fleet_percentage, only"),
        (single(5) + "x=1", "wave 2 needs start_after and fleet_percentage, only"),
        (single(0), "fleet_percentage of wave 1 is 0"),
        (single(101), "fleet_percentage of wave 1 is 101"),
        (single(100), "wave 2 ends at 100 % of the fleet, the one before it at 100 %"),
        (single(5).replace('"2 hours"', '"1 hours"'), "wave 2 does not start after"),
        (single(5).replace("=100", "=50"), "its last wave ends at 50 % of the fleet"),
        (single(5).replace('"1 hour"', "60"), "start_after of wave 1 is not a string"),
        (single(5).replace('"1 hour"', '"soon"'), "wave 1: 'soon' is no offset"),
        (single(5).replace("=5", "=5.0"), "fleet_percentage of wave 1 is 5.0"),
        (single(5).replace("=5", "=true"), "fleet_percentage of wave 1 is True"),
    ],
)
def test_what_is_no_policy(text: str, says: str) -> None:
    with pytest.raises(PolicyInvalid, match=re.escape(says)):
        parse_policy(text, "mine.toml")


def test_a_policy_that_never_ends() -> None:
    policy = parse_policy(single(5).replace("2 hours", "500000 weeks"), "p")
    with pytest.raises(PolicyInvalid, match="after the year 9999"):
        policy.starting_at(START)


# The formula of the contract, in exact fractions, without our code.
def turn(waves: dict[int, datetime], seed: int) -> Fraction:
    """Seconds after START."""
    keys = sorted(waves)
    tick = timedelta(microseconds=1)
    seconds = {key: Fraction((waves[key] - START) // tick, 10**6) for key in keys}
    key = max(k for k in keys if k <= seed)
    later = [k for k in keys if k > key]
    if not later:
        return seconds[key]
    return seconds[key] + (seconds[later[0]] - seconds[key]) * (seed - key) / (later[0] - key)


@pytest.mark.parametrize("name", EXPECTED)
def test_for_every_seed_updog_becomes_eligible_when_the_curve_says(name: str) -> None:
    waves = named_policy(name).starting_at(START)
    curve = curve_of(waves, START)
    manifest = Manifest.from_bytes(
        json.dumps(
            {
                "updates": [
                    {
                        "variant": "v", "arch": "a", "version": "1.1.0", "max_version": "1.1.0",
                        "waves": {str(k): f"{v:%Y-%m-%dT%H:%M:%SZ}" for k, v in waves.items()},
                        "images": {"boot": "b", "root": "r", "hash": "h"},
                    }
                ],
                "migrations": {"(1.0.0, 1.1.0)": []},
            }
        ).encode()
    )  # fmt: skip
    tick = timedelta(microseconds=1)
    for seed in range(MAX_SEED):
        ready = curve.ready[seed]
        exact = turn(waves, seed)
        behind = Fraction((ready - START) / tick) / 10**6 - exact
        assert 0 <= behind < Fraction(1, 10**6)
        assert eligible(manifest, seed, ready)
        assert not eligible(manifest, seed, ready - tick)


def eligible(manifest: Manifest, seed: int, now: datetime) -> bool:
    """Whether updog itself would take the update."""
    release = Release(variant="v", version=Version(1), arch="a")
    return choose(manifest, Wish(release=release, seed=Seed(seed), now=now)).update is not None


def test_the_curve_of_a_policy_by_hand() -> None:
    """5 % over one hour, 20 % over the next, the rest at once."""
    curve = curve_of(named_policy("emergency").starting_at(START), START)
    shares = {
        1: 1 / 2048,  # the first host, at 01:00 sharp
        1.5: 52 / 2048,  # half of the first 102: seeds 0 to 51
        2: 103 / 2048,
        3: 1.0,
    }
    for hours, share in shares.items():
        assert curve.share_at(START + timedelta(hours=hours)) == share
    assert curve.share_at(START) == 0
    assert [(row.first_seed, row.last_seed) for row in curve.rows()] == [
        (0, 101), (102, 511), (512, 2047),
    ]  # fmt: skip
    (step,) = curve.steps()
    assert (step.at, step.seeds) == (START + timedelta(hours=3), 1536)
    (warning,) = curve.warnings(10_000)
    assert warning == (
        "75% of the fleet (7,500 hosts) get their turn at one instant, 2026-01-01T03:00:00Z:"
        " they all come within one check interval"
    )


def test_a_steady_policy_warns_of_nothing() -> None:
    assert not list(curve_of(named_policy("steady").starting_at(START), START).warnings(10**6))


def test_without_waves_everybody_comes_at_once() -> None:
    curve = curve_of({}, START)
    assert curve.share_at(START) == 1
    assert [step.seeds for step in curve.steps()] == [2048]


waves_by_hand = st.dictionaries(
    st.integers(0, 2047), st.integers(0, 10**6), min_size=1, max_size=8
).map(lambda raw: dict(zip(sorted(raw), sorted(raw.values()), strict=True)))


@given(waves_by_hand)
def test_any_waves_make_a_curve_that_only_rises(raw: dict[int, int]) -> None:
    waves = {seed: START + timedelta(seconds=second) for seed, second in raw.items()}
    curve = curve_of(waves, START)
    assert list(curve.ready) == sorted(curve.ready)
    rows = curve.rows()
    assert sum(row.last_seed - row.first_seed + 1 for row in rows) == 2048
    assert rows[-1].share_after == 1
    assert curve.share_at(curve.end) == 1
    assert len(chart([(curve.start, 0.5), (curve.end, 1.0)]).splitlines()) == 14


class TestPictures:
    """What is drawn is the curve."""

    curve: Curve = curve_of(named_policy("default").starting_at(START), START)

    def test_the_svg_has_every_seed_in_its_place(self) -> None:
        root = ET.fromstring(svg(self.curve, 1000, "a <title> & more"))  # noqa: S314  our own
        space = "{http://www.w3.org/2000/svg}"
        assert root.findtext(f"{space}title") == "a <title> & more"
        line = root.find(f"{space}polyline")
        assert line is not None
        points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
        assert len(points) == 1 + 2 * 2048
        # Six days on 720 units, from 70 on; the share of 320 units, from 370 up.
        half = points[2 * 1024]  # when seed 1023 had its turn: all of the last wave at its start
        assert half == pytest.approx((790, 370 - 320 * 1024 / 2048), abs=0.01)
        fifth = points[2 * 102]  # seed 101 of the second wave, which runs from 4 h to 24 h
        hours = 4 + 20 * (101 - 20) / (102 - 20)
        assert fifth == pytest.approx((70 + 720 * hours / 144, 370 - 320 * 102 / 2048), abs=0.01)
        texts = [each.text for each in root.iter(f"{space}text")]
        assert "750 hosts at once" in texts
        assert "wave 2: 40 hosts, 5.0% of the fleet by then, +4h, over 19h 45m" in texts
        assert "wave 5: 750 hosts, 100.0% of the fleet by then, +6d, all at once" in texts

    def test_a_paused_rollout_is_drawn_as_far_as_it_goes(self) -> None:
        """Seeds 0 to 51 have had their turn by half past one; the others wait for a resume."""
        waves = named_policy("emergency").starting_at(START)
        images = Images("b", "r", "h")
        update = Update("v", "a", Version(1), Version(1), waves, images)
        paused = curve_of(pause(update, START + timedelta(hours=1.5)).waves, START)
        assert paused.share_at(paused.end) == 52 / 2048
        assert paused.end <= START + timedelta(hours=1.5)
        assert not list(paused.warnings(1000))
        lines = table(paused, 2048).splitlines()
        assert lines[-1].split() == ["3", "52-2047", "1,996", "100.0%", "held", "back"]
        root = ET.fromstring(svg(paused, 2048, "paused"))  # noqa: S314  our own
        line = root.find("{http://www.w3.org/2000/svg}polyline")
        assert line is not None
        last = line.attrib["points"].split()[-1]
        assert tuple(map(float, last.split(","))) == pytest.approx(
            (790, 370 - 320 * 52 / 2048), abs=0.01
        )
        assert chart(samples(paused, 40))

    def test_the_table(self) -> None:
        lines = table(self.curve, 100_000).splitlines()
        assert len(lines) == 6
        assert lines[2].split() == [
            "2", "20-101", "4,004", "5.0%", "2026-01-01T04:00:00Z", "(+4h,", "over", "19h", "45m)",
        ]  # fmt: skip
        assert lines[5].endswith("2026-01-07T00:00:00Z (+6d, all at once)")


class TestCommands:
    """`waves list`, `show` and `plan`."""

    def test_list_and_show(self, newcomer: Owner) -> None:
        names = [each["name"] for each in newcomer.do("waves", "list")["policies"]]
        assert names == sorted(EXPECTED)
        shown = newcomer.run("waves", "show", "emergency").stdout
        assert (
            parse_policy(shown, "shown").starting_at(START).keys() == EXPECTED["emergency"].keys()
        )

    def test_plan_of_a_file(self, newcomer: Owner, tmp_path: Path) -> None:
        policy, picture = tmp_path / "mine.toml", tmp_path / "curve.svg"
        policy.write_text(single(50))
        words: Words = [
            "waves",
            "plan",
            policy,
            "--fleet",
            "200",
            "--start-at",
            "2026-01-01T00:00:00Z",
        ]
        plan = newcomer.do(*words, "--svg", picture)
        assert plan["waves"][1]["start"] == "2026-01-01T02:00:00Z"
        assert [wave["hosts"] for wave in plan["waves"]] == [100, 100]
        assert len(plan["ready"]) == 2048
        assert len(plan["warnings"]) == 1
        assert picture.read_text().startswith("<svg")
        text = newcomer.run(*words)
        assert "warning: 50% of the fleet (100 hosts)" in text.stderr
        assert "│" in text.stdout

    def test_plan_of_an_update_in_a_manifest(self, owner: Owner, tmp_path: Path) -> None:
        owner.publish("1.1.0", start="1.0.0", waves="slow")
        owner.publish("1.2.0", start="1.1.0")
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps(owner.client().manifest()))
        plan = owner.do("waves", "plan", "--manifest", manifest, "--version", "1.1.0")
        assert [wave["first_seed"] for wave in plan["waves"]] == [0, 20, 102, 307, 819, 1228, 1843]
        said = owner.refused("waves", "plan", "--manifest", manifest)
        assert "2 updates are meant, not one" in said

    def test_plan_of_nothing(self, newcomer: Owner) -> None:
        said = newcomer.refused("waves", "plan")
        assert "neither a policy nor --manifest is given" in said
