"""The ceremony in the README of repo_tools, carried out line by line as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tests.repo_tools.owner import PROGRAM, Client

README = Path(__file__).parents[2] / "repo_tools" / "README.md"


def script() -> str:
    """Every shell block, one after the other."""
    return "".join(re.findall(r"^```sh\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL))


def hold_the_ceremony(place: Path) -> str:
    """Carry it out in an empty directory; give what it said on stderr."""
    (place / "boot.ext4").write_bytes(b"boot" * 1024)
    (place / "root.ext4").write_bytes(b"root" * 1024 * 64)
    environ = {name: text for name, text in os.environ.items() if "REPO_TOOLS" not in name}
    environ |= {
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "REPO_TOOLS_PASSPHRASE": "TEST KEY passphrase",
        "REPO_TOOLS_PIN": "123456",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script()],
        cwd=place, env=environ, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_ceremony(tmp_path: Path) -> None:
    said = hold_the_ceremony(tmp_path)
    assert (tmp_path / "alice" / "alice.pem").read_text().startswith("-----BEGIN ENCRYPTED")
    assert not list(tmp_path.rglob("carol.pem"))
    assert "fails: " not in said

    # What the README promises of the result, seen by python-tuf's client.
    repo = tmp_path / "served"
    (repo / "demo").mkdir(parents=True)
    (repo / "demo" / "x86_64").symlink_to(tmp_path / "repository" / "metal" / "x86_64")
    (repo / "targets").symlink_to(tmp_path / "repository" / "targets")
    for version in (1, 2, 3, 4):
        root = (tmp_path / f"{version}.root.json").read_bytes()
        client = Client(repo, root, datetime.now(UTC))
        assert client.updates() == ["1.1.0", "1.2.0"]
        assert client.versions() == {"root": 4, "targets": 4, "snapshot": 5, "timestamp": 5}
    newest = "repository/metal/x86_64/4.targets.json"
    signers = {
        name: {s["keyid"] for s in json.loads((tmp_path / name).read_bytes())["signatures"]}
        for name in ("1.root.json", "2.root.json", "3.root.json", "4.root.json", newest)
    }
    people = {
        name: json.loads((tmp_path / name / f"{name}.pub").read_bytes())["keyid"]
        for name in ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
    }
    assert signers["1.root.json"] == {people["alice"], people["carol"]}
    assert signers["2.root.json"] == {people["alice"], people["bob"], people["dave"]}
    assert signers["3.root.json"] == {people["alice"], people["erin"]}
    assert signers["4.root.json"] == {people["alice"], people["dave"]}
    assert signers[newest] == {people["frank"], people["heidi"]}


def test_there_is_something_to_carry_out() -> None:
    assert script().count("repo-tools ") >= 38
