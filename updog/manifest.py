"""The manifest: which updates there are, and which migrations lead from one to another.

Strict where a mistake would install the wrong thing, lenient where Bottlerocket's manifests vary:
a key twice in any object, a version that is not SemVer, a wave that starts before the one ahead of
it, or a target name that could leave its directory is an error that names its place. Unknown
fields are kept and written again, so that a tool of another age can edit a manifest. `waves` and
`migrations` may be missing.

What the manifest means for a host is decided in `choose` and `migrations`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from updog.errors import ManifestInvalid
from updog.targets import name_problem
from updog.versions import parse_version, precedence
from updog.waves import check_order, format_time, parse_key, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from updog.migrations import Migrations
    from updog.versions import Version
    from updog.waves import Waves

MANIFEST_NAME: Final = "manifest.json"
"""The target that holds it."""

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STEP = re.compile(r"\(\s*([^\s,()]+)\s*,\s*([^\s,()]+)\s*\)")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Images:
    """Target names of the three whole-partition images of an update."""

    boot: str
    root: str
    hash: str
    unknown: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, in the order in which Bottlerocket writes it."""
        return {"boot": self.boot, "root": self.root, "hash": self.hash, **self.unknown}


@dataclass(frozen=True, slots=True)
class Update:
    """One release of one variant for one architecture.

    Attributes:
        variant: Compared as it is.
        arch: As `platform.machine()` names it.
        version: Of the release.
        max_version: The greatest version that hosts may run; a lower one than `version` recalls.
        waves: When which host's turn comes; none: at once.
        images: What it consists of.
        unknown: Fields of the entry that mean nothing to us.
    """

    variant: str
    arch: str
    version: Version
    max_version: Version
    waves: Waves = field(hash=False)
    images: Images
    unknown: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)

    @property
    def label(self) -> str:
        """`<variant> <version>`, the one line that names an update."""
        return f"{self.variant} {self.version}"

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, in the order in which Bottlerocket writes it."""
        return {
            "variant": self.variant,
            "arch": self.arch,
            "version": str(self.version),
            "max_version": str(self.max_version),
            "waves": {str(seed): format_time(self.waves[seed]) for seed in sorted(self.waves)},
            "images": self.images.to_json(),
            **self.unknown,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """All updates, in the order of the file, and all migration steps."""

    updates: tuple[Update, ...] = ()
    migrations: Migrations = field(default_factory=dict)
    unknown: Mapping[str, object] = field(default_factory=dict, repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Parse a manifest.

        Raises:
            ManifestInvalid: It cannot be understood; says where.
        """
        try:
            value = json.loads(
                data.decode(),
                object_pairs_hook=_unique,
                parse_constant=_refuse,
                parse_float=_finite,
            )
            if _ESCAPED_SURROGATE.search(data):
                # Half a pair, which only an escape can bring in, could not be written again.
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ManifestInvalid("", f"it is not JSON: {error}") from error
        return cls.from_json(value)

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Read a manifest from a decoded JSON value; errors as `from_bytes`."""
        top = _Object("", value)
        return cls(
            updates=tuple(_update(item) for item in top.objects("updates")),
            migrations=_migrations(top),
            unknown=top.rest(),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, in the order in which Bottlerocket writes it."""
        return {
            "updates": [update.to_json() for update in self.updates],
            "migrations": {
                f"({start}, {end})": list(self.migrations[start, end])
                for start, end in sorted(self.migrations)
            },
            **self.unknown,
        }

    def to_bytes(self) -> bytes:
        """Write the manifest; equal manifests give equal bytes."""
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n").encode()


