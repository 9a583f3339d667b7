"""An owner at work: keys, a root, a repository in a directory, and the commands that change it.

    owner = Owner(tmp_path)
    owner.found()                                  # keys, root, an empty repository
    owner.publish("1.1.0", start="1.0.0")
    assert owner.client().updates() == ["1.1.0"]    # python-tuf's own client

Commands run in this process, through the command line, with a clock that the test sets and a disk
that is not flushed. Keys are test keys, made anew in each run.
"""

from __future__ import annotations

import json
import shutil
import sys
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from click.testing import CliRunner, Result
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from repo_tools.cli import repo_tools
from repo_tools.environment import Environment
from tests.support.unflushed import Unflushed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from partition.kernel import Kernel

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
Words = list[str | Path]
PROGRAM = Path(sys.executable).with_name("repo-tools")
ROLES = ("root", "targets", "snapshot", "timestamp")
VARIANT, ARCH = "demo", "x86_64"
PREFIX = f"{VARIANT}/{ARCH}"


def no_secret(key: str, kind: str) -> str:
    raise AssertionError(f"asked for the {kind} of {key}")


@dataclass
class Owner:
    """One owner, in one directory; every path is below it."""

    base: Path
    now: datetime = NOW
    kernel: Kernel = field(default_factory=Unflushed)
    location: str = ""

    def __post_init__(self) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        self.location = self.location or str(self.base / "repo")

    @property
    def repo(self) -> Path:
        return self.base / "repo"

    @property
    def metadata(self) -> Path:
        return self.repo / PREFIX

    @property
    def root(self) -> Path:
        return self.base / "1.root.json"

    @property
    def keys(self) -> Path:
        return self.base / "keys"

    def environment(
        self,
        *,
        secrets: Callable[[str, str], str] = no_secret,
        confirm: Callable[[str], bool] = lambda _: True,
    ) -> Environment:
        return Environment(self.now, secrets, confirm, self.kernel)

    def run(self, *words: str | Path, env: Environment | None = None) -> Result:
        """Run a command; nothing is expected of it."""
        arguments = [str(word) for word in words]
        return CliRunner().invoke(repo_tools, arguments, obj=env or self.environment())

    def do(self, *words: str | Path) -> dict[str, Any]:
        """Run a command that must succeed; give what it prints as JSON."""
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    def refused(self, *words: str | Path) -> str:
        """Run a command that must fail with one clear line; give that line."""
        result = self.run(*words)
        assert result.exit_code == 1, result.output
        lines = [line for line in result.stderr.splitlines() if line.startswith("repo-tools: ")]
        assert len(lines) == 1, result.output
        assert "Traceback" not in result.output
        assert "unexpected" not in lines[0]
        return lines[0].removeprefix("repo-tools: ")

    def repository(self, *, keys: bool = True) -> list[str]:
        """The options that name the repository, and the keys."""
        words = ["--repo", self.location, "--variant", VARIANT, "--arch", ARCH]
        words += ["--root", str(self.root)]
        return [*words, "--key", str(self.keys)] if keys else words

    def make_keys(self, *names: str) -> None:
        self.do("key", "generate", "--no-passphrase", *(self.keys / name for name in names))

    def make_root(self, *, threshold: int = 1, root_keys: Sequence[str] = ("root",)) -> None:
        self.draw_up_root("--root-threshold", str(threshold), root_keys=root_keys)
        signers = [word for name in root_keys[:threshold] for word in ("--key", self.key(name))]
        self.do("root", "sign", "--yes", *signers, self.root)

    def draw_up_root(self, *extra: str, root_keys: Sequence[str] = ("root",)) -> None:
        """An unsigned root; the keys of the other roles are called as they are."""
        keys = [("root", name) for name in root_keys] + [(role, role) for role in ROLES[1:]]
        words = [word for role, name in keys for word in (f"--{role}-key", self.key(name))]
        self.do("root", "init", self.root, *words, *extra)

    def key(self, name: str) -> str:
        return str(self.keys / f"{name}.pub")

    def found(self) -> None:
        """Make keys, a root and an empty repository."""
        self.make_keys(*ROLES)
        self.make_root()
        self.do("repo", "init", *self.repository())

    def publish(
        self, version: str, *extra: str | Path, start: str | None = None, waves: str = "none"
    ) -> dict[str, Any]:
        """Publish an update of small images."""
        return self.do(*self.publishing(version, *extra, start=start, waves=waves))

    def publishing(
        self, version: str, *extra: str | Path, start: str | None = None, waves: str = "none"
    ) -> Words:
        """The command that `publish` runs."""
        boot, root = self.images(version)
        words: Words = [
            "repo",
            "publish",
            *self.repository(),
            "--version",
            version,
            "--waves",
            waves,
        ]
        if start:
            words += ["--migrate-from", start]
        return [*words, "--boot", boot, "--root-image", root, *extra]

    def images(self, version: str) -> tuple[Path, Path]:
        """A boot image and a root image; what is in them depends on the version."""
        boot, root = self.base / f"{version}-boot.ext4", self.base / f"{version}-root.ext4"
        if not boot.exists():
            boot.write_bytes(f"boot {version}\n".encode() * 300)
            root.write_bytes(f"root of {version:12}\n".encode().ljust(64, b".") * 64 * 5)
        return boot, root

    def client(self, root: bytes | None = None) -> Client:
        """python-tuf's client, starting anew from a root."""
        return Client(self.repo, root or self.root.read_bytes(), self.now)

    def later(self, **by: float) -> Owner:
        """The same owner, later."""
        return replace(self, now=self.now + timedelta(**by))

    def rollouts(self) -> dict[str, dict[str, Any]]:
        """Version to state."""
        found = self.do("rollout", "show", *self.repository(keys=False))["updates"]
        return {each["version"]: each for each in found}


