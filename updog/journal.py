"""How far a running update has come, so that the next run can go on from there.

Decided here: what is kept of each image, when it is written, and when it is ignored. Not here:
whether it is true. Who resumes reads the partition again and checks it against what the journal
says (`updog.pipeline`); so a journal that is older than the disk, or about another one, costs time,
never safety.

An entry is made only for data that has been flushed. It says which target goes to which partition,
how many of its bytes were received and what they decoded to, the half-way digests of the bytes
received, and the digest of every span on disk (the root image needs none: its hash tree has them).
An entry for another target or partition is ignored. A journal that cannot be understood is ignored
with a line in the log.

The file is replaced through `partition.durable`, flushes included, and only so often that all of it
takes a fiftieth of the running time. So it cannot cost more than 2 % of the throughput, on whatever
disk, even if everybody waited for the thread that writes it; what a crash loses is fifty times what
one write takes, or half a second of download where that is 10 ms.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from partition import durable
from partition.errors import ReadFailed, StateFileCorrupt, WriteFailed
from partition.kernel import KERNEL, Kernel
from updog.digests import KNOWN, DigestState
from updog.lz4frame import START, Frame, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from partition.region import Region
    from updog.targets import Target

_log = logging.getLogger(__name__)

_FORMAT: Final = 1
_COST_SHARE: Final = 0.02
"""The most of the running time that writing the journal may take, in its own thread."""

_MAX_BYTES: Final = 16 << 20
_JOINED_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a partition that was written and flushed.

    Attributes:
        start: First byte.
        stop: The byte after the last.
        sha256: Digest of what was written there; None for the root image.
    """

    start: int
    stop: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a stream where an LZ4 block ends: everything to go on from there.

    Attributes:
        received_bytes: Offset in the target.
        written_bytes: Offset in the partition.
        position: Where in the LZ4 format.
        produced: What the open frame decoded to so far.
        digests: Half-way digests of the bytes received; empty where they cannot be kept.
    """

    received_bytes: int = 0
    written_bytes: int = 0
    position: Position = START
    produced: int = 0
    digests: Mapping[str, DigestState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one image.

    Attributes:
        mark: Up to here everything is on the medium.
        spans: Without gaps from 0 to `mark.written_bytes`.
        complete: The image was received to its end and found right.
        validator: The server's name for the file, to ask for the rest of the same one.
    """

    mark: Mark
    spans: tuple[Span, ...]
    complete: bool
    validator: str | None


