"""How long a chain of migrations takes, against reading and writing the settings once.

    python -m benchmarks.migrations [--keys 5000] [--migrations 250] [--rounds 7] [--directory DIR]

A store of many settings (strings, lists, numbers, quotes, Unicode, metadata, pending transactions)
goes through a chain of data migrations of all common kinds, compressed and by digest as the update
leaves them, on real files: found, verified, parsed, run, measured for the way back, checked,
written, flushed, and the links flipped. The yardstick, on the same store and disk:

- plain: read every file, and write every file, with `open`, then flush the file system once;
- store: `migrator.files.read_copy` and `write_copy`, flushed the same way.

Rounds are interleaved; the medians and their ratios are printed. Not counted: starting Python, and
verifying the signatures of the metadata, which does not depend on the number of migrations.
"""

from __future__ import annotations

import argparse
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

from migrator import copies, files
from migrator.cached import Cache
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
        state = files.read_copy((self.base / "current").resolve())
        copy = self.base / "yardstick"
        files.write_copy(copy, state, KERNEL)
        copies.flush(copy, KERNEL)

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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    options = parser.parse_args()
    times: dict[str, list[float]] = {"plain": [], "store": [], "forward": [], "backward": []}
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        chain = documents(options.migrations, options.keys)
        host = Host(Path(directory), settings(options.keys), chain)
        for _ in range(options.rounds):
            times["plain"].append(timed(host.plain_once))
            host.clean()
            times["store"].append(timed(host.store_once))
            host.clean()
            times["forward"].append(timed(lambda: host.migrate(host.newest)))
            times["backward"].append(timed(lambda: host.migrate(Version(1))))
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"{options.keys} keys, {options.migrations} migrations, {options.rounds} rounds, medians")
    print(f"{'':10} {'seconds':>8} {'/ plain':>8} {'/ store':>8}")
    for name, median in medians.items():
        ratios = median / medians["plain"], median / medians["store"]
        print(f"{name:10} {median:8.3f} {ratios[0]:8.2f} {ratios[1]:8.2f}")


if __name__ == "__main__":
    main()
