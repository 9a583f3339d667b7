"""Chains and stores as large as real ones: hundreds of releases, thousands of settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator.run import Outcome, migrate
from tests.migrator.builders import HASTY, Host, read_files

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = 400
KEYS = 5000
AWKWARD = {
    "live/settings/labels/example%2Ecom%2Frole": '"x"',
    "live/settings/gr%C3%B6%C3%9Fe/%E5%90%8D%E5%89%8D": '"\U0001f600"',
    "live/settings/quo%22te": "[]",
    "live/settings/long": '"' + "x" * 200_000 + '"',
    "live/settings/number": "1e3",
    f"live/settings/{'n' * 200}": "null",
    "pending/first%20one/settings/counter": '"0"',
    "pending/second/settings/counter": '"mine"',
    "pending/third/settings/other": "true",
}


def release(number: int) -> str:
    """Versions as real ones: minor and patch releases, some pre-releases."""
    pre = f"-rc.{number}" if number % 50 == 49 else ""
    return f"{1 + number // 100}.{number // 10 % 10}.{number % 10}{pre}"


def document(number: int) -> str:
    """Count up; add, drop and rename something of this release's own."""
    return f"""
[[steps]]
kind = "replace-string"
setting = "settings.counter"
old = "{number - 1}"
new = "{number}"

[[steps]]
kind = "rename-settings"
from = "settings.moving.at-{number - 1}"
to = "settings.moving.at-{number}"

[[steps]]
kind = "remove-settings"
settings = ["settings.bulk.key-{number}"]

[[steps]]
kind = "add-prefixes"
prefixes = ["settings.added-{number}."]
"""


@pytest.fixture(scope="module")
def store() -> dict[str, str]:
    bulk = {
        f"live/settings/bulk/key-{number}": json.dumps(f"value {number}") for number in range(KEYS)
    }
    return {
        **bulk,
        **AWKWARD,
        "live/settings/counter": '"0"',
        "live/settings/moving/at-0": "[1]",
    }


def test_hundreds_of_releases_over_thousands_of_settings(
    tmp_path: Path, store: dict[str, str]
) -> None:
    host = Host(tmp_path)
    host.install(release(0), store)
    steps: dict[tuple[str, str], list[str]] = {}
    migrations: dict[str, str | bytes] = {}
    for number in range(1, RELEASES):
        # Most releases have a migration of their own, some two, some none.
        names = [f"migrate_v{release(number)}_m.toml.lz4"] if number % 3 else []
        if number % 3 == 1 and number > 1:
            names.insert(0, f"migrate_v{release(number - 1)}_late.toml.lz4")
            migrations[names[0]] = document(number - 1)
        if names:
            migrations[names[-1]] = document(number)
        steps[release(number - 1), release(number)] = names
    host.publish(steps, migrations)
    assert len(migrations) > 390

    last = RELEASES - 1  # divisible by three: its migration is not there yet
    assert migrate(host.setting(kernel=HASTY), Version.parse(release(last))) is Outcome.MIGRATED
    after = host.files()
    assert after["live/settings/counter"] == f'"{last - 1}"'
    assert after[f"live/settings/moving/at-{last - 1}"] == "[1]"
    assert after["pending/first%20one/settings/counter"] == f'"{last - 1}"'
    assert after["pending/second/settings/counter"] == '"mine"'
    assert {name: after.get(name) for name in AWKWARD if "counter" not in name} == {
        name: text for name, text in AWKWARD.items() if "counter" not in name
    }
    bulk = [name for name in after if "/bulk/" in name]
    assert len(bulk) == KEYS - (last - 1)

    (host.current / "live/settings/added-7").mkdir()
    (host.current / "live/settings/added-7/x").write_text("1")
    middle = release(200)
    migrate(host.setting(kernel=HASTY), Version.parse(middle))
    assert host.files()["live/settings/counter"] == '"200"'
    assert "live/settings/added-7/x" in host.files()
    migrate(host.setting(kernel=HASTY), Version.parse(release(0)))
    assert read_files(host.current) == store
