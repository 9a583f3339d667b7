"""Rollouts under way: nobody loses a turn that they had, nobody gets one that they should not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tools.care.lint import manifest_problems
from repo_tools.errors import ManifestEditRefused
from repo_tools.rollout import schedule
from repo_tools.waves.policies import named_policy
from updog.choose import Wish, choose
from updog.manifest import Images, Manifest, Update
from updog.release import Release
from updog.versions import Version
from updog.waves import MAX_SEED, Seed, check_order, ready_at

if TYPE_CHECKING:
    from tests.repo_tools.owner import Owner

START = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def rolling(waves: dict[int, datetime]) -> Update:
    return Update("v", "a", Version(1, 1), Version(1, 1), waves, Images("b", "r", "h"))


def turns(update: Update) -> list[datetime]:
    found = [ready_at(update.waves, Seed(seed)) for seed in range(MAX_SEED)]
    return [turn for turn in found if turn is not None]


def through_json(update: Update) -> Update:
    """As hosts get it: what is written must be read the same."""
    written = Manifest((update,)).to_bytes()
    (read,) = Manifest.from_bytes(written).updates
    return read


def assert_sound(update: Update) -> None:
    """What a rollout's commands write, `repo validate` does not complain of."""
    check_order(update.waves)
    assert list(manifest_problems(Manifest((update,)), {"b", "r", "h"})) == []


any_waves = st.lists(
    st.tuples(st.integers(1, 2047), st.integers(1, 10**6)), max_size=6, unique_by=lambda x: x[0]
).map(
    lambda steps: {
        0: START,
        **{
            seed: START + timedelta(seconds=second)
            for seed, second in zip(
                sorted(s for s, _ in steps), sorted(t for _, t in steps), strict=True
            )
        },
    }
)
offsets = st.integers(-1000, 1_100_000)


@given(any_waves, offsets)
def test_a_pause_keeps_turns_that_have_come_and_no_others(
    waves: dict[int, datetime], offset: int
) -> None:
    before = rolling(waves)
    now = START + timedelta(seconds=offset)
    old = turns(before)
    if old[-1] <= now:
        with pytest.raises(ManifestEditRefused, match="every host has had its turn"):
            schedule.pause(before, now)
        return
    paused = through_json(schedule.pause(before, now))
    assert_sound(paused)
    for was, is_now in zip(old, turns(paused), strict=True):
        if was <= now:
            assert abs(is_now - was) < SECOND
            assert is_now <= now
        else:
            assert is_now.year == 9999


@given(any_waves, offsets, st.integers(0, 10**6))
def test_resuming_goes_on_where_it_stopped(
    waves: dict[int, datetime], offset: int, pause_seconds: int
) -> None:
    before = rolling(waves)
    now = START + timedelta(seconds=offset)
    old = turns(before)
    if old[-1] <= now:
        return
    delay = timedelta(seconds=pause_seconds)
    paused = through_json(schedule.pause(before, now))
    resumed = through_json(schedule.resume(paused, now + delay))
    assert_sound(resumed)
    assert dict(resumed.unknown) == {}
    for was, is_now in zip(old, turns(resumed), strict=True):
        expected = was if was <= now else was + delay
        assert abs(is_now - expected) <= SECOND
        if was > now:
            assert is_now >= was + delay  # never early


@given(any_waves, offsets, st.floats(1.1, 10_000))
def test_speeding_up_squeezes_the_rest(
    waves: dict[int, datetime], offset: int, factor: float
) -> None:
    before = rolling(waves)
    now = START + timedelta(seconds=offset)
    old = turns(before)
    if old[-1] <= now:
        return
    faster = through_json(schedule.speed_up(before, now, factor))
    assert_sound(faster)
    for was, is_now in zip(old, turns(faster), strict=True):
        if was <= now:
            assert abs(is_now - was) < SECOND
        else:
            assert abs(is_now - (now + (was - now) / factor)) <= SECOND
            assert is_now > now


