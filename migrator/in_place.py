"""Changing one file of a copy that is in use: wholly or not at all, whenever the power fails.

Enough for one setting; several at once need a new copy (`migrator.datastore`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from migrator import files
from migrator.errors import StoreUnwritable
from partition import durable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from partition.kernel import Kernel


def write(
    copy: Path, name: str, text: str | None, kernel: Kernel, suffix: Callable[[], str]
) -> None:
    """Set one file's content, or remove it; directories come and go with what is in them.

    Args:
        copy: The copy's directory.
        name: The file's path in it.
        text: The content; None removes the file.
        kernel: Where the calls go.
        suffix: Gives a name that nothing else has.

    Raises:
        StoreUnwritable, WriteFailed: The system refused; the old content is untouched.
    """
    path = copy / name
    if text is None:
        durable.remove_file(path, kernel=kernel)
        _remove_empty(copy, path.parent, kernel)
        return
    durable.make_directory(path.parent, 0o755, private=False, kernel=kernel)
    if path.is_dir():
        # A group without any value in it, left when removing its last one was cut short.
        durable.remove_tree(path, kernel=kernel)
    # The temporary file must not lie where a reader looks for keys.
    temporary = copy / f".{suffix()}"
    try:
        durable.write_file(temporary, text.encode(), mode=0o644, private=False, kernel=kernel)
        kernel.replace(temporary, path)
    except OSError as error:
        durable.remove_file(temporary, kernel=kernel)
        raise StoreUnwritable("write", str(path), os.strerror(error.errno or 0)) from error
    durable.sync_directory(path.parent, kernel=kernel)


def _remove_empty(copy: Path, directory: Path, kernel: Kernel) -> None:
    """Remove directories that have become empty; transactions stay, for an empty one exists."""
    while directory.parent != copy and directory.parent.name != files.PENDING:
        try:
            kernel.rmdir(directory)
        except OSError:
            return
        directory = directory.parent
