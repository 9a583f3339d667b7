"""The cached set is verified from the booted image's root, or it is an error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import MetaFile

from tests.support.repository import NOW, MemoryTransport, Repository
from tests.support.unflushed import Unflushed
from updog.errors import NoSuchTarget, RepositoryInvalid
from updog.offline import load_offline
from updog.trust import refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository() -> Repository:
    """Three roots, the timestamp key replaced with each; two targets."""
    repository = Repository()
    repository.add_target("manifest.json", b"{}")
    for _ in range(2):
        repository.rotate_keys("timestamp")
        repository.publish("root")
    repository.publish_all()
    return repository


@pytest.fixture
def cached(repository: Repository, tmp_path: Path) -> Path:
    """What an update leaves: the very files that were verified."""
    store = TrustStore(tmp_path / "trusted", tmp_path / "trust.json", kernel=Unflushed())
    transport = MemoryTransport(repository)
    trusted = refresh_store(store, repository.shipped_root, transport, NOW)
    directory = tmp_path / "cached"
    directory.mkdir()
    for name, data in trusted.metadata_files().items():
        (directory / name).write_bytes(data)
    return directory


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))


def test_the_set_that_an_update_leaves_is_accepted(repository: Repository, cached: Path) -> None:
    assert sorted(path.name for path in cached.iterdir()) == [
        "1.root.json", "2.root.json", "2.snapshot.json", "2.targets.json", "3.root.json",
        "timestamp.json",
    ]  # fmt: skip
    offline = load_offline(repository.shipped_root, cached)
    target = offline.target("manifest.json")
    assert target.length_bytes == 2
    # The digest of "{}", from sha256sum.
    assert target.file_name() == (
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a.manifest.json"
    )
    offline.check_bytes("manifest.json", b"{}")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_booted_image_may_ship_any_root_of_the_chain(
    repository: Repository, cached: Path, version: int
) -> None:
    offline = load_offline(repository.files[f"{version}.root.json"], cached)
    offline.check_bytes("manifest.json", b"{}")


def test_expiry_is_not_enforced(tmp_path: Path) -> None:
    """Everything expired years ago: the host was off, or its clock is."""
    repository = Repository(now=NOW.replace(year=2020))
    repository.add_target("manifest.json", b"{}")
    repository.publish_all()
    repository.write(tmp_path)
    load_offline(repository.shipped_root, tmp_path / "metadata").check_bytes("manifest.json", b"{}")


@pytest.mark.parametrize(
    "name", ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]
)
def test_an_incomplete_set_is_refused(repository: Repository, cached: Path, name: str) -> None:
    (cached / name).unlink()
    with pytest.raises(RepositoryInvalid, match=f"{name} is missing, the set is incomplete"):
        load_offline(repository.shipped_root, cached)


def test_a_missing_end_of_the_chain_of_roots_is_refused(
    repository: Repository, cached: Path
) -> None:
    """Without root 3, the timestamp is signed by nobody that root 2 knows."""
    (cached / "3.root.json").unlink()
    with pytest.raises(RepositoryInvalid, match="timestamp"):
        load_offline(repository.shipped_root, cached)


@pytest.mark.parametrize(
    "name", ["2.root.json", "3.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]
)
def test_a_changed_byte_is_noticed(repository: Repository, cached: Path, name: str) -> None:
    edit(cached / name, '"spec_version"', '"sqec_version"')
    with pytest.raises(RepositoryInvalid):
        load_offline(repository.shipped_root, cached)


@pytest.mark.parametrize("name", ["3.root.json", "timestamp.json", "2.snapshot.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b"{", b"null", b"[" * 100_000])
def test_what_is_not_metadata_is_refused(
    repository: Repository, cached: Path, name: str, content: bytes
) -> None:
    (cached / name).write_bytes(content)
    with pytest.raises(RepositoryInvalid):
        load_offline(repository.shipped_root, cached)


def test_another_repository_is_refused(cached: Path) -> None:
    with pytest.raises(RepositoryInvalid):
        load_offline(Repository().shipped_root, cached)


def test_a_mixture_of_two_publications_is_refused(repository: Repository, cached: Path) -> None:
    """All of it correctly signed; the snapshot is not the one that the timestamp lists."""
    repository.publish_all()
    (cached / "2.snapshot.json").write_bytes(repository.files["3.snapshot.json"])
    with pytest.raises(RepositoryInvalid, match="snapshot"):
        load_offline(repository.shipped_root, cached)


def test_another_snapshot_of_the_same_version_is_refused(
    repository: Repository, cached: Path
) -> None:
    """Signed as well; only the digest in the timestamp tells the two apart."""
    repository.snapshot.expires = NOW
    repository.publish("snapshot", bump=False)
    (cached / "2.snapshot.json").write_bytes(repository.files["2.snapshot.json"])
    with pytest.raises(RepositoryInvalid, match="snapshot"):
        load_offline(repository.shipped_root, cached)


def test_a_root_that_its_own_keys_did_not_sign_is_refused(tmp_path: Path) -> None:
    """The old key alone hands the root over to a new one, which may not even exist."""
    repository = Repository()
    old = repository.signers["root"]
    repository.signers["root"] = []
    repository.add_key("root")
    repository.root.revoke_key(old[0].public_key.keyid, "root")
    repository.signers["root"] = old
    repository.publish("root")
    repository.write(tmp_path)
    with pytest.raises(RepositoryInvalid, match="root was signed by 0/1 keys"):
        load_offline(repository.shipped_root, tmp_path / "metadata")


def test_versions_count_where_no_digests_are_listed(tmp_path: Path) -> None:
    repository = Repository(hashes=False)
    repository.publish_all()
    repository.files["2.targets.json"] = repository.files["1.targets.json"]
    repository.write(tmp_path)
    with pytest.raises(RepositoryInvalid, match="says it is version 1"):
        load_offline(repository.shipped_root, tmp_path / "metadata")


def test_a_snapshot_without_targets_is_refused(tmp_path: Path) -> None:
    repository = Repository()
    repository.snapshot.meta = {"other.json": MetaFile(1)}
    repository.publish("snapshot", "timestamp")
    repository.write(tmp_path)
    with pytest.raises(RepositoryInvalid, match="lists no targets metadata"):
        load_offline(repository.shipped_root, tmp_path / "metadata")


def test_one_role_does_not_pass_for_another(repository: Repository, cached: Path) -> None:
    (cached / "timestamp.json").write_bytes(repository.files["2.snapshot.json"])
    with pytest.raises(RepositoryInvalid, match="its file holds snapshot metadata"):
        load_offline(repository.shipped_root, cached)


def test_a_root_that_skips_a_version_is_refused(repository: Repository, cached: Path) -> None:
    (cached / "2.root.json").write_bytes(repository.files["3.root.json"])
    with pytest.raises(RepositoryInvalid, match="says it is version 3"):
        load_offline(repository.shipped_root, cached)


def test_an_unsigned_shipped_root_is_refused(repository: Repository, cached: Path) -> None:
    root = json.loads(repository.shipped_root)
    root["signatures"][0]["sig"] = "00" * 64
    with pytest.raises(RepositoryInvalid, match="shipped root"):
        load_offline(json.dumps(root).encode(), cached)


@pytest.mark.parametrize("data", [b"[]", b"{}}", b"{", b""])
def test_other_bytes_are_not_the_target(repository: Repository, cached: Path, data: bytes) -> None:
    offline = load_offline(repository.shipped_root, cached)
    with pytest.raises(RepositoryInvalid, match=r"manifest\.json"):
        offline.check_bytes("manifest.json", data)


def test_a_target_that_is_not_listed(repository: Repository, cached: Path) -> None:
    offline = load_offline(repository.shipped_root, cached)
    with pytest.raises(NoSuchTarget, match="lists no target 'other'"):
        offline.target("other")


def test_a_link_is_not_followed(repository: Repository, cached: Path) -> None:
    elsewhere = cached.parent / "elsewhere"
    (cached / "timestamp.json").rename(elsewhere)
    (cached / "timestamp.json").symlink_to(elsewhere)
    with pytest.raises(RepositoryInvalid, match=r"timestamp\.json: Too many levels"):
        load_offline(repository.shipped_root, cached)