class Files(FetcherInterface):
    """Gives python-tuf's client the files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._directory / url.removeprefix("test:/")
        if not path.is_file():
            raise DownloadHTTPError("not found", 404)
        yield path.read_bytes()


class Client:
    """python-tuf's own client at its word: none of our code, but for the bytes it gets."""

    def __init__(self, repo: Path, root: bytes, now: datetime) -> None:
        self.state = repo.parent / f".client-{uuid4()}"
        self._targets = self.state / "targets"
        self._targets.mkdir(parents=True)
        self._how = (repo, root, now)
        self._updater = self._refreshed()

    def at(self, repo: Path) -> Client:
        """A host that knows what this one knows, and comes to another place."""
        other = copy(self)
        _, root, now = self._how
        other._how = (repo, root, now)
        other.state = repo.parent / f".client-{uuid4()}"
        shutil.copytree(self.state, other.state)
        other._targets = other.state / "targets"
        other._updater = other._refreshed()
        return other

    def again(self) -> Client:
        """The same host, some time later: it remembers what it has seen."""
        self._updater = self._refreshed()
        return self

    def _refreshed(self) -> Updater:
        repo, root, now = self._how
        updater = Updater(
            str(self.state),
            f"test:/{PREFIX}/",
            target_base_url="test:/targets/",
            target_dir=str(self._targets),
            fetcher=Files(repo),
            bootstrap=root,
        )
        updater._trusted_set.reference_time = now
        updater.refresh()
        return updater

    def read(self, name: str) -> bytes:
        info = self._updater.get_targetinfo(name)
        assert info is not None, name
        path = self._updater.download_target(info, str(self._targets / "one"))
        return Path(path).read_bytes()

    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.read("manifest.json"))
        return manifest

    def updates(self) -> list[str]:
        """Versions in the manifest, all of whose images can be fetched."""
        manifest = self.manifest()
        for update in manifest["updates"]:
            for name in update["images"].values():
                self.read(name)
        return [update["version"] for update in manifest["updates"]]

    def versions(self) -> dict[str, int]:
        return {
            role: json.loads((self.state / f"{role}.json").read_bytes())["signed"]["version"]
            for role in ROLES
        }


@cache
def founded(place: Path) -> Path:
    """A directory with keys, a root and an empty repository, to be copied from."""
    Owner(place).found()
    return place


def fresh(tmp_path: Path, template: Path) -> Owner:
    """An owner with a repository of their own, copied from the template."""
    base = tmp_path / "owner"
    shutil.copytree(founded(template), base)
    return Owner(base)
