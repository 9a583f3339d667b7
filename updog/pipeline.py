"""Install the three images of an update on the partitions of one set.

Decided here: the order of the images, and when all of it holds. How one image moves is in
`updog.stream`, what it is compared with in `updog.readback`.

The hash image goes first: once it is on its partition and checked, every block of the root image
can be checked against it as soon as it is flushed, while the rest still downloads. The root image
is last, since its read-back is what takes longest and is shared by all processors to the end.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from partition.kernel import KERNEL, Kernel
from partition.reader import RegionReader
from partition.writer import RegionWriter
from signpost.layout import Part
from updog.decoder import history_needed
from updog.digests import can_go_on
from updog.errors import CannotResume, DownloadFailed, ImageMismatch, Interrupted, StreamInvalid
from updog.journal import Entry, Journal, Mark, Span
from updog.readback import Checker, DigestChecker, InstalledTree, RootChecker
from updog.stream import Buffers, ImageStream

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from partition.region import Region
    from updog.progress import Progress
    from updog.targets import Target
    from updog.transport import Source

_log = logging.getLogger(__name__)

_NOTHING: Final = Entry(Mark(), (), complete=False, validator=None)

_ORDER: Final = (Part.HASH, Part.BOOT, Part.ROOT)


class Targets(Protocol):
    """The part of `updog.transport.Transport` that is needed here."""

    def open_target(
        self, target: Target, *, start_bytes: int = 0, validator: str | None = None
    ) -> Source:
        """See `updog.transport.Transport.open_target`."""


@dataclass(frozen=True, slots=True)
class ImageJob:
    """One image and where it goes."""

    part: Part
    target: Target
    region: Region


def install_images(
    jobs: Sequence[ImageJob],
    transport: Targets,
    *,
    journal: Journal | None,
    progress: Progress,
    cancel: threading.Event,
    kernel: Kernel = KERNEL,
) -> None:
    """Download, verify, write, flush, read back: returns only if all of it held.

    The partitions hold the images afterwards, or, after an error, whatever was written until then.

    Args:
        jobs: One each of boot, root and hash, in any order.
        transport: Where the targets come from.
        journal: Where to go on after a crash; None neither reads nor keeps one.
        progress: Told in this thread, in bytes received.
        cancel: Set by a signal handler to stop soon.
        kernel: The system calls.

    Raises:
        StreamInvalid: A target is not what verified metadata says, or no LZ4 stream.
        ImageMismatch: A partition gives back something else than was written, or the hash image is
            not the tree of the root image.
        DownloadFailed: The transport gave up.
        DeviceTooSmall: An image does not fit; where its size is known, nothing was written.
        Interrupted: `cancel` was set.
        PartitionError: A device failed.
    """
    ordered = sorted(jobs, key=lambda job: _ORDER.index(job.part))
    if [job.part for job in ordered] != list(_ORDER):
        raise ValueError("an update is one boot, one root and one hash image")
    tree_job, boot_job, root_job = ordered
    installer = _Installer(transport, journal, progress, cancel, kernel)

    def by_digest(job: ImageJob) -> Checker:
        return DigestChecker(job.target.name, job.region, kernel=kernel)

    tree_length = installer.install(tree_job, by_digest)
    with InstalledTree(tree_job.target.name, tree_job.region, tree_length, kernel=kernel) as tree:
        installer.install(boot_job, by_digest)

        def by_tree(job: ImageJob) -> Checker:
            return RootChecker(job.target.name, job.region, tree, kernel=kernel)

        root_length = tree.on_disk.superblock.data_length_bytes
        installer.install(root_job, by_tree, length_bytes=root_length)


class _Installer:
    """Installs one image after the other, going on where an earlier run stopped."""

    def __init__(
        self,
        transport: Targets,
        journal: Journal | None,
        progress: Progress,
        cancel: threading.Event,
        kernel: Kernel,
    ) -> None:
        self._transport = transport
        self._journal = journal
        self._progress = progress
        self._cancel = cancel
        self._kernel = kernel
        self._buffers = Buffers()

    def install(
        self, job: ImageJob, open_checker: Callable[[ImageJob], Checker], *, length_bytes: int = 0
    ) -> int:
        """Install one image; return its length on the partition.

        Args:
            job: The image.
            open_checker: Makes what looks at it.
            length_bytes: Refuse at once if so much does not fit.
        """
        entry = (
            self._journal.find(job.part.value, job.target, job.region) if self._journal else None
        )
        if entry is not None and not self._still_there(job, entry, open_checker):
            entry = None
        if entry is not None and entry.complete:
            self._progress.started(job.part.value, job.target.length_bytes, job.target.length_bytes)
            self._progress.finished(job.part.value)
            return entry.mark.written_bytes
        if self._cancel.is_set():
            raise self._interrupted(job)
        try:
            return self._stream(job, entry or _NOTHING, open_checker, length_bytes)
        except CannotResume:
            # The server has another file by now, or cannot start in the middle: once more from 0.
            self._forget(job)
            return self._stream(job, _NOTHING, open_checker, length_bytes)

    def _still_there(
        self, job: ImageJob, entry: Entry, open_checker: Callable[[ImageJob], Checker]
    ) -> bool:
        """Whether the partition still holds what the journal says, and the rest can be fetched."""
        if not entry.complete and not can_go_on(job.target.hashes, entry.mark.digests):
            return False
        self._progress.phase(f"checking what is on {job.region.label} already")
        try:
            with closing(open_checker(job)) as checker:
                for span in entry.spans:
                    if self._cancel.is_set():
                        raise self._interrupted(job)
                    checker.check(span)
                checker.catch_up()
                if entry.complete:
                    checker.finish(entry.mark.written_bytes)
        except ImageMismatch as error:
            _log.info("starting over with %s: %s", job.target.name, error)
            return False
        return True

    def _stream(
        self,
        job: ImageJob,
        entry: Entry,
        open_checker: Callable[[ImageJob], Checker],
        length_bytes: int,
    ) -> int:
        mark = entry.mark
        part = job.part.value
        with ExitStack() as stack:
            history = b""
            if mark.position.frame is not None:
                needed = history_needed(mark.position.frame, mark.produced)
                with RegionReader(job.region, kernel=self._kernel) as reader:
                    history = reader.read(mark.written_bytes - needed, mark.written_bytes)
            writer = stack.enter_context(
                RegionWriter(job.region, start=mark.written_bytes, kernel=self._kernel)
            )
            writer.require_room(length_bytes)
            checker = stack.enter_context(closing(open_checker(job)))
            source = stack.enter_context(
                closing(
                    self._transport.open_target(
                        job.target, start_bytes=mark.received_bytes, validator=entry.validator
                    )
                )
            )

            def save(mark: Mark, spans: Sequence[Span], *, complete: bool = False) -> None:
                if self._journal is not None and (complete or mark.digests):
                    kept = Entry(mark, (*entry.spans, *spans), complete, source.validator)
                    self._journal.record(part, job.target, job.region, kept)

            stream = ImageStream(
                job.target,
                source,
                writer,
                checker,
                self._buffers,
                start=mark,
                history=history,
                save=save,
            )

            def tick() -> None:
                if self._cancel.is_set():
                    stream.break_off(self._interrupted(job))
                self._progress.advanced(part, stream.received_bytes)

            self._progress.started(part, job.target.length_bytes, mark.received_bytes)
            try:
                stream.run(tick)
            except (StreamInvalid, ImageMismatch):
                self._forget(job)
                raise
            except (Interrupted, DownloadFailed):
                if self._journal is not None:
                    self._journal.flush()
                raise
            save(stream.end, stream.spans, complete=True)
            self._progress.advanced(part, stream.received_bytes)
            self._progress.finished(part)
            return stream.end.written_bytes

    def _interrupted(self, job: ImageJob) -> Interrupted:
        return Interrupted(f"writing {job.target.name} to {job.region.label}")

    def _forget(self, job: ImageJob) -> None:
        if self._journal is not None:
            self._journal.forget(job.part.value)
