"""Checking a repository from end to end: as a client, and as a linter.

- *As a client*: updog's own trust code comes to it from the given root.
- *Roots*: every root from version 1 on is there, and each follows from the one before, so that the
  oldest image can still update.
- *Expiry*: nothing has expired; what will soon is a warning.
- *Targets*: every one is read to its end and its length and digests are compared, several at a time
  and in pieces, so memory does not grow with them.
- *Images* (`deep`): each decodes, fits its partition if a layout is given, and the hash image is
  the tree of the root image. Hash images (0.8 % of their root images) are held in memory.
- *Manifest*: see `repo_tools.care.lint`.

A copy that holds the images of some updates only is checked for those.

It goes on after a problem, to report as many as there are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from partition.errors import PartitionError, size_text
from repo_tools.care.expiry import expiries
from repo_tools.care.lint import manifest_problems, manifest_warnings
from repo_tools.errors import ImageInvalid, RepoToolsError, ValidationFailed, problem_count
from repo_tools.hash_tree import TreeComparison, tree_of_hash_image
from repo_tools.images import decoded
from repo_tools.mirror.select import needed_targets
from repo_tools.publish.published import ROOT_MAX_BYTES, Published, load_published, load_roots
from repo_tools.publish.rehearse import rehearse
from repo_tools.target_stream import target_pieces
from updog.errors import NotFound, UpdogError
from updog.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import datetime

    from repo_tools.publish.manifest_edit import Line
    from updog.manifest import Update
    from updog.targets import Target
    from updog.transport import Transport
    from updog.versions import Version

_OURS = (RepoToolsError, UpdogError, PartitionError)


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        where: The repository.
        problems: What makes it unsound.
        warnings: What its owner may want to know.
        targets: How many targets were read.
        bytes: How many bytes that was.
    """

    where: str
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    targets: int = 0
    bytes: int = 0

    @property
    def text(self) -> str:
        """What a person is told."""
        state = problem_count(self.problems) if self.problems else "sound"
        read = f"{self.targets} targets, {self.bytes:,} bytes read"
        return "\n".join([*self.problems, f"{self.where}: {state}; {read}"])

    def fail_if_unsound(self) -> None:
        """Raise if there are problems.

        Raises:
            ValidationFailed: With all of them.
        """
        if self.problems:
            raise ValidationFailed(self.where, self.problems)

    def to_json(self) -> dict[str, Any]:
        """The JSON that `--json` prints."""
        return {
            "repository": self.where,
            "sound": not self.problems,
            "problems": self.problems,
            "warnings": self.warnings,
            "targets": self.targets,
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class Thoroughness:
    """How much to look at.

    Attributes:
        jobs: Targets that are read at a time.
        deep: Decode images and compare hash trees.
        versions: Updates whose images have to be there; empty for all.
        capacity_bytes: Image (`boot`, `root`, `hash`) to the size of its partition.
    """

    jobs: int = 4
    deep: bool = False
    versions: Collection[Version] = ()
    capacity_bytes: Mapping[str, int] = field(default_factory=dict)


def validate_repository(
    transport: Transport, line: Line, trusted: bytes, now: datetime, thoroughness: Thoroughness
) -> Report:
    """Check a repository.

    Args:
        transport: To it.
        line: Its variant and architecture.
        trusted: A root that is trusted.
        now: The time, UTC.
        thoroughness: How much to look at.
    """
    report = Report(transport.label)
    for rehearsal in rehearse(transport, [trusted], now):
        if rehearsal.failure:
            report.problems.append(f"updog refuses it: {rehearsal.failure}")
    report.problems += _root_problems(transport, trusted)
    try:
        published = load_published(transport, trusted)
    except _OURS as exc:
        report.problems.append(str(exc))
        return report
    for role in expiries(published, now):
        if role.expired:
            report.problems.append(role.text)
        elif role.near:
            report.warnings.append(role.text)
    manifest = _check_manifest(published, now, report)
    names = [target.name for target in published.all_targets]
    if thoroughness.versions:
        names = list(needed_targets(manifest, line, thoroughness.versions))
    targets = {name: target for name in names if (target := published.target(name))}
    _check_targets(transport, manifest, targets, thoroughness, report)
    return report


def _root_problems(transport: Transport, trusted: bytes) -> Iterator[str]:
    """What is wrong with the chain from version 1."""
    try:
        first = transport.fetch_metadata("1.root.json", ROOT_MAX_BYTES).data or b""
        chain = load_roots(transport, first)
        if max(chain) < max(load_roots(transport, trusted)):
            yield f"roots end at version {max(chain)}: there is a gap before the trusted one"
    except NotFound:
        yield "1.root.json is missing: images that ship it could not update"
    except _OURS as exc:
        yield str(exc)


def _check_manifest(published: Published, now: datetime, report: Report) -> Manifest:
    """Look at the manifest; give it, or an empty one if it is none."""
    targets = published.targets.signed.targets.keys()
    try:
        manifest = published.manifest
    except UpdogError as exc:
        report.problems.append(str(exc))
        return Manifest()
    report.problems += dict.fromkeys(manifest_problems(manifest, targets))
    report.warnings += manifest_warnings(manifest, targets, now)
    return manifest


def _check_targets(
    transport: Transport,
    manifest: Manifest,
    targets: Mapping[str, Target],
    thoroughness: Thoroughness,
    report: Report,
) -> None:
    """Read targets, several at a time; images are looked into if that is asked for."""
    report.targets = len(targets)
    plain = dict(targets)
    work: list[Callable[[], int]] = []
    for update in manifest.updates if thoroughness.deep else ():
        names = (update.images.boot, update.images.root, update.images.hash)
        if all(name in plain for name in names):
            images = tuple(plain.pop(name) for name in names)
            work.append(_Images(transport, update, images, thoroughness.capacity_bytes).read)
    work += [_reader(transport, target) for target in plain.values()]
    with ThreadPoolExecutor(thoroughness.jobs) as pool:
        futures = [pool.submit(read) for read in work]
        for future in futures:
            try:
                report.bytes += future.result()
            except _OURS as exc:
                report.problems.append(str(exc))


def _reader(transport: Transport, target: Target) -> Callable[[], int]:
    """Read a target to its end; give its length."""
    return lambda: sum(map(len, target_pieces(transport, target)))


@dataclass(frozen=True, slots=True)
class _Images:
    """The three images of an update, read together."""

    transport: Transport
    update: Update
    targets: tuple[Target, ...]
    capacity_bytes: Mapping[str, int]

    def read(self) -> int:
        """Read, decode and compare; give the bytes received.

        Raises:
            ImageInvalid: One does not decode, does not fit, or is not what it has to be.
        """
        boot, root, hash_ = self.targets
        for _ in self._content("boot", boot):
            pass
        image = b"".join(self._content("hash", hash_))
        tree = tree_of_hash_image(image, hash_.name, root.name)
        for piece in self._content("root", root):
            tree.add(piece)
        comparison = TreeComparison(hash_.name, root.name, tree.finish()[0])
        comparison.add(image)
        comparison.finish()
        return sum(target.length_bytes for target in self.targets)

    def _content(self, part: str, target: Target) -> Iterator[bytes]:
        """An image's plain bytes; it must not be larger than its partition."""
        size = 0
        capacity = self.capacity_bytes.get(part)
        for piece in decoded(target_pieces(self.transport, target), target.name):
            size += len(piece)
            if capacity is not None and size > capacity:
                reason = f"it does not fit its partition of {size_text(capacity)}"
                raise ImageInvalid(target.name, reason)
            yield piece
