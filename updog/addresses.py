"""A repository's base address: what goes on the wire, and what may be shown.

An address may carry a user name and password, or a token in its query. They are split off here,
once, so that no later code can print them: `url()` is for the wire, `shown()` for people.

    >>> base = Address.parse("https://user:secret@mirror.example/os?token=t")
    >>> base.url("1.root.json", {"seed": "7"})
    'https://mirror.example/os/1.root.json?token=t&seed=7'
    >>> base.shown("1.root.json")
    'https://mirror.example/os/1.root.json'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from updog.errors import AddressInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT_PORTS = {"http": 80, "https": 443}
# What may stand in a path, "%" for what is already encoded.
_PATH_SAFE = "/!$&'()*+,;=:@-._~%"


@dataclass(frozen=True, slots=True)
class Address:
    """A base below which a repository's files lie.

    Attributes:
        scheme: `http`, `https` or `file`.
        host: Name or address, without port; empty for `file`.
        port: Explicit or the scheme's own; 0 for `file`.
        path: Percent-encoded, starts and ends with a slash.
        credentials: User name and password for Basic authentication.
        query: Sent with every request; may be a secret.
    """

    scheme: str
    host: str
    port: int
    path: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an absolute URL.

        Raises:
            AddressInvalid: Another scheme, no host, or not a URL. Names what is wrong, not the URL.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            # The text is not repeated: what cannot be parsed cannot be rid of its password.
            raise AddressInvalid(str(error)) from None
        if not text.isprintable() or " " in text:
            raise AddressInvalid("it holds spaces or control characters")
        if parts.scheme == "file":
            if host not in {"", "localhost"}:
                raise AddressInvalid("a file address names no host: file:///directory/")
            return cls("file", "", 0, _directory(parts.path))
        if parts.scheme not in _DEFAULT_PORTS:
            raise AddressInvalid(f"its scheme is {parts.scheme!r}, expected http, https or file")
        if not host:
            raise AddressInvalid("it names no host")
        credentials = None
        if parts.username is not None:
            credentials = (unquote(parts.username), unquote(parts.password or ""))
        return cls(
            parts.scheme,
            host,
            port or _DEFAULT_PORTS[parts.scheme],
            _directory(parts.path),
            credentials,
            parts.query,
        )

    @property
    def origin(self) -> str:
        """Scheme, host and, unless it is the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS.get(self.scheme, 0) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def url(self, path: str, parameters: Mapping[str, str]) -> str:
        """Return the URL of a file below this base, as it goes on the wire.

        Args:
            path: Relative and percent-encoded.
            parameters: Added to the query, sorted by name, as a form would
                (`application/x-www-form-urlencoded`).
        """
        added = urlencode(sorted(parameters.items()))
        query = "&".join(part for part in (self.query, added) if part)
        return f"{self.origin}{self.path}{path}" + (f"?{query}" if query else "")

    def shown(self, path: str = "") -> str:
        """Return the address of a file below this base for messages: no credentials, no query."""
        return f"{self.origin}{self.path}{path}"

    def file_path(self) -> str:
        """Return the directory that a `file` address names, decoded."""
        return unquote(self.path)


def redirected(url: str, location: str) -> str:
    """Return where a redirect leads.

    Credentials in the new location are dropped: who redirects does not get to choose as whom we
    ask.

    Raises:
        AddressInvalid: Away from HTTP, or from https to http.
    """
    try:
        parts = urlsplit(urljoin(url, location))
    except ValueError as error:
        raise AddressInvalid(f"the redirect leads to no address: {error}") from None
    target = Address.parse(parts._replace(path="/", query="", fragment="").geturl())
    if target.scheme == "file":
        raise AddressInvalid("the redirect leads away from the web")
    if url.startswith("https:") and target.scheme != "https":
        raise AddressInvalid("the redirect leads from https to http")
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    return f"{target.origin}{path}" + (f"?{parts.query}" if parts.query else "")


def same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have scheme, host and port in common (RFC 6454)."""

    def origin(url: str) -> tuple[str, str | None, int | None]:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)

    return origin(one) == origin(other)


def _directory(path: str) -> str:
    # ".." in a base of ours is a slip, and what it leads to differs between clients.
    if {"..", "."} & set(unquote(path).split("/")):
        raise AddressInvalid("its path holds . or ..")
    path = quote(path, safe=_PATH_SAFE)
    return path if path.endswith("/") else f"{path}/"
