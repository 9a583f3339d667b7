"""Public key files: parsing, writing, and finding them.

A file `alice.pub`:

    {"keyid": "…", "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "…"},
     "uri": "file:alice.pem"}

`uri` says where the private half is; a relative `file:` path starts at the directory of the `.pub`
file, so a directory of keys can be moved or mounted as one. A file without `uri` names somebody
else's key. `keyid` is the SHA-256 of the key's canonical JSON, as every TUF implementation computes
it: a file in which it is anything else is refused, because some clients would refuse the root.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securesystemslib.signer import Key, SSlibKey

from partition.durable import write_file
from partition.kernel import KERNEL, Kernel
from repo_tools.errors import InputInvalid, KeyFileInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PUBLIC_SUFFIX = ".pub"
PRIVATE_SUFFIX = ".pem"
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key's public half and the way to its private half."""

    name: str
    key: SSlibKey
    uri: str | None = None

    @property
    def keyid(self) -> str:
        """The identifier under which metadata knows the key."""
        return self.key.keyid

    @property
    def label(self) -> str:
        """What a person is shown: the file's name and the start of the key's identifier."""
        return f"{self.name} ({self.keyid[:8]})"

    def to_json(self) -> dict[str, Any]:
        """The contents of a public key file."""
        uri = {} if self.uri is None else {"uri": self.uri}
        return {"keyid": self.keyid, **self.key.to_dict(), **uri}


def parse_public_key(data: bytes, path: Path) -> PublicKey:
    """Read a public key file's contents.

    Raises:
        KeyFileInvalid: Not JSON, not a key, of a kind that TUF does not know, or with a keyid that
            is not its own.
    """
    try:
        fields = json.loads(data)
        if not isinstance(fields, dict):
            raise KeyFileInvalid(str(path), "it holds no JSON object")
        keyid = fields.pop("keyid")
        uri = fields.pop("uri", None)
        key = Key.from_dict(keyid, fields)
        if not isinstance(key, SSlibKey):
            raise KeyFileInvalid(str(path), f"keys of type {key.keytype} are not supported")
        own = SSlibKey.from_crypto(key._crypto_key(), scheme=key.scheme)  # noqa: SLF001
    except KeyError as exc:
        raise KeyFileInvalid(str(path), f"it lacks {exc}") from exc
    except (ValueError, TypeError) as exc:
        raise KeyFileInvalid(str(path), f"{exc}") from exc
    if own.keyid != keyid:
        reason = f"its keyid is {keyid[:16]}…, but this key's is {own.keyid[:16]}…"
        raise KeyFileInvalid(str(path), reason)
    if uri is not None and not isinstance(uri, str):
        raise KeyFileInvalid(str(path), "its uri is not a string")
    return PublicKey(path.stem, key, _absolute(uri, path.parent))


def load_public_key(path: Path) -> PublicKey:
    """Read a public key file; a path to the private half finds the `.pub` file beside it."""
    if path.suffix == PRIVATE_SUFFIX:
        path = path.with_suffix(PUBLIC_SUFFIX)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as exc:
        raise InputInvalid(f"public key {path}", exc.strerror or str(exc)) from exc
    return parse_public_key(data, path)


def load_key_ring(paths: Iterable[Path]) -> Mapping[str, PublicKey]:
    """Read public keys from files and from directories of them.

    Returns:
        The keys by keyid.
    """
    ring: dict[str, PublicKey] = {}
    for path in paths:
        files = sorted(path.glob(f"*{PUBLIC_SUFFIX}")) if path.is_dir() else [path]
        if not files:
            raise InputInvalid(f"key directory {path}", f"it holds no {PUBLIC_SUFFIX} file")
        for file in files:
            key = load_public_key(file)
            ring[key.keyid] = key
    return ring


def write_public_key(key: PublicKey, path: Path, *, kernel: Kernel = KERNEL) -> None:
    """Store a public key file; a private half in the same directory is named relatively."""
    fields = key.to_json()
    if key.uri is not None:
        fields["uri"] = _relative(key.uri, path.parent)
    data = json.dumps(fields, indent=2).encode() + b"\n"
    write_file(path, data, mode=0o644, kernel=kernel)


def _absolute(uri: str | None, directory: Path) -> str | None:
    if uri is None or not uri.startswith("file:"):
        return uri
    return f"file:{directory / uri.removeprefix('file:')}"


def _relative(uri: str, directory: Path) -> str:
    if not uri.startswith("file:"):
        return uri
    path = Path(uri.removeprefix("file:"))
    return f"file:{path.name}" if path.parent == directory else f"file:{path.absolute()}"
