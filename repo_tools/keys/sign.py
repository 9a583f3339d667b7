"""Adding one signature to metadata, and making sure that it is one.

A token or key service that signs with another key, or another digest, is found out here, with the
key's name, and not by the first host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.exceptions import UnsignedMetadataError

from repo_tools.errors import SigningFailed

if TYPE_CHECKING:
    from securesystemslib.signer import Signer
    from tuf.api.metadata import Metadata


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Sign, beside the signatures that are there.

    Raises:
        SigningFailed: The signer did not sign, or what it gave does not hold.
    """
    key, role = signer.public_key, metadata.signed.type
    try:
        signature = metadata.sign(signer, append=True)
        key.verify_signature(signature, metadata.signed_bytes)
    except UnsignedMetadataError as exc:
        cause = exc.__cause__ or exc
        # PKCS#11 errors have names only: PinIncorrect.
        raise SigningFailed(key.keyid[:8], role, str(cause) or type(cause).__name__) from exc
    except UnverifiedSignatureError as exc:
        del metadata.signatures[key.keyid]
        raise SigningFailed(key.keyid[:8], role, "the signature it gave does not hold") from exc