def test_what_a_pause_writes() -> None:
    """Literally: 5 % over two hours, then the rest; paused after one hour."""
    waves = {0: START, 102: START + timedelta(hours=2)}
    paused = schedule.pause(rolling(waves), START + timedelta(hours=1))
    assert paused.to_json()["waves"] == {
        "0": "2026-06-01T12:00:00Z",
        "51": "2026-06-01T13:00:00Z",
        "52": "9999-01-01T00:00:00Z",
    }
    assert paused.to_json()["paused"] == {
        "at": "2026-06-01T13:00:00Z",
        "waves": {"0": "2026-06-01T12:00:00Z", "102": "2026-06-01T14:00:00Z"},
    }
    resumed = schedule.resume(paused, START + timedelta(hours=5))
    assert resumed.to_json()["waves"] == {
        "0": "2026-06-01T12:00:00Z",
        "51": "2026-06-01T13:00:00Z",
        "52": "2026-06-01T17:01:11Z",
        "102": "2026-06-01T18:00:00Z",
    }


def test_a_rollout_that_has_not_begun_can_be_paused() -> None:
    update = rolling(named_policy("default").starting_at(START))
    paused = schedule.pause(update, START)
    assert {turn.year for turn in turns(paused)} == {9999}
    resumed = schedule.resume(paused, START + timedelta(days=1))
    assert turns(resumed) == [turn + timedelta(days=1) for turn in turns(update)]


@pytest.mark.parametrize(
    "damage", [7, {}, {"at": "soon", "waves": {}}, {"at": "2026-01-01T00:00:00Z", "waves": [1]}]
)
def test_a_damaged_pause_is_told(damage: object) -> None:
    update = rolling({0: START, 5: START + timedelta(days=1)})
    broken = Update(
        update.variant, update.arch, update.version, update.max_version, update.waves,
        update.images, {"paused": damage},
    )  # fmt: skip
    with pytest.raises(ManifestEditRefused, match="its field 'paused' is damaged"):
        schedule.pause_of(broken)


