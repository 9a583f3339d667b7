"""The form of a migration's document: spellings that are understood, mistakes that are named."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import data_migration
from migrator.errors import MigrationInvalid

SPELLINGS = {
    "add-settings": ["add_settings", "AddSettings", "AddSettingsMigration", "add-setting"],
    "add-prefixes": ["AddPrefixesMigration", "add-prefix"],
    "remove-settings": ["RemoveSettingsMigration", "remove-setting"],
    "replace-string": ["ReplaceStringMigration", "replace-strings"],
    "replace-lists": ["ReplaceListsMigration", "replace-list", "replace-string-list"],
    "add-metadata": ["AddMetadataMigration"],
    "replace-metadata": ["ReplaceMetadataMigration"],
    "replace-metadata-lists": ["ReplaceMetadataListsMigration", "replace-metadata-list"],
    "no-op": ["NoOpMigration", "noop", "no_op"],
}
FIELDS = {
    "add-settings": 'settings = ["a"]',
    "add-prefixes": 'prefixes = ["a"]',
    "remove-settings": 'settings = ["a"]',
    "replace-string": 'setting = "a"\nold = "x"\nnew = "y"',
    "replace-lists": 'setting = "a"\nold = ["x"]\nnew = ["y"]',
    "add-metadata": 'setting = "a"\nmetadata = ["m"]',
    "replace-metadata": 'setting = "a"\nmetadata = "m"\nold = "x"\nnew = "y"',
    "replace-metadata-lists": 'setting = "a"\nmetadata = "m"\nold = ["x"]\nnew = ["y"]',
    "no-op": "",
}


def parse(step: str) -> data_migration.DataMigration:
    return data_migration.parse("m.toml", f"[[steps]]\n{step}".encode())


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_kind_may_be_spelt_as_bottlerocket_does(kind: str) -> None:
    expected = parse(f'kind = "{kind}"\n{FIELDS[kind]}')
    for spelling in SPELLINGS[kind]:
        assert parse(f'kind = "{spelling}"\n{FIELDS[kind]}') == expected


@pytest.mark.parametrize(
    "fields",
    [
        'setting = "a"\nold_val = "x"\nnew_val = "y"',
        'setting = "a"\nold-value = "x"\nnew-value = "y"',
        'items = [{ setting = "a", old = "x", new = "y" }]',
        'setting = \'"a"\'\nold = "x"\nnew = "y"',
    ],
)
def test_a_field_may_be_spelt_as_bottlerocket_does(fields: str) -> None:
    expected = parse('kind = "replace-string"\nsetting = "a"\nold = "x"\nnew = "y"')
    assert parse(f'kind = "replace-string"\n{fields}') == expected


def test_one_name_stands_for_a_list_of_one() -> None:
    expected = parse('kind = "add-settings"\nsettings = ["a"]')
    assert parse('kind = "add-settings"\nsetting = "a"') == expected
    assert parse('kind = "add-settings"\nsettings = "a"') == expected


def test_what_the_author_says_about_it() -> None:
    document = b"""
