"""Which proxy a URL goes through, if any.

The library's own reading of the environment is switched off: it lets the environment override
the configuration, writes `no_proxy` into `os.environ` while it looks, and matches `no_proxy`
entries in the middle of a host name. Here the rules are values, and nothing is written anywhere.

- A proxy comes from the configuration if it names one for the scheme, else from the environment
  (`https_proxy`, `http_proxy`, `all_proxy`; lower case before upper case).
- So does `no_proxy`, whichever source named the proxy.
- An entry is `*`, a host name (it and all below it; a leading dot changes nothing), an address,
  or a network in CIDR form; `:port` narrows a name or an address.

Based on https://about.gitlab.com/blog/we-need-to-talk-no-proxy/ as the common ground of clients.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of one run. Their URLs may hold passwords, so they are not shown."""

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)
    exceptions: tuple[str, ...] = ()

    @classmethod
    def choose(
        cls,
        *,
        https_proxy: str | None = None,
        no_proxy: Sequence[str] | None = None,
        environ: Mapping[str, str],
    ) -> Proxies:
        """Combine the configuration with the environment.

        Args:
            https_proxy: From the configuration; host and port will do. Empty counts as absent.
            no_proxy: From the configuration; None: not set there.
            environ: Is only read.
        """
        by_scheme = {
            "http": _variable(environ, "http_proxy"),
            "https": https_proxy or _variable(environ, "https_proxy"),
        }
        every = _variable(environ, "all_proxy")
        listed = _variable(environ, "no_proxy") if no_proxy is None else ",".join(no_proxy)
        return cls(
            {
                scheme: _with_scheme(proxy or every)
                for scheme, proxy in by_scheme.items()
                if proxy or every
            },
            tuple(entry for entry in listed.replace(" ", ",").split(",") if entry),
        )

    def for_url(self, url: str) -> str | None:
        """Return the proxy's URL for `url`, or None to connect directly."""
        parts = urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme)
        if proxy is None or parts.hostname is None:
            return proxy
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        if any(_matches(entry, parts.hostname, port) for entry in self.exceptions):
            return None
        return proxy


def _variable(environ: Mapping[str, str], name: str) -> str:
    if name in environ:
        return environ[name]
    # A CGI server puts a client's "Proxy:" header into HTTP_PROXY (CVE-2016-1000110).
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return ""
    return environ.get(name.upper(), "")


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, entry_port = _split_port(entry)
    if entry_port is not None and entry_port != port:
        return False
    if address is not None:
        return _address(name) == address
    name, host = name.strip(".").lower(), host.rstrip(".").lower()
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdecimal() else None
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and ":" not in name:
        return name, int(port)
    return entry, None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
