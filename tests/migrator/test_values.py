"""Values: strict JSON, compared by meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import values


@pytest.mark.parametrize(
    "text", ['"hi"', "1", "1.50", "true", "null", "[]", '["a", 1]', '[{"a":1}]']
)
def test_scalars_and_lists_are_values(text: str) -> None:
    values.check_data(text)


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "not JSON"),
        ("hi", "not JSON"),
        ('"hi', "not JSON"),
        ('"a"b"', "not JSON"),
        ('"a\nb"', "not JSON"),
        ("[1,]", "not JSON"),
        ("{}", "it is an object"),
        ('{"a": 1}', "it is an object"),
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ('[{"a": 1, "a": 2}]', "a member appears twice"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "a number has too many digits"),
    ],
)
def test_what_is_no_value_is_refused_without_being_shown(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        values.check_data(text)


def test_metadata_may_be_an_object() -> None:
    values.check_metadata('{"command": "x", "strength": "weak"}')


@pytest.mark.parametrize(
    "left, right, equal",
    [
        ('"a"', '"a"', True),
        ('"\\u00fc"', '"ü"', True),
        ('["a", "b"]', '["a","b"]', True),
        ("1", "true", False),
        ("1", "1.0", False),
        ("1", '"1"', False),
        ("[]", None, False),
        (None, None, True),
    ],
)
def test_values_are_the_same_if_they_mean_the_same(
    left: str | None, right: str | None, *, equal: bool
) -> None:
    assert values.same(left, right) is equal
    assert values.same(right, left) is equal


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_written_reads_back(value: object) -> None:
    try:
        text = values.dump(value)
    except ValueError:
        assert "\\ud" in json.dumps(value)
        return
    assert json.loads(text) == value
    assert values.parse(text) == value


@pytest.mark.parametrize("value", [{1, 2}, "\ud800", object()])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON form|surrogate"):
        values.dump(value)
