"""Datastores and cached repositories for tests, made without the code under test."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import lz4.frame

from migrator.cached import Cache
from migrator.executable import Limits
from migrator.run import Setting
from migrator.tree import Layer, State, Tree
from partition.kernel import KERNEL, Kernel
from updog.errors import UpdogError
from updog.targets import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from migrator.copies import Space


class NotSigned(UpdogError):
    """What the real repository says of a target that is not in it, or not as it was signed."""


@dataclass
class SignedTargets:
    """Stands for verified metadata: digests of what was published."""

    published: dict[str, bytes] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """Return a target."""
        if name not in self.published:
            raise NotSigned(f"the repository has no target {name}")
        data = self.published[name]
        return Target(name, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def check_bytes(self, name: str, data: bytes) -> None:
        """Check what is in the file."""
        if data != self.published[name]:
            raise NotSigned(f"{name} is not what was signed")


class Hasty(Kernel):
    """Flushes nothing: for runs by the hundred, whose directories no power cut threatens."""

    def fsync(self, fd: int) -> None:
        """Do not wait."""

    def syncfs(self, fd: int) -> None:
        """Do not wait."""


HASTY = Hasty()


class Host:
    """A directory with a datastore, a cache of an update, and nothing else."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base = directory / "datastore"
        self.cache = directory / "migrations"
        self.signed = SignedTargets()
        self.base.mkdir(parents=True)
        self.cache.mkdir()

    @property
    def current(self) -> Path:
        """The path that the migrator is given."""
        return self.base / "current"

    def install(
        self, version: str, files: Mapping[str, str], suffix: str = "0123456789abcdef"
    ) -> None:
        """Make a datastore: relative path to content, and the links."""
        copy = self.base / f"v{version}_{suffix}"
        (copy / "live").mkdir(parents=True)
        (copy / "pending").mkdir()
        write_files(copy, files)
        first, second, _ = version.split(".", maxsplit=2)
        major, minor = f"v{first}", f"v{first}.{second}"
        (self.base / f"v{version}").symlink_to(copy.name)
        (self.base / minor).symlink_to(f"v{version}")
        (self.base / major).symlink_to(minor)
        self.current.symlink_to(major)

    def publish(
        self,
        steps: Mapping[tuple[str, str], Sequence[str]],
        migrations: Mapping[str, str | bytes],
    ) -> None:
        """Fill the cache: a manifest with these steps, and the migrations, compressed here."""
        keys = {f"({start}, {end})": list(names) for (start, end), names in steps.items()}
        self.put("manifest.json", json.dumps({"updates": [], "migrations": keys}).encode())
        for name, content in migrations.items():
            raw = content.encode() if isinstance(content, str) else content
            self.put(name, lz4.frame.compress(raw))

    def put(self, name: str, data: bytes) -> Path:
        """Sign a target and put it into the cache."""
        self.signed.published[name] = data
        path = self.cached(name)
        path.write_bytes(data)
        return path

    def cached(self, name: str) -> Path:
        """Where a target lies in the cache."""
        digest = hashlib.sha256(self.signed.published[name]).hexdigest()
        return self.cache / f"{digest}.{name}"

    def setting(
        self,
        *,
        kernel: Kernel = KERNEL,
        limits: Limits | None = None,
        schema: Path | None = None,
        space: Space = os.statvfs,
    ) -> Setting:
        """What a run needs."""
        return Setting(
            self.current,
            lambda: Cache(self.signed, self.cache),
            limits=limits or Limits(seconds=20),
            schema=schema,
            kernel=kernel,
            space=space,
        )

    def files(self) -> dict[str, str]:
        """What `current` leads to: relative path to content, kept values left out."""
        return read_files(self.current)

    def chain(self) -> str:
        """The names from `current` to the copy."""
        names = ["current"]
        while (link := self.base / names[-1]).is_symlink():
            names.append(str(link.readlink()))
        return " -> ".join(names)

    def names(self) -> list[str]:
        """What lies in the datastore's directory; the lock aside."""
        return sorted(path.name for path in self.base.iterdir() if path.name != ".migrator.lock")


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write files with these contents below a directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def read_files(directory: Path) -> dict[str, str]:
    """Read every file below a copy but what the migrator keeps for itself."""
    top = directory.resolve()
    return {
        str(path.relative_to(top)): path.read_text()
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.name != "kept.json"
    }


def tree(
    data: Mapping[str, object], metadata: Mapping[str, Mapping[str, object]] | None = None
) -> Tree:
    """A tree of these settings."""
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in data.items()}
    pairs = {
        (name, key): json.dumps(value)
        for name, group in (metadata or {}).items()
        for key, value in group.items()
    }
    return Tree(Layer(texts), Layer(pairs))


def state(data: Mapping[str, object], **pending: Mapping[str, object]) -> State:
    """A state with these live settings and pending transactions."""
    return State(tree(data), {name: tree(each) for name, each in pending.items()})


def plain(each: Tree) -> dict[str, object]:
    """The settings of a tree as Python values."""
    return {name: json.loads(text) for name, text in each.data.values.items()}


def plain_metadata(each: Tree) -> dict[str, dict[str, object]]:
    """The metadata of a tree as Python values."""
    found: dict[str, dict[str, object]] = {}
    for (name, key), text in each.metadata.values.items():
        found.setdefault(name, {})[key] = json.loads(text)
    return found
