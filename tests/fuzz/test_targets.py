"""Every parser against seeds, damaged seeds, noise, and structures that look right from afar.

The targets (`fuzz.targets`) say what ending well means; `python -m fuzz` searches much
longer, guided by coverage. Here is what every change has to stand.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, BrokenPromise
from migrator import keys
from partition import gpt
from partition.gpt import write_plan
from updog.manifest import Manifest

if TYPE_CHECKING:
    from partition.gpt import Plan, Table

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "fuzz" / "corpus"
SEEDS = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS}

MEMORY_BYTES = 768 << 20
CPU_SECONDS = 60


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    assert {place.name for place in CORPUS.iterdir()} == set(TARGETS)
    assert all(len(seeds) >= 3 for seeds in SEEDS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_end_well(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed.read_bytes())


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with a few bytes changed, lost, repeated or replaced by another seed's."""
    seeds = [seed.read_bytes() for seed in SEEDS[name]]
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(data)))
        # Most of what decides is at the start.
        place = place % 128 if draw(st.booleans()) else place
        match draw(st.sampled_from(["set", "cut", "insert", "repeat", "splice"])):
            case "set":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del data[place : place + draw(st.sampled_from([1, 4, 512, 1 << 20]))]
            case "insert":
                data[place:place] = draw(st.binary(max_size=8))
            case "repeat":
                data[place:place] = data[place : place + 64]
            case _:
                data[place:] = draw(st.sampled_from(seeds))[place:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_seeds_end_well(name: str) -> None:
    count = 0

    @settings(max_examples=250)
    @given(damaged(name))
    def check(data: bytes) -> None:
        nonlocal count
        count += 1
        TARGETS[name](data)

    check()
    assert count >= 250


@pytest.mark.parametrize("name", TARGETS)
def test_noise_ends_well(name: str) -> None:
    @settings(max_examples=100)
    @given(st.binary(max_size=600))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["0.4.1", "1.0.0-rc.1", "2020-07-01T00:00:00Z", "x.lz4", "../x", "x86_64"])
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner)
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with these fields, now and then without one, or with something else in it."""
    known = {name: values | ANYTHING for name, values in fields.items()}
    return st.fixed_dictionaries({}, optional=known)


VERSIONS = st.sampled_from(["0.4.0", "0.4.1", "0.5.0", "1.0.0-rc.1", "1.0.0+b", "01.0.0", "1.0"])
TIMES = st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
NAMES = st.sampled_from(["a.lz4", "b", "a/b", "..", "", "\u202e"])
MANIFESTS = objects(
    updates=st.lists(
        objects(
            variant=st.just("demo"),
            arch=st.just("x86_64"),
            version=VERSIONS,
            max_version=VERSIONS,
            waves=st.dictionaries(st.integers(0, 3000).map(str), TIMES, max_size=4),
            images=objects(boot=NAMES, root=NAMES, hash=NAMES),
        ),
        max_size=3,
    ),
    migrations=st.dictionaries(
        st.tuples(VERSIONS, VERSIONS).map(lambda step: f"({step[0]}, {step[1]})"),
        st.lists(NAMES, max_size=2),
        max_size=4,
    ),
)


@settings(max_examples=150)
@given(MANIFESTS)
def test_what_looks_like_a_manifest_ends_well(value: dict[str, Any]) -> None:
    TARGETS["manifest"](json.dumps(value).encode())


CONFIG_KEYS = [
    *("metadata_base_url", "targets_base_url", "seed", "version_lock", "ignore_waves"),
    *("https_proxy", "no_proxy", "max_attempts", "tries", "delay_hours", "rehearse_migrations"),
    *("connect_timeout_seconds", "stall_timeout_seconds", "max_retries", "clock_floor", "other"),
]
CONFIG_VALUES = st.sampled_from(
    [
        *('"https://u.example/m"', '"file:///m"', '"latest"', '"v1.2.3"', '"none"', '""', "true"),
        *("0", "1", "15", "16", "2047", "2048", "-1", "1.5", "nan", "[]", '["a"]', "[[]]", "{}"),
        *(
            "1979-05-27",
            "0x7fffffffffffffff",
            f"1{'0' * 5000}",
            '"http://[::1"',
            '"http://h:99999"',
        ),
    ]
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(CONFIG_KEYS), CONFIG_VALUES), max_size=6))
def test_what_looks_like_a_configuration_ends_well(lines: list[tuple[str, str]]) -> None:
    required = (
        'metadata_base_url = "https://u.example/"\ntargets_base_url = "file:///t"\nseed = 1\n'
    )
    text = "".join(f"{key} = {value}\n" for key, value in lines)
    TARGETS["config"](text.encode())
    TARGETS["config"]((required + text).encode())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_fit_into_little_memory_and_time(name: str) -> None:
    """Bombs, deep nesting and huge numbers are among the seeds."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

    program = (
        "import sys; from pathlib import Path; from fuzz.targets import TARGETS\n"
        "for path in sys.argv[2:]: TARGETS[sys.argv[1]](Path(path).read_bytes())\n"
        "print(len(sys.argv) - 2)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, name, *map(str, SEEDS[name])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limits,
    )
    assert (result.returncode, result.stdout.strip()) == (0, str(len(SEEDS[name]))), result.stderr


def test_a_codec_that_breaks_its_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets do look at what comes out: seeds alone find three sabotaged codecs."""

    def half(table: Table) -> Plan:
        return write_plan(table)[:1]

    def forgetful(manifest: Manifest) -> bytes:
        return json.dumps({**manifest.to_json(), "migrations": {}}).encode()

    monkeypatch.setattr(gpt, "write_plan", half)
    monkeypatch.setattr(Manifest, "to_bytes", forgetful)
    monkeypatch.setattr(keys, "encode", str.upper)
    for name in ("gpt", "manifest", "key-name"):
        with pytest.raises(BrokenPromise):
            test_seeds_end_well(name)
