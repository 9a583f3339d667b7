"""A datastore in memory: what migrations work on.

A `Tree` is the live data or one pending transaction; a `State` is all of one copy. Data is keyed
by canonical key name, metadata by the pair of key name and metadata key; both hold JSON texts
(`migrator.values`).

Each half of a tree is a `Layer`, a mapping that remembers what it held before it was changed, and
knows its keys in order. So to find what a migration changed, or what is below a name, costs as much
as there is of it, and not a look at thousands of keys.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from migrator import keys, values
from migrator.errors import KeyInvalid, ResultInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

K = TypeVar("K", str, tuple[str, str])

DataKey = str
MetadataKey = tuple[str, str]


class Layer(Generic[K]):
    """A mapping to JSON texts with a log of first-overwritten values.

    Attributes:
        values: The mapping itself. Read it freely; change it through the methods only.
        before: What each key changed since `mark` had then; None: it was not there.
    """

    __slots__ = ("_order", "before", "values")

    def __init__(self, values: Mapping[K, str] | None = None) -> None:
        self.values: dict[K, str] = dict(values or {})
        self.before: dict[K, str | None] = {}
        # All keys, sorted; None until somebody asks, as for a store that is only read.
        self._order: list[K] | None = None

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
        self._store(key, text)

    def starting_with(self, prefix: str) -> list[K]:
        """Return the keys of all settings whose names start with `prefix`, in order."""
        if self._order is None:
            self._order = sorted(self.values)
        found = []
        for index in range(_position(self._order, prefix), len(self._order)):
            key = self._order[index]
            if not _setting(key).startswith(prefix):
                break
            found.append(key)
        return found

    def mark(self) -> dict[K, str | None]:
        """Start a new log; return the one kept so far."""
        log, self.before = self.before, {}
        return log

    def undo(self) -> None:
        """Take back everything since `mark`, and start a new log."""
        for key, old in self.mark().items():
            if self.values.get(key) != old:
                self._store(key, old)

    def _store(self, key: K, text: str | None) -> None:
        if self._order is not None:
            if text is None:
                del self._order[bisect_left(self._order, key)]
            elif key not in self.values:
                insort(self._order, key)
        if text is None:
            del self.values[key]
        else:
            self.values[key] = text


def _setting(key: DataKey | MetadataKey) -> str:
    return key if isinstance(key, str) else key[0]


def _position(order: list[K], name: str) -> int:
    """Return where in `order` the first key of a setting not below `name` stands."""
    return bisect_left(order, name, key=_setting)


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
        unchanged: A state that was checked before; what is the same here is not checked again.

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
    both = clash(tree, before)
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


def clash(tree: Tree, before: Tree | None = None) -> str | None:
    """Return a key that has a value, and values or metadata below it; or None.

    A directory and a file cannot have one name.

    Args:
        tree: Where to look.
        before: A tree without any clash; only what `tree` has besides is looked at.
    """
    before = before or Tree()
    return _clash(
        tree,
        tree.data.values.keys() - before.data.values.keys(),
        tree.metadata.values.keys() - before.metadata.values.keys(),
    )


def new_clash(tree: Tree) -> str | None:
    """As `clash`, for what was added since `mark`; before that there was none."""
    data = {name for name, old in tree.data.before.items() if old is None and name in tree.data}
    metadata = {
        address
        for address, old in tree.metadata.before.items()
        if old is None and address in tree.metadata
    }
    return _clash(tree, data, metadata)


def _clash(
    tree: Tree, data: AbstractSet[DataKey], metadata: AbstractSet[MetadataKey]
) -> str | None:
    for name in sorted({*data, *(setting for setting, _ in metadata)}):
        parent = _value_above(tree, name)
        if parent is not None:
            return parent
    return next((name for name in sorted(data) if _has_below(tree, name)), None)


def is_taken(tree: Tree, name: str) -> bool:
    """Say whether a value at `name` stands, or would stand, above or below something else."""
    return _value_above(tree, name) is not None or _has_below(tree, name)


def is_below_value(tree: Tree, name: str) -> bool:
    """Say whether metadata of `name` would stand below a value."""
    return _value_above(tree, name) is not None


def _value_above(tree: Tree, name: str) -> str | None:
    segments = keys.parse(name)
    above = (keys.name_of(segments[:length]) for length in range(1, len(segments)))
    return next((parent for parent in above if parent in tree.data), None)


def _has_below(tree: Tree, name: str) -> bool:
    below = f"{name}."
    return bool(tree.data.starting_with(below) or tree.metadata.starting_with(below))