class _Object:
    """A JSON object whose known fields are taken out one by one; what is left is unknown."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ManifestInvalid(where, f"expected an object, found {_kind(value)}")
        self.where = where
        self._left: dict[str, object] = dict(value)

    def place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def rest(self) -> Mapping[str, object]:
        return MappingProxyType(self._left)

    def text(self, name: str) -> str:
        value = self._left.pop(name, None)
        if not isinstance(value, str):
            raise ManifestInvalid(self.place(name), f"expected a string, found {_kind(value)}")
        if not value or not value.isprintable():
            raise ManifestInvalid(self.place(name), f"{value!r} is empty or cannot be printed")
        return value

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        return _parsed(self.place(name), parse, self.text(name))

    def nested(self, name: str, *, optional: bool = False) -> _Object:
        if optional and name not in self._left:
            return _Object(self.place(name), {})
        return _Object(self.place(name), self._left.pop(name, None))

    def objects(self, name: str) -> Iterator[_Object]:
        value = self._left.pop(name, None)
        for number, item in enumerate(_list(self.place(name), value)):
            yield _Object(f"{self.place(name)}[{number}]", item)

    def items(self) -> Iterator[tuple[str, str, object]]:
        """All fields: the place, the name and the value of each."""
        for name, value in self._left.items():
            yield f"{self.where}[{name!r}]", name, value


def _update(entry: _Object) -> Update:
    return Update(
        variant=entry.text("variant"),
        arch=entry.text("arch"),
        version=entry.parsed("version", _version),
        max_version=entry.parsed("max_version", _version),
        waves=_waves(entry.nested("waves", optional=True)),
        images=_images(entry.nested("images")),
        unknown=entry.rest(),
    )


def _waves(entry: _Object) -> Waves:
    waves: dict[int, datetime] = {}
    for where, name, value in entry.items():
        if not isinstance(value, str):
            raise ManifestInvalid(where, f"expected a time, found {_kind(value)}")
        waves[_parsed(where, parse_key, name)] = _parsed(where, parse_time, value)
    try:
        check_order(waves)
    except ValueError as error:
        raise ManifestInvalid(entry.where, str(error)) from error
    return MappingProxyType(dict(sorted(waves.items())))


def _images(entry: _Object) -> Images:
    names = {part: _file_name(entry.place(part), entry.text(part)) for part in _PARTS}
    return Images(**names, unknown=entry.rest())


_PARTS: Final = ("boot", "root", "hash")


def _migrations(top: _Object) -> Migrations:
    steps: dict[tuple[Version, Version], tuple[str, ...]] = {}
    seen: set[tuple[Version, Version]] = set()
    for where, name, value in top.nested("migrations", optional=True).items():
        match = _STEP.fullmatch(name)
        if match is None:
            raise ManifestInvalid(where, "expected (FROM, TO) as the key")
        start, end = (_parsed(where, _version, text) for text in match.groups())
        # Two spellings of one step (white space, build metadata) are one key twice.
        step = precedence(start), precedence(end)
        if step in seen:
            raise ManifestInvalid(where, "this step occurs twice")
        seen.add(step)
        steps[start, end] = tuple(
            _file_name(f"{where}[{number}]", item)
            for number, item in enumerate(_list(where, value))
        )
    return MappingProxyType(steps)


def _file_name(where: str, value: object) -> str:
    """Check the name of an image or a migration: a plain file name, which TUF's need not be."""
    if not isinstance(value, str):
        raise ManifestInvalid(where, f"expected a target name, found {_kind(value)}")
    problem = "it names a directory" if "/" in value else name_problem(value)
    if problem is not None:
        raise ManifestInvalid(where, f"refusing target name {value!r}: {problem}")
    return value


def _version(text: str) -> Version:
    return parse_version(text, leading_v=False)


def _parsed(where: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ManifestInvalid(where, str(error)) from error


def _list(where: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise ManifestInvalid(where, f"expected a list, found {_kind(value)}")
    return value


def _kind(value: object) -> str:
    """What a JSON value is called."""
    if value is None:
        return "nothing"
    names = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Plain `json.loads` keeps the last of two equal keys, and other parsers the first.
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name!r} occurs twice in one object")
            seen.add(name)
    return result


def _finite(text: str) -> float:
    # 1e999 is JSON, but becomes an infinity, which is not.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a number in JSON")
