"""A host that runs 1.0.0, and the repository that it trusts, which offers 1.1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.host import Host, publish
from tests.support.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Made once; tests take copies."""
    directory: Path = tmp_path_factory.mktemp("attacks")
    return Host.install(directory / "host", "1.0.0", shipped_root=Repository().shipped_root)


@pytest.fixture
def repository() -> Repository:
    return publish("1.0.0", "1.1.0")


@pytest.fixture
def host(installed: Host, repository: Repository, tmp_path: Path) -> Host:
    host = installed.copy(tmp_path / "host")
    host.paths.trusted_root.write_bytes(repository.shipped_root)
    return host
