"""Signatures, thresholds and rotations, as the conformance suite has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.repository import Repository
    from tests.support.servers import ServedRepository
    from tests.support.tuf_client import TufClient


@dataclass(frozen=True)
class Version:
    """One version of a role: who may sign, how many must, who did, and whether it is good."""

    keys: Sequence[int]
    threshold: int
    signed_by: Sequence[int]
    good: bool = True


@dataclass(frozen=True)
class Rotation:
    """Versions of root, published one after the other; only the last may be bad."""

    story: str
    versions: Sequence[Version]


FIVE = (0, 1, 2, 3, 4)
SHIFTED = (0, 1, 3, 4, 5)
ROTATIONS = [
    Rotation(
        "the only key is replaced",
        [Version([1], 1, [1]), Version([2], 1, [2, 1]), Version([2], 1, [2])],
    ),
    Rotation(
        "signatures of strangers do no harm",
        [Version([1], 1, [3, 1, 4]), Version([2], 1, [3, 2, 1, 4]), Version([2], 1, [3, 2, 4])],
    ),
    Rotation(
        "any three of five",
        [Version(FIVE, 3, sigs) for sigs in ([0, 2, 4], [0, 4, 1], [0, 1, 3], [0, 1, 3])],
    ),
    Rotation("one of five replaced", [Version(FIVE, 3, [0, 2, 4]), Version(SHIFTED, 3, [0, 4, 1])]),
    Rotation(
        "one of five replaced, signed by the new one with the leaving one",
        [
            Version(FIVE, 3, [0, 2, 4]),
            Version(SHIFTED, 3, [0, 2, 4, 5]),
            Version(SHIFTED, 3, [0, 4, 5]),
        ],
    ),
    Rotation(
        "all five replaced",
        [
            Version(FIVE, 3, [0, 2, 4]),
            Version([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]),
            Version([5, 6, 7, 8, 9], 3, [5, 6, 7]),
        ],
    ),
    Rotation(
        "threshold raised among three", [Version([1, 2, 3], 1, [1]), Version([1, 2, 3], 2, [1, 2])]
    ),
    Rotation(
        "threshold lowered",
        [Version([1, 2, 3], 2, [1, 2]), Version([1, 2, 3], 1, [1, 2]), Version([1, 2, 3], 1, [1])],
    ),
    Rotation(
        "threshold raised with a second key", [Version([1], 1, [1]), Version([1, 2], 2, [1, 2])]
    ),
    Rotation(
        "the old key did not sign", [Version([1], 1, [1]), Version([2], 1, [2, 3, 4], good=False)]
    ),
    Rotation(
        "the new key did not sign", [Version([1], 1, [1]), Version([2], 1, [1, 3, 4], good=False)]
    ),
    Rotation(
        "too few of the new keys signed",
        [Version(FIVE, 3, [0, 2, 4]), Version(SHIFTED, 3, [0, 2, 4], good=False)],
    ),
    Rotation(
        "too few of the old keys signed",
        [Version(FIVE, 3, [0, 2, 4]), Version(SHIFTED, 3, [0, 4, 5], good=False)],
    ),
    Rotation(
        "the raised threshold is not met",
        [Version([1, 2, 3], 1, [1]), Version([1, 2, 3], 2, [2], good=False)],
    ),
    Rotation(
        "the old threshold is not met",
        [Version([1, 2, 3], 2, [1, 2]), Version([1, 2, 3], 1, [1], good=False)],
    ),
]

ROLE_VERSIONS = {
    "a new key": Version([2], 1, [2]),
    "signatures of strangers do no harm": Version([1], 1, [3, 1, 4]),
    "the new key did not sign": Version([2], 1, [1, 3, 4], good=False),
    "three signed, one of them a stranger": Version(SHIFTED, 3, [0, 2, 4], good=False),
    "two of three": Version(SHIFTED, 3, [0, 4], good=False),
    "three of five": Version(FIVE, 3, [0, 2, 4]),
    "three others of five": Version(FIVE, 3, [1, 2, 3]),
    "the last three of five": Version(FIVE, 3, [2, 3, 4]),
}


@pytest.fixture(scope="module")
def signers() -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(10)]


def assign(
    repository: Repository, role: str, version: Version, signers: list[CryptoSigner]
) -> None:
    repository.root.roles[role].keyids.clear()
    repository.root.roles[role].threshold = version.threshold
    for index in version.keys:
        repository.root.add_key(signers[index].public_key, role)
    repository.signers[role] = [signers[index] for index in version.signed_by]


@pytest.mark.parametrize("rotation", ROTATIONS, ids=lambda rotation: rotation.story)
def test_root_keys_rotate(
    client: TufClient, served: ServedRepository, rotation: Rotation, signers: list[CryptoSigner]
) -> None:
    repository = served.repository
    repository.root.version = 0
    for version in rotation.versions:
        assign(repository, "root", version, signers)
        repository.publish("root")
    client.init()
    last = len(rotation.versions)
    good = rotation.versions[-1].good
    assert client.refresh() == (0 if good else 1)
    expected = repository.files[f"{last if good else last - 1}.root.json"]
    assert (client.metadata_dir / "root.json").read_bytes() == expected


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("story", ROLE_VERSIONS)
def test_keys_of_other_roles_rotate(
    client: TufClient,
    served: ServedRepository,
    role: str,
    story: str,
    signers: list[CryptoSigner],
) -> None:
    repository, version = served.repository, ROLE_VERSIONS[story]
    assign(repository, role, version, signers)
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == (0 if version.good else 1)
    stored = client.metadata_dir / f"{role}.json"
    assert stored.exists() == version.good


def test_a_threshold_above_the_number_of_keys_is_never_met(
    client: TufClient, served: ServedRepository
) -> None:
    for _ in range(4):
        served.repository.add_key("snapshot")
    served.repository.root.roles["snapshot"].threshold = 6
    served.repository.publish("root", "snapshot", "timestamp")
    assert client.refresh() == 1
    assert client.trusted() == {"root": 2, "timestamp": 2}


def test_one_signature_short_of_the_threshold(client: TufClient, served: ServedRepository) -> None:
    repository = served.repository
    for _ in range(2):
        repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 3
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == 0
    repository.signers["snapshot"].pop()
    repository.publish_all()
    assert client.refresh() == 1
    assert client.trusted()["snapshot"] == 2


def test_one_key_listed_often_counts_once(client: TufClient, served: ServedRepository) -> None:
    repository = served.repository
    signer = repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 6
    repository.root.roles["snapshot"].keyids += [signer.public_key.keyid] * 8
    repository.publish("root", "snapshot", "timestamp")
    forged = json.loads(repository.files["2.snapshot.json"])
    forged["signatures"] += [forged["signatures"][-1]] * 8
    repository.hashes = False
    repository.put("snapshot", json.dumps(forged).encode())
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert "snapshot" not in client.trusted()


def test_a_key_may_sign_only_once(client: TufClient, served: ServedRepository) -> None:
    """Specification 4.2.1: the keyid must be unique among the signatures."""
    repository = served.repository
    doubled = json.loads(repository.files["1.snapshot.json"])
    doubled["signatures"].append(doubled["signatures"][0])
    repository.put("snapshot", json.dumps(doubled).encode())
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert "snapshot" not in client.trusted()


@pytest.mark.parametrize(
    "make_signer",
    [
        CryptoSigner.generate_rsa,
        CryptoSigner.generate_ecdsa,
        CryptoSigner.generate_ed25519,
        lambda: CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"),
    ],
    ids=["rsa-pss", "ecdsa", "ed25519", "rsa-pkcs1v15"],
)
def test_key_types_of_the_specification(
    client: TufClient, served: ServedRepository, make_signer: Callable[[], CryptoSigner]
) -> None:
    repository = served.repository
    signer = make_signer()
    repository.add_key("root", signer)
    repository.root.roles["root"].threshold = 2
    repository.publish("root")
    assert client.refresh() == 0
    assert client.trusted()["root"] == 2
    # The next one carries the previous one's signature: well-formed, and of something else.
    repository.publish("root")
    forged = Metadata[Root].from_bytes(repository.files["3.root.json"])
    before = Metadata[Root].from_bytes(repository.files["2.root.json"])
    keyid = signer.public_key.keyid
    forged.signatures[keyid] = before.signatures[keyid]
    repository.files["3.root.json"] = forged.to_bytes()
    assert client.refresh() == 1
    assert client.trusted()["root"] == 2


@pytest.mark.parametrize("other", ["of another version", ""])
def test_a_bad_signature_beside_enough_good_ones_does_no_harm(
    client: TufClient, served: ServedRepository, other: str
) -> None:
    repository = served.repository
    first = repository.signers["timestamp"][0].public_key.keyid
    old = json.loads(repository.files["timestamp.json"])["signatures"][0]["sig"]
    repository.add_key("timestamp")
    repository.publish("root", "timestamp")
    mixed = json.loads(repository.files["timestamp.json"])
    for signature in mixed["signatures"]:
        if signature["keyid"] == first:
            signature["sig"] = old if other else ""
    repository.files["timestamp.json"] = json.dumps(mixed).encode()
    assert client.refresh() == 0
    assert client.trusted()["timestamp"] == 2
