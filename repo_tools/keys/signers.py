"""Private halves: making them, and opening one to sign with.

All signing goes through securesystemslib's signers; this module adds the one thing they lack,
encrypted PEM files, and turns what they and `cryptography` raise into our errors.

Secrets (a passphrase, a PIN) are asked for through a callable, late: only for the keys that are
used, and never kept.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.exceptions import Error as SecuresystemslibError
from securesystemslib.signer import (
    AWSSigner,
    AzureSigner,
    CryptoSigner,
    GCPSigner,
    HSMSigner,
    Key,
    Signer,
    SSlibKey,
    VaultSigner,
)

from partition.durable import write_file
from partition.kernel import KERNEL, Kernel
from repo_tools.errors import KeyFileInvalid, KeyUnavailable, WrongPassphrase
from repo_tools.keys.keyfile import PRIVATE_SUFFIX, PUBLIC_SUFFIX, PublicKey, write_public_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Secrets: TypeAlias = Callable[[str, str], str]
"""Asked with a key's name and the kind of secret ("passphrase", "pin"); gives the secret."""

_EXTRA_FOR_SCHEME = {
    "hsm": "pkcs11",
    "awskms": "awskms",
    "gcpkms": "gcpkms",
    "azurekms": "azurekms",
    "hv": "vault",
}


class KeyType(Enum):
    """The kinds of key that `key generate` makes."""

    ED25519 = "ed25519"
    ECDSA = "ecdsa"
    RSA = "rsa"


_SCHEMES = {
    KeyType.ED25519: "ed25519",
    KeyType.ECDSA: "ecdsa-sha2-nistp256",
    KeyType.RSA: "rsassa-pss-sha256",
}
_RSA_BITS = 3072


def generate_key(
    base: Path, key_type: KeyType, passphrase: str | None, *, kernel: Kernel = KERNEL
) -> PublicKey:
    """Make a key pair: `BASE.pem`, readable by its owner alone, and `BASE.pub`.

    Args:
        base: Path of both files, without their suffix.
        key_type: Kind of key.
        passphrase: Encrypts the private half; `None` leaves it in the clear.
        kernel: The way to the disk.

    Raises:
        KeyFileInvalid: One of the files exists. Keys are never overwritten.
    """
    pem, pub = (base.with_name(base.name + suffix) for suffix in (PRIVATE_SUFFIX, PUBLIC_SUFFIX))
    for path in (pem, pub):
        if path.exists():
            raise KeyFileInvalid(str(path), "it exists, and keys are never overwritten")
    private = _new_private_key(key_type)
    encryption = (
        NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    )
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    key = SSlibKey.from_crypto(private.public_key(), scheme=_SCHEMES[key_type])
    public = PublicKey(base.name, key, f"file:{pem}")
    base.parent.mkdir(parents=True, exist_ok=True)
    write_file(pem, data, mode=0o600, kernel=kernel)
    write_public_key(public, pub, kernel=kernel)
    return public


def import_key(name: str, uri: str, secrets: Secrets) -> PublicKey:
    """Fetch the public half of a key that lives in a token or a key service.

    Args:
        name: What to call the key.
        uri: As securesystemslib's signers write it; see `repo-tools key import --help`.
        secrets: Asked for the PIN if a token hides even public keys.

    Raises:
        KeyUnavailable: It cannot be reached, or is of a kind that TUF does not know.
    """
    parts = urlsplit(uri)
    try:
        match parts.scheme:
            case "hsm":
                label = dict(parse_qsl(parts.query)).get("label")
                keyid = int(parts.path) if parts.path else None
                found = HSMSigner.import_(keyid, label, lambda kind: secrets(name, kind))
            case "awskms":
                found = AWSSigner.import_(parts.path)
            case "gcpkms":
                found = GCPSigner.import_(parts.path)
            case "azurekms":
                vault, _, key_name = parts.path.strip("/").partition("/")
                found = AzureSigner.import_(vault, key_name)
            case "hv":
                found = VaultSigner.import_(parts.path.partition("/")[0])
            case scheme:
                raise ValueError(f"there are no keys at {scheme}: addresses")  # noqa: TRY301
    except Exception as exc:  # each service's client raises its own
        raise KeyUnavailable(name, f"{exc}", hint=_hint_for(uri)) from exc
    stored_uri, key = found
    return PublicKey(name, _plain(key), stored_uri)


def open_signer(public: PublicKey, secrets: Secrets) -> Signer:
    """Reach a key's private half.

    Raises:
        KeyUnavailable: No URI, no such file or token, a library is missing, or the private half is
            not this key's.
        WrongPassphrase: The file is encrypted, and not with this passphrase.
    """
    if public.uri is None:
        raise KeyUnavailable(public.label, "its file does not say where the private half is")
    try:
        if public.uri.startswith("file:"):
            path = Path(public.uri.removeprefix("file:"))
            return CryptoSigner(_load_pem(public.name, path, secrets), public.key)
        return Signer.from_priv_key_uri(
            public.uri, public.key, lambda kind: secrets(public.name, kind)
        )
    except (OSError, ValueError, SecuresystemslibError) as exc:
        raise KeyUnavailable(public.label, f"{exc}", hint=_hint_for(public.uri)) from exc


def _plain(key: Key) -> SSlibKey:
    if not isinstance(key, SSlibKey):
        raise KeyUnavailable(key.keyid[:8], f"keys of type {key.keytype} are not supported")
    return key


def _load_pem(name: str, path: Path, secrets: Secrets) -> PrivateKeyTypes:
    """Load a private key file, asking for a passphrase only if it is encrypted."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise KeyUnavailable(name, f"{path}: {exc.strerror}") from exc
    try:
        return load_pem_private_key(data, None)
    except TypeError:  # the library's way to say that a passphrase is needed
        pass
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise KeyFileInvalid(str(path), "it holds no private key in PEM") from exc
    passphrase = secrets(name, "passphrase")
    try:
        return load_pem_private_key(data, passphrase.encode())
    except ValueError as exc:
        raise WrongPassphrase(name) from exc


def _new_private_key(
    key_type: KeyType,
) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    match key_type:
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case KeyType.ECDSA:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.RSA:
            return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def _hint_for(uri: str) -> str | None:
    scheme = uri.partition(":")[0]
    if scheme == "hsm":
        return (
            "PYKCS11LIB must name the token's PKCS#11 module, and the extra"
            " `updog[pkcs11]` must be installed"
        )
    extra = _EXTRA_FOR_SCHEME.get(scheme)
    return None if extra is None else f"keys of this kind need the extra `updog[{extra}]`"
