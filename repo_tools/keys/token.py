"""Making a key inside a PKCS#11 token, which it never leaves.

The address is securesystemslib's, `hsm:[ID][?label=TOKEN]`; its signer uses the key from then on.
Tokens make ECDSA P-256 keys here: the one kind that the signer and every token know.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

import pkcs11
from pkcs11.exceptions import PKCS11Error
from pkcs11.util import biginteger
from pkcs11.util.ec import encode_named_curve_parameters

from repo_tools.errors import KeyUnavailable

if TYPE_CHECKING:
    from repo_tools.keys.signers import Secrets

_MODULE: Final = "PYKCS11LIB"
_DEFAULT_ID: Final = 2


def generate_token_key(name: str, uri: str, secrets: Secrets) -> None:
    """Make a key pair in a token.

    Args:
        name: What the key is called, in messages and in the token.
        uri: Which token, and under which identifier.
        secrets: Asked for the PIN.

    Raises:
        KeyUnavailable: No such token, or there is a key of that identifier.
    """
    parts = urlsplit(uri)
    module = os.environ.get(_MODULE)
    if parts.scheme != "hsm" or not module:
        raise KeyUnavailable(name, f"{uri} with {_MODULE}={module or ''} names no token")
    label = dict(parse_qsl(parts.query)).get("label")
    identifier = biginteger(int(parts.path) if parts.path else _DEFAULT_ID)
    try:
        token = pkcs11.lib(module).get_token(token_label=label)
        with token.open(user_pin=secrets(name, "pin"), rw=True) as session:
            if list(session.get_objects({pkcs11.Attribute.ID: identifier})):
                raise KeyUnavailable(
                    name, f"{uri}: there is a key already, and none is overwritten"
                )
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
                local=True,
            )
            parameters.generate_keypair(
                id=identifier,
                label=name,
                store=True,
                private_template={
                    pkcs11.Attribute.SENSITIVE: True,
                    pkcs11.Attribute.EXTRACTABLE: False,
                },
            )
    except (PKCS11Error, ValueError, RuntimeError) as exc:
        reason = str(exc) or type(exc).__name__
        raise KeyUnavailable(name, f"{uri}: {reason}") from exc
