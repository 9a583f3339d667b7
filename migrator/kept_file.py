r"""The file of kept values: JSON, with the JSON texts of values as strings inside.

    {"format": 1,
     "entries": [{"from": "1.0.0", "to": "1.1.0", "migration": "migrate_v1.1.0_x.toml.lz4",
                  "live": {"data": {"settings.motd": {"was": "\"hi\""}}}}],
     "up": [{"from": "1.1.0", "to": "2.0.0", "migration": "migrate_v2.0.0_y.toml.lz4",
             "live": {"data": {"settings.colour": {"was": "\"green\""}}}}],
     "pending": {"<transaction>": "<fingerprint>"}}

`entries` are for the way down, `up` for the way up; the one that lies nearest is the last. A
correction without `was` or without `foreseen` has no value there. `made` is null for no value, and
is left out where it is the same as `foreseen`. Nothing kept is no file.

Migrators of old know `entries` alone, and leave out the rest: a host that goes back may boot one.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, TypeAlias

from semver import Version

from migrator import keys, values
from migrator.corrections import Correction, Losses
from migrator.kept import Entry, Kept

Json: TypeAlias = "dict[str, Any]"
_FORMAT = 1
# Less than a copy's reader takes (`migrator.files`), with room for the transactions.
MAX_BYTES = 12 << 20


def parse(text: str) -> Kept:
    """Read the file.

    Raises:
        ValueError, KeyInvalid: Not a file that `render` writes.
    """
    try:
        document = values.parse(text)
        if document["format"] != _FORMAT:
            raise ValueError(f"it has format {document['format']}, expected {_FORMAT}")
        down = [_entry_from(entry) for entry in document["entries"]]
        up = [_entry_from(entry) for entry in document.get("up", [])]
        pending = {str(name): str(print_) for name, print_ in document["pending"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a file of kept values: {error!r}") from None
    return Kept(down, up, pending)


def render(kept: Kept) -> str | None:
    """Return the file's text, or None if there is nothing to keep.

    Where all of it would make the file too long to be read again, what lies farthest away is left
    out, in both directions alike; `kept` then lacks it too.
    """
    down, up = _texts_that_fit(kept)
    kept.down, kept.up = kept.down[len(kept.down) - len(down) :], kept.up[len(kept.up) - len(up) :]
    if not kept:
        return None
    ways = f'"entries":[{",".join(reversed(down))}]'
    if up:
        ways += f',"up":[{",".join(reversed(up))}]'
    return f'{{"format":{_FORMAT},{ways},"pending":{values.dump(kept.pending)}}}'


def _texts_that_fit(kept: Kept) -> tuple[list[str], list[str]]:
    """Return the texts of the entries down and up for which there is room, the nearest first."""
    texts: tuple[list[str], list[str]] = ([], [])
    room = MAX_BYTES
    for pair in zip_longest(reversed(kept.down), reversed(kept.up)):
        for entry, fitting in zip(pair, texts, strict=True):
            if entry is None:
                continue
            text = values.dump(_entry_to(entry))
            room -= len(text.encode()) + 1
            if room < 0:
                return texts
            fitting.append(text)
    return texts


def _entry_to(entry: Entry) -> Json:
    trees = {name: _losses_to(losses) for name, losses in entry.trees.items()}
    live = trees.pop(None, None)
    return {
        "from": str(entry.older),
        "to": str(entry.newer),
        "migration": entry.migration,
        **({"live": live} if live else {}),
        **({"pending": trees} if trees else {}),
    }


def _entry_from(document: Json) -> Entry:
    trees: dict[str | None, Losses] = {
        str(name): _losses_from(losses) for name, losses in document.get("pending", {}).items()
    }
    if "live" in document:
        trees[None] = _losses_from(document["live"])
    older, newer = Version.parse(document["from"]), Version.parse(document["to"])
    return Entry(older, newer, str(document["migration"]), trees)


def _losses_to(losses: Losses) -> Json:
    metadata: dict[str, Json] = {}
    for (name, metadata_key), correction in sorted(losses.metadata.items()):
        metadata.setdefault(name, {})[metadata_key] = _correction_to(correction)
    data = {name: _correction_to(correction) for name, correction in sorted(losses.data.items())}
    return {**({"data": data} if data else {}), **({"metadata": metadata} if metadata else {})}


def _losses_from(document: Json) -> Losses:
    data = {
        keys.canonical(name): _correction_from(each)
        for name, each in document.get("data", {}).items()
    }
    metadata = {
        (keys.canonical(name), str(metadata_key)): _correction_from(each)
        for name, group in document.get("metadata", {}).items()
        for metadata_key, each in group.items()
    }
    return Losses(data, metadata)


def _correction_to(correction: Correction) -> Json:
    members = {"was": correction.was, "foreseen": correction.foreseen}
    document: Json = {name: text for name, text in members.items() if text is not None}
    if correction.made != correction.foreseen:
        document["made"] = correction.made
    return document


def _correction_from(document: Json) -> Correction:
    was, foreseen = document.get("was"), document.get("foreseen")
    made = document.get("made", foreseen)
    for text in (was, foreseen, made):
        if text is not None:
            values.check_metadata(text)
    return Correction(was, foreseen, made)
