"""Checking migrated settings against the JSON Schema that an image may ship.

The schema describes the live settings as nested maps (`migrator.nested`), as
`{"settings": {"motd": "hi"}}`. It belongs to the version that is being booted; pending transactions
hold parts of settings only and are not checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migrator import keys, values
from migrator.errors import ResultInvalid
from migrator.nested import nest

if TYPE_CHECKING:
    from migrator.tree import State

SCHEMA_PATH = Path("/usr/share/updog/datastore-schema.json")
_MAX_RULE = 120


def check(state: State, path: Path) -> None:
    """Check the live settings; fine if there is no schema at `path`.

    Raises:
        ResultInvalid: The settings do not match it, or it cannot be used.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise ResultInvalid(f"cannot read the schema {path}: {error}") from error
    # Few images ship a schema; the others need neither the library nor the time to load it.
    try:
        import jsonschema  # noqa: PLC0415
    except ImportError:
        reason = f"the schema {path} needs the Python package jsonschema, which is not installed"
        raise ResultInvalid(reason) from None
    try:
        schema = values.parse(text)
        validator = jsonschema.validators.validator_for(schema)
        validator.check_schema(schema)
        problem = jsonschema.exceptions.best_match(
            validator(schema).iter_errors(nest(state.live.data.values))
        )
    except (ValueError, jsonschema.SchemaError) as error:
        raise ResultInvalid(f"the schema {path} cannot be used: {error}") from None
    if problem is not None:
        place = tuple(str(part) for part in problem.absolute_path if isinstance(part, str))
        where = keys.name_of(place) if place else "the settings"
        # Not the library's message: it quotes the value, which may be a secret.
        rule = f"{problem.validator} {values.dump(problem.validator_value)}"
        raise ResultInvalid(f"{where} does not match {path}: expected {rule[:_MAX_RULE]}")
