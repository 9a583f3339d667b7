"""Install the three images of an update on the partitions of one set.

Decided here: that an update is all three, what is told meanwhile, and what happens when the
download breaks off. What each image needs is in `updog.plans`, how they move in `updog.stream`,
what they are compared with in `updog.readback`.

    install_images(jobs, transport, journal=Journal(path), progress=bars, cancel=event)
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from partition import loop
from partition.kernel import KERNEL, Kernel
from updog.errors import CannotResume, DownloadFailed, Interrupted
from updog.line import Line
from updog.plans import PLANS, ImageJob, ImagePlan, Installation, Targets
from updog.stream import ImageStream, run

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from signpost.layout import Part
    from updog.journal import Journal
    from updog.progress import Progress

__all__ = ["ImageJob", "install_images"]

_SAVING_SECONDS: Final = 1.0


def install_images(
    jobs: Sequence[ImageJob],
    transport: Targets,
    *,
    journal: Journal | None,
    progress: Progress,
    cancel: threading.Event,
    kernel: Kernel = KERNEL,
    plans: Mapping[Part, type[ImagePlan]] = PLANS,
) -> None:
    """Download, verify, write, flush, read back: returns only if all of it held.

    The partitions hold the images afterwards, or, after an error, whatever was written until then.

    Args:
        jobs: One each of boot, root and hash, in any order.
        transport: Where the targets come from; closed when it has to be cut off.
        journal: Where to go on after a crash; None neither reads nor keeps one.
        progress: Told in this thread, in bytes received.
        cancel: Set by a signal handler to stop soon.
        kernel: The system calls.
        plans: What each image needs; a benchmark measures the parts of the whole with others.

    Raises:
        StreamInvalid: A target is not what verified metadata says, or no LZ4 stream.
        ImageMismatch: A partition gives back something else than was written, or the hash image is
            not the tree of the root image.
        DownloadFailed: The transport gave up.
        DeviceTooSmall: An image does not fit; where its size is known, nothing was written.
        Interrupted: `cancel` was set.
        PartitionError: A device failed.
    """
    by_part = {job.part: job for job in jobs}
    if len(jobs) != len(plans) or by_part.keys() != plans.keys():
        raise ValueError("an update is one boot, one root and one hash image")
    with (
        loop.direct(job.region.path for job in jobs),
        closing(Installation(transport, journal, progress, cancel, kernel)) as installation,
    ):
        images = [plan(by_part[part], installation) for part, plan in plans.items()]
        for index, plan in enumerate(images):
            if plan.must_wait_to_look_back:
                _stream_all(images[:index], installation)
            plan.look_back()
            if plan.is_done:
                length = plan.target.length_bytes
                progress.started(plan.job.part.value, length, length)
                progress.finished(plan.job.part.value)
        _stream_all(images, installation)


def _stream_all(plans: Sequence[ImagePlan], installation: Installation) -> None:
    while pending := [plan for plan in plans if not plan.is_done]:
        _stream(pending, installation)


def _stream(plans: Sequence[ImagePlan], installation: Installation) -> None:
    """Stream what is missing; returns early when an image has to be started over."""
    line = Line()
    tree = installation.tree
    installation.tree_for_writer = line.conveyor.belt([tree] if tree else [])
    streams = [ImageStream(plan, line) for plan in plans]
    teller = _Teller(plans, streams, installation.progress)

    give_up_at = math.inf

    def tick() -> None:
        nonlocal give_up_at
        if installation.cancel.is_set():
            begun = [plan for plan, stream in zip(plans, streams, strict=True) if stream.has_begun]
            error = (begun or plans)[-1].interrupted()
            for stream in streams:
                stream.break_off(error)
            # What was received is saved, if that does not take long; reading back can wait.
            give_up_at = min(give_up_at, time.monotonic() + _SAVING_SECONDS)
            if time.monotonic() > give_up_at:
                raise error
        teller.tell()

    try:
        run(streams, line, tick)
        teller.tell()
    except CannotResume:
        # The server has another file by now, or cannot start in the middle: from 0, once.
        if not _start_over(plans, streams):
            raise
    except (DownloadFailed, Interrupted):
        if installation.journal is not None:
            installation.journal.flush()
        raise
    except Exception:
        _start_over(plans, streams)
        raise


def _start_over(plans: Sequence[ImagePlan], streams: Sequence[ImageStream]) -> bool:
    """Forget what must not be gone on with; return whether that may be tried again at once."""
    worthless = [plan for plan, stream in zip(plans, streams, strict=True) if stream.is_worthless]
    again = all(plan.may_restart for plan in worthless)
    for plan in worthless:
        plan.start_over()
    return again


class _Teller:
    """Tells of each image that it started, how far it is, and that it is finished."""

    def __init__(
        self, plans: Sequence[ImagePlan], streams: Sequence[ImageStream], progress: Progress
    ) -> None:
        self._images = list(zip(plans, streams, strict=True))
        self._progress = progress
        self._started: set[ImagePlan] = set()

    def tell(self) -> None:
        for plan, stream in tuple(self._images):
            part, start = plan.job.part.value, plan.start.received_bytes
            is_done = plan.is_done
            if not is_done and not stream.has_begun:
                continue
            if plan not in self._started:
                self._started.add(plan)
                self._progress.started(part, plan.target.length_bytes, start)
            self._progress.advanced(part, stream.received_bytes)
            if is_done:
                self._progress.finished(part)
                self._images.remove((plan, stream))