class TestCommands:
    """Each command shows what it changes, signs, and publishes."""

    @pytest.fixture
    def rolling_out(self, owner: Owner) -> Owner:
        owner.publish("1.1.0", start="1.0.0")
        owner.publish("1.2.0", start="1.1.0", waves="default")
        return owner

    def words(self, owner: Owner, verb: str, version: str = "1.2.0") -> list[str]:
        return ["rollout", verb, *owner.repository(), "--version", version]

    def test_pause_and_resume(self, rolling_out: Owner) -> None:
        later = rolling_out.later(days=2)
        assert later.rollouts()["1.2.0"]["share"] == pytest.approx(0.0747, abs=0.001)
        done = later.do(*self.words(later, "pause"))
        assert done["published"] is True
        assert later.rollouts()["1.2.0"]["paused_since"] == "2026-06-03T12:00:00Z"
        assert "is paused since" in later.refused(*self.words(later, "pause"))
        assert "is paused since" in later.refused(*self.words(later, "speed-up"))
        much_later = rolling_out.later(days=6)
        assert much_later.rollouts()["1.2.0"]["share"] == pytest.approx(0.0747, abs=0.001)
        much_later.do(*self.words(much_later, "resume"))
        assert much_later.rollouts()["1.2.0"]["paused_since"] is None
        assert rolling_out.later(days=9).rollouts()["1.2.0"]["share"] < 0.25
        assert rolling_out.later(days=10, hours=1).rollouts()["1.2.0"]["share"] == 1
        assert "is not paused" in much_later.refused(*self.words(much_later, "resume"))

    def test_the_schedule_of_one(self, rolling_out: Owner) -> None:
        later = rolling_out.later(days=2)
        words = ["rollout", "show", *later.repository(keys=False), "--version", "1.2.0"]
        text = later.run(*words, "--fleet", "100000").stdout
        assert "4,004" in text  # hosts of the second wave
        assert text.splitlines()[-1] == "7.5% of the fleet have had their turn"
        assert [wave["first_seed"] for wave in later.do(*words)["waves"]] == [0, 20, 102, 204, 512]
        assert "no such update" in later.refused(*words[:-1], "3.0.0")

    def test_speed_up(self, rolling_out: Owner) -> None:
        later = rolling_out.later(days=2)
        later.do(*self.words(later, "speed-up"), "--factor", "4")
        assert rolling_out.later(days=3, minutes=1).rollouts()["1.2.0"]["share"] == 1

    def test_set_waves(self, rolling_out: Owner) -> None:
        rolling_out.do(*self.words(rolling_out, "set-waves"), "--waves", "none")
        assert rolling_out.client().manifest()["updates"][1]["waves"] == {}
        assert "no such update" in rolling_out.refused(
            *self.words(rolling_out, "set-waves", "9.9.9"), "--waves", "none"
        )

    def test_other_waves_end_a_pause(self, rolling_out: Owner) -> None:
        """Else it would be shown as paused, and a resume would bring the old waves back."""
        rolling_out.do(*self.words(rolling_out, "pause"))
        rolling_out.do(*self.words(rolling_out, "set-waves"), "--waves", "none")
        assert rolling_out.rollouts()["1.2.0"]["paused_since"] is None
        assert rolling_out.rollouts()["1.2.0"]["share"] == 1
        assert "is not paused" in rolling_out.refused(*self.words(rolling_out, "resume"))

    def test_a_recall_says_when_hosts_can_go_back(self, rolling_out: Owner) -> None:
        """An older version is taken in its waves, as any other."""
        words = [*self.words(rolling_out, "recall"), "--dry-run"]
        assert "warning" not in rolling_out.run(*words).stderr
        rolling_out.do(*self.words(rolling_out, "set-waves", "1.1.0"), "--waves", "slow")
        shown = rolling_out.run(*words).stderr
        assert "warning: hosts go back when their turn for 1.1.0 comes, the last at" in shown

    def test_recall(self, rolling_out: Owner) -> None:
        shown = rolling_out.run(*self.words(rolling_out, "recall")).stderr
        assert "~ update demo x86_64 1.2.0: maximum version 1.2.0 -> 1.1.0" in shown
        manifest = rolling_out.client().manifest()
        assert {update["max_version"] for update in manifest["updates"]} == {"1.1.0"}
        assert rolling_out.rollouts()["1.2.0"]["recalled"] is True
        assert "is 1.1.0 already" in rolling_out.refused(*self.words(rolling_out, "recall"))

    @pytest.mark.parametrize(
        "version, to, says",
        [
            ("1.1.0", None, "there is no older version in the repository"),
            ("1.2.0", "1.0.5", "1.0.5 is no older version in the repository"),
            ("1.2.5", None, "there is no such update"),
        ],
    )
    def test_a_recall_that_leads_nowhere(
        self, rolling_out: Owner, version: str, to: str | None, says: str
    ) -> None:
        words = [*self.words(rolling_out, "recall", version), *(["--to", to] if to else [])]
        before = rolling_out.client().versions()
        assert says in rolling_out.refused(*words)
        assert rolling_out.client().versions() == before

    def test_a_host_of_updogs_comes_back_down(self, rolling_out: Owner) -> None:
        rolling_out.do(*self.words(rolling_out, "recall"))
        manifest = Manifest.from_bytes(rolling_out.client().read("manifest.json"))
        release = Release(variant="demo", version=Version(1, 2), arch="x86_64")
        chosen = choose(manifest, Wish(release=release, seed=Seed(0), now=rolling_out.now)).update
        assert chosen is not None
        assert chosen.version == Version(1, 1)

    def test_remove(self, rolling_out: Owner) -> None:
        done = rolling_out.do("repo", "remove", *rolling_out.repository(), "--version", "1.2.0")
        assert "- target demo-x86_64-1.2.0-root.ext4.lz4" in done["changes"]
        assert rolling_out.client().updates() == ["1.1.0"]
        # Hosts that are fetching it can finish.
        assert list((rolling_out.repo / "targets").glob("*1.2.0-root.ext4.lz4"))
        assert "no such update (there: 1.1.0)" in rolling_out.refused(
            "repo", "remove", *rolling_out.repository(), "--version", "1.2.0"
        )
