r"""Names of settings, and the files that hold them.

A key is dotted: `settings.motd`. A segment that holds a dot is quoted: `settings."a.b".c` has the
segments `settings`, `a.b` and `c`. The grammar is Bottlerocket's, and every key it accepts is
accepted here; **ours** is wider in two places, because a store must be able to name whatever its
file names can say:

- characters other than `A-Za-z0-9_-/` and non-ASCII ones need quotes (there they are refused);
- inside quotes, `\"` is a quote and `\\` a backslash.

Control characters are refused everywhere. Quotes may open in the middle of a segment, as there;
the canonical spelling (`name_of`) quotes a whole segment, and only where it must.

On disk a segment is a directory or file name: every byte of its UTF-8 form but `A-Za-z0-9_-` is
written `%XX` in upper case. A metadata file is `<last segment>.<metadata key>`, the only dot that
a file name holds. Exactly one file name stands for one segment; any other spelling is refused.

Limits: 255 bytes for a name, 255 bytes for each file name.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from migrator.errors import KeyInvalid

MAX_NAME_BYTES = 255
MAX_FILE_NAME_BYTES = 255

_BARE = r"[A-Za-z0-9_/-]+"
_PLAIN_NAME = re.compile(rf"{_BARE}(?:\.{_BARE})*")
_BARE_SEGMENT = re.compile(r"[A-Za-z0-9_/\x80-\U0010ffff-]+")
_TOKEN = re.compile(
    rf'(?P<dot>\.)|(?P<bare>{_BARE_SEGMENT.pattern})|(?P<quoted>"(?:[^"\\]|\\["\\])*")'
)
_ESCAPED = re.compile(r"\\(.)")
_PLAIN_FILE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ENCODED_FILE_NAME = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+")
_TO_ENCODE = re.compile(rb"[^A-Za-z0-9_-]")
_ENCODED = re.compile(rb"%([0-9A-F]{2})")

Segments = tuple[str, ...]


@lru_cache(maxsize=65536)
def parse(name: str) -> Segments:
    """Split a key's name into its segments.

    Raises:
        KeyInvalid: Empty, an empty segment, unbalanced quotes, a character that needs quotes or is
            never allowed, or too long.
    """
    if _PLAIN_NAME.fullmatch(name):
        segments: Segments = tuple(name.split("."))
    else:
        segments = _parse_slowly(name)
    _check(segments, name)
    return segments


@lru_cache(maxsize=65536)
def name_of(segments: Segments) -> str:
    """Return the canonical name of the key with these segments.

    Raises:
        KeyInvalid: No segments, an empty one, a control character, or too long.
    """
    name = ".".join(_quoted(segment) for segment in segments)
    if not segments or "" in segments:
        raise KeyInvalid(name, "a key has at least one segment, and none of them is empty")
    _check(segments, name)
    return name


def canonical(name: str) -> str:
    """Return the canonical spelling of a name, so that one key has one name."""
    return name_of(parse(name))


def metadata_name(name: str) -> str:
    """Check the name of a metadata key and return its one segment, unquoted.

    Raises:
        KeyInvalid: Not a valid key, or more than one segment.
    """
    segments = parse(name)
    if len(segments) != 1:
        raise KeyInvalid(name, "a metadata key has exactly one segment")
    return segments[0]


def transaction_path(name: str) -> str:
    """Return the name of a transaction's directory.

    Raises:
        KeyInvalid: Empty, control characters, or too long.
    """
    _check((name,), name)
    if not name:
        raise KeyInvalid(name, "a transaction has a name")
    return encode(name)


def encode(segment: str) -> str:
    """Return the file name of a segment, of a metadata key, or of a transaction."""
    return _TO_ENCODE.sub(lambda match: f"%{match[0][0]:02X}".encode(), segment.encode()).decode()


def decode(file_name: str) -> str:
    """Return the segment that a file name stands for.

    Raises:
        KeyInvalid: It is not the encoding of any segment: other characters, lower-case or needless
            escapes, bytes that are not UTF-8.
    """
    if _PLAIN_FILE_NAME.fullmatch(file_name):
        return file_name
    if not _ENCODED_FILE_NAME.fullmatch(file_name):
        raise KeyInvalid(file_name, "the file name is not the encoding of a key")
    raw = _ENCODED.sub(lambda match: bytes.fromhex(match[1].decode()), file_name.encode())
    try:
        segment = raw.decode()
    except UnicodeDecodeError as error:
        raise KeyInvalid(file_name, "the file name does not encode UTF-8") from error
    if encode(segment) != file_name:
        raise KeyInvalid(file_name, "the file name escapes what needs no escape")
    return segment


@lru_cache(maxsize=65536)
def path_of(segments: Segments) -> str:
    """Return a data key's path below `live` or below its transaction."""
    return "/".join(map(encode, segments))


def metadata_path_of(segments: Segments, metadata_key: str) -> str:
    """Return the path of one metadata key's file.

    Raises:
        KeyInvalid: The two together make too long a file name.
    """
    path = f"{path_of(segments)}.{encode(metadata_key)}"
    if len(path.rpartition("/")[2]) > MAX_FILE_NAME_BYTES:
        reason = (
            f"with metadata key {metadata_key!r} its file name is over {MAX_FILE_NAME_BYTES} bytes"
        )
        raise KeyInvalid(name_of(segments), reason)
    return path


def split_file_name(file_name: str) -> tuple[str, str | None]:
    """Split a file name into its segment and, for a metadata file, its metadata key.

    Raises:
        KeyInvalid: As for `decode`.
    """
    data, dot, metadata = file_name.partition(".")
    return decode(data), decode(metadata) if dot else None


def is_below(segments: Segments, prefix: Segments) -> bool:
    """Say whether a key is the prefix itself or lies under it, segment by segment."""
    return segments[: len(prefix)] == prefix


def _check(segments: Segments, name: str) -> None:
    """Refuse what could not be stored, whatever its spelling."""
    if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        raise KeyInvalid(f"{name[:40]}…", f"longer than {MAX_NAME_BYTES} bytes")
    for segment in segments:
        if _PLAIN_FILE_NAME.fullmatch(segment):
            continue
        for character in segment:
            if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
                raise KeyInvalid(name, f"it holds the control character U+{ord(character):04X}")
        if len(encode(segment)) > MAX_FILE_NAME_BYTES:
            reason = f"the file name of {segment[:20]!r}… is over {MAX_FILE_NAME_BYTES} bytes"
            raise KeyInvalid(name, reason)


def _quoted(segment: str) -> str:
    if _BARE_SEGMENT.fullmatch(segment):
        return segment
    escaped = segment.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parse_slowly(name: str) -> Segments:
    segments = [""]
    position = 0
    while position < len(name):
        token = _TOKEN.match(name, position)
        if token is None:
            raise KeyInvalid(name, _why_no_token(name[position]))
        if token["dot"]:
            segments.append("")
        elif token["bare"]:
            segments[-1] += token["bare"]
        else:
            segments[-1] += _ESCAPED.sub(r"\1", token["quoted"][1:-1])
        position = token.end()
    if "" in segments:
        raise KeyInvalid(name, "a segment is empty" if name else "it is empty")
    return tuple(segments)


def _why_no_token(character: str) -> str:
    if character == '"':
        return "a quote is not closed, or holds a backslash that escapes nothing"
    return f"the character {character!r} needs quotes around its segment"
