"""Which proxy a URL goes through."""

from __future__ import annotations

import pytest

from updog.proxies import Proxies

PROXY = "http://proxy.example:3128"


def test_no_proxy_unless_somebody_says_so() -> None:
    assert Proxies().for_url("https://repo.example/") is None
    assert Proxies.choose(environ={}).for_url("https://repo.example/") is None


def test_the_configuration_comes_before_the_environment() -> None:
    proxies = Proxies.choose(https_proxy=PROXY, environ={"https_proxy": "http://other.example"})
    assert proxies.for_url("https://repo.example/") == PROXY
    assert proxies.for_url("http://repo.example/") is None


@pytest.mark.parametrize(
    "environ, url, proxy",
    [
        ({"https_proxy": "p:1"}, "https://h.example/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h.example/", "http://p:1"),
        ({"https_proxy": "http://a", "HTTPS_PROXY": "http://b"}, "https://h/", "http://a"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b"}, "https://h/", None),
        ({"http_proxy": "http://p:1"}, "http://h.example/", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://h.example/", None),
        ({"all_proxy": "http://p:1"}, "https://h.example/", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://h.example/", "http://p:1"),
        # What a CGI server makes of a client's header is not a setting.
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://h.example/", None),
    ],
)
def test_the_environment(environ: dict[str, str], url: str, proxy: str | None) -> None:
    assert Proxies.choose(environ=environ).for_url(url) == proxy


@pytest.mark.parametrize(
    "entry, url, direct",
    [
        ("*", "https://any.example/", True),
        ("repo.example", "https://repo.example/", True),
        ("repo.example", "https://REPO.example./", True),
        ("repo.example", "https://eu.repo.example/", True),
        (".repo.example", "https://eu.repo.example/", True),
        (".repo.example", "https://repo.example/", True),
        # Only whole labels count: "example" is not the end of "notexample".
        ("repo.example", "https://notrepo.example/", False),
        ("example", "https://notexample/", False),
        ("repo.example:8443", "https://repo.example:8443/", True),
        ("repo.example:8443", "https://repo.example/", False),
        ("repo.example:443", "https://repo.example/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:80", "https://10.1.2.3/", False),
        # A number is no suffix of an address.
        ("2.3", "https://10.1.2.3/", False),
        ("2001:db8::/32", "https://[2001:db8::1]/", True),
        ("2001:db8::1", "https://[2001:db8:0::1]/", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]/", True),
        ("[2001:db8::1]:80", "https://[2001:db8::1]/", False),
        ("10.0.0.0/99", "https://10.1.2.3/", False),
        ("", "https://repo.example/", False),
    ],
)
def test_exceptions(entry: str, url: str, *, direct: bool) -> None:
    expected = None if direct else PROXY
    configured = Proxies.choose(https_proxy=PROXY, no_proxy=["other", entry], environ={})
    assert configured.for_url(url) == expected
    environ = {"https_proxy": PROXY, "no_proxy": f"other, {entry}"}
    assert Proxies.choose(environ=environ).for_url(url) == expected


def test_exceptions_hold_whichever_source_named_the_proxy() -> None:
    from_both = Proxies.choose(https_proxy=PROXY, environ={"NO_PROXY": "repo.example"})
    assert from_both.for_url("https://repo.example/") is None
    configured = Proxies.choose(no_proxy=["repo.example"], environ={"https_proxy": PROXY})
    assert configured.for_url("https://repo.example/") is None


def test_exceptions_of_the_configuration_replace_those_of_the_environment() -> None:
    proxies = Proxies.choose(https_proxy=PROXY, no_proxy=[], environ={"no_proxy": "repo.example"})
    assert proxies.for_url("https://repo.example/") == PROXY


def test_passwords_are_not_shown() -> None:
    proxies = Proxies.choose(https_proxy="http://user:secret@proxy.example", environ={})
    assert "secret" not in repr(proxies)
