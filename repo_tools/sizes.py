"""Sizes as people write them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of a size such as `64 MiB`, or of a plain number of bytes.

    Raises:
        ValueError: It is none.
    """
    number, factor = text.strip(), 1
    if number[-3:] in _UNITS:
        factor = _UNITS[number[-3:]]
        number = number[:-3].rstrip()
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text!r} is no size, such as '64 MiB' or a number of bytes")
    return int(number) * factor
