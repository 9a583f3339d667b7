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
    """Return the file's text, or None if there is nothing to keep."""
    if not kept.entries:
        return None
    document = {
        "format": _FORMAT,
        "entries": [_entry_to(entry) for entry in kept.entries],
        "pending": kept.pending,
    }
    return values.dump(document)


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