class Journal:
    """The journal file. Safe to use from several threads.

    Args:
        path: Where it is kept; the directory must exist by the first `record`.
        kernel: The system calls.
        clock: Seconds from any start, never backwards.

    Raises:
        StateFileUnsafe: Somebody else could have written it.
    """

    def __init__(
        self,
        path: Path,
        *,
        kernel: Kernel = KERNEL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._kernel = kernel
        self._clock = clock
        self._not_before = clock()
        self._lock = threading.Lock()
        self._images = self._read()

    def find(self, part: str, target: Target, region: Region) -> Entry | None:
        """What an earlier run recorded of this target on this partition."""
        kept = self._images.get(part)
        if kept is None or kept.get("identity") != _identity(target, region):
            return None
        try:
            return _entry(kept)
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("ignoring %s: its entry for %s is damaged: %r", self._path, part, error)
            return None

    def record(self, part: str, target: Target, region: Region, entry: Entry) -> None:
        """Keep an entry, and write the file if that is due; complete entries always are.

        A file that cannot be written is no reason to fail an update: there is a line in the log.
        """
        kept = {
            "identity": _identity(target, region),
            "validator": entry.validator,
            "complete": entry.complete,
            "received_bytes": entry.mark.received_bytes,
            "written_bytes": entry.mark.written_bytes,
            "position": asdict(entry.mark.position),
            "produced": entry.mark.produced,
            "digests": {
                name: {
                    "words": list(state.words),
                    "length_bytes": state.length_bytes,
                    "pending": state.pending.hex(),
                }
                for name, state in entry.mark.digests.items()
            },
            "spans": _joined(entry.spans),
        }
        with self._lock:
            self._images[part] = kept
            if entry.complete or self._clock() >= self._not_before:
                self._write()

    def forget(self, part: str) -> None:
        """Drop an image's entry: what it describes turned out wrong."""
        with self._lock:
            if self._images.pop(part, None) is not None:
                self._write()

    def clear(self) -> None:
        """Remove the file: the update it was about is over.

        Raises:
            WriteFailed: The system refused.
        """
        self._images = {}
        durable.remove_file(self._path, kernel=self._kernel)

    def flush(self) -> None:
        """Write what `record` was given, due or not."""
        with self._lock:
            self._write()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            kept = durable.read_json(self._path, max_bytes=_MAX_BYTES)
        except StateFileCorrupt as error:
            _log.warning("starting over: %s", error)
            return {}
        match kept:
            case None:
                return {}
            case {"format": int(number), "images": dict(images)} if number == _FORMAT and all(
                isinstance(image, dict) for image in images.values()
            ):
                return images
        _log.warning("starting over: %s has a format of its own", self._path)
        return {}

    def _write(self) -> None:
        started = self._clock()
        try:
            durable.write_json(
                self._path, {"format": _FORMAT, "images": self._images}, kernel=self._kernel
            )
        except (ReadFailed, WriteFailed) as error:
            _log.warning("an interrupted update will start over: %s", error)
        ended = self._clock()
        self._not_before = ended + (ended - started) / _COST_SHARE


def _joined(spans: Iterable[Span]) -> list[list[int | str | None]]:
    """Spans as they are written; those without a digest are joined to larger ones.

    A slow link closes a span every two seconds, for hours; the file must not grow with them.
    """
    joined: list[list[int | str | None]] = []
    start, has_digest = 0, True
    for span in spans:
        fits = joined and not has_digest and span.stop - start <= _JOINED_BYTES
        if fits and span.sha256 is None:
            joined[-1][1] = span.stop
            continue
        joined.append([span.start, span.stop, span.sha256])
        start, has_digest = span.start, span.sha256 is not None
    return joined


def _identity(target: Target, region: Region) -> dict[str, Any]:
    return {
        "name": target.name,
        "length_bytes": target.length_bytes,
        "hashes": dict(target.hashes),
        "region": region.name,
        "region_offset_bytes": region.offset_bytes,
        "region_length_bytes": region.length_bytes,
    }


def _entry(kept: dict[str, Any]) -> Entry:
    """Check the shape and the sums; whether it is true is for the disk to say."""
    position = _object(kept["position"])
    frame = position["frame"]
    mark = Mark(
        received_bytes=_count(kept["received_bytes"]),
        written_bytes=_count(kept["written_bytes"]),
        position=Position(
            frame=None if frame is None else _frame(_object(frame)),
            skip_bytes=_count(position["skip_bytes"]),
            frames=_count(position["frames"]),
        ),
        produced=_count(kept["produced"]),
        digests={
            name: _state(_object(state))
            for name, state in _object(kept["digests"]).items()
            if name in KNOWN
        },
    )
    spans = tuple(
        Span(_count(start), _count(stop), digest) for start, stop, digest in kept["spans"]
    )
    end = 0
    for span in spans:
        if span.start != end or span.stop <= end or not isinstance(span.sha256, str | None):
            raise ValueError("spans with gaps")
        end = span.stop
    validator = kept["validator"]
    if (
        end != mark.written_bytes
        or not isinstance(validator, str | None)
        or not isinstance(kept["complete"], bool)
        or any(state.length_bytes != mark.received_bytes for state in mark.digests.values())
    ):
        raise ValueError("an entry that contradicts itself")
    return Entry(mark, spans, kept["complete"], validator)


def _frame(kept: dict[str, Any]) -> Frame:
    size = kept["content_size"]
    flags = {
        name: kept[name] for name in ("linked", "block_checksum", "content_checksum", "legacy")
    }
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise TypeError("a flag that is not one")
    return Frame(
        block_size=_count(kept["block_size"]),
        content_size=None if size is None else _count(size),
        **flags,
    )


def _state(kept: dict[str, Any]) -> DigestState:
    return DigestState(
        words=tuple(_count(word) for word in kept["words"]),
        length_bytes=_count(kept["length_bytes"]),
        pending=bytes.fromhex(kept["pending"]),
    )


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is not a count")
    return value
