"""Digests of a download that can be put aside and taken up again after a restart.

Decided here: which digests of a target are checked, and how the state of a half-computed one is
kept.

TUF lists one or more digests of a target. SHA-256 and SHA-512 are known here, the two of the TUF
specification. **All** of them that are listed are computed and must match, so that a target means
one file to every client; others are ignored, but a target with none of the two is refused.

Python's `hashlib` cannot export the state of a digest, OpenSSL's own functions can: `SHA256_CTX`
and `SHA512_CTX` are public structures (`openssl/sha.h`). They are reached through the very
libcrypto that Python's `_hashlib` is linked with. A self-test compares them with `hashlib` before
they are used; where it fails, or there is no such library, `hashlib` is used and a digest has no
state to keep, so that an interrupted download starts over.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

KNOWN: Final = ("sha256", "sha512")


@dataclass(frozen=True, slots=True)
class DigestState:
    """A digest half-way, independent of the library that computed it.

    Attributes:
        words: The chaining value, eight 32- or 64-bit words.
        length_bytes: How much was hashed.
        pending: The bytes since the last whole 64- or 128-byte block.
    """

    words: tuple[int, ...]
    length_bytes: int
    pending: bytes


class Digest(Protocol):
    """What `hashlib` objects can do, as far as it is needed here."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes; other threads run meanwhile."""

    def hexdigest(self) -> str:
        """Return the digest of everything added."""

    def state(self) -> DigestState | None:
        """What is needed to go on later; None where it cannot be had."""


def open_digest(algorithm: str, state: DigestState | None = None) -> Digest:
    """Start a digest, or go on from where `state` was taken.

    Args:
        algorithm: One of `KNOWN`.
        state: Of a digest of the same algorithm.

    Raises:
        ValueError: The state does not belong to the algorithm, or cannot be used on this machine;
            only with a state.
    """
    layout = _LAYOUTS[algorithm]
    library = _libcrypto(algorithm)
    if library is None:
        if state is not None:
            raise ValueError(f"no library to continue a {algorithm} digest with")
        return _Plain(algorithm)
    return _Resumable(layout, library, state)


def known_digests(hashes: Mapping[str, str]) -> dict[str, str]:
    """The digests to check, out of all that are listed; empty if none is known."""
    return {name: hashes[name].lower() for name in KNOWN if name in hashes}


def can_go_on(hashes: Mapping[str, str], states: Mapping[str, DigestState]) -> bool:
    """Whether every digest that a target needs can be continued from these states, here."""
    try:
        for name in known_digests(hashes):
            open_digest(name, states[name])
    except (KeyError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Layout:
    """Memory of `SHA256_CTX` or `SHA512_CTX`: words, bit count low and high, data, num, md_len."""

    algorithm: str
    prefix: str
    words: struct.Struct
    count: struct.Struct
    block_size: int
    digest_size: int

    @property
    def data_offset(self) -> int:
        return self.words.size + self.count.size

    @property
    def num_offset(self) -> int:
        return self.data_offset + self.block_size


_LAYOUTS: Final = {
    "sha256": _Layout("sha256", "SHA256", struct.Struct("=8I"), struct.Struct("=2I"), 64, 32),
    "sha512": _Layout("sha512", "SHA512", struct.Struct("=8Q"), struct.Struct("=2Q"), 128, 64),
}
_NUM: Final = struct.Struct("=2I")
# Larger than either structure (112 and 216 bytes), should a library have grown it at the end.
_CONTEXT_SIZE: Final = 512


class _Plain:
    """A digest by `hashlib`, without a state to keep."""

    def __init__(self, algorithm: str) -> None:
        self._digest = hashlib.new(algorithm)

    def update(self, data: memoryview, /) -> None:
        self._digest.update(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def state(self) -> DigestState | None:
        return None


class _Resumable:
    """A digest by libcrypto's own functions, whose state is plain memory."""

    def __init__(self, layout: _Layout, library: ctypes.CDLL, state: DigestState | None) -> None:
        self._layout = layout
        self._library = library
        self._context = ctypes.create_string_buffer(_CONTEXT_SIZE)
        self._call("Init", self._context)
        if state is not None:
            self._restore(state)

    def _call(self, name: str, *arguments: object) -> None:
        # A CDLL's functions release the interpreter lock, as hashlib does. They return 1.
        if self._library[f"{self._layout.prefix}_{name}"](*arguments) != 1:
            raise RuntimeError(f"{self._layout.prefix}_{name} failed")

    def _restore(self, state: DigestState) -> None:
        layout = self._layout
        if (
            len(state.words) != 8  # noqa: PLR2004 (eight words in every SHA-2)
            or state.length_bytes < 0
            or len(state.pending) != state.length_bytes % layout.block_size
        ):
            raise ValueError(f"not the state of a {layout.algorithm} digest")
        bits = state.length_bytes * 8
        width = layout.count.size * 4  # bits of one of the two halves
        try:
            layout.words.pack_into(self._context, 0, *state.words)
            layout.count.pack_into(
                self._context, layout.words.size, bits & ((1 << width) - 1), bits >> width
            )
        except struct.error as error:
            raise ValueError(f"not the state of a {layout.algorithm} digest: {error}") from error
        data = state.pending.ljust(layout.block_size, b"\0")
        struct.pack_into(f"={layout.block_size}s", self._context, layout.data_offset, data)
        _NUM.pack_into(self._context, layout.num_offset, len(state.pending), layout.digest_size)

    def update(self, data: memoryview, /) -> None:
        if not data.nbytes:
            return
        if data.readonly:
            self._call("Update", self._context, data.tobytes(), ctypes.c_size_t(data.nbytes))
            return
        first = ctypes.c_char.from_buffer(data)  # holds the memory while the call runs
        self._call("Update", self._context, ctypes.byref(first), ctypes.c_size_t(data.nbytes))

    def hexdigest(self) -> str:
        digest = ctypes.create_string_buffer(self._layout.digest_size)
        copy = ctypes.create_string_buffer(self._context.raw, _CONTEXT_SIZE)
        self._call("Final", digest, copy)
        return digest.raw.hex()

    def state(self) -> DigestState | None:
        layout, raw = self._layout, self._context.raw
        low, high = layout.count.unpack_from(raw, layout.words.size)
        pending, _ = _NUM.unpack_from(raw, layout.num_offset)
        return DigestState(
            words=layout.words.unpack_from(raw),
            length_bytes=(low | high << layout.count.size * 4) // 8,
            pending=raw[layout.data_offset : layout.data_offset + pending],
        )


@functools.cache
def _libcrypto(algorithm: str) -> ctypes.CDLL | None:
    """The library behind `hashlib`, if its digests can be taken apart and put together again."""
    try:
        import _hashlib  # noqa: PLC0415 (a Python may be built without it)

        library = ctypes.CDLL(_hashlib.__file__)
        return library if _self_test(_LAYOUTS[algorithm], library) else None
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError):
        return None


def _self_test(layout: _Layout, library: ctypes.CDLL) -> bool:
    """Interrupt a digest at several places, go on with a new one, and compare with `hashlib`."""
    message = bytearray(range(256)) * 2
    for cut in (0, 1, layout.block_size, 200, 511):
        first = _Resumable(layout, library, None)
        first.update(memoryview(message)[:cut])
        state = first.state()
        if state is None or state.length_bytes != cut:
            return False
        second = _Resumable(layout, library, state)
        second.update(memoryview(message)[cut:])
        if second.hexdigest() != hashlib.new(layout.algorithm, message).hexdigest():
            return False
    return True
