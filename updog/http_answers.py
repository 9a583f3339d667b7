"""What of a server's answer is believed: status, lengths, ranges, validators.

A pure decision over headers; who asks, receives and asks again is `updog.http_source`. The rules,
each from RFC 9110:

- An encoded body is refused: we asked for `identity`, and lengths would mean nothing (section 8.4).
- The length that is told must be the one expected.
- A partial answer is taken only if it is a 206 whose `Content-Range` starts where we are and whose
  total is the expected one (section 14.4), and only from the file that we began with: what a
  server names must be what it named before (section 13.1.5).
- A server that answers 200 to a range request sends all of it again. If it names another file than
  before, what is here is worthless and the reader must start over (`CannotResume`). If it names
  the same one, or is silent, as many bytes as are here are read past: a target's digest covers the
  whole either way. (Metadata has no digest in advance: there, silence means to start over.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from updog.errors import CannotResume, DownloadFailed, Forbidden, NotFound
from updog.retries import TRANSIENT_STATUS, Broken, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED_RANGE: Final = re.compile(r"bytes \*/(\d{1,18})")
# RFC 9110 section 8.8.2.2: a date is a strong validator once the file was left alone for so long.
_DATE_IS_STRONG_SECONDS: Final = 60


class Unsuitable(Exception):
    """An answer that cannot be this file; final, or one more failure, as the reader decides."""


class UnsuitablePart(Unsuitable):
    """A partial answer that is not the rest; all of the file may still be had."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    Attributes:
        shown: The file, for messages.
        position_bytes: Where to go on.
        length_bytes: Of the whole file; None if the server is to tell.
        max_bytes: The most that it may have.
        validator: Of the part that is already here.
        unless: The answer may be that this validator still names the file.
        digest_is_known: The whole will be checked, wherever its parts come from.
    """

    shown: str
    position_bytes: int
    length_bytes: int | None
    max_bytes: int
    validator: str | None
    unless: str | None
    digest_is_known: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an answer brings.

    Attributes:
        length_bytes: Of the whole file, as far as it is known by now.
        skip_bytes: How much of the body to read past.
        validator: To go on with: a strong ETag or an old enough date.
        revalidator: To ask with, next time: any ETag or date. None in the middle of a file.
        not_modified: There is no new file, and no body.
    """

    length_bytes: int | None
    skip_bytes: int = 0
    validator: str | None = None
    revalidator: str | None = None
    not_modified: bool = False


def judge(
    status: int, reason: str, headers: Mapping[str, str], body_bytes: int | None, wanted: Wanted
) -> Accepted:
    """Accept an answer, or say what is wrong with it.

    Args:
        status: Of the answer.
        reason: The server's words for it.
        headers: By name, whatever its case.
        body_bytes: Length of the body, where it is told.
        wanted: What was asked for.

    Raises:
        Broken: Another attempt may bring it.
        Unsuitable: See there.
        DownloadFailed: It cannot be had; `NotFound`, `Forbidden`, `CannotResume` say more.
    """
    told = f"{status} {reason}".rstrip()
    resuming = wanted.position_bytes > 0
    match status:
        case HTTPStatus.OK:
            _refuse_encoded(headers)
            return _judge_whole(headers, body_bytes, wanted)
        case HTTPStatus.PARTIAL_CONTENT if resuming:
            _refuse_encoded(headers)
            return _judge_part(headers, body_bytes, wanted)
        case HTTPStatus.NOT_MODIFIED if wanted.unless is not None and not resuming:
            return Accepted(None, not_modified=True)
        case HTTPStatus.NOT_FOUND:
            raise NotFound(wanted.shown, told)
        case HTTPStatus.FORBIDDEN:
            raise Forbidden(wanted.shown, told)
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if resuming:
            match = _UNSATISFIED_RANGE.fullmatch(headers.get("Content-Range", ""))
            if match and wanted.digest_is_known and int(match[1]) != wanted.length_bytes:
                raise DownloadFailed(wanted.shown, _other_length(match[1], wanted))
            raise CannotResume(wanted.shown, told)
        case code if code in TRANSIENT_STATUS:
            raise Broken(told, retry_after_seconds(headers))
        case _:
            raise DownloadFailed(wanted.shown, told)


def _judge_whole(headers: Mapping[str, str], body_bytes: int | None, wanted: Wanted) -> Accepted:
    length = wanted.length_bytes
    if length is None and body_bytes is not None:
        if body_bytes > wanted.max_bytes:
            raise DownloadFailed(wanted.shown, f"longer than {wanted.max_bytes} bytes")
        length = body_bytes
    if body_bytes is not None and body_bytes != length:
        kind = headers.get("Content-Type", "")[:40]
        raise Unsuitable(_other_length(f"{body_bytes}", wanted) + (f" ({kind})" if kind else ""))
    validator = strong_validator(headers)
    if not wanted.position_bytes:
        revalidator = headers.get("ETag") or headers.get("Last-Modified")
        return Accepted(length, validator=validator, revalidator=revalidator)
    _refuse_other_file(validator, wanted)
    if not wanted.digest_is_known and (validator is None or wanted.validator is None):
        raise CannotResume(wanted.shown, "the server sends it anew and does not identify it")
    return Accepted(length, wanted.position_bytes, wanted.validator or validator)


def _judge_part(headers: Mapping[str, str], body_bytes: int | None, wanted: Wanted) -> Accepted:
    told = headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(told)
    first, last, total = match.groups() if match else ("", "", "")
    length = wanted.length_bytes
    if length is None and total.isdecimal() and int(total) <= wanted.max_bytes:
        length = int(total)
    if (
        length is None
        or first != str(wanted.position_bytes)
        or total not in {"*", str(length)}
        or int(last) >= length
        or body_bytes not in {None, int(last) - wanted.position_bytes + 1}
    ):
        raise UnsuitablePart(
            f"asked for bytes from {wanted.position_bytes}, got Content-Range {told[:60]!r}"
        )
    validator = strong_validator(headers)
    _refuse_other_file(validator, wanted)
    return Accepted(length, validator=wanted.validator or validator)


def _refuse_encoded(headers: Mapping[str, str]) -> None:
    encoding = headers.get("Content-Encoding") or "identity"
    transfer = headers.get("Transfer-Encoding", "chunked")
    if encoding.lower() != "identity":
        raise Unsuitable(f"the server sends it encoded as {encoding[:20]!r}, asked for as it is")
    if transfer.lower() != "chunked":
        raise Unsuitable(f"the server sends it with Transfer-Encoding {transfer[:20]!r}")


def _refuse_other_file(validator: str | None, wanted: Wanted) -> None:
    ours = wanted.validator
    if ours is None or validator is None or ours == validator:
        return
    # Two of a kind, tags or dates: a server in front of the same files may lack one of them.
    if ours.startswith('"') == validator.startswith('"'):
        raise CannotResume(wanted.shown, "the server has another file there by now")


def _other_length(told: str, wanted: Wanted) -> str:
    return f"the server has {told} bytes, expected {wanted.length_bytes}"


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return what identifies a file byte for byte, for `If-Range`."""
    tag = headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    modified = headers.get("Last-Modified", "")
    try:
        sent, changed = (parsedate_to_datetime(text) for text in (headers["Date"], modified))
        age_seconds = (sent - changed).total_seconds()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return modified if age_seconds >= _DATE_IS_STRONG_SECONDS else None
