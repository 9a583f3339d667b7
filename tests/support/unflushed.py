"""A kernel that does not wait for the disk, for tests that are not about power cuts."""

from __future__ import annotations

from partition.kernel import Kernel


class Unflushed(Kernel):
    """Everything happens; nothing is flushed."""

    def fsync(self, fd: int) -> None:
        pass
