"""Delegations are walked as the specification says, and their names do no harm."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.repository import Repository
    from tests.support.servers import ServedRepository
    from tests.support.tuf_client import TufClient

ANY = ("*",)


@dataclass(frozen=True)
class Edge:
    parent: str
    child: str
    paths: Sequence[str] = ANY
    terminating: bool = False


@dataclass(frozen=True)
class Graph:
    story: str
    edges: Sequence[Edge]
    visited: Sequence[str] = field(default=())


GRAPHS = [
    Graph("one", [Edge("targets", "A")], ["A"]),
    Graph("two side by side", [Edge("targets", "A"), Edge("targets", "B")], ["A", "B"]),
    Graph(
        "one below the other",
        [Edge("targets", "A"), Edge("targets", "B"), Edge("B", "C")],
        ["A", "B", "C"],
    ),
    Graph(
        "depth first",
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C"), Edge("A", "D")],
        ["A", "C", "D", "B"],
    ),
    Graph(
        "three levels deep first",
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C"), Edge("C", "D")],
        ["A", "C", "D", "B"],
    ),
    Graph(
        "a terminating one ends the search",
        [
            Edge("targets", "A"),
            Edge("targets", "B"),
            Edge("A", "C", terminating=True),
            Edge("A", "D"),
        ],
        ["A", "C"],
    ),
    Graph(
        "a terminating one's own children are searched",
        [
            Edge("targets", "A"),
            Edge("targets", "B"),
            Edge("A", "C", terminating=True),
            Edge("C", "D"),
        ],
        ["A", "C", "D"],
    ),
    Graph(
        "a branch for other paths is passed over",
        [Edge("targets", "A", ["*.py"]), Edge("targets", "B"), Edge("A", "C")],
        ["B"],
    ),
    Graph(
        "a deeper branch for other paths is passed over",
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C", ["*.py"]), Edge("C", "D")],
        ["A", "B"],
    ),
    Graph(
        "a circle is walked once",
        [
            Edge("targets", "A"),
            Edge("targets", "B"),
            Edge("B", "C"),
            Edge("C", "D"),
            Edge("D", "B"),
        ],
        ["A", "B", "C", "D"],
    ),
    Graph(
        "reached through the first of two parents",
        [Edge("targets", "A"), Edge("targets", "B"), Edge("B", "C"), Edge("A", "C")],
        ["A", "C", "B"],
    ),
    Graph(
        "reached through the parent that delegates the path",
        [Edge("targets", "A"), Edge("targets", "B"), Edge("B", "C"), Edge("A", "C", ["*.py"])],
        ["A", "B", "C"],
    ),
]

TREE = [
    Edge("targets", "A", ["*.doc", "*.md"]),
    Edge("targets", "B", ["releases/*/*"]),
    Edge("B", "C", ["releases/x/*"]),
    Edge("B", "D", ["releases/y/*.zip"]),
]
FILES = {
    "targetfile": "targets",
    "README.md": "A",
    "releases/x/x_v1": "C",
    "releases/y/y_v1.zip": "D",
    "releases/z/z_v1.zip": "D",
}


def delegate(repository: Repository, edges: Sequence[Edge]) -> None:
    for edge in edges:
        repository.delegate(edge.parent, edge.child, edge.paths, terminating=edge.terminating)


def delegated(served: ServedRepository) -> list[str]:
    top = ("root.json", "timestamp.json", "snapshot.json", "targets.json")
    return [
        name.partition(".")[2].removesuffix(".json")
        for name in served.metadata
        if not name.endswith(top)
    ]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.story)
def test_order_of_the_search(client: TufClient, served: ServedRepository, graph: Graph) -> None:
    delegate(served.repository, graph.edges)
    served.repository.publish_all()
    assert client.download("missing") == 1
    assert delegated(served) == graph.visited


@pytest.mark.parametrize(
    "name, visited, found",
    [
        ("targetfile", [], True),
        ("README.md", ["A"], True),
        ("releases/x/x_v1", ["B", "C"], True),
        ("releases/y/y_v1.zip", ["B", "D"], True),
        # D lists it, but was not asked to answer for it.
        ("releases/z/z_v1.zip", ["B"], False),
    ],
)
def test_where_a_target_is_found(
    client: TufClient,
    served: ServedRepository,
    name: str,
    visited: list[str],
    *,
    found: bool,
) -> None:
    delegate(served.repository, TREE)
    for file, role in FILES.items():
        served.repository.add_target(file, file.encode(), role=role)
    served.repository.publish_all()
    assert client.download(name) == (0 if found else 1)
    assert client.downloaded() == ([name.encode()] if found else [])
    assert delegated(served) == visited


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "..", "a b%2e"])
def test_unusual_names_of_roles(client: TufClient, served: ServedRepository, role: str) -> None:
    delegate(served.repository, [Edge("targets", role)])
    served.repository.publish_all()
    assert client.download("missing") == 1
    assert f"1.{quote(role, safe='')}.json" in served.metadata
    assert len(client.trusted()) == 5
    assert not (client.work / "delegatedrole.json").exists()


def test_an_expired_delegated_role_answers_for_nothing(
    client: TufClient, served: ServedRepository
) -> None:
    delegate(served.repository, [Edge("targets", "A")])
    served.repository.role("A").expires = datetime.now(UTC).replace(microsecond=0) - timedelta(1)
    served.repository.add_target("file", b"content", role="A")
    served.repository.publish_all()
    assert client.refresh() == 0
    assert client.download("file") == 1
    assert client.downloaded() == []
    assert set(client.trusted()) == {"root", "timestamp", "snapshot", "targets"}


@pytest.mark.parametrize("names", [["a/file", "b/file"], ["b/file", "a/file"]])
def test_a_role_is_verified_for_each_parent_that_leads_to_it(
    client: TufClient, served: ServedRepository, names: list[str]
) -> None:
    """A and B both delegate to C, to different keys; C is signed for A only."""
    repository = served.repository
    delegate(
        repository,
        [
            Edge("targets", "A", ["a/*"]),
            Edge("targets", "B", ["b/*"]),
            Edge("A", "C", ["a/*"]),
            Edge("B", "C", ["b/*"]),
        ],
    )
    (right,) = repository.signers["C"]
    stranger = CryptoSigner.generate_ed25519().public_key
    repository.role("B").revoke_key(right.public_key.keyid, "C")
    repository.role("B").add_key(stranger, "C")
    for name in ("a/file", "b/file"):
        repository.add_target(name, name.encode(), role="C")
    repository.publish_all()
    assert client.download(*names) == 1
    assert client.downloaded() == ([b"a/file"] if names[0] == "a/file" else [])
    assert client.download("a/file") == 0
    assert client.download("b/file") == 1
