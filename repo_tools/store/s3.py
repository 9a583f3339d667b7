"""A repository in S3-compatible object storage, served from there or through a cache in front.

An object appears whole or not at all, which is what publishing needs. Two publishers are kept apart
by conditions on the writes (`If-None-Match: *` for files that never change, `If-Match` for the
timestamp): the second one is refused and nothing of the first is lost. Some storage takes such a
write and ignores its condition; that is found out before the first one, and refused.

Cache headers: files that never change may be kept for ever; `timestamp.json` must be asked for each
time.

Credentials, region and endpoint come from where boto3 looks for them: the environment
(`AWS_ENDPOINT_URL` for other storage than Amazon's), its configuration files, the machine's role.

"Not there" is only what the storage calls so. Without permission to list, S3 answers 403 where an
object may or may not exist: that is an error.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from partition.kernel import KERNEL
from repo_tools.errors import AlreadyThere, PublishedMeanwhile, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repo_tools.store.base import Contents

FOR_EVER: Final = "public, max-age=31536000, immutable"
NEVER: Final = "no-cache"

_ABSENT: Final = {"404", "NoSuchKey", "NotFound"}
_CONDITION_FAILED: Final = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_DIGEST_FIELD: Final = "sha256"
_SINGLE_PUT_BYTES: Final = 64 << 20
_PROBE: Final = ".conditions"


def connect_s3() -> Any:  # noqa: ANN401  boto3 publishes no types
    """A client with the surroundings' credentials, region and endpoint."""
    return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))


