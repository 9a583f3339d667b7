"""Who does the work of an update that `updog.install` does not decide: one seam for each.

The command line passes the real ones, a test its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from updog import cache

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from partition.kernel import Kernel
    from updog.environment import Environment, Paths
    from updog.interrupt import Interrupt
    from updog.journal import Journal
    from updog.pipeline import ImageJob
    from updog.progress import Progress
    from updog.transport import Transport
    from updog.versions import Version


class Repository(cache.Repository, Protocol):
    """A verified repository; `trust.TrustedRepository` is one."""

    @property
    def now(self) -> datetime:
        """The time that its metadata was judged by."""


class InstallImages(Protocol):
    """`pipeline.install_images`."""

    def __call__(
        self,
        jobs: Sequence[ImageJob],
        transport: Transport,
        *,
        journal: Journal | None,
        progress: Progress,
        cancel: threading.Event,
        kernel: Kernel,
    ) -> None:
        """Install three images; returns only if they are whole on the device."""


class Rehearse(Protocol):
    """`rehearsal.rehearse`."""

    def __call__(self, paths: Paths, version: Version, *, cancel: threading.Event) -> None:
        """Try the migrations on a copy of the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """All of them.

    Attributes:
        transport: To the repository; closed by its owner.
        refresh: Verifies the repository's metadata.
        install_images: Streams, writes and verifies.
        rehearse: Tries migrations.
        progress: Told what happens.
        say: Prints a line for the user.
        interrupt: Whether the run was asked to stop.
    """

    transport: Transport
    refresh: Callable[[Environment, Transport], Repository]
    install_images: InstallImages
    rehearse: Rehearse
    progress: Progress
    say: Callable[[str], None]
    interrupt: Interrupt
