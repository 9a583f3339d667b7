"""What goes on the wire, and what may be shown."""

from __future__ import annotations

import pytest

from updog.addresses import Address, redirected, same_origin
from updog.errors import AddressInvalid

SECRET = "https://user:p%40ss@mirror.example:8443/os?token=t0ken"


def test_a_file_below_a_base() -> None:
    base = Address.parse("http://repo.example/os/stable")
    assert base.url("1.root.json", {}) == "http://repo.example/os/stable/1.root.json"
    assert base.url("a%20b", {"seed": "7", "version": "1.2.3+b c"}) == (
        "http://repo.example/os/stable/a%20b?seed=7&version=1.2.3%2Bb+c"
    )


def test_credentials_and_query_go_on_the_wire_alone() -> None:
    base = Address.parse(SECRET)
    assert base.credentials == ("user", "p@ss")
    assert base.url("f", {"seed": "7"}) == "https://mirror.example:8443/os/f?token=t0ken&seed=7"
    assert base.shown("f") == "https://mirror.example:8443/os/f"
    for text in (base.shown(), repr(base)):
        assert not [secret for secret in ("user", "p@ss", "p%40ss", "t0ken") if secret in text]


@pytest.mark.parametrize(
    "text, origin",
    [
        ("HTTP://Repo.Example:80/x", "http://repo.example"),
        ("https://repo.example:443", "https://repo.example"),
        ("https://repo.example:8443/", "https://repo.example:8443"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]:8080"),
    ],
)
def test_origins(text: str, origin: str) -> None:
    assert Address.parse(text).origin == origin


def test_a_directory_of_this_host() -> None:
    base = Address.parse("file:///srv/a%20repo")
    assert base.file_path() == "/srv/a repo/"
    assert base.shown("x") == "file:///srv/a%20repo/x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repo.example/os",
        "ftp://repo.example/",
        "http:///os",
        "http://repo.example:port/",
        "http://repo.example:99999/",
        "http://[::1/",
        "file://other-host/srv",
        "http://repo.example/a b",
        "http://repo.example/\r\nX: y",
        "http://repo.example/a/../b",
        "http://repo.example/%2e%2e/b",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressInvalid):
        Address.parse(text)


@pytest.mark.parametrize("text", [SECRET.replace("8443", "x"), SECRET.replace("https", "gopher")])
def test_a_refusal_does_not_repeat_the_secret(text: str) -> None:
    with pytest.raises(AddressInvalid) as caught:
        Address.parse(text)
    assert "ss@" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    "location, leads_to",
    [
        ("/other/f", "https://repo.example/other/f"),
        ("f2?x=1", "https://repo.example/os/f2?x=1"),
        ("//cdn.example/f", "https://cdn.example/f"),
        ("https://user:pw@cdn.example:8443/f", "https://cdn.example:8443/f"),
        ("/a b", "https://repo.example/a%20b"),
    ],
)
def test_redirects(location: str, leads_to: str) -> None:
    assert redirected("https://repo.example/os/f", location) == leads_to


@pytest.mark.parametrize("location", ["http://repo.example/f", "file:///etc/passwd", "ftp://h/f"])
def test_redirects_that_are_refused(location: str) -> None:
    with pytest.raises(AddressInvalid):
        redirected("https://repo.example/os/f", location)


def test_from_plain_to_secure_is_fine() -> None:
    assert redirected("http://repo.example/f", "https://repo.example/f").startswith("https:")


def test_origins_are_compared_with_their_ports() -> None:
    assert same_origin("http://a.example/x", "http://a.example:80/y")
    assert not same_origin("http://a.example/x", "http://a.example:8080/x")
    assert not same_origin("http://a.example/x", "https://a.example/x")
    assert not same_origin("http://a.example/x", "http://b.example/x")
