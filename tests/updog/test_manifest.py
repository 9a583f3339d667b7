"""The manifest: what is read, what is refused, and where the message points."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog.errors import ManifestInvalid
from updog.manifest import Manifest
from updog.versions import parse_version

FIXTURES = Path(__file__).parents[2] / "fixtures" / "manifests"

# The example of the contract, with names written out.
EXAMPLE: dict[str, Any] = {
    "updates": [
        {
            "variant": "aws-k8s-1.15",
            "arch": "x86_64",
            "version": "0.4.0",
            "max_version": "0.4.0",
            "waves": {"0": "2020-07-01T00:00:00Z", "102": "2020-07-02T00:00:00Z"},
            "images": {
                "boot": "0.4.0-boot.ext4.lz4",
                "root": "0.4.0-root.ext4.lz4",
                "hash": "0.4.0-root.verity.lz4",
            },
        }
    ],
    "migrations": {
        "(0.3.4, 0.4.0)": [],
        "(0.4.0, 0.4.1)": ["migrate_v0.4.1_add-version-lock.lz4"],
    },
}


def parse(value: object) -> Manifest:
    return Manifest.from_bytes(json.dumps(value).encode())


def test_the_contracts_example_reads_as_it_says() -> None:
    manifest = parse(EXAMPLE)
    (update,) = manifest.updates
    assert (update.variant, update.arch) == ("aws-k8s-1.15", "x86_64")
    assert str(update.version) == str(update.max_version) == "0.4.0"
    assert update.label == "aws-k8s-1.15 0.4.0"
    assert update.waves == {
        0: datetime(2020, 7, 1, tzinfo=UTC),
        102: datetime(2020, 7, 2, tzinfo=UTC),
    }
    assert update.images.boot == "0.4.0-boot.ext4.lz4"
    assert update.images.root == "0.4.0-root.ext4.lz4"
    assert update.images.hash == "0.4.0-root.verity.lz4"
    step = parse_version("0.4.0"), parse_version("0.4.1")
    assert manifest.migrations[step] == ("migrate_v0.4.1_add-version-lock.lz4",)


def test_what_is_written_is_what_was_read_in_the_usual_order() -> None:
    text = json.dumps(EXAMPLE, indent=2) + "\n"
    assert Manifest.from_bytes(text.encode()).to_bytes() == text.encode()


def test_waves_and_steps_are_written_in_order() -> None:
    shuffled = copy.deepcopy(EXAMPLE)
    shuffled["updates"][0]["waves"] = {
        "1000": "2020-07-04T00:00:00Z",
        "20": "2020-07-02T00:00:00Z",
        "0": "2020-07-01T00:00:00Z",
        "102": "2020-07-03T00:00:00Z",
    }
    shuffled["migrations"] = {"(0.10.0, 0.11.0)": [], "(0.9.0, 0.10.0)": []}
    written = json.loads(parse(shuffled).to_bytes())
    assert list(written["updates"][0]["waves"]) == ["0", "20", "102", "1000"]
    assert list(written["migrations"]) == ["(0.9.0, 0.10.0)", "(0.10.0, 0.11.0)"]


def test_unknown_fields_mean_nothing_and_survive() -> None:
    value = copy.deepcopy(EXAMPLE)
    value["comment"] = {"by": "somebody", "when": [1, 2.5, None, True]}
    value["updates"][0]["status"] = "Ready"
    value["updates"][0]["images"]["firmware"] = "../not-ours"
    manifest = parse(value)
    assert json.loads(manifest.to_bytes()) == value
    assert manifest.updates[0].to_json() == value["updates"][0]


def test_waves_and_migrations_may_be_missing() -> None:
    value = copy.deepcopy(EXAMPLE)
    del value["updates"][0]["waves"], value["migrations"]
    manifest = parse(value)
    assert manifest.updates[0].waves == {}
    assert manifest.migrations == {}
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    "name, updates, steps",
    [
        ("waves-and-migrations.json", 1, 2),
        ("several.json", 4, 0),
        ("withdrawn.json", 1, 0),
        ("same-instant.json", 2, 0),
        ("unpadded-dates.json", 1, 4),
        ("long-history.json", 6, 67),
    ],
)
def test_manifests_of_the_published_shape_are_read(name: str, updates: int, steps: int) -> None:
    data = (FIXTURES / name).read_bytes()
    manifest = Manifest.from_bytes(data)
    assert len(manifest.updates) == updates
    assert len(manifest.migrations) == steps
    if name != "unpadded-dates.json":
        assert json.loads(manifest.to_bytes()) == json.loads(data)


@pytest.mark.parametrize(
    "name, why",
    [
        ("duplicate-wave.json", "the key '0' occurs twice in one object"),
        ("bad-wave.json", "updates[0].waves['first']: 'first' is not the first seed of a wave"),
    ],
)
def test_broken_manifests_of_the_published_shape_are_refused(name: str, why: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        Manifest.from_bytes((FIXTURES / name).read_bytes())
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"updates": [], "updates": []}',
        '{"updates": [{"variant": "a", "variant": "b"}]}',
        '{"updates": [{"images": {"boot": "a", "boot": "b"}}]}',
        '{"updates": [], "migrations": {"(1.0.0, 1.1.0)": [], "(1.0.0, 1.1.0)": []}}',
        '{"updates": [], "unknown": {"deep": [{"a": 1, "a": 1}]}}',
        '{"updates": [], "\\u006digrations": {}, "migrations": {}}',
    ],
)
def test_a_key_twice_is_refused_at_any_depth(text: str) -> None:
    with pytest.raises(ManifestInvalid, match="occurs twice in one object"):
        Manifest.from_bytes(text.encode())


@pytest.mark.parametrize(
    "key",
    ["(1.0.0,1.1.0)", "( 1.0.0, 1.1.0 )", "(1.0.0, 1.1.0+build)"],
)
def test_one_step_in_two_spellings_is_a_key_twice(key: str) -> None:
    with pytest.raises(ManifestInvalid, match="this step occurs twice"):
        parse({"updates": [], "migrations": {"(1.0.0, 1.1.0)": [], key: []}})


NOT_JSON = [
    b"",
    b"not json",
    b"{",
    b'{"updates": []} trailing',
    b'{"updates": [],}',
    b'{"updates": NaN}',
    b'{"updates": [], "x": Infinity}',
    b'{"updates": [], "x": 1e999}',
    b'{"updates": [], "x": "\xff"}',
    b'\xef\xbb\xbf{"updates": []}',
    '{"updates": []}'.encode("utf-16"),
    b'{"updates": ' + b"[" * 100_000,
    b'{"updates": [], "x": ' + b"9" * 10_000 + b"}",
]


@pytest.mark.parametrize("data", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="cannot use the manifest: it is not JSON"):
        Manifest.from_bytes(data)


def edited(path: str, value: object) -> object:
    """The example with one place changed; `path` is dotted, `value` `...` removes it."""
    result: Any = copy.deepcopy(EXAMPLE)
    place = result
    *steps, last = path.split("/")
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


@pytest.mark.parametrize(
    "path, value, where",
    [
        ("updates", ..., "updates: expected a list, found nothing"),
        ("updates", {}, "updates: expected a list, found an object"),
        ("updates", ["text"], "updates[0]: expected an object, found a string"),
        ("migrations", [], "migrations: expected an object, found a list"),
        ("updates/0/variant", ..., "updates[0].variant: expected a string, found nothing"),
        ("updates/0/variant", "", "updates[0].variant: '' is empty"),
        ("updates/0/variant", "a\x1b[31m", "updates[0].variant: 'a\\x1b[31m' is empty or cannot"),
        ("updates/0/arch", 64, "updates[0].arch: expected a string, found a number"),
        ("updates/0/version", ..., "updates[0].version: expected a string, found nothing"),
        ("updates/0/version", "0.4", "updates[0].version: '0.4' is not a version"),
        ("updates/0/version", "v0.4.0", "updates[0].version: 'v0.4.0' is not a version"),
        ("updates/0/version", 1.5, "updates[0].version: expected a string, found a number"),
        ("updates/0/max_version", ..., "updates[0].max_version: expected a string"),
        ("updates/0/max_version", "newest", "updates[0].max_version: 'newest' is not a version"),
        ("updates/0/waves", [], "updates[0].waves: expected an object, found a list"),
        ("updates/0/waves", None, "updates[0].waves: expected an object, found nothing"),
        ("updates/0/waves/-1", "2020-07-01T00:00:00Z", "updates[0].waves['-1']: '-1' is not"),
        ("updates/0/waves/0", "yesterday", "updates[0].waves['0']: 'yesterday' is not a time"),
        ("updates/0/waves/0", 1593561600, "updates[0].waves['0']: expected a time, found a number"),
        ("updates/0/waves/0", "2020-07-03T00:00:00Z", "updates[0].waves: wave 102 starts at"),
        ("updates/0/images", ..., "updates[0].images: expected an object, found nothing"),
        ("updates/0/images/hash", ..., "updates[0].images.hash: expected a string"),
        ("updates/0/images/boot", ["x"], "updates[0].images.boot: expected a string, found a list"),
        ("migrations/0.4.0", [], "migrations['0.4.0']: expected (FROM, TO) as the key"),
        ("migrations/x(0.4.0, 0.5.0)", [], "migrations['x(0.4.0, 0.5.0)']: expected (FROM, TO)"),
        ("migrations/(0.4.0, 0.5)", [], "migrations['(0.4.0, 0.5)']: '0.5' is not a version"),
        ("migrations/(0.4.0, 0.5.0)", "m", "migrations['(0.4.0, 0.5.0)']: expected a list"),
        ("migrations/(0.4.0, 0.5.0)", [1], "migrations['(0.4.0, 0.5.0)'][0]: expected a target"),
    ],
)  # fmt: skip
def test_the_message_names_the_place(path: str, value: object, where: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(edited(path, value))
    assert str(caught.value).startswith(f"cannot use the manifest: {where}")


@pytest.mark.parametrize(
    "name",
    [
        "../root.ext4.lz4",
        "/etc/passwd",
        "images/root.ext4.lz4",
        "..",
        ".",
        "%2e%2e%2froot",
        "..\\root",
        "root\x00.lz4",
        "root\n.lz4",
        "\u202eroot",
    ],
)
def test_names_that_could_leave_their_directory_are_refused(name: str) -> None:
    for path in ("updates/0/images/root", "updates/0/images/boot", "updates/0/images/hash"):
        with pytest.raises(ManifestInvalid, match=r"^cannot use the manifest: updates\[0\]"):
            parse(edited(path, name))
    with pytest.raises(ManifestInvalid, match="refusing target name"):
        parse(edited("migrations/(0.4.0, 0.5.0)", [name]))


def test_an_empty_manifest_has_nothing_to_offer() -> None:
    assert Manifest.from_bytes(b'{"updates": [], "migrations": {}}') == Manifest()
    assert Manifest().to_bytes() == b'{\n  "updates": [],\n  "migrations": {}\n}\n'


def test_a_thousand_updates_and_steps_are_read() -> None:
    value = copy.deepcopy(EXAMPLE)
    value["updates"] = [
        {**EXAMPLE["updates"][0], "version": f"1.{number}.0"} for number in range(1000)
    ]
    value["migrations"] = {f"(1.{n}.0, 1.{n + 1}.0)": [] for n in range(1000)}
    manifest = parse(value)
    assert [str(update.version) for update in manifest.updates[::333]] == [
        "1.0.0", "1.333.0", "1.666.0", "1.999.0",
    ]  # fmt: skip
    assert len(manifest.migrations) == 1000


VERSIONS = st.builds("{}.{}.{}".format, *[st.integers(0, 99)] * 3)
UPDATES = st.fixed_dictionaries(
    {
        "variant": st.sampled_from(["aws-k8s", "vmware", "métal"]),
        "arch": st.sampled_from(["x86_64", "aarch64"]),
        "version": VERSIONS,
        "max_version": VERSIONS,
        "images": st.fixed_dictionaries(
            {part: st.just("a.lz4") for part in ("boot", "root", "hash")}
        ),
    },
    optional={
        "waves": st.just({"5": "2020-07-01T00:00:00Z"}),
        "note": st.one_of(st.none(), st.text(st.characters(codec="utf-8")), st.integers()),
    },
)


@given(st.lists(UPDATES, max_size=4), st.dictionaries(VERSIONS, VERSIONS, max_size=4))
def test_reading_what_was_written_gives_the_same(
    updates: list[dict[str, object]], steps: dict[str, str]
) -> None:
    migrations = {f"({start}, {end})": ["m.lz4"] for start, end in steps.items()}
    manifest = parse({"updates": updates, "migrations": migrations})
    assert len(manifest.updates) == len(updates)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert Manifest.from_bytes(manifest.to_bytes()).to_bytes() == manifest.to_bytes()
