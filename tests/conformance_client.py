#!/usr/bin/env python3
"""Client under test for the TUF client conformance suite (theupdateframework/tuf-conformance).

Speaks the suite's CLIENT-CLI.md with the very classes that updog uses: the same transport, store
and workflow, pointed at the suite's directories. What updog has around them and the suite does not
know of (configuration, os-release, an A/B disk) is left out.

    conformance_client.py --metadata-dir DIR init TRUSTED_ROOT
    conformance_client.py --metadata-dir DIR --metadata-url URL refresh
    conformance_client.py --metadata-dir DIR --metadata-url URL --target-name NAME
        [--target-name NAME]... --target-base-url URL --target-dir DIR download

Several targets are looked up in one and the same refreshed repository, in order, up to the first
that is refused. Exit code 0: done; 1: refused.
"""

# ruff: noqa: E402  the project's modules can be found only after what comes before them

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv/bin/python"
if __name__ == "__main__" and importlib.util.find_spec("tuf") is None and PYTHON.exists():
    # Called as a program, which is what the suite does, by a Python without the libraries.
    os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606  our own path, no shell wanted
sys.path.insert(0, str(ROOT))

from partition.errors import PartitionError
from updog.connect import connect
from updog.digests import known_digests
from updog.errors import UpdogError
from updog.trust import TrustedRepository, refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from updog.targets import Target

_MAX_TARGET_BYTES = 64 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "init":
                _init(options)
            case "refresh":
                _refresh(options, options.metadata_url)
            case "download":
                _download(options)
    except (UpdogError, PartitionError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _init(options: argparse.Namespace) -> None:
    """Remember the root to start from. The suite lists *.json only, so ours has another name."""
    root = options.trusted_root.read_bytes()
    _shipped(options).write_bytes(root)
    (options.metadata_dir / "root.json").write_bytes(root)


def _refresh(options: argparse.Namespace, targets_url: str) -> TrustedRepository:
    store = TrustStore(options.metadata_dir, options.metadata_dir / "record", private=False)
    shipped = _shipped(options).read_bytes()
    transport = connect(options.metadata_url, targets_url)
    return refresh_store(store, shipped, transport, datetime.now(UTC))


def _download(options: argparse.Namespace) -> None:
    repository = _refresh(options, options.target_base_url)
    for name in options.target_name:
        target = repository.target(name)
        place: Path = options.target_dir / quote(name, safe="")
        if not _is_there(place, target):
            place.write_bytes(repository.read_target(name, _MAX_TARGET_BYTES))


def _is_there(place: Path, target: Target) -> bool:
    with contextlib.suppress(FileNotFoundError):
        data = place.read_bytes()
        return all(
            hashlib.new(algorithm, data).hexdigest() == digest
            for algorithm, digest in known_digests(target.hashes).items()
        )
    return False


def _shipped(options: argparse.Namespace) -> Path:
    path: Path = options.metadata_dir / "shipped-root"
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


if __name__ == "__main__":
    sys.exit(main())
