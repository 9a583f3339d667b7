r"""The file of kept values: JSON, with the JSON texts of values as strings inside.

    {"format": 1,
     "entries": [{"from": "1.0.0", "to": "1.1.0", "migration": "migrate_v1.1.0_x.toml.lz4",
                  "live": {"data": {"settings.motd": {"was": "\"hi\""}}}}],
     "pending": {"<transaction>": "<fingerprint>"}}

A correction without `was` or without `foreseen` has no value there. Nothing kept is no file.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from semver import Version

from migrator import keys, values
from migrator.kept import Correction, Entry, Kept, Losses

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
        entries = [_entry_from(entry) for entry in document["entries"]]
        pending = {str(name): str(print_) for name, print_ in document["pending"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a file of kept values: {error!r}") from None
    return Kept(entries, pending)


def render(kept: Kept) -> str | None:
    """Return the file's text, or None if there is nothing to keep.

    What was lost longest ago is left out where all of it would make the file too long to be read
    again; `kept` then lacks it too.
    """
    room = MAX_BYTES
    texts: list[str] = []
    for entry in reversed(kept.entries):
        text = values.dump(_entry_to(entry))
        room -= len(text.encode()) + 1
        if room < 0:
            break
        texts.append(text)
    kept.entries = kept.entries[len(kept.entries) - len(texts) :]
    if not texts:
        return None
    entries, pending = ",".join(reversed(texts)), values.dump(kept.pending)
    return f'{{"format":{_FORMAT},"entries":[{entries}],"pending":{pending}}}'


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
    for (name, metadata_key), correction in losses.metadata.items():
        metadata.setdefault(name, {})[metadata_key] = _correction_to(correction)
    data = {name: _correction_to(correction) for name, correction in losses.data.items()}
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
    return {name: text for name, text in members.items() if text is not None}


def _correction_from(document: Json) -> Correction:
    texts = [document.get("was"), document.get("foreseen")]
    for text in texts:
        if text is not None:
            values.check_metadata(text)
    return Correction(*texts)
