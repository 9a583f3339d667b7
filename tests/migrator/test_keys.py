"""Names of settings and of their files. Expected spellings are literals, many from Bottlerocket."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migrator import keys
from migrator.errors import KeyInvalid


@pytest.mark.parametrize(
    "name, segments",
    [
        ("a", ("a",)),
        ("a.b.c.d.e.f.g", ("a", "b", "c", "d", "e", "f", "g")),
        ("settings.motd", ("settings", "motd")),
        ('a."b.c".d', ("a", "b.c", "d")),
        ('"a.b".c', ("a.b", "c")),
        ('"b.c"', ("b.c",)),
        ("a-b_c", ("a-b_c",)),
        ("a/b.c", ("a/b", "c")),
        (
            'settings.node-labels."example.com/role"',
            ("settings", "node-labels", "example.com/role"),
        ),
        # Quotes may open and close within a segment, as in Bottlerocket.
        ('a"b.c"d', ("ab.cd",)),
        # Ours: whatever else a file name can encode, in quotes.
        ('a."b c$"', ("a", "b c$")),
        (r'"say \"hi\"".x', ('say "hi"', "x")),
        (r'"back\\slash"', ("back\\slash",)),
        ("settings.größe.名前", ("settings", "größe", "名前")),
    ],
)
def test_a_name_is_its_segments(name: str, segments: tuple[str, ...]) -> None:
    assert keys.parse(name) == segments


@pytest.mark.parametrize(
    "segments, name",
    [
        (("a", "b", "c"), "a.b.c"),
        (("a", "b.c", "d"), 'a."b.c".d'),
        (("a.b", "c"), '"a.b".c'),
        (("a/b", "c-d_e"), "a/b.c-d_e"),
        (("a", "x y"), 'a."x y"'),
        (('q"', "\\"), r'"q\"".' + '"' + "\\\\" + '"'),
        (("größe",), "größe"),
    ],
)
def test_a_name_is_spelt_in_one_way(segments: tuple[str, ...], name: str) -> None:
    assert keys.name_of(segments) == name
    assert keys.parse(name) == segments


@pytest.mark.parametrize(
    "name, why",
    [
        ("", "it is empty"),
        ("a.", "a segment is empty"),
        (".a", "a segment is empty"),
        ("a..b", "a segment is empty"),
        ('a."".b', "a segment is empty"),
        ('a."b', "a quote is not closed"),
        ('a.b"', "a quote is not closed"),
        (r'a."b\n"', "a quote is not closed, or holds a backslash that escapes nothing"),
        ("!", "'!' needs quotes"),
        ("a.$", "'$' needs quotes"),
        ("a&b", "'&' needs quotes"),
        ("a;b", "';' needs quotes"),
        ("a|b", "'|' needs quotes"),
        ("\\", "needs quotes"),
        ("a b", "' ' needs quotes"),
        ('a."b\nc"', "control character U+000A"),
        ("a.b\x7f", "needs quotes"),
        ('"\ud800"', "control character U+D800"),
        ("x" * 256, "longer than 255 bytes"),
        ("ü" * 128, "longer than 255 bytes"),
        # 240 bytes as a name, 720 as a file name.
        ("ü" * 120, "over 255 bytes"),
        ('"' + "." * 100 + '"', "over 255 bytes"),
    ],
)
def test_what_is_no_name_is_refused(name: str, why: str) -> None:
    with pytest.raises(KeyInvalid, match=re.escape(why)):
        keys.parse(name)


def test_the_longest_names_are_accepted() -> None:
    assert keys.parse("a" * 255) == ("a" * 255,)
    assert len(keys.parse(".".join("a" * 128))) == 128


def test_a_metadata_key_has_one_segment() -> None:
    assert keys.metadata_name("affected-services") == "affected-services"
    assert keys.metadata_name('"b.c"') == "b.c"
    with pytest.raises(KeyInvalid, match="exactly one segment"):
        keys.metadata_name("a.b")


@pytest.mark.parametrize(
    "segment, file_name",
    [
        ("a-b_42", "a-b_42"),
        ("a.b", "a%2Eb"),
        ("a/b", "a%2Fb"),
        ("a b%c<d>e", "a%20b%25c%3Cd%3Ee"),
        ("~", "%7E"),
        ("ü", "%C3%BC"),
        ("\U0001f600", "%F0%9F%98%80"),
        ("..", "%2E%2E"),
    ],
)
def test_a_segment_has_one_file_name(segment: str, file_name: str) -> None:
    assert keys.encode(segment) == file_name
    assert keys.decode(file_name) == segment


@pytest.mark.parametrize(
    "file_name",
    ["", "a b", "a%2eb", "a%2", "%ZZ", "%41", "%C3%28", "a+b", "ü", "a/b", "..", "a\n", "%"],
)
def test_no_other_file_name_stands_for_a_segment(file_name: str) -> None:
    with pytest.raises(KeyInvalid):
        keys.decode(file_name)


def test_paths_of_data_and_metadata() -> None:
    segments = keys.parse('settings.kubernetes.node-labels."my.label/x"')
    path = "settings/kubernetes/node-labels/my%2Elabel%2Fx"
    assert keys.path_of(segments) == path
    assert keys.metadata_path_of(segments, "a.b") == f"{path}.a%2Eb"
    assert keys.split_file_name("my%2Elabel%2Fx.a%2Eb") == ("my.label/x", "a.b")
    assert keys.split_file_name("my%2Elabel%2Fx") == ("my.label/x", None)
    with pytest.raises(KeyInvalid, match="its file name is over 255 bytes"):
        keys.metadata_path_of(("a" * 200,), "b" * 55)


# Whatever can be typed, control characters aside; those are refused, as is told above.
TYPED = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8)
NAMES = st.lists(TYPED, min_size=1, max_size=5).map(tuple)


@given(NAMES)
@example(("a.b", 'c"d', "e\\f", " ", "%41", "ü"))
def test_whatever_a_store_holds_goes_through_names_and_files(segments: tuple[str, ...]) -> None:
    """Every key that is not refused has one name and one path, and each leads back to the key."""
    name = keys.name_of(segments)
    assert keys.parse(name) == segments
    assert keys.canonical(name) == name
    path = keys.path_of(segments)
    assert re.fullmatch("(/?([A-Za-z0-9_-]|%[0-9A-F]{2})+)+", path)
    assert tuple(map(keys.decode, path.split("/"))) == segments
    file_name = f"{path.rpartition('/')[2]}.{keys.encode(segments[0])}"
    assert keys.split_file_name(file_name) == (segments[-1], segments[0])


@given(st.text(max_size=30))
@example('a."')
@example('"\\')
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        segments = keys.parse(text)
    except KeyInvalid:
        return
    assert keys.parse(keys.name_of(segments)) == segments


@given(st.text(max_size=30))
def test_any_file_name_is_a_segment_or_refused(text: str) -> None:
    try:
        segment = keys.decode(text)
    except KeyInvalid:
        return
    assert keys.encode(segment) == text
