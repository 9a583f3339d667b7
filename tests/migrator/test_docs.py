"""The documentation's examples are run: each step kind has one, and does what is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from migrator import data_migration, defaults, pack, step_kinds
from tests.migrator.builders import plain, plain_metadata, tree

TEXT = (Path(__file__).parents[2] / "docs" / "migrations.md").read_text()
SECTIONS = re.findall(
    r"^#### (\S+)\n.*?^```toml\n(.*?)^```\n(?:```example\n(.*?)^```\n)?",
    TEXT,
    re.MULTILINE | re.DOTALL,
)
LINE = re.compile(r"(forward|backward) +(\{.*\}) -> (\{.*\})")


def test_every_kind_has_a_section() -> None:
    assert {kind for kind, _, _ in SECTIONS} == set(step_kinds.KINDS)


@pytest.mark.parametrize("kind, document, example", SECTIONS, ids=[each[0] for each in SECTIONS])
def test_an_example_does_what_it_shows(kind: str, document: str, example: str) -> None:
    migration = data_migration.parse("example", document.encode())
    assert f'kind = "{kind}"' in document
    for line in example.splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        direction, before, after = match.groups()
        each = tree(json.loads(before))
        getattr(migration, direction)(each)
        assert plain(each) == json.loads(after)
        assert plain_metadata(each) == {}


def test_the_other_examples_are_what_they_say() -> None:
    blocks = re.findall(r"(?ms)^```(\S+)\n(.*?)^```", TEXT)
    documents = [text for language, text in blocks if language == "toml"]
    assert len(documents) == len(SECTIONS) + 1
    for document in documents:
        assert data_migration.parse("example", document.encode()).steps
    (source,) = (text for language, text in blocks if language == "python")
    assert pack.describe("example.py", source.encode()).name == "SplitEndpoint"
    (toml,) = (text for language, text in blocks if language == "toml-defaults")
    found = defaults.parse("example", toml.encode())
    assert plain(found) == {"settings.ntp.time-servers": ["169.254.169.123"]}
    assert plain_metadata(found) == {"settings.ntp": {"affected-services": ["chronyd"]}}
