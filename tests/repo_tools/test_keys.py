"""Keys: every kind signs a repository that python-tuf's client believes; none is ever at risk."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from repo_tools.keys.keyfile import load_public_key
from tests.repo_tools.owner import PROGRAM, ROLES, Owner, Words

if TYPE_CHECKING:
    from repo_tools.environment import Environment

SOFTHSM = next(
    path
    for path in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
    if Path(path).exists()
)


@pytest.mark.parametrize(
    "kind, scheme",
    [("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "rsassa-pss-sha256")],
)
def test_every_kind_signs_what_a_client_believes(newcomer: Owner, kind: str, scheme: str) -> None:
    newcomer.make_keys("root", "snapshot", "timestamp")
    made = newcomer.do(
        "key", "generate", "--no-passphrase", "--type", kind, newcomer.keys / "targets"
    )
    assert made["keys"][0]["scheme"] == scheme
    newcomer.make_root()
    newcomer.do("repo", "init", *newcomer.repository())
    newcomer.publish("1.1.0", start="1.0.0")
    assert newcomer.client().updates() == ["1.1.0"]


def test_the_private_half_is_a_plain_pem_file_for_its_owner_alone(newcomer: Owner) -> None:
    newcomer.make_keys("alice")
    pem = newcomer.keys / "alice.pem"
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600
    told = subprocess.run(
        ["openssl", "pkey", "-in", pem, "-noout", "-text"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert told.startswith("ED25519 Private-Key")


def test_a_keyid_is_the_digest_of_the_canonical_key(newcomer: Owner) -> None:
    """As the TUF specification has it, section 4.2: tough refuses a root with any other."""
    newcomer.make_keys("alice")
    key = json.loads((newcomer.keys / "alice.pub").read_bytes())
    canonical = json.dumps(
        {"keytype": "ed25519", "keyval": {"public": key["keyval"]["public"]}, "scheme": "ed25519"},
        separators=(",", ":"),
    )
    assert key["keyid"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert key["uri"] == "file:alice.pem"


def test_keys_are_never_overwritten(newcomer: Owner) -> None:
    newcomer.make_keys("alice")
    before = (newcomer.keys / "alice.pem").read_bytes()
    said = newcomer.refused("key", "generate", "--no-passphrase", newcomer.keys / "alice")
    assert said.endswith("it exists, and keys are never overwritten")
    assert (newcomer.keys / "alice.pem").read_bytes() == before


class TestEncryptedKeys:
    """A passphrase is asked for late, only for keys that are used, and never shown."""

    def encrypted(self, newcomer: Owner, given: list[tuple[str, str]], answer: str) -> Environment:
        def secrets(key: str, kind: str) -> str:
            given.append((key, kind))
            return answer

        return newcomer.environment(secrets=secrets)

    def test_a_repository_of_them(self, newcomer: Owner) -> None:
        asked: list[tuple[str, str]] = []
        env = self.encrypted(newcomer, asked, "correct horse")
        names = [str(newcomer.keys / name) for name in (*ROLES, "unused")]
        assert newcomer.run("key", "generate", *names, env=env).exit_code == 0
        text = (newcomer.keys / "root.pem").read_text()
        assert text.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        asked.clear()
        newcomer.draw_up_root()
        assert asked == []  # drawing up a root touches no private key
        signing: Words = ["root", "sign", "--yes", "--key", newcomer.key("root"), newcomer.root]
        assert newcomer.run(*signing, env=env).exit_code == 0
        result = newcomer.run("repo", "init", *newcomer.repository(), env=env)
        assert result.exit_code == 0, result.output
        assert asked == [(role, "passphrase") for role in ROLES]
        assert "correct horse" not in result.output
        assert newcomer.client().updates() == []

    def test_a_wrong_passphrase(self, newcomer: Owner, tmp_path: Path) -> None:
        secret = tmp_path / "passphrase"
        secret.write_text("correct horse\n")
        newcomer.do(
            "key", "generate", "--passphrase-file", secret, *(newcomer.keys / r for r in ROLES)
        )
        newcomer.draw_up_root()
        env = self.encrypted(newcomer, [], "wrong horse")
        result = newcomer.run(
            "root", "sign", "--yes", "--key", newcomer.key("root"), newcomer.root, env=env
        )
        assert result.exit_code == 1
        assert "cannot sign with key root: the passphrase does not open it" in result.stderr
        assert json.loads(newcomer.root.read_bytes())["signatures"] == []

    def test_an_empty_passphrase_is_none(self, newcomer: Owner, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.touch()
        env = self.encrypted(newcomer, [], "")
        words: Words = ["key", "generate", newcomer.keys / "root"]
        for result in (
            newcomer.run(*words, "--passphrase-file", empty),
            newcomer.run(*words, env=env),
        ):
            assert result.exit_code == 1
            assert "cannot sign with key root: its passphrase is empty" in result.stderr
        assert not newcomer.keys.exists()

    def test_on_a_terminal_a_new_passphrase_is_typed_twice(self, newcomer: Owner) -> None:
        """A slip would make a key that nobody can use; what is typed does not appear."""
        ours, theirs = pty.openpty()
        environ = {name: text for name, text in os.environ.items() if "REPO_TOOLS" not in name}
        with subprocess.Popen(
            [PROGRAM, "key", "generate", newcomer.keys / "root"],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            seen = b""
            for typed in (b"correct horse", b"correct hose", b"correct horse", b"correct horse"):
                asked = seen.count(b": ")
                while seen.count(b": ") == asked or not seen.endswith(b": "):
                    seen += os.read(ours, 1024)
                os.write(ours, typed + b"\n")
            with suppress(OSError):  # how a terminal says that the other side has gone
                while data := os.read(ours, 1024):
                    seen += data
        os.close(ours)
        assert process.returncode == 0
        assert b"correct" not in seen
        assert b"do not match" in seen
        pem = (newcomer.keys / "root.pem").read_bytes()
        private = load_pem_private_key(pem, b"correct horse")
        assert isinstance(private, Ed25519PrivateKey)

    def test_without_a_terminal_the_variable_is_named(self, newcomer: Owner) -> None:
        done = subprocess.run(
            [PROGRAM, "key", "generate", newcomer.keys / "a-b"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "REPO_TOOLS_PASSPHRASE_A_B" in done.stderr
        assert not (newcomer.keys / "a-b.pem").exists()


@pytest.mark.parametrize(
    "change, says",
    [
        ({"keyid": "0" * 64}, "its keyid is 0000000000000000"),
        ({"keyid": None}, "it lacks 'keyid'"),
        ({"scheme": "rot13"}, "Unsupported public key ed25519/rot13"),
        ({"uri": 7}, "its uri is not a string"),
        ({"keyval": {"public": "zz"}}, "cannot use key file"),
    ],
    ids=["another's keyid", "no keyid", "unknown scheme", "odd uri", "no key at all"],
)
def test_a_damaged_public_key_is_refused(
    newcomer: Owner, change: dict[str, object], says: str
) -> None:
    newcomer.make_keys("alice")
    path = newcomer.keys / "alice.pub"
    key = {**json.loads(path.read_bytes()), **change}
    path.write_text(json.dumps({name: value for name, value in key.items() if value is not None}))
    assert says in newcomer.refused("key", "show", path)


def test_a_private_half_of_another_key_is_refused(owner: Owner) -> None:
    owner.make_keys("mallory")
    (owner.keys / "mallory.pem").rename(owner.keys / "targets.pem")
    said = owner.refused(*owner.publishing("1.1.0", start="1.0.0"))
    assert said.startswith("cannot sign with key targets")
    assert "does not match" in said


def test_a_key_out_of_reach_is_passed_over_if_others_make_up_for_it(newcomer: Owner) -> None:
    newcomer.make_keys(*ROLES, "targets2", "targets3")
    more = [
        word for name in ("targets2", "targets3") for word in ("--targets-key", newcomer.key(name))
    ]
    newcomer.draw_up_root("--targets-threshold", "2", *more)
    newcomer.do("root", "sign", "--yes", "--key", newcomer.key("root"), newcomer.root)
    (newcomer.keys / "targets.pem").unlink()
    newcomer.do("repo", "init", *newcomer.repository())
    signatures = json.loads((newcomer.metadata / "1.targets.json").read_bytes())["signatures"]
    assert len(signatures) == 2
    assert newcomer.client().updates() == []
    (newcomer.keys / "targets2.pem").unlink()
    said = newcomer.refused(*newcomer.publishing("1.1.0", start="1.0.0"))
    assert said.startswith("cannot sign with key targets")


class TestToken:
    """A real PKCS#11 token, SoftHSM's."""

    @pytest.fixture
    def token(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """An empty token; gives the PIN."""
        (tmp_path / "tokens").mkdir()
        conf = tmp_path / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
        monkeypatch.setenv("PYKCS11LIB", SOFTHSM)
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", "owners", "--pin", "1234",
             "--so-pin", "5678"],
            check=True, capture_output=True,
        )  # fmt: skip
        return "1234"

    def test_a_root_key_that_never_leaves_it(self, newcomer: Owner, token: str) -> None:
        # In a process of its own: PKCS#11 modules are loaded once and keep their configuration.
        environ = {**os.environ, "REPO_TOOLS_PIN": token}

        def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [PROGRAM, *words], env=environ, capture_output=True, text=True, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

        newcomer.keys.mkdir(parents=True)
        made = run("key", "generate", newcomer.keys / "root", "--token", "hsm:2?label=owners")
        assert made.returncode == 0, made.stderr
        again = run("key", "generate", newcomer.keys / "root", "--token", "hsm:2?label=owners")
        assert again.returncode == 1
        assert "there is a key already, and none is overwritten" in again.stderr
        (newcomer.keys / "root.pub").unlink()
        done = run("key", "import", newcomer.keys / "root", "hsm:2?label=owners")
        assert done.returncode == 0, done.stderr
        assert json.loads((newcomer.keys / "root.pub").read_bytes())["uri"] == "hsm:2?label=owners"
        newcomer.make_keys(*ROLES[1:])
        newcomer.draw_up_root()
        sign: Words = ["root", "sign", "--yes", "--key", newcomer.key("root"), newcomer.root]
        environ["REPO_TOOLS_PIN"] = "0000"
        wrong = run(*sign)
        assert wrong.returncode == 1
        assert "Traceback" not in wrong.stderr
        last = wrong.stderr.splitlines()[-1]
        assert last.startswith("repo-tools: cannot sign root with key")
        assert last.endswith(": PinIncorrect")
        environ["REPO_TOOLS_PIN"] = token
        assert run(*sign).returncode == 0
        newcomer.do("repo", "init", *newcomer.repository())
        newcomer.publish("1.1.0", start="1.0.0")
        assert newcomer.client().updates() == ["1.1.0"]

    def test_keys_of_roles_that_never_leave_it(self, today: Owner, token: str) -> None:
        """Targets and timestamp move into the token; publishing and renewing are done by it."""
        environ = {**os.environ, "REPO_TOOLS_PIN": token}
        owner = today
        hsm = owner.base / "hsm"
        following = owner.base / "2.root.json"

        def run(*words: str | Path) -> None:
            subprocess.run([PROGRAM, *words], env=environ, check=True, stdin=subprocess.DEVNULL)

        change: Words = ["root", "change", owner.root, following]
        for number, role in enumerate(("targets", "timestamp"), 3):
            run("key", "generate", hsm / role, "--token", f"hsm:{number}?label=owners")
            change += [f"--{role}-key", hsm / f"{role}.pub", f"--remove={role}={owner.key(role)}"]
        owner.do(*change)
        sign: Words = ["root", "sign", "--yes", "--key", owner.key("root"), "--previous"]
        owner.do(*sign, owner.root, following)
        run("root", "publish", *owner.repository(), "--key", hsm, following)
        for role in ("targets", "timestamp"):
            (owner.keys / f"{role}.pem").unlink()
        run(*owner.publishing("1.1.0", "--key", hsm, start="1.0.0"))
        run("repo", "refresh", *owner.repository(), "--key", hsm, "--within", "30 days")
        client = owner.client()
        assert client.updates() == ["1.1.0"]
        assert client.versions() == {"root": 2, "targets": 3, "snapshot": 4, "timestamp": 4}
        for role, name in (("targets", "3.targets.json"), ("timestamp", "timestamp.json")):
            (signature,) = json.loads((owner.metadata / name).read_bytes())["signatures"]
            assert signature["keyid"] == load_public_key(hsm / f"{role}.pub").keyid

    def test_a_token_that_is_not_there(self, newcomer: Owner, token: str) -> None:
        del token
        newcomer.keys.mkdir(parents=True)
        done = subprocess.run(
            [PROGRAM, "key", "import",
             newcomer.keys / "root", "hsm:2?label=others"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith("repo-tools: cannot sign with key root: No PKCS#11 token")
        assert "hint: PYKCS11LIB must name" in done.stderr


def test_an_address_of_no_kind_of_key(newcomer: Owner) -> None:
    said = newcomer.refused("key", "import", newcomer.keys / "x", "ftp:somewhere")
    assert "there are no keys at ftp: addresses" in said
