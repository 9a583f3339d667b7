"""What each of the three images needs on its way, and what an earlier run has left of it.

Decided here: where an image starts, what it is checked with, what is kept in the journal. How it
moves is in `updog.stream`.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from partition.reader import RegionReader
from partition.writer import RegionWriter, require_room
from signpost.layout import Part
from updog.decoder import history_needed
from updog.digests import can_go_on
from updog.errors import ImageMismatch, Interrupted
from updog.journal import Entry, Journal, Mark, Span
from updog.readback import Checker, DigestChecker, InstalledTree, RootChecker

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from partition.kernel import Kernel
    from partition.region import Region
    from updog.conveyor import Belt
    from updog.progress import Progress
    from updog.targets import Target
    from updog.transport import Source

_log = logging.getLogger(__name__)

_NOTHING: Final = Entry(Mark(), (), complete=False, validator=None)


class Targets(Protocol):
    """The part of `updog.transport.Transport` that is needed here."""

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> Source:
        """See `updog.transport.Transport.open_target`."""

    def close(self) -> None:
        """See `updog.transport.Transport.close`."""


@dataclass(frozen=True, slots=True)
class ImageJob:
    """One image and where it goes."""

    part: Part
    target: Target
    region: Region


class Installation:
    """What the images of one update have in common.

    Attributes:
        tree: The hash image, once it is on its partition and was checked.
        tree_for_writer: Hands it to the write stage of the root image.
    """

    def __init__(
        self,
        transport: Targets,
        journal: Journal | None,
        progress: Progress,
        cancel: threading.Event,
        kernel: Kernel,
    ) -> None:
        self.transport = transport
        self.journal = journal
        self.progress = progress
        self.cancel = cancel
        self.kernel = kernel
        self.tree: InstalledTree | None = None
        self.tree_for_writer: Belt[InstalledTree] | None = None
        self._open_things = ExitStack()

    def adopt(self, tree: InstalledTree) -> None:
        """Take the hash image into use; closed with this object."""
        self.tree = self._open_things.enter_context(tree)
        if self.tree_for_writer is not None:
            self.tree_for_writer.put(tree)

    def close(self) -> None:
        """Let go of the hash image."""
        self._open_things.close()


class ImagePlan:
    """An image that is compared with digests of what was written; see `updog.stream.Plan`.

    Attributes:
        job: What it is, and where it goes.
        is_done: All of it is on its partition, and was found right.
        may_restart: Whether it has not been started over yet.
    """

    wants_digests = True

    def __init__(self, job: ImageJob, installation: Installation) -> None:
        self.job = job
        self.target = job.target
        self.is_done = False
        self.may_restart = True
        self._installation = installation
        self._entry = _NOTHING
        self._source: Source | None = None

    @property
    def start(self) -> Mark:
        """Where an earlier run stopped, as far as it was verified."""
        return self._entry.mark

    def interrupted(self) -> Interrupted:
        """What to raise when a signal asks to stop."""
        return Interrupted(f"writing {self.target.name} to {self.job.region.label}")

    @property
    def must_wait_to_look_back(self) -> bool:
        """Whether the images before have to be there first."""
        return False

    def look_back(self) -> None:
        """Look for what an earlier run has left, and read it back.

        Raises:
            Interrupted: A signal asked to stop.
            ReadFailed: The device fails.
        """
        job, entry = self.job, self._find()
        if entry is None:
            return
        self._installation.progress.phase(f"checking what is on {job.region.label} already")
        try:
            with closing(self.open_checker()) as checker:
                for span in entry.spans:
                    if self._installation.cancel.is_set():
                        raise self.interrupted()
                    checker.check(span)
                checker.catch_up()
                if entry.complete:
                    checker.finish(entry.mark.written_bytes)
                    self._settle(entry.mark)
        except ImageMismatch as error:
            _log.info("starting over with %s: %s", job.target.name, error)
        else:
            self._entry = entry

    def _find(self) -> Entry | None:
        """What the journal has, if it can be gone on with on this machine."""
        journal, job = self._installation.journal, self.job
        entry = journal.find(job.part.value, job.target, job.region) if journal else None
        if entry and (entry.complete or can_go_on(job.target.hashes, entry.mark.digests)):
            return entry
        return None

    def start_over(self) -> None:
        """Forget what there is of it."""
        self.may_restart = False
        self._entry = _NOTHING
        if self._installation.journal is not None:
            self._installation.journal.forget(self.job.part.value)

    def open_source(self) -> Source:
        """See `updog.stream.Plan`."""
        self._source = self._installation.transport.open_target(
            self.target, start_bytes=self.start.received_bytes, validator=self._entry.validator
        )
        return self._source

    def cut_off(self) -> None:
        """See `updog.stream.Plan`."""
        self._installation.transport.close()

    def history(self) -> bytes:
        """See `updog.stream.Plan`."""
        start = self.start
        if start.position.frame is None:
            return b""
        needed = history_needed(start.position.frame, start.produced)
        with RegionReader(self.job.region, kernel=self._installation.kernel) as reader:
            return reader.read(start.written_bytes - needed, start.written_bytes)

    def require_room(self, length_bytes: int) -> None:
        """See `updog.stream.Plan`."""
        require_room(self.job.region, length_bytes)

    def open_writer(self) -> RegionWriter:
        """See `updog.stream.Plan`."""
        start = self.start.written_bytes
        return RegionWriter(self.job.region, start=start, kernel=self._installation.kernel)

    def open_checker(self) -> Checker:
        """See `updog.stream.Plan`."""
        return DigestChecker(self.target.name, self.job.region, kernel=self._installation.kernel)

    def save(self, mark: Mark, spans: Sequence[Span]) -> None:
        """See `updog.stream.Plan`. Without the state of the digests there is nothing to keep."""
        if mark.digests:
            self._record(mark, spans, complete=False)

    def finished(self, mark: Mark, spans: Sequence[Span]) -> None:
        """See `updog.stream.Plan`."""
        self._settle(mark)
        self._record(mark, spans, complete=True)

    def _settle(self, _mark: Mark) -> None:
        self.is_done = True

    def _record(self, mark: Mark, spans: Sequence[Span], *, complete: bool) -> None:
        journal = self._installation.journal
        if journal is not None:
            validator = self._source.validator if self._source else None
            entry = Entry(mark, (*self._entry.spans, *spans), complete, validator)
            journal.record(self.job.part.value, self.job.target, self.job.region, entry)


class HashPlan(ImagePlan):
    """The hash image: once it is there, it is checked in itself, and root can be checked."""

    def _settle(self, mark: Mark) -> None:
        tree = InstalledTree(
            self.target.name,
            self.job.region,
            mark.written_bytes,
            kernel=self._installation.kernel,
        )
        self._installation.adopt(tree)
        super()._settle(mark)


class RootPlan(ImagePlan):
    """The root image: compared with its hash tree, block by block."""

    wants_digests = False

    @property
    def must_wait_to_look_back(self) -> bool:
        """Without the hash image there is nothing to check it with."""
        return self._installation.tree is None and self._find() is not None

    def open_writer(self) -> RegionWriter:
        """See `updog.stream.Plan`. Waits for the hash image, which says how large this one is."""
        if self._installation.tree_for_writer is not None:
            tree = self._installation.tree_for_writer.get()
            self.require_room(tree.on_disk.superblock.data_length_bytes)
        return super().open_writer()

    def open_checker(self) -> Checker:
        """See `updog.stream.Plan`. The hash image went through the check stage before."""
        tree = self._installation.tree
        if tree is None:
            raise ValueError("a root image before its hash image")
        return RootChecker(
            self.target.name, self.job.region, tree, kernel=self._installation.kernel
        )


PLANS: Final = {Part.HASH: HashPlan, Part.BOOT: ImagePlan, Part.ROOT: RootPlan}
"""In the order of installation.

The hash image goes first: once it is on its partition and checked, every block of the root image
can be checked against it as soon as it is flushed, while the rest still downloads. The root image
is last, since its read-back is what takes longest and is shared by all processors to the end. """
