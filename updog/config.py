"""`/etc/updog.toml`: where updates come from and how this host wants them.

Every key is listed in `Config`, with its default; `metadata_base_url`, `targets_base_url` and
`seed` have none. An unknown key, a wrong type or a value out of range is an error that names the
key: a misspelt setting must not be ignored in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from updog.addresses import Address
from updog.errors import AddressInvalid, ConfigInvalid
from updog.versions import parse_version
from updog.waves import MAX_SEED, Seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from updog.versions import Version

_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of a host.

    Attributes:
        metadata_base_url: Where TUF metadata lies (http, https or file address).
        targets_base_url: Where targets lie.
        seed: Place in every rollout.
        version_lock: The only version to go to; None: the latest.
        ignore_waves: Take updates as soon as they are published.
        https_proxy: Proxy for https addresses, else from the environment.
        no_proxy: Hosts that are reached without a proxy, else from the environment.
        max_attempts: A version that failed to boot so often is skipped.
        tries: How often the boot loader tries a new set, 1 to 15.
        delay_hours: Wait so long after this host's turn has come. An update without waves says
            nothing of its age, and is not delayed.
        rehearse_migrations: Try the migrations on a copy of the settings before the flip.
        connect_timeout_seconds: Limit for one connection to be made.
        stall_timeout_seconds: Limit for a connection on which nothing arrives.
        max_retries: How often in a row a request is repeated; progress starts the count again.
        min_bytes_per_second: A download slower than this for a minute is refused; 0 allows any.
        full_check_hours: How long a check may be one small request, as long as nothing is new;
            0: never.
        clock_floor: `build-time`: a clock behind the image's build time is taken for that time.
    """

    metadata_base_url: str
    targets_base_url: str
    seed: Seed
    version_lock: Version | None = None
    ignore_waves: bool = False
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] | None = None
    max_attempts: int = 1
    tries: int = 1
    delay_hours: int = 0
    rehearse_migrations: bool = True
    connect_timeout_seconds: int = 10
    stall_timeout_seconds: int = 30
    max_retries: int = 8
    min_bytes_per_second: int = 100
    full_check_hours: int = 24
    clock_floor: Literal["none", "build-time"] = "none"


def load_config(path: Path) -> Config:
    """Read the configuration.

    Raises:
        ConfigInvalid: It is not there, or see `parse_config`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(path, None, error.strerror or str(error)) from error
    if len(data) > _MAX_BYTES:
        raise ConfigInvalid(path, None, f"it is longer than {_MAX_BYTES} bytes")
    return parse_config(data, path)


def parse_config(data: bytes, path: Path) -> Config:
    """Parse the configuration.

    Args:
        data: TOML.
        path: For messages.

    Raises:
        ConfigInvalid: Names the key that is unknown, missing, of a wrong type or out of range.
    """
    import tomllib  # noqa: PLC0415  only commands that use a repository read the configuration

    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(path, None, f"it is not TOML: {error}") from error
    for key in values:
        if key not in _CHECKS:
            raise ConfigInvalid(path, key, f"unknown key{_suggestion(key)}")
    for key in _REQUIRED:
        if key not in values:
            raise ConfigInvalid(path, key, "missing")
    checked: dict[str, Any] = {}
    for key, value in values.items():
        try:
            checked[key] = _CHECKS[key](value)
        except ValueError as error:
            raise ConfigInvalid(path, key, str(error)) from error
    return Config(**checked)


def _suggestion(key: str) -> str:
    import difflib  # noqa: PLC0415  for this message alone

    near = difflib.get_close_matches(key, _CHECKS, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _integer(first: int, last: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        # TOML's true is a bool, which Python takes for an integer.
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"expected an integer, {first} to {last}, found {value!r}")  # noqa: TRY004
        if not first <= value <= last:
            raise ValueError(f"expected {first} to {last}, found {value}")
        return value

    return check


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")  # noqa: TRY004
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {value!r}")  # noqa: TRY004
    return value


def _base_url(value: object) -> str:
    try:
        Address.parse(_text(value))
    except AddressInvalid as error:
        raise ValueError(error.problem) from error
    return _text(value)


def _version_lock(value: object) -> Version | None:
    text = _text(value)
    return None if text == "latest" else parse_version(text)


def _proxy(value: object) -> str | None:
    # Bottlerocket writes an empty string where there is none.
    return _text(value) or None


def _hosts(value: object) -> tuple[str, ...]:
    """A list, as Bottlerocket has it, or one string with commas, as the environment has it."""
    if isinstance(value, str):
        value = [host.strip() for host in value.split(",")]
    if not isinstance(value, list):
        raise ValueError(f"expected a list of host names, found {value!r}")  # noqa: TRY004
    return tuple(host for host in map(_text, value) if host)


def _choice(*allowed: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if _text(value) not in allowed:
            raise ValueError(f"expected {' or '.join(map(repr, allowed))}, found {value!r}")
        return _text(value)

    return check


_REQUIRED: Final = ("metadata_base_url", "targets_base_url", "seed")
_CHECKS: Final[Mapping[str, Callable[[object], object]]] = {
    "metadata_base_url": _base_url,
    "targets_base_url": _base_url,
    "seed": _integer(0, MAX_SEED - 1),
    "version_lock": _version_lock,
    "ignore_waves": _boolean,
    "https_proxy": _proxy,
    "no_proxy": _hosts,
    "max_attempts": _integer(1, 1000),
    "tries": _integer(1, 15),
    "delay_hours": _integer(0, 24 * 365),
    "rehearse_migrations": _boolean,
    "connect_timeout_seconds": _integer(1, 3600),
    "stall_timeout_seconds": _integer(1, 3600),
    "max_retries": _integer(0, 1000),
    "min_bytes_per_second": _integer(0, 1 << 30),
    "full_check_hours": _integer(0, 24 * 7),
    "clock_floor": _choice("none", "build-time"),
}
