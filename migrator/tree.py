"""A datastore in memory: what migrations work on.

A `Tree` is the live data or one pending transaction; a `State` is all of one copy. Data is keyed
by canonical key name, metadata by the pair of key name and metadata key; both hold JSON texts
(`migrator.values`).

Each half of a tree is a `Layer`, a mapping that remembers what it held before it was changed. So
what a migration changed costs as much to find, or to take back, as was changed, and not a look at
thousands of keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from migrator import keys, values
from migrator.errors import KeyInvalid, ResultInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

K = TypeVar("K", str, tuple[str, str])

DataKey = str
MetadataKey = tuple[str, str]

# From so many keys on, one look at all of them costs less than one look for each.
_MANY = 20


class Layer(Generic[K]):
    """A mapping to JSON texts with a log of first-overwritten values.

    Attributes:
        values: The mapping itself. Read it freely; change it through the methods only.
        before: What each key changed since `mark` had then; None: it was not there.
    """

    __slots__ = ("before", "values")

    def __init__(self, values: Mapping[K, str] | None = None) -> None:
        self.values: dict[K, str] = dict(values or {})
        self.before: dict[K, str | None] = {}

    def __eq__(self, other: object) -> bool:
        """Compare what is held; the log does not matter."""
        return isinstance(other, Layer) and self.values == other.values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Layer({self.values!r})"

    def __contains__(self, key: K) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[K]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def get(self, key: K) -> str | None:
        """Return the JSON text at a key, or None."""
        return self.values.get(key)

    def put(self, key: K, text: str | None) -> None:
        """Set a key to a JSON text; None removes it. Removing what is not there is fine."""
        old = self.values.get(key)
        if old == text:
            return
        self.before.setdefault(key, old)
        if text is None:
            del self.values[key]
        else:
            self.values[key] = text

    def mark(self) -> dict[K, str | None]:
        """Start a new log; return the one kept so far."""
        log, self.before = self.before, {}
        return log

    def undo(self) -> None:
        """Take back everything since `mark`, and start a new log."""
        for key, old in self.mark().items():
            if old is None:
                self.values.pop(key, None)
            else:
                self.values[key] = old


@dataclass(slots=True)
class Tree:
    """The live settings, or those of one pending transaction."""

    data: Layer[DataKey] = field(default_factory=Layer)
    metadata: Layer[MetadataKey] = field(default_factory=Layer)

    def mark(self) -> None:
        """Start a new log in both layers."""
        self.data.mark()
        self.metadata.mark()

    def copy(self) -> Tree:
        """Return an independent tree with the same content and an empty log."""
        return Tree(Layer(self.data.values), Layer(self.metadata.values))


@dataclass(slots=True)
class State:
    """Everything that one copy of the datastore holds.

    Attributes:
        live: What is committed.
        pending: By transaction name. An empty transaction exists.
        kept: The text of the file of kept values (`migrator.kept`), or None.
    """

    live: Tree = field(default_factory=Tree)
    pending: dict[str, Tree] = field(default_factory=dict)
    kept: str | None = None

    def trees(self) -> Iterator[tuple[str | None, Tree]]:
        """Iterate over all trees with their transaction's name; None names the live one."""
        yield None, self.live
        yield from sorted(self.pending.items())

    def copy(self) -> State:
        """Return an independent copy."""
        pending = {name: tree.copy() for name, tree in self.pending.items()}
        return State(self.live.copy(), pending, self.kept)


def describe(transaction: str | None) -> str:
    """Name a tree in a message."""
    return "live settings" if transaction is None else f"pending transaction {transaction!r}"


def check(state: State, unchanged: State | None = None) -> None:
    """Check that a state can be stored: keys parse, values are values, no value is a group too.

    Args:
        state: What a migration made.
        unchanged: Texts that this state holds under the same key were checked before.

    Raises:
        ResultInvalid: Not storable; names the key.
    """
    known = dict(unchanged.trees()) if unchanged else {}
    total_bytes = 0
    for transaction, tree in state.trees():
        before = known.get(transaction, Tree())
        _check_tree(tree, before, describe(transaction))
        texts = (*tree.data.values.values(), *tree.metadata.values.values())
        total_bytes += sum(map(values.length_bytes, texts))
    if total_bytes > values.MAX_STORE_BYTES:
        raise ResultInvalid(f"all of them together are longer than {values.MAX_STORE_BYTES} bytes")


def _check_tree(tree: Tree, before: Tree, where: str) -> None:
    for name, text in tree.data.values.items():
        if before.data.get(name) != text:
            _check_datum(name, text, where)
    for address, text in tree.metadata.values.items():
        if before.metadata.get(address) != text:
            _check_metadatum(*address, text, where)
    both = clash(tree)
    if both is not None:
        raise ResultInvalid(f"{where}: {both} has a value, and so has something below it")


def _check_datum(name: str, text: str, where: str) -> None:
    try:
        if keys.canonical(name) != name:
            raise ResultInvalid(f"{where}: {name} is not the canonical spelling of that key")
        values.check_data(text)
    except KeyInvalid as error:
        raise ResultInvalid(f"{where}: {error}") from None
    except ValueError as error:
        raise ResultInvalid(f"{where}: value of {name}: {error}") from None


def _check_metadatum(name: str, metadata_key: str, text: str, where: str) -> None:
    try:
        keys.metadata_path_of(keys.parse(name), metadata_key)
        keys.name_of((metadata_key,))
        values.check_metadata(text)
    except KeyInvalid as error:
        raise ResultInvalid(f"{where}: {error}") from None
    except ValueError as error:
        raise ResultInvalid(f"{where}: metadata {metadata_key} of {name}: {error}") from None


def clash(tree: Tree) -> str | None:
    """Return a key that has a value, and values or metadata below it; or None.

    A directory and a file cannot have one name.
    """
    for name in {*tree.data, *(setting for setting, _ in tree.metadata)}:
        parent = _value_above(tree, name)
        if parent is not None:
            return parent
    return None


def new_clash(tree: Tree) -> str | None:
    """As `clash`, for what was added since `mark`; before that there was none."""
    data = [name for name, old in tree.data.before.items() if old is None and name in tree.data]
    metadata = {
        address[0]
        for address, old in tree.metadata.before.items()
        if old is None and address in tree.metadata
    }
    if len(data) + len(metadata) > _MANY:
        return clash(tree)
    for name in data:
        if is_taken(tree, name):
            return name
    return next(filter(None, (_value_above(tree, name) for name in metadata)), None)


def is_taken(tree: Tree, name: str) -> bool:
    """Say whether a value at `name` stands, or would stand, above or below something else."""
    if _value_above(tree, name) is not None:
        return True
    below = f"{name}."
    return any(other.startswith(below) for other in tree.data.values) or any(
        setting.startswith(below) for setting, _ in tree.metadata.values
    )


def is_below_value(tree: Tree, name: str) -> bool:
    """Say whether metadata of `name` would stand below a value."""
    return _value_above(tree, name) is not None


def _value_above(tree: Tree, name: str) -> str | None:
    segments = keys.parse(name)
    above = (keys.name_of(segments[:length]) for length in range(1, len(segments)))
    return next((parent for parent in above if parent in tree.data), None)
