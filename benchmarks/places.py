"""Where the images go: plain files, or loop devices over them."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.work import Work

_CHUNK = bytes(4 << 20)


@contextmanager
def places(kind: str, directory: Path, work: Work) -> Iterator[dict[str, str]]:
    """A place for each image: `file` or `loop`.

    Raises:
        subprocess.CalledProcessError: This machine, or this user, has no loop devices.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        found = {}
        for name, image in work.images.items():
            path = directory / f"{name}.partition"
            _allocate(path, image.length_bytes)
            found[name] = str(path) if kind == "file" else stack.enter_context(_loop(path))
        yield found


def _allocate(path: Path, length_bytes: int) -> None:
    """Write all of it once, so that nobody's first run pays for allocating blocks."""
    length_bytes = -(-length_bytes // len(_CHUNK)) * len(_CHUNK)
    if path.exists() and path.stat().st_size == length_bytes:
        return
    with path.open("wb") as file:
        for _ in range(0, length_bytes, len(_CHUNK)):
            file.write(_CHUNK)


@contextmanager
def _loop(path: Path) -> Iterator[str]:
    command = ["losetup", "--find", "--show", str(path)]
    node = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield node
    finally:
        subprocess.run(["losetup", "--detach", node], check=False)
