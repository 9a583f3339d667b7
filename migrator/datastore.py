"""The settings datastore for programs and people: read, list, set, transactions, creation.

A change of one file is made in place: written beside, flushed, renamed. A change of several, such
as committing a transaction or filling in defaults, is a new copy beside the old one, and one link
that is flipped to it; so any reader, at any moment and after any power cut, finds all of it or
nothing. The version's link is what is flipped, and the version stays.

Creating the first copy can be interrupted anywhere, too: until `current` is there, the next
attempt starts over; a marker says that what it finds is unfinished and not somebody's settings.

    store = Datastore(Path("/var/lib/bottlerocket/datastore/current"))
    store.get("settings.motd")                                  # '"hi"', or None
    store.set({"settings.motd": '"hello"'}, transaction="mine")
    store.commit("mine")

Values are JSON texts. Writers exclude each other, and the migrator, by its lock.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator import chain, copies, files, in_place, keys, tree, values
from migrator import defaults as default_settings
from migrator.errors import (
    ChainBroken,
    StoreCorrupt,
    StoreError,
    TransactionMissing,
    ValueInvalid,
)
from migrator.run import LOCK
from migrator.tree import State, Tree
from partition import durable
from partition.kernel import KERNEL, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from semver import Version

    from migrator.chain import Chain

_ATTEMPTS = 20


class Datastore:
    """One datastore on disk.

    Args:
        path: The link `current`, the directory in which it lies, or one copy (which can be read,
            and changed by one key at a time).
        kernel: Where the calls go.
        suffix: Gives the random part of a new copy's name.
        wait_seconds: How long a writer waits for another one.
    """

    def __init__(
        self,
        path: Path,
        *,
        kernel: Kernel = KERNEL,
        suffix: Callable[[], str] = copies.random_suffix,
        wait_seconds: float = 10.0,
    ) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._base = chain.base_of(path)
        self._kernel = kernel
        self._suffix = suffix

    def read(self) -> State:
        """Return all of it.

        Raises:
            ChainBroken, StoreCorrupt: It is not as it should be, or not there.
        """
        for _ in range(_ATTEMPTS):
            copy = self._copy()
            try:
                state = files.read_copy(copy)
            except StoreCorrupt:
                if self._copy() == copy:
                    raise
                continue
            # A writer may have made another copy meanwhile, and begun to remove this one.
            if self._copy() == copy:
                return state
        raise StoreCorrupt(str(self._path), "it changes faster than it can be read")

    def get(self, name: str, transaction: str | None = None) -> str | None:
        """Return the JSON text of a setting, or None.

        Raises:
            KeyInvalid: Not a key.
            TransactionMissing: There is no such transaction.
        """
        return self._tree(self.read(), transaction).data.get(keys.canonical(name))

    def list(self, prefix: str = "", transaction: str | None = None) -> dict[str, str]:
        """Return all settings whose names start with `prefix`, in the order of names.

        A prefix is a string: `settings.n` lists `settings.ntp.options` too.
        """
        data = self._tree(self.read(), transaction).data.values
        return {name: data[name] for name in sorted(data) if name.startswith(prefix)}

    def metadata(self, name: str, transaction: str | None = None) -> dict[str, str]:
        """Return the metadata of a setting as JSON texts by metadata key.

        Metadata is inherited: where a setting has none of its own for a key, that of the longest
        name above it counts. The setting itself need not have a value.
        """
        found = self._tree(self.read(), transaction).metadata.values
        segments = keys.parse(name)
        result = {}
        for length in range(1, len(segments) + 1):
            place = keys.name_of(segments[:length])
            result.update({key: text for (where, key), text in found.items() if where == place})
        return result

    def list_metadata(
        self, prefix: str = "", transaction: str | None = None
    ) -> dict[str, dict[str, str]]:
        """Return all metadata of settings whose names start with `prefix`, nothing inherited."""
        found: dict[str, dict[str, str]] = {}
        metadata = self._tree(self.read(), transaction).metadata.values
        for name, key in sorted(metadata):
            if name.startswith(prefix):
                found.setdefault(name, {})[key] = metadata[name, key]
        return found

    def transactions(self) -> tuple[str, ...]:
        """Return the names of all pending transactions."""
        return tuple(sorted(self.read().pending))

    def set(self, settings: Mapping[str, str | None], transaction: str | None = None) -> None:
        """Set some settings to JSON texts, all or none; None removes one.

        Args:
            settings: By name.
            transaction: The pending transaction to put them into, made if need be; None: live.

        Raises:
            KeyInvalid, ValueInvalid, ResultInvalid: They cannot be stored; nothing was changed.
        """
        texts = {keys.canonical(name): _checked(name, text) for name, text in settings.items()}
        with self._changing() as state:
            each = _tree_to_change(state, transaction)
            for name, text in texts.items():
                each.data.put(name, text)

    def set_metadata(
        self, name: str, metadata: Mapping[str, str | None], transaction: str | None = None
    ) -> None:
        """Set metadata of a setting to JSON texts, all or none; None removes it."""
        texts = {
            (keys.canonical(name), keys.metadata_name(key)): text for key, text in metadata.items()
        }
        with self._changing() as state:
            each = _tree_to_change(state, transaction)
            for address, text in texts.items():
                each.metadata.put(address, None if text is None else values.strip(text))

    def commit(self, transaction: str) -> tuple[str, ...]:
        """Make a pending transaction live, all of it at once; return the settings it changed.

        Raises:
            TransactionMissing: There is no such transaction.
            ResultInvalid: The live settings cannot take it.
        """
        with self._changing() as state:
            each = self._tree(state, transaction)
            for name, text in each.data.values.items():
                state.live.data.put(name, text)
            for address, text in each.metadata.values.items():
                state.live.metadata.put(address, text)
            del state.pending[transaction]
            return tuple(sorted(state.live.data.before))

    def discard(self, transaction: str) -> None:
        """Drop a pending transaction.

        Raises:
            TransactionMissing: There is no such transaction.
        """
        with self._changing() as state:
            self._tree(state, transaction)
            del state.pending[transaction]

    def prepare(self, version: Version, defaults: Tree) -> bool:
        """Create the datastore if there is none; fill in what defaults it lacks.

        Args:
            version: Of a new datastore; an existing one must have it already.
            defaults: What to fill in.

        Returns:
            Whether anything was written.

        Raises:
            StoreError: The datastore has another version: it has to be migrated first.
        """
        durable.make_directory(self._base, 0o755, private=False, kernel=self._kernel)
        with self._locked():
            current = chain.read(self._base)
            if current is None:
                create(self._base, version, defaults, self._kernel, self._suffix)
                return True
            durable.remove_file(self._base / chain.CREATING, kernel=self._kernel)
            if current.version != version:
                raise StoreError(
                    f"refusing to put defaults of {version} into {current.path}: "
                    f"its settings are those of {current.version}, expected a migration first"
                )
            state = files.read_copy(current.path)
            before = state.copy()
            lacking = default_settings.fill(state.live, defaults)
            if lacking:
                self._write(before, state, current)
            return lacking

    def _copy(self) -> Path:
        if self._is_one_copy():
            return self._path
        current = chain.read(self._base)
        if current is None:
            raise ChainBroken(str(self._base / chain.CURRENT), "there is no datastore yet")
        return current.path

    def _is_one_copy(self) -> bool:
        return not self._path.is_symlink() and (self._path / files.LIVE).is_dir()

    @staticmethod
    def _tree(state: State, transaction: str | None) -> Tree:
        if transaction is None:
            return state.live
        if transaction not in state.pending:
            raise TransactionMissing(transaction)
        return state.pending[transaction]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._base / LOCK
        with durable.exclusive_lock(lock, wait_seconds=self._wait_seconds, kernel=self._kernel):
            yield

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """Yield all of the store to be changed in memory; check and store it afterwards."""
        self._copy()  # says that there is none, before there is a place for a lock
        with self._locked():
            current = None if self._is_one_copy() else chain.read(self._base)
            state = files.read_copy(self._copy())
            before = state.copy()
            yield state
            tree.check(state, unchanged=before)
            self._write(before, state, current)

    def _write(self, before: State, after: State, current: Chain | None) -> None:
        old, new = dict(_all_files(before)), dict(_all_files(after))
        touched = [path for path in old.keys() | new.keys() if old.get(path) != new.get(path)]
        if before.pending.keys() <= after.pending.keys() and len(touched) <= 1:
            for path in touched:
                in_place.write(self._copy(), path, new.get(path), self._kernel, self._suffix)
            return
        if current is None:
            raise StoreCorrupt(
                str(self._path), "several settings at once can be changed through 'current' only"
            )
        copy = copies.write_new(
            self._base,
            current.version,
            after,
            self._kernel,
            like=current.path,
            suffix=self._suffix,
        )
        chain.flip(self._base, current.version, copy, self._kernel)
        chain.collect(self._base, None, self._kernel)


def create(
    base: Path, version: Version, defaults: Tree, kernel: Kernel, suffix: Callable[[], str]
) -> None:
    """Make the first copy and the links to it; the caller holds the lock.

    Until `current` is there, the marker says that what there is is unfinished.
    """
    marker = base / chain.CREATING
    durable.write_file(marker, b"", private=False, kernel=kernel)
    chain.collect(base, (), kernel)
    state = State(defaults.copy())
    copy = copies.write_new(base, version, state, kernel, suffix=suffix)
    chain.flip(base, version, copy, kernel)
    durable.remove_file(marker, kernel=kernel)


def _tree_to_change(state: State, transaction: str | None) -> Tree:
    if transaction is None:
        return state.live
    keys.transaction_path(transaction)
    return state.pending.setdefault(transaction, Tree())


def _all_files(state: State) -> Iterator[tuple[str, str]]:
    for transaction, each in state.trees():
        place = files.LIVE
        if transaction is not None:
            place = f"{files.PENDING}/{keys.transaction_path(transaction)}"
        for path, text in files.paths(each):
            yield f"{place}/{path}", text


def _checked(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        values.check_data(text)
    except ValueError as error:
        raise ValueInvalid(name, str(error)) from None
    return values.strip(text)
