"""What of a server's answer is believed, as a decision over its headers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog.errors import CannotResume, DownloadFailed, NotFound
from updog.http_answers import Accepted, Unsuitable, Wanted, judge, strong_validator
from updog.retries import Broken

TAG = '"5f-63"'
FROM_THE_START = Wanted("file", 0, 1000, 1000, None, None, digest_is_known=True)
IN_THE_MIDDLE = replace(FROM_THE_START, position_bytes=400, validator=TAG)
UNKNOWN = Wanted("file", 0, None, 1000, None, None, digest_is_known=False)
PART = {"Content-Range": "bytes 400-999/1000"}


def test_a_whole_file() -> None:
    accepted = judge(200, "OK", {"ETag": TAG}, 1000, FROM_THE_START)
    assert accepted == Accepted(1000, 0, TAG, TAG)
    assert judge(200, "OK", {}, None, FROM_THE_START) == Accepted(1000)
    assert judge(200, "OK", {}, 7, UNKNOWN) == Accepted(7)
    assert judge(200, "OK", {}, None, UNKNOWN) == Accepted(None)


def test_the_rest_of_a_file() -> None:
    assert judge(206, "", PART, 600, IN_THE_MIDDLE) == Accepted(1000, 0, TAG)
    bare = replace(IN_THE_MIDDLE, validator=None)
    assert judge(206, "", PART | {"ETag": TAG}, None, bare).validator == TAG
    some = {"Content-Range": "bytes 400-499/1000"}
    assert judge(206, "", some, 100, IN_THE_MIDDLE).length_bytes == 1000
    open_end = {"Content-Range": "bytes 400-999/*"}
    assert judge(206, "", open_end, None, IN_THE_MIDDLE).length_bytes == 1000


def test_all_of_it_instead_of_the_rest() -> None:
    assert judge(200, "", {"ETag": TAG}, 1000, IN_THE_MIDDLE).skip_bytes == 400
    assert judge(200, "", {}, 1000, IN_THE_MIDDLE).skip_bytes == 400
    with pytest.raises(CannotResume):
        judge(200, "", {"ETag": '"other"'}, 1000, IN_THE_MIDDLE)
    # A tag and a date say nothing of each other; the digest decides.
    dated = {
        "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Date": "Wed, 21 Oct 2026 07:28:00 GMT",
    }
    assert judge(200, "", dated, 1000, IN_THE_MIDDLE).skip_bytes == 400
    without_digest = replace(IN_THE_MIDDLE, digest_is_known=False)
    with pytest.raises(CannotResume, match="does not identify it"):
        judge(200, "", {}, 1000, without_digest)


def test_another_file_in_the_middle() -> None:
    with pytest.raises(CannotResume, match="another file"):
        judge(206, "", PART | {"ETag": '"other"'}, 600, IN_THE_MIDDLE)


@pytest.mark.parametrize(
    "status, wanted, kind",
    [
        (206, FROM_THE_START, DownloadFailed),
        (304, FROM_THE_START, DownloadFailed),
        (304, IN_THE_MIDDLE, DownloadFailed),
        (416, FROM_THE_START, DownloadFailed),
        (416, IN_THE_MIDDLE, CannotResume),
        (503, IN_THE_MIDDLE, Broken),
        (599, IN_THE_MIDDLE, DownloadFailed),
        (101, FROM_THE_START, DownloadFailed),
    ],
)
def test_other_statuses(status: int, wanted: Wanted, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        judge(status, "", PART, 600, wanted)


def test_only_404_says_that_there_is_no_such_file() -> None:
    """The walk along the roots ends at that answer, so no other may pass for it."""
    with pytest.raises(NotFound):
        judge(404, "Not Found", {}, 0, UNKNOWN)
    for status in {*range(400, 600)} - {404}:
        with pytest.raises((DownloadFailed, Broken)) as caught:
            judge(status, "", {}, 0, UNKNOWN)
        assert not isinstance(caught.value, NotFound), status


def test_a_file_that_has_another_length_by_now() -> None:
    with pytest.raises(DownloadFailed, match="the server has 399 bytes, expected 1000"):
        judge(416, "", {"Content-Range": "bytes */399"}, 0, IN_THE_MIDDLE)


def test_not_modified() -> None:
    asked = replace(UNKNOWN, unless=TAG)
    assert judge(304, "", {}, 0, asked).not_modified


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br, gzip"},
        {"Transfer-Encoding": "gzip, chunked"},
    ],
)
@pytest.mark.parametrize("status, wanted", [(200, FROM_THE_START), (206, IN_THE_MIDDLE)])
def test_encodings(status: int, wanted: Wanted, headers: dict[str, str]) -> None:
    body_bytes = 1000 - wanted.position_bytes
    judge(status, "", PART | {"Content-Encoding": "identity"}, body_bytes, wanted)
    with pytest.raises(Unsuitable):
        judge(status, "", PART | headers, body_bytes, wanted)


@pytest.mark.parametrize(
    "headers, validator",
    [
        ({"ETag": TAG}, TAG),
        ({"ETag": f"W/{TAG}"}, None),
        ({"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (
            {
                "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Date": "Wed, 21 Oct 2026 07:28:59 GMT",
            },
            None,
        ),
        (
            {
                "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Date": "Wed, 21 Oct 2026 07:29:00 GMT",
            },
            "Wed, 21 Oct 2026 07:28:00 GMT",
        ),
        ({"Last-Modified": "yesterday", "Date": "today"}, None),
        ({}, None),
    ],
)
def test_what_identifies_a_file(headers: dict[str, str], validator: str | None) -> None:
    assert strong_validator(headers) == validator


class TestContentRange:
    """RFC 9110 section 14.4: what is accepted starts where we are and ends inside the file."""

    numbers = st.one_of(st.integers(0, 1100), st.just(10**18), st.just(10**30))

    @given(
        numbers, numbers, st.one_of(numbers.map(str), st.just("*")), st.sampled_from([None, 600])
    )
    def test_any(self, first: int, last: int, total: str, body_bytes: int | None) -> None:
        headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
        fits = first == 400 and 400 <= last < 1000 and total in {"*", "1000"}
        fits &= body_bytes is None or last == 999
        try:
            judge(206, "", headers, body_bytes, IN_THE_MIDDLE)
        except Unsuitable:
            assert not fits
        else:
            assert first == 400
            assert last < 1000
            assert total in {"*", "1000"}

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        try:
            judge(206, "", {"Content-Range": text}, 600, IN_THE_MIDDLE)
        except Unsuitable:
            return
        assert text in {"bytes 400-999/1000", "bytes 400-999/*"}