description = "time servers"
lossy = ["settings.ntp"]
steps = []
"""
    migration = data_migration.parse("m.toml", document)
    assert migration.description == "time servers"
    assert migration.lossy == ("settings.ntp",)
    assert migration.steps == ()


@pytest.mark.parametrize(
    "document, why",
    [
        ("", "'steps' is missing"),
        ("steps = 1", "'steps' must be a list"),
        ("steps = [1]", "'steps' must be an array of tables"),
        ("[[steps]]", "step 1 (no kind): 'kind' is missing"),
        (
            '[[steps]]\nkind = "sort"',
            "step 1 (sort): there is no such kind; known are add-settings,",
        ),
        ('[[steps]]\nkind = "add-settings"', "step 1 (add-settings): 'settings' is missing"),
        (
            '[[steps]]\nkind = "no-op"\n[[steps]]\nkind = "add-settings"\nsettings = [1]',
            "step 2 (add-settings): 'settings' must be a list of strings",
        ),
        ('[[steps]]\nkind = "add-settings"\nsettings = ["a..b"]', "refusing key 'a..b'"),
        ('[[steps]]\nkind = "add-prefixes"\nprefixes = [""]', "an empty prefix would cover every"),
        ('[[steps]]\nkind = "add-settings"\nsettings = ["a"]\nvalue = 1', "no field 'value' here"),
        (
            '[[steps]]\nkind = "replace-string"\nsetting = "a"\nold = 1\nnew = "b"',
            "'old' must be a string",
        ),
        ('[[steps]]\nkind = "replace-string"\nsetting = "a"\nold = "1"', "'new' is missing"),
        (
            '[[steps]]\nkind = "replace-string"\nsetting = "a"\nold = ""\nold-val = ""\nnew = ""',
            "'old-val' says again what another field says",
        ),
        (
            '[[steps]]\nkind = "replace-lists"\nsetting = "a"\nold = [1]\nnew = []',
            "'old' must be a list",
        ),
        (
            '[[steps]]\nkind = "add-metadata"\nsetting = "a"\nmetadata = ["b.c"]',
            "exactly one segment",
        ),
        (
            '[[steps]]\nkind = "rename-settings"\nnames = { a = 1 }',
            "'names' must map names to names",
        ),
        (
            '[[steps]]\nkind = "rename-settings"\nnames = { a = "c", b = "c" }',
            "two are renamed to the same",
        ),
        ('[[steps]]\nkind = "convert"\nforward = "first"', "'settings' or 'prefixes' is missing"),
        (
            '[[steps]]\nkind = "convert"\nsettings = ["a"]\nforward = "x"',
            "'forward' must be one of to-list,",
        ),
        ('[[steps]]\nkind = "no-op"\nonly = "sometimes"', "'only' must be 'forward' or 'backward'"),
        (
            '[[steps]]\nkind = "replace-template"\nsetting = "a"\nold = "{{ f x }}"\nnew = "b"',
            "uses a helper 'f', which 'helpers' does not define",
        ),
        (
            '[[steps]]\nkind = "replace-schnauzer"\nsetting = "a"\nold = "x"\nnew = "y"',
            "the command line has no --template",
        ),
        ("steps = []\nversion = 1", "there is no field 'version' here"),
        ("steps = []\nhelpers = { a = 1 }", "'helpers.a' must be a table"),
        ('steps = []\nlossy = ["a b"]', "refusing key 'a b'"),
        ("steps = [", "it is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(document: str, why: str) -> None:
    with pytest.raises(MigrationInvalid, match=re.escape(why)) as caught:
        data_migration.parse("migrate_v1.0.0_x.toml.lz4", document.encode())
    assert str(caught.value).startswith("cannot use migration migrate_v1.0.0_x.toml.lz4: ")
    assert "\n" not in str(caught.value).strip()


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(MigrationInvalid, match="it is not TOML"):
        data_migration.parse("m.toml", b"\xff\xfe")


TOML = st.recursive(
    st.text(max_size=6) | st.integers(-5, 5) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*FIELDS, "kind", "setting", "old", "items"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.lists(TOML, max_size=3), st.sampled_from(sorted(FIELDS)))
def test_any_document_is_a_migration_or_refused(steps: list[object], kind: str) -> None:
    """Nothing but the package's own error, whatever stands where."""
    lines = []
    for step in steps:
        if isinstance(step, dict):
            step.setdefault("kind", kind)
            lines.append("[[steps]]")
            lines += [f"{key} = {_toml(value)}" for key, value in step.items()]
    document = "\n".join(lines)
    try:
        tomllib.loads(document)
        data_migration.parse("m.toml", document.encode())
    except (MigrationInvalid, tomllib.TOMLDecodeError):
        pass


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
        case _:
            escaped = "".join(f"\\U{ord(each):08x}" for each in str(value))
            return f'"{escaped}"'
