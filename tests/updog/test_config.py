"""The configuration: defaults, and an error that names the key for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from updog.config import Config, load_config, parse_config
from updog.errors import ConfigInvalid
from updog.versions import parse_version
from updog.waves import Seed

PATH = Path("/etc/updog.toml")
LEAST = """
metadata_base_url = "https://updates.example.com/2020-07-07/aws-k8s-1.15/x86_64"
targets_base_url = "https://updates.example.com/targets/"
seed = 1487
"""


def parse(text: str) -> Config:
    return parse_config(text.encode(), PATH)


def test_three_keys_are_enough() -> None:
    assert parse(LEAST) == Config(
        metadata_base_url="https://updates.example.com/2020-07-07/aws-k8s-1.15/x86_64",
        targets_base_url="https://updates.example.com/targets/",
        seed=Seed(1487),
        version_lock=None,
        ignore_waves=False,
        https_proxy=None,
        no_proxy=None,
        max_attempts=1,
        tries=1,
        rehearse_migrations=True,
    )


def test_all_of_it() -> None:
    config = parse(
        LEAST
        + """
version_lock = "v1.2.3"
ignore_waves = true
https_proxy = "http://proxy.example.com:3128"
no_proxy = ["localhost", "127.0.0.1", ".internal"]
max_attempts = 3
tries = 15
delay_hours = 48
rehearse_migrations = false
connect_timeout_seconds = 5
stall_timeout_seconds = 60
max_retries = 0
clock_floor = "build-time"
"""
    )
    assert config.version_lock == parse_version("1.2.3")
    assert config.ignore_waves is True
    assert config.https_proxy == "http://proxy.example.com:3128"
    assert config.no_proxy == ("localhost", "127.0.0.1", ".internal")
    assert (config.max_attempts, config.tries, config.delay_hours) == (3, 15, 48)
    assert config.rehearse_migrations is False
    assert (config.connect_timeout_seconds, config.stall_timeout_seconds) == (5, 60)
    assert config.max_retries == 0
    assert config.clock_floor == "build-time"


@pytest.mark.parametrize(
    "text, version",
    [("latest", None), ("1.2.3", "1.2.3"), ("v1.2.3", "1.2.3"), ("1.2.3-rc.1+b", "1.2.3-rc.1+b")],
)
def test_a_lock_is_latest_or_a_version(text: str, version: str | None) -> None:
    lock = parse(f'{LEAST}version_lock = "{text}"').version_lock
    assert lock == (None if version is None else parse_version(version))


def test_hosts_without_a_proxy_may_be_one_string() -> None:
    assert parse(f'{LEAST}no_proxy = "localhost, .internal,"').no_proxy == (
        "localhost", ".internal",
    )  # fmt: skip


def test_an_empty_proxy_is_none() -> None:
    assert parse(f'{LEAST}https_proxy = ""').https_proxy is None


@pytest.mark.parametrize("seed", [0, 2047])
def test_seeds_from_0_to_2047(seed: int) -> None:
    assert parse(LEAST.replace("1487", str(seed))).seed == seed


@pytest.mark.parametrize("url", ["http://[::1]:8080", "file:///srv/repo", "https://u:p@host/x?t=1"])
def test_addresses_are_http_https_or_file(url: str) -> None:
    text = LEAST.replace("https://updates.example.com/targets/", url)
    assert parse(text).targets_base_url == url


def with_line(line: str) -> str:
    key = line.split("=", maxsplit=1)[0].strip()
    kept = [each for each in LEAST.splitlines() if each.split("=")[0].strip() != key]
    return "\n".join([*kept, line])


@pytest.mark.parametrize(
    "line, told",
    [
        ("sed = 1", "sed: unknown key, did you mean seed?"),
        ("ignore_wave = true", "ignore_wave: unknown key, did you mean ignore_waves?"),
        ("version-lock = 'latest'", "version-lock: unknown key, did you mean version_lock?"),
        ("frobnicate = 1", "frobnicate: unknown key"),
        ("[updates]", "updates: unknown key"),
        ("seed = 2048", "seed: expected 0 to 2047, found 2048"),
        ("seed = -1", "seed: expected 0 to 2047, found -1"),
        ("seed = 858993459", "seed: expected 0 to 2047, found 858993459"),
        ("seed = true", "seed: expected an integer, 0 to 2047, found True"),
        ("seed = '7'", "seed: expected an integer, 0 to 2047, found '7'"),
        ("seed = 7.0", "seed: expected an integer, 0 to 2047, found 7.0"),
        ("version_lock = 1.2", "version_lock: expected a string, found 1.2"),
        ("version_lock = 'newest'", "version_lock: 'newest' is not a version"),
        ("version_lock = '1.2'", "version_lock: '1.2' is not a version"),
        ("version_lock = ''", "version_lock: '' is not a version"),
        ("ignore_waves = 'yes'", "ignore_waves: expected true or false, found 'yes'"),
        ("ignore_waves = 1", "ignore_waves: expected true or false, found 1"),
        ("metadata_base_url = 7", "metadata_base_url: expected a string, found 7"),
        ("metadata_base_url = ''", "metadata_base_url: its scheme is '', expected http, https"),
        ("metadata_base_url = 'ftp://x/'", "metadata_base_url: its scheme is 'ftp', expected http"),
        ("metadata_base_url = 'https://'", "metadata_base_url: it names no host"),
        ("targets_base_url = 'https://a b/'", "targets_base_url: "),
        ("targets_base_url = 'file://host/x'", "targets_base_url: a file address names no host"),
        ("https_proxy = 3128", "https_proxy: expected a string, found 3128"),
        ("no_proxy = 7", "no_proxy: expected a list of host names, found 7"),
        ("no_proxy = [7]", "no_proxy: expected a string, found 7"),
        ("max_attempts = 0", "max_attempts: expected 1 to 1000, found 0"),
        ("tries = 0", "tries: expected 1 to 15, found 0"),
        ("tries = 16", "tries: expected 1 to 15, found 16"),
        ("delay_hours = -1", "delay_hours: expected 0 to 8760, found -1"),
        ("rehearse_migrations = 0", "rehearse_migrations: expected true or false, found 0"),
        ("clock_floor = 'yesterday'", "clock_floor: expected 'none' or 'build-time'"),
        ("connect_timeout_seconds = 0", "connect_timeout_seconds: expected 1 to 3600, found 0"),
        ("stall_timeout_seconds = inf", "stall_timeout_seconds: expected an integer"),
        ("max_retries = -1", "max_retries: expected 0 to 1000, found -1"),
    ],
)
def test_the_error_names_the_key(line: str, told: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse(with_line(line))
    assert str(caught.value).startswith(f"cannot use the configuration /etc/updog.toml: {told}")
    assert caught.value.key == line.strip("[]").split("=")[0].strip()


@pytest.mark.parametrize("key", ["metadata_base_url", "targets_base_url", "seed"])
def test_what_has_no_default_must_be_there(key: str) -> None:
    text = "\n".join(line for line in LEAST.splitlines() if not line.startswith(key))
    with pytest.raises(ConfigInvalid, match=f"{key}: missing"):
        parse(text)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse(with_line("metadata_base_url = 'ftp://user:hunter2@host/'"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"seed = ", b"seed = 1\nseed = 1\n", b"\xff", b"= 1", b"a = " + b"[" * 10_000]
)
def test_what_is_not_toml_is_said(data: bytes) -> None:
    with pytest.raises(ConfigInvalid, match="it is not TOML: "):
        parse_config(data, PATH)


def test_a_file_that_is_not_there_or_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"updog\.toml: No such file or directory"):
        load_config(tmp_path / "updog.toml")
    path = tmp_path / "long.toml"
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigInvalid, match="longer than 1048576 bytes"):
        load_config(path)
    path.write_text(LEAST)
    assert load_config(path).seed == 1487