class S3Store:
    """Objects below a prefix of a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:  # noqa: ANN401  as above
        self.kernel = KERNEL
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._knows_conditions = False

    @property
    def where(self) -> str:
        """The location as messages show it."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """See `ReadableStore.read`."""
        with self._errors("read", name):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            except ClientError as exc:
                if _code(exc) in _ABSENT:
                    return None
                raise
            data: bytes = found["Body"].read(max_bytes + 1)
        if len(data) > max_bytes:
            raise StoreFailed("read", self._shown(name), f"it is longer than {max_bytes} bytes")
        return data

    def stream(self, name: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes] | None:
        """See `ReadableStore.stream`."""
        with self._errors("read", name):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            except ClientError as exc:
                if _code(exc) in _ABSENT:
                    return None
                raise

        def chunks() -> Iterator[bytes]:
            with self._errors("read", name):
                yield from found["Body"].iter_chunks(chunk_bytes)

        return chunks()

    def size(self, name: str) -> int | None:
        """See `ReadableStore.size`."""
        head = self._head(name)
        return None if head is None else int(head["ContentLength"])

    def names(self, directory: str) -> list[str]:
        """See `ReadableStore.names`."""
        prefix = self._key(f"{directory}/" if directory else "")
        with self._errors("list", directory):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/"
            )
            return sorted(
                item["Key"].removeprefix(prefix)
                for page in pages
                for item in page.get("Contents", ())
            )

    def write_new(self, name: str, contents: Contents) -> bool:
        """See `Store.write_new`."""
        digest = _digest(contents)
        head = self._head(name)
        if head is not None:
            if self._has_digest(name, head, digest):
                return False
            raise AlreadyThere(self._shown(name))
        self._require_conditions()
        with self._errors("write", name):
            try:
                self._put(name, contents, digest)
            except ClientError as exc:
                if _code(exc) in _CONDITION_FAILED:
                    raise PublishedMeanwhile(self.where) from exc
                raise
        return True

    def write_current(self, name: str, data: bytes, *, replacing: bytes | None) -> None:
        """See `Store.write_current`."""
        self._require_conditions()
        with self._errors("write", name):
            condition = self._condition(name, replacing)
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key(name),
                    Body=data,
                    CacheControl=NEVER,
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as exc:
                if _code(exc) in _CONDITION_FAILED:
                    raise PublishedMeanwhile(self.where) from exc
                raise

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Store.staging`."""
        with tempfile.TemporaryDirectory(prefix="repo-tools-") as path:
            yield Path(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Store.lock`; here the conditions on the writes do it."""
        yield

    def _require_conditions(self) -> None:
        """Before the first write, make sure that the conditions on writes count.

        Raises:
            StoreFailed: The storage ignores them.
        """
        if not self._knows_conditions and self._makes_probe() and self._makes_probe():
            raise StoreFailed(
                "publish to",
                self.where,
                "the storage ignores conditions on writes (If-None-Match), so one publisher would"
                " overwrite what another has published",
            )
        self._knows_conditions = True

    def _makes_probe(self) -> bool:
        """Write an object that must not exist yet; whether the storage took it."""
        with self._errors("write", _PROBE):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key(_PROBE),
                    Body=b"",
                    CacheControl=NEVER,
                    IfNoneMatch="*",
                )
            except ClientError as exc:
                if _code(exc) in _CONDITION_FAILED:
                    return False
                raise
        return True

    def _put(self, name: str, contents: Contents, digest: bytes) -> None:
        """Write an object that must not exist, with its digest on record."""
        fixed = {
            "CacheControl": FOR_EVER,
            "ContentType": _content_type(name),
            "Metadata": {_DIGEST_FIELD: digest.hex()},
        }
        if isinstance(contents, bytes) or contents.stat().st_size <= _SINGLE_PUT_BYTES:
            body = contents if isinstance(contents, bytes) else contents.read_bytes()
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(name),
                Body=body,
                IfNoneMatch="*",
                ChecksumSHA256=base64.b64encode(digest).decode(),
                **fixed,
            )
            return
        # In parts. Its name holds its digest, so whoever else writes it writes the same.
        self._client.upload_file(
            str(contents),
            self._bucket,
            self._key(name),
            ExtraArgs=fixed,
            Config=TransferConfig(multipart_threshold=_SINGLE_PUT_BYTES),
        )

    def _condition(self, name: str, replacing: bytes | None) -> dict[str, str]:
        """The condition under which the timestamp may be replaced.

        Raises:
            PublishedMeanwhile: It is not what the caller read.
        """
        if replacing is None:
            return {"IfNoneMatch": "*"}
        found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
        if found["Body"].read() != replacing:
            raise PublishedMeanwhile(self.where)
        return {"IfMatch": found["ETag"]}

    def _head(self, name: str) -> dict[str, Any] | None:
        with self._errors("read", name):
            try:
                head: dict[str, Any] = self._client.head_object(
                    Bucket=self._bucket, Key=self._key(name)
                )
            except ClientError as exc:
                if _code(exc) in _ABSENT:
                    return None
                raise
            return head

    def _has_digest(self, name: str, head: dict[str, Any], digest: bytes) -> bool:
        """Whether an object is what it should be: as recorded with it, else by reading it."""
        recorded = head["Metadata"].get(_DIGEST_FIELD)
        if recorded is not None:
            return bool(recorded == digest.hex())
        found = hashlib.sha256()
        for chunk in self.stream(name) or ():
            found.update(chunk)
        return found.digest() == digest

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _shown(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._key(name)}"

    @contextmanager
    def _errors(self, doing: str, name: str) -> Iterator[None]:
        """Turn the library's errors into ours."""
        try:
            yield
        except ClientError as exc:
            message = exc.response.get("Error", {}).get("Message") or _code(exc)
            hint = None
            if _code(exc) in {"403", "AccessDenied", "Forbidden"}:
                hint = "an object that is not there looks the same without s3:ListBucket"
            raise StoreFailed(doing, self._shown(name), message, hint=hint) from exc
        except BotoCoreError as exc:
            raise StoreFailed(doing, self._shown(name), str(exc)) from exc


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def _digest(contents: Contents) -> bytes:
    if isinstance(contents, bytes):
        return hashlib.sha256(contents).digest()
    with contents.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _content_type(name: str) -> str:
    return "application/json" if name.endswith(".json") else "application/octet-stream"
