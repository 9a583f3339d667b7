"""What a host's configuration says of the network arrives where the network is used."""

from __future__ import annotations

from contextlib import closing

import pytest

from updog import http
from updog.config import Config
from updog.connect import make_transport
from updog.errors import DownloadFailed
from updog.release import Release
from updog.retries import Limits
from updog.versions import parse_version
from updog.waves import Seed

RELEASE = Release("demo", parse_version("1.2.3"), "x86_64")
NOWHERE = "http://127.0.0.1:1"


def configured(base: str, **more: object) -> Config:
    addresses = {"metadata_base_url": f"{base}/metadata", "targets_base_url": f"{base}/targets"}
    return Config(**addresses, seed=Seed(7), **more)  # type: ignore[arg-type]


def test_limits_are_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Limits] = []

    class Client(http.HttpClient):
        def __init__(self, *, limits: Limits, **more: object) -> None:
            seen.append(limits)
            super().__init__(limits=limits, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(http, "HttpClient", Client)
    config = configured(
        NOWHERE,
        connect_timeout_seconds=2,
        stall_timeout_seconds=3,
        max_retries=4,
        min_bytes_per_second=5,
    )
    make_transport(config, RELEASE, {}).close()
    assert seen == [
        Limits(
            connect_timeout_seconds=2,
            stall_timeout_seconds=3,
            max_retries=4,
            min_bytes_per_second=5,
        )
    ]


def refusal(config: Config, environ: dict[str, str]) -> str:
    with (
        closing(make_transport(config, RELEASE, environ)) as transport,
        pytest.raises(DownloadFailed) as caught,
    ):
        transport.fetch_metadata("timestamp.json", 100)
    return str(caught.value)


def test_the_proxy_of_the_configuration_is_asked_before_that_of_the_environment() -> None:
    config = configured("https://repo.invalid", https_proxy=NOWHERE, max_retries=0)
    told = refusal(config, {"https_proxy": "http://other.invalid"})
    assert "the proxy: Connection refused" in told


def test_the_exceptions_of_the_configuration_are_asked_directly() -> None:
    config = configured(
        "https://127.0.0.1:1", https_proxy=NOWHERE, no_proxy=("127.0.0.1",), max_retries=0
    )
    told = refusal(config, {})
    assert "Connection refused" in told
    assert "proxy" not in told
