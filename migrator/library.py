"""For authors of migrations that need code: a class to derive from, and the program around it.

    from migrator import Migration

    class SplitEndpoint(Migration):
        \"\"\"settings.api.endpoint becomes host and port.\"\"\"

        def forward(self, data, metadata):
            api = data.get("settings", {}).get("api", {})
            if "endpoint" in api:
                api["host"], api["port"] = api.pop("endpoint").split(":")

        def backward(self, data, metadata):
            ...

`data` is the settings as nested maps; change it in place, or return another one to be used instead.
`metadata` maps a setting's name to a map of its metadata; a method that does not need it may leave
the parameter out. Both methods run once for the live settings and once for every pending
transaction, so they must not expect anything to be there, nor add what does not belong to what is.

`repo-tools migration pack` makes one executable file of the class and of this module and the few
that it needs. Nothing but the standard library is imported here.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator import files, keys, tree, values
from migrator.errors import MigratorError
from migrator.nested import flatten, nest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.nested import Nested

Metadata = dict[str, dict[str, Any]]
_USAGE = "--forward|--backward --source-datastore PATH --target-datastore PATH"
_USAGE_ERROR = 2


class Migration:
    """Base class of a migration.

    Attributes:
        lossy: Names of settings that forward and backward together may change, in a literal tuple.
            `migrator test` fails for every other one that they do; each covers what is below it.
    """

    lossy: tuple[str, ...] = ()

    def forward(self, data: Nested, metadata: Metadata) -> Nested | None:
        """Change the settings as the newer version needs them."""
        raise NotImplementedError

    def backward(self, data: Nested, metadata: Metadata) -> Nested | None:
        """Change the settings as the older version needs them."""
        raise NotImplementedError


def migrate(migration: Migration, arguments: Sequence[str] | None = None) -> int:
    """Be the program of an executable migration; return its exit code.

    Args:
        migration: What to run on the live settings and on each pending transaction.
        arguments: Of the command line; None: this process's.
    """
    parsed = _parse(sys.argv[1:] if arguments is None else arguments)
    if parsed is None:
        print(f"usage: {_USAGE}", file=sys.stderr)  # noqa: T201  a program's own words
        return _USAGE_ERROR
    direction, source, target = parsed
    run = migration.forward if direction == "forward" else migration.backward
    try:
        state = files.read_copy(source)
        for _, each in state.trees():
            _apply(run, each)
        tree.check(state)
        state.kept = None
        files.write_copy(target, state, files.PlainWriter())
    except MigratorError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _apply(run: Callable[..., Nested | None], each: tree.Tree) -> None:
    data = nest(each.data.values)
    metadata: Metadata = {}
    for (name, metadata_key), text in each.metadata.values.items():
        metadata.setdefault(name, {})[metadata_key] = values.parse(text)
    takes_metadata = len(inspect.signature(run).parameters) > 1
    result = run(data, metadata) if takes_metadata else run(data)
    if result is not None and not isinstance(result, dict):
        raise MigratorError("forward and backward return a map, or nothing")
    data = data if result is None else result
    try:
        _update(each.data, flatten(data))
        texts = {
            (keys.canonical(name), metadata_key): values.dump(value)
            for name, group in metadata.items()
            for metadata_key, value in group.items()
        }
        _update(each.metadata, texts)
    except ValueError as error:
        raise MigratorError(f"the migration made what cannot be stored: {error}") from None


def _update(layer: tree.Layer[tree.K], texts: dict[tree.K, str]) -> None:
    """Put new texts into a layer; what means the same as before keeps its spelling."""
    for key in set(layer) - set(texts):
        layer.put(key, None)
    for key, text in texts.items():
        if not values.same(layer.get(key), text):
            layer.put(key, text)


def _parse(arguments: Sequence[str]) -> tuple[str, Path, Path] | None:
    directions, paths = [], {}
    rest = iter(arguments)
    for argument in rest:
        if argument in {"--forward", "--backward"}:
            directions.append(argument.removeprefix("--"))
        elif argument in {"--source-datastore", "--target-datastore"}:
            paths[argument] = next(rest, "")
        else:
            return None
    source, target = paths.get("--source-datastore"), paths.get("--target-datastore")
    if len(directions) != 1 or not source or not target or source == target:
        return None
    return directions[0], Path(source), Path(target)
