"""A repository on the web and a client that starts from its first root."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import Repository
from tests.support.servers import ServedRepository, serving
from tests.support.tuf_client import TufClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def served() -> Iterator[ServedRepository]:
    with serving(Repository(now=datetime.now(UTC))) as served:
        yield served


@pytest.fixture
def client(served: ServedRepository, tmp_path: Path) -> TufClient:
    client = TufClient(tmp_path, served)
    assert client.init() == 0
    return client
