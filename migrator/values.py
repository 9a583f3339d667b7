"""Values of settings: JSON texts, compared by what they mean and kept as they were written.

A value travels as its JSON text, not as a Python object: what no migration touches leaves exactly
as it came (`1.50` stays `1.50`), and a key costs one parse on the way in and none on the way out.

The datastore holds scalars and lists. A list is one value, whatever its elements: Bottlerocket
stores lists of objects (registry mirrors) that way, and its stores and migrations must work here.
A bare object is refused: its members are keys of their own. Metadata may be any JSON.

JSON is taken strictly: no NaN, no infinities, no key twice in an object.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = Any
_SPACE = " \t\r\n"

# Far above any real value and store; what is longer has gone wrong. Nothing is written that is too
# long to be read again.
MAX_VALUE_BYTES = 16 << 20
MAX_STORE_BYTES = 256 << 20


class _NotStrictJson(ValueError):
    """Raised by the hooks of the decoder."""


def _refuse_constant(name: str) -> Json:
    raise _NotStrictJson(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotStrictJson("a member appears twice in an object")
    return members


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse(text: str) -> Json:
    """Return what a JSON text means.

    Raises:
        ValueError: It is not JSON; the message says what is wrong, without the text itself, which
            may be a secret.
    """
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise ValueError("not JSON that anybody could use: nested too deeply") from None
    except _NotStrictJson:
        raise
    except ValueError:
        # Python's limit, whose message is for programmers.
        raise ValueError("not JSON that anybody could use: a number has too many digits") from None
    return value


def dump(value: Json) -> str:
    """Return the JSON text of a value as the datastore writes it: no spaces, no newline.

    Raises:
        ValueError: The value has no JSON form, or holds text that is not Unicode.
    """
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"it has no JSON form: {error}") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair") from None
    return text


def strip(text: str) -> str:
    """Return a JSON text without the white space around it, which means nothing."""
    return text.strip(_SPACE)


def check_data(text: str) -> None:
    """Check that a JSON text may be the value of a setting.

    Raises:
        ValueError: Not JSON, an object, or too long.
    """
    _check_length(text)
    if isinstance(parse(text), dict):
        reason = "it is an object; a setting is a scalar or a list"
        raise ValueError(reason)  # noqa: TRY004  it is the text that is wrong


def check_metadata(text: str) -> None:
    """Check that a JSON text may be metadata: any JSON.

    Raises:
        ValueError: Not JSON, or too long.
    """
    _check_length(text)
    parse(text)


def same(left: str | None, right: str | None) -> bool:
    """Say whether two values, or absences of one, mean the same.

    `1` and `true` differ, and so do `1` and `1.0`: a program that reads them may care.
    """
    if left == right:
        return True
    if left is None or right is None:
        return False
    return dump(parse(left)) == dump(parse(right))


def strings(values: Iterable[str]) -> str:
    """Return the JSON text of a list of strings."""
    return dump(list(values))


def length_bytes(text: str) -> int:
    """Return how many bytes a text takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _check_length(text: str) -> None:
    if length_bytes(text) > MAX_VALUE_BYTES:
        raise ValueError(f"it is longer than {MAX_VALUE_BYTES} bytes")
