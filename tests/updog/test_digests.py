"""Digests that stop and go on. The witness is `hashlib`, and the tool `sha256sum`."""

from __future__ import annotations

import hashlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updog import digests
from updog.digests import KNOWN, DigestState, known_digests, open_digest


@pytest.fixture(params=KNOWN)
def algorithm(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_a_digest_is_what_the_tool_prints(algorithm: str) -> None:
    message = b"A/B " * 100_001
    digest = open_digest(algorithm)
    digest.update(memoryview(message))
    printed = subprocess.run(
        [f"{algorithm}sum"], input=message, check=True, capture_output=True, text=False
    ).stdout
    assert digest.hexdigest() == printed.split()[0].decode()


@given(st.lists(st.binary(max_size=400), max_size=8), st.sampled_from(KNOWN))
def test_a_digest_goes_on_after_any_interruption(parts: list[bytes], algorithm: str) -> None:
    expected = hashlib.new(algorithm)
    digest = open_digest(algorithm)
    for part in parts:
        expected.update(part)
        digest.update(memoryview(bytearray(part)))
        state = digest.state()
        assert state is not None
        digest = open_digest(algorithm, state)
    assert digest.hexdigest() == expected.hexdigest()
    assert digest.hexdigest() == expected.hexdigest()  # asking changes nothing


@pytest.mark.parametrize("length_bytes", [1 << 29, (1 << 29) + 5, 1 << 40])
def test_lengths_beyond_one_word_of_bits(algorithm: str, length_bytes: int) -> None:
    """2**29 bytes are 2**32 bits: the count spills into its second half."""
    block = 64 if algorithm == "sha256" else 128
    start = open_digest(algorithm).state()
    assert start is not None
    pending = bytes(length_bytes % block)
    state = DigestState(start.words, length_bytes, pending)
    assert open_digest(algorithm, state).state() == state


@pytest.mark.parametrize(
    "state",
    [
        DigestState((0,) * 7, 0, b""),
        DigestState((0,) * 8, -1, b""),
        DigestState((0,) * 8, 64, b"x"),
        DigestState((0,) * 8, 65, b""),
        DigestState((1 << 64,) + (0,) * 7, 0, b""),
        DigestState((0,) * 8, 1 << 140, b""),
    ],
)
def test_a_state_that_cannot_be_one_is_refused(algorithm: str, state: DigestState) -> None:
    with pytest.raises(ValueError, match="not the state of a"):
        open_digest(algorithm, state)


def test_without_the_library_digests_work_but_cannot_be_kept(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_libcrypto", lambda _: None)
    digest = open_digest(algorithm)
    digest.update(memoryview(b"abc"))
    assert digest.hexdigest() == hashlib.new(algorithm, b"abc").hexdigest()
    assert digest.state() is None
    with pytest.raises(ValueError, match="no library"):
        open_digest(algorithm, DigestState((0,) * 8, 0, b""))


def test_all_digests_that_are_known_and_listed_count() -> None:
    listed = {"sha256": "AB", "sha512": "cd", "blake2b-256": "ef"}
    assert known_digests(listed) == {"sha256": "ab", "sha512": "cd"}
    assert known_digests({"md5": "ab"}) == {}
