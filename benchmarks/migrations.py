"""How long a chain of migrations takes, against reading and writing the settings once.

    python -m benchmarks.migrations [--keys 5000] [--migrations 250] [--rounds 8] [--directory DIR]

A store of many settings (strings, lists, numbers, quotes, Unicode, metadata, pending transactions)
goes through a chain of data migrations of all common kinds, compressed and by digest as the update
leaves them, on real files: locked, found, verified, parsed, run, measured for the way back,
checked, written, flushed, the links flipped, and the copy before the last removed.

There are three yardsticks, on the same store and disk; each reads all of it and writes all of it
once, so that a power cut after it loses nothing:

- plain: every file is read, and written beside, with `open`; one flush. No check, no links, nothing
  removed: less than any program could do with it;
- store: the same with the migrator's own code, which checks names and values as it reads
  (`migrator.files`, `migrator.copies.flush`). This is the one to hold the migrations against;
- set: two settings are set, as `migrator datastore set` does it: a whole write of the store, with
  lock, checks, flush, links, and the copy that it replaces removed.

All are run in turn, in another order each round, with nothing remembered of names that were
parsed, as after a start; what one left unwritten in memory is written before the next starts.
Medians and their ratios are printed. Not counted: starting Python, and verifying the signatures of
the metadata, which does not depend on the number of migrations.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import lz4.frame
from semver import Version

from migrator import copies, files, keys
from migrator.cached import Cache
from migrator.datastore import Datastore
from migrator.run import Outcome, Setting, migrate
from migrator.tree import Layer, State, Tree
from partition.kernel import KERNEL
from updog.manifest import MANIFEST_NAME
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Targets:
    """Stands for verified metadata; checks digests as the real one does."""

    digests: dict[str, tuple[int, str]] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """Return a target."""
        length, digest = self.digests[name]
        return Target(name, length, {"sha256": digest})

    def check_bytes(self, name: str, data: bytes) -> None:
        """Check a digest."""
        if hashlib.sha256(data).hexdigest() != self.digests[name][1]:
            raise ValueError(name)


def settings(count: int) -> State:
    """Return a store of so many settings, a tenth of them with metadata, and two transactions."""
    data: dict[str, str] = {}
    metadata: dict[tuple[str, str], str] = {}
    for number in range(count):
        group, kind = number // 40, number % 8
        name = f"settings.group-{group}.key-{number}"
        value: object = f"value {number}"
        if kind == 1:
            name, value = f'settings.group-{group}."dotted.{number}"', ["a", "b", str(number)]
        elif kind == 2:  # noqa: PLR2004
            value = number * 1.5
        elif kind == 3:  # noqa: PLR2004
            name, value = f"settings.group-{group}.größe-{number}", "ü" * 20
        elif kind == 4:  # noqa: PLR2004
            value = []
        elif kind == 5:  # noqa: PLR2004
            value = "long " * 40
        data[name] = json.dumps(value, ensure_ascii=False)
        if number % 10 == 0:
            metadata[name, "affected-services"] = '["one","two"]'
    pending = {
        name: Tree(Layer({key: data[key] for key in list(data)[start : start + 20]}))
        for name, start in (("tx one", 0), ("tx two", count // 2))
    }
    return State(Tree(Layer(data), Layer(metadata)), pending)


def documents(count: int, keys: int) -> list[str]:
    """Return so many migrations, of the kinds and in about the mix of a real distribution."""
    found = []
    for number in range(count):
        key = (number * 37) % keys
        setting = f"settings.group-{key // 40}.key-{key}"
        kinds = {
            "add-settings": f'settings = ["settings.new-{number}", "settings.n.{number}"]',
            "replace-string": f'setting = "{setting}"\nold = "value {key}"\nnew = "v {number}"',
            "add-prefixes": f'prefixes = ["settings.added-{number}", "services.s-{number}"]',
            "replace-metadata-lists": f'setting = "{setting}"\nmetadata = "affected-services"\n'
            'old = ["one", "two"]\nnew = ["one"]',
            "remove-settings": f'settings = ["{setting}"]',
            "rename-settings": f'from = "{setting}"\nto = "settings.moved.k{number}"',
            "add-metadata": f'setting = "{setting}"\nmetadata = ["new"]',
            "replace-lists": f'setting = "{setting}"\nold = []\nnew = ["x"]',
        }
        kind = list(kinds)[number % len(kinds)]
        found.append(f'[[steps]]\nkind = "{kind}"\n{kinds[kind]}\n')
    return found


class Host:
    """A datastore and the cache of an update, on disk."""

    def __init__(self, directory: Path, state: State, migrations: list[str]) -> None:
        self.base = directory / "datastore"
        self.cache = directory / "migrations"
        self._targets = Targets()
        self.base.mkdir(parents=True)
        self.cache.mkdir()
        steps = {}
        for number, document in enumerate(migrations):
            name = f"migrate_v1.{number + 1}.0_m.toml.lz4"
            self._put(name, lz4.frame.compress(document.encode()))
            steps[f"(1.{number}.0, 1.{number + 1}.0)"] = [name]
        manifest = json.dumps({"updates": [], "migrations": steps}).encode()
        self._put(MANIFEST_NAME, manifest)
        self._first = "v1.0.0_0123456789abcdef"
        files.write_copy(self.base / self._first, state, KERNEL)
        for link, target in (
            ("v1.0.0", self._first),
            ("v1.0", "v1.0.0"),
            ("v1", "v1.0"),
            ("current", "v1"),
        ):
            (self.base / link).symlink_to(target)
        self.newest = Version(1, len(migrations), 0)

    def _put(self, name: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self._targets.digests[name] = (len(data), digest)
        (self.cache / f"{digest}.{name}").write_bytes(data)

    def migrate(self, version: Version) -> None:
        """Bring the settings to a version."""
        cache = Cache(self._targets, self.cache)
        outcome = migrate(Setting(self.base / "current", lambda: cache), version)
        if outcome is not Outcome.MIGRATED:
            raise SystemExit(f"not migrated: {outcome.value}")

    def store_once(self) -> None:
        """Read and write the settings as the migrator does."""
        copy = self.base / "yardstick"
        files.write_copy(copy, files.read_copy((self.base / "current").resolve()), KERNEL)
        copies.flush(copy, KERNEL)

    def set_two(self, number: int) -> None:
        """Set two settings, which takes a whole new copy."""
        store = Datastore(self.base / "current")
        store.set({f"settings.group-0.key-{each}": f'"{number}"' for each in (2, 10)})

    def plain_once(self) -> None:
        """Read and write the settings with nothing but `open`."""
        source, copy = (self.base / "current").resolve(), self.base / "yardstick"
        contents = {}
        for path in source.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    contents[path.relative_to(source)] = file.read()
        for name, content in contents.items():
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
        copies.flush(copy, KERNEL)

    def prepare(self) -> None:
        """Let nobody gain, or lose, by what was done before."""
        for cached in (keys.parse, keys.name_of, keys.path_of):
            cached.cache_clear()
        copies.flush(self.base, KERNEL)

    def clean(self) -> None:
        """Remove what a yardstick wrote."""
        shutil.rmtree(self.base / "yardstick", ignore_errors=True)


def timed(work: Callable[[], None]) -> float:
    """Return how long something takes, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=5000)
    parser.add_argument("--migrations", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        chain = documents(options.migrations, options.keys)
        host = Host(Path(directory), settings(options.keys), chain)
        for number in range(options.rounds):
            contenders: list[dict[str, Callable[[], None]]] = [
                {"plain": host.plain_once},
                {"store": host.store_once},
                {"set": functools.partial(host.set_two, number)},
                {
                    "forward": functools.partial(host.migrate, host.newest),
                    "backward": functools.partial(host.migrate, Version(1)),
                },
            ]
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                for name, work in contender.items():
                    host.prepare()
                    times.setdefault(name, []).append(timed(work))
                    host.clean()
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"{options.keys} keys, {options.migrations} migrations, {options.rounds} rounds, medians")
    yardsticks = ("plain", "store", "set")
    print(f"{'':10} {'seconds':>8}" + "".join(f"{'/ ' + name:>9}" for name in yardsticks))
    for name in (*yardsticks, "forward", "backward"):
        ratios = "".join(f"{medians[name] / medians[yardstick]:9.2f}" for yardstick in yardsticks)
        print(f"{name:10} {medians[name]:8.3f}{ratios}")


if __name__ == "__main__":
    main()
