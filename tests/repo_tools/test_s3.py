"""Object storage, against a local server that speaks S3 (moto)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests

from repo_tools.errors import AlreadyThere, PublishedMeanwhile, StoreFailed
from repo_tools.store import s3
from repo_tools.store.s3 import S3Store, connect_s3
from tests.repo_tools.owner import PREFIX, Client, Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVER = """
import socket, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
# moto does not implement the message type DIGEST, which securesystemslib uses.
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives import hashes
import moto.kms.utils
def sign_digest(self, message, signing_algorithm):
    return self.private_key.sign(message, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
moto.kms.utils.ECDSAPrivateKey.sign = sign_digest
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass
class Cloud:
    """A server of the test's own."""

    url: str
    client: Any
    bucket: str = "updates"

    def objects(self) -> dict[str, bytes]:
        """What hosts could ask for; names that begin with a dot are the tool's own."""
        return {key: self.read(key) for key in self.keys() if "/." not in key}

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [item["Key"] for item in listed]

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    def download(self, place: Path) -> Path:
        """All objects as files, as a host would find them behind a web address."""
        for key, data in self.objects().items():
            path = place / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return place


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def cloud(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TEST-KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TEST-KEY")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    requests.post(f"{server}/moto-api/reset", timeout=10)
    client = boto3.client("s3")
    client.create_bucket(Bucket="updates")
    yield Cloud(server, client)
    client.close()


class Denying(BaseHTTPRequestHandler):
    """What S3 answers to somebody who may neither read nor list."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def denying() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Denying) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def in_the_cloud(newcomer: Owner, cloud: Cloud) -> Owner:
    del cloud
    owner = Owner(newcomer.base, newcomer.now, newcomer.kernel, "s3://updates/os")
    owner.found()
    return owner


def test_a_repository_lives_there(in_the_cloud: Owner, cloud: Cloud, tmp_path: Path) -> None:
    in_the_cloud.publish("1.1.0", start="1.0.0")
    assert in_the_cloud.publish("1.1.0", start="1.0.0")["published"] is False
    in_the_cloud.publish("1.2.0", start="1.1.0")
    in_the_cloud.do("rollout", "recall", *in_the_cloud.repository(), "--version", "1.2.0")
    assert in_the_cloud.do("repo", "validate", *in_the_cloud.repository(keys=False))["sound"]
    served = cloud.download(tmp_path / "all") / "os"
    client = Client(served, in_the_cloud.root.read_bytes(), in_the_cloud.now)
    assert client.updates() == ["1.1.0", "1.2.0"]
    assert client.versions()["timestamp"] == 4


class Stopped(BaseException):
    """The publisher is no more."""


def test_a_publish_that_stops_before_any_write(
    in_the_cloud: Owner, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts old and new find the old state or the new; running it again goes on."""
    in_the_cloud.publish("1.1.0", start="1.0.0")
    root = in_the_cloud.root.read_bytes()
    old = Client(cloud.download(tmp_path / "before") / "os", root, in_the_cloud.now)
    words = in_the_cloud.publishing("1.2.0", start="1.1.0")
    left = 0

    def dying() -> Any:  # noqa: ANN401  boto3 publishes no types
        client = boto3.client("s3")

        def count(**_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped

        client.meta.events.register("before-call.s3.PutObject", count)
        return client

    monkeypatch.setattr(s3, "connect_s3", dying)
    seen = []
    for number in range(30):
        left = number
        try:
            in_the_cloud.do(*words)
        except Stopped:
            place = cloud.download(tmp_path / str(number)) / "os"
            known, new = old.at(place), Client(place, root, in_the_cloud.now)
            assert known.updates() == new.updates()
            seen.append(new.updates())
        else:
            break
    # A run that is stopped goes on from where the one before it stopped, but for the metadata.
    assert len(seen) >= 5
    assert seen[0] == ["1.1.0"]
    assert Client(cloud.download(tmp_path / "after") / "os", root, in_the_cloud.now).updates() == [
        "1.1.0", "1.2.0",
    ]  # fmt: skip


def test_caches_keep_what_never_changes_and_nothing_else(in_the_cloud: Owner, cloud: Cloud) -> None:
    in_the_cloud.publish("1.1.0", start="1.0.0")
    found = {}
    for key in cloud.objects():
        head = cloud.client.head_object(Bucket="updates", Key=key)
        found[key.rpartition("/")[2]] = head["CacheControl"]
    assert found.pop("timestamp.json") == "no-cache"
    assert len(found) == 5 + 5
    assert set(found.values()) == {"public, max-age=31536000, immutable"}


def test_a_mirror_there(owner: Owner, cloud: Cloud, tmp_path: Path) -> None:
    owner.publish("1.1.0", start="1.0.0")
    words = ["repo", "mirror", *owner.repository(keys=False), "s3://updates"]
    assert owner.do(*words)["fetched"] == 4
    assert owner.do(*words)["fetched"] == 0
    served = cloud.download(tmp_path / "all")
    assert Client(served, owner.root.read_bytes(), owner.now).updates() == ["1.1.0"]


class TestWhatIsNotThere:
    """Only "no such key" means it."""

    def test_no_repository(self, newcomer: Owner, cloud: Cloud) -> None:
        del cloud
        there = Owner(newcomer.base, newcomer.now, location="s3://updates/elsewhere")
        there.make_keys("root", "targets", "snapshot", "timestamp")
        there.make_root()
        assert there.refused(*there.publishing("1.0.0")).endswith("there is none")

    def test_no_bucket(self, in_the_cloud: Owner) -> None:
        lost = Owner(in_the_cloud.base, in_the_cloud.now, location="s3://nowhere/os")
        for words in (lost.publishing("1.1.0"), ["repo", "init", *lost.repository()]):
            said = lost.refused(*words)
            assert "The specified bucket does not exist" in said

    def test_no_access(
        self, in_the_cloud: Owner, denying: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A 403 for a key that is there, or is not: nobody can tell, so it is an error."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", denying)
        store = S3Store(connect_s3(), "updates", "os")
        asked: list[Callable[[], object]] = [
            lambda: store.read("timestamp.json", 1000),
            lambda: store.size("9.root.json"),
            lambda: store.stream("9.root.json"),
            lambda: store.names(PREFIX),
            lambda: store.write_new("9.root.json", b"x"),
            lambda: store.write_current("timestamp.json", b"x", replacing=None),
        ]
        for ask in asked:
            with pytest.raises(StoreFailed) as caught:
                ask()
            assert caught.value.hint == (
                "an object that is not there looks the same without s3:ListBucket"
            )
        for words in (
            in_the_cloud.publishing("1.1.0"),
            ["repo", "init", *in_the_cloud.repository()],
        ):
            assert in_the_cloud.refused(*words).endswith("json: Access Denied")

    def test_no_server(self, in_the_cloud: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        started = time.monotonic()
        said = in_the_cloud.refused("repo", "init", *in_the_cloud.repository())
        assert "Could not connect to the endpoint URL" in said
        assert time.monotonic() - started < 60


class TestTwoAtOnce:
    """Who comes second is refused, and nothing of the first is lost."""

    def store(self) -> S3Store:
        return S3Store(connect_s3(), "updates", "os")

    def test_the_timestamp(self, cloud: Cloud) -> None:
        one, two = self.store(), self.store()
        one.write_current("timestamp.json", b"1", replacing=None)
        with pytest.raises(PublishedMeanwhile):
            two.write_current("timestamp.json", b"one", replacing=None)
        one.write_current("timestamp.json", b"2", replacing=b"1")
        with pytest.raises(PublishedMeanwhile):
            two.write_current("timestamp.json", b"two", replacing=b"1")
        assert cloud.objects() == {"os/timestamp.json": b"2"}

    def test_a_version(self, cloud: Cloud) -> None:
        one, two = self.store(), self.store()
        assert one.write_new("2.targets.json", b"one") is True
        assert two.write_new("2.targets.json", b"one") is False
        with pytest.raises(AlreadyThere):
            two.write_new("2.targets.json", b"two")
        assert cloud.objects() == {"os/2.targets.json": b"one"}

    def test_between_a_look_and_a_write(self, cloud: Cloud) -> None:
        """The other one comes after we looked: the storage itself refuses us."""

        class Late(S3Store):
            def _head(self, name: str) -> None:
                del name

        store = Late(connect_s3(), "updates", "os")
        self.store().write_new("2.targets.json", b"one")
        with pytest.raises(PublishedMeanwhile):
            store.write_new("2.targets.json", b"two")
        assert cloud.objects() == {"os/2.targets.json": b"one"}

    def test_storage_that_ignores_conditions_is_refused(self, cloud: Cloud) -> None:
        """It would let one publisher overwrite another, as s3rver does."""
        client = connect_s3()

        def forget(params: dict[str, Any], **_: object) -> None:
            params.pop("IfNoneMatch", None)
            params.pop("IfMatch", None)

        client.meta.events.register("before-parameter-build.s3.PutObject", forget)
        for _ in range(2):
            with pytest.raises(StoreFailed, match="ignores conditions on writes"):
                S3Store(client, "updates", "os").write_new("2.targets.json", b"one")
            with pytest.raises(StoreFailed, match="ignores conditions on writes"):
                S3Store(client, "updates", "os").write_current("x", b"one", replacing=None)
        assert cloud.keys() == ["os/.conditions"]


def test_large_files_go_in_parts(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_SINGLE_PUT_BYTES", 6 << 20)
    content = os.urandom(1 << 20) * 9
    file = tmp_path / "image"
    file.write_bytes(content)
    store = S3Store(connect_s3(), "updates", "")
    assert store.write_new("targets/image", file) is True
    head = cloud.client.head_object(Bucket="updates", Key="targets/image")
    assert head["ETag"].endswith('-2"')  # two parts
    assert head["CacheControl"].endswith("immutable")
    assert b"".join(store.stream("targets/image") or ()) == content
    assert store.write_new("targets/image", file) is False


def test_files_that_other_tools_put_there_are_read_to_compare(cloud: Cloud) -> None:
    cloud.client.put_object(Bucket="updates", Key="1.root.json", Body=b"root")
    store = S3Store(connect_s3(), "updates", "")
    assert store.write_new("1.root.json", b"root") is False
    with pytest.raises(AlreadyThere):
        store.write_new("1.root.json", b"other")


def test_reading_is_bounded(cloud: Cloud) -> None:
    cloud.client.put_object(Bucket="updates", Key="big", Body=bytes(100))
    store = S3Store(connect_s3(), "updates", "")
    with pytest.raises(StoreFailed, match="longer than 99 bytes"):
        store.read("big", 99)
    assert store.read("nothing", 10) is None
    assert store.stream("nothing") is None
    assert store.names("") == ["big"]
    assert store.names("nothing") == []


@pytest.mark.usefixtures("cloud")
def test_a_key_in_kms_signs(newcomer: Owner) -> None:
    """By URI, through securesystemslib."""
    kms = boto3.client("kms")
    made = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
    kms.close()
    newcomer.keys.mkdir(parents=True)
    uri = f"awskms:{made['KeyMetadata']['KeyId']}"
    assert newcomer.do("key", "import", newcomer.keys / "root", uri)["uri"] == uri
    newcomer.make_keys("targets", "snapshot", "timestamp")
    newcomer.make_root()
    newcomer.do("repo", "init", *newcomer.repository())
    assert newcomer.client().updates() == []


@pytest.mark.usefixtures("cloud")
def test_a_key_in_kms_that_is_not_there(newcomer: Owner) -> None:
    said = newcomer.refused("key", "import", newcomer.keys / "root", "awskms:alias/none")
    assert said.startswith("cannot sign with key root: ")
    assert "NotFound" in said or "not found" in said
