"""Copies: verified, taken up again, never torn, never back; and bundles that updog reads."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.repo_tools.owner import PREFIX, Client, Owner
from tests.support.faulty_proxy import corrupt, faulty, passed_on, reset
from tests.support.servers import nginx
from updog.bundle import open_bundle
from updog.trust import refresh_store
from updog.trust_store import TrustStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(owner: Owner) -> Owner:
    owner.publish("1.1.0", start="1.0.0")
    owner.publish("1.2.0", start="1.1.0")
    return owner


def mirroring(source: Owner, to: Path, *extra: str) -> list[str | Path]:
    return ["repo", "mirror", *source.repository(keys=False), *extra, to]


def host_of(mirror: Path, source: Owner) -> Client:
    return Client(mirror, source.root.read_bytes(), source.now)


class TestMirror:
    """A directory that can be served."""

    def test_the_whole_repository(self, source: Owner, tmp_path: Path) -> None:
        mirror = tmp_path / "mirror"
        done = source.do(*mirroring(source, mirror))
        assert done["timestamp_version"] == 3
        assert done["targets"] == done["fetched"] == 7
        assert host_of(mirror, source).updates() == ["1.1.0", "1.2.0"]
        again = source.do(*mirroring(source, mirror))
        assert again["fetched"] == 0

    def test_over_the_network_and_onwards(self, source: Owner, tmp_path: Path) -> None:
        with nginx(source.repo) as server:
            remote = Owner(source.base, source.now, location=server.url)
            remote.do(*mirroring(remote, tmp_path / "mirror"))
            source.publish("1.3.0", start="1.2.0")
            done = remote.do(*mirroring(remote, tmp_path / "mirror"))
        assert done["fetched"] == 4
        assert host_of(tmp_path / "mirror", source).updates() == ["1.1.0", "1.2.0", "1.3.0"]

    def test_over_a_bad_network(self, source: Owner, tmp_path: Path) -> None:
        """Connections break off, and what arrives may be changed: it goes on, or it refuses."""
        mirror = tmp_path / "mirror"
        with nginx(source.repo) as server, faulty(server.url) as proxy:
            remote = Owner(source.base, source.now, location=proxy.url)
            proxy.always = corrupt(at=40)
            assert remote.run(*mirroring(remote, mirror)).exit_code == 1
            assert not mirror.exists() or not (mirror / PREFIX).exists()
            proxy.always = passed_on
            proxy.faults = [passed_on if n % 4 else reset(after=90) for n in range(16)]
            remote.do(*mirroring(remote, mirror))
            assert proxy.faults == []
        assert host_of(mirror, source).updates() == ["1.1.0", "1.2.0"]

    def test_two_updates_with_one_boot_image(self, source: Owner, tmp_path: Path) -> None:
        """Two targets of the same contents, fetched at the same time."""
        boot, root = source.images("1.3.0")
        shutil.copyfile(source.images("1.2.0")[0], boot)
        shutil.copyfile(source.images("1.2.0")[1], root)
        source.publish("1.3.0", start="1.2.0")
        mirrored = source.do("repo", "mirror", *source.repository(keys=False), tmp_path / "mirror")
        assert mirrored["fetched"] == 10
        host = Client(tmp_path / "mirror", source.root.read_bytes(), source.now)
        assert host.updates() == ["1.1.0", "1.2.0", "1.3.0"]

    def test_some_versions_only(self, source: Owner, tmp_path: Path) -> None:
        mirror = tmp_path / "mirror"
        plan = source.do(*mirroring(source, mirror, "--version", "1.2.0", "--dry-run"))
        assert not mirror.exists()
        done = source.do(*mirroring(source, mirror, "--version", "1.2.0"))
        assert done["bytes"] == plan["bytes"]
        names = {path.name.partition(".")[2] for path in (mirror / "targets").iterdir()}
        assert names == {
            "manifest.json",
            *(
                f"demo-x86_64-1.2.0-{part}.lz4"
                for part in ("boot.ext4", "root.ext4", "root.verity")
            ),
        }
        client = host_of(mirror, source)
        assert client.read("demo-x86_64-1.2.0-root.ext4.lz4")
        # It lacks what it was not to have, and can be checked for what it has.
        copied = Owner(source.base, source.now, location=str(mirror))
        validate: list[str | Path] = ["repo", "validate", *copied.repository(keys=False), "--deep"]
        assert copied.run(*validate).exit_code == 1
        found = copied.do(*validate, "--version", "1.2.0")
        assert (found["targets"], found["bytes"]) == (4, done["bytes"])
        said = source.refused(*mirroring(source, mirror, "--version", "9.9.9"))
        assert "has no such update (there: 1.1.0, 1.2.0)" in said

    def test_a_damaged_source_is_not_copied(self, source: Owner, tmp_path: Path) -> None:
        mirror = tmp_path / "mirror"
        (boot,) = (source.repo / "targets").glob("*1.1.0-boot*")
        boot.write_bytes(boot.read_bytes()[:-1] + b"?")
        said = source.refused(*mirroring(source, mirror))
        assert "its sha256 is not the one listed" in said
        assert not (mirror / PREFIX).exists()
        assert not list((mirror / "targets").glob("*boot*1.1.0*")) if mirror.exists() else True

    def test_it_never_goes_back(self, source: Owner, tmp_path: Path) -> None:
        mirror, old = tmp_path / "mirror", tmp_path / "old"
        shutil.copytree(source.repo, old)
        source.publish("1.3.0", start="1.2.0")
        source.do(*mirroring(source, mirror))
        stale = Owner(source.base, source.now, location=str(old))
        said = stale.refused(*mirroring(stale, mirror))
        assert "it is version 3, and the mirror has version 4 already" in said
        assert host_of(mirror, source).updates() == ["1.1.0", "1.2.0", "1.3.0"]

    def test_damage_in_the_mirror_is_found_and_mended(self, source: Owner, tmp_path: Path) -> None:
        mirror = tmp_path / "mirror"
        source.do(*mirroring(source, mirror))
        (boot,) = (mirror / "targets").glob("*1.1.0-boot*")
        good = boot.read_bytes()
        boot.write_bytes(good[:-1] + b"?")
        assert source.do(*mirroring(source, mirror))["fetched"] == 0
        assert source.do(*mirroring(source, mirror, "--recheck"))["fetched"] == 1
        assert boot.read_bytes() == good

    def test_every_root_comes_along(self, source: Owner, tmp_path: Path) -> None:
        first = source.root.read_bytes()
        after = source.base / "2.root.json"
        source.do("root", "change", source.root, after)
        source.do(
            "root", "sign", "--yes", "--key", source.key("root"), "--previous", source.root, after
        )
        source.do("root", "publish", after, *source.repository())
        shutil.copyfile(after, source.root)  # from now on the owner trusts the second one
        source.do(*mirroring(source, tmp_path / "mirror"))
        assert Client(tmp_path / "mirror", first, source.now).updates() == ["1.1.0", "1.2.0"]


class TestBundle:
    """One file; other tools list it, updog's client trusts it no more than a web server."""

    def test_what_is_in_it(self, source: Owner, tmp_path: Path) -> None:
        out = tmp_path / "update.bundle"
        made = source.do(
            "bundle", "create", out, *source.repository(keys=False), "--version", "1.2.0"
        )
        listed = subprocess.run(
            ["unzip", "-Z1", out], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        assert listed == made["members"]
        assert listed[:4] == [
            "metadata/1.root.json", "metadata/3.targets.json", "metadata/3.snapshot.json",
            "metadata/timestamp.json",
        ]  # fmt: skip
        assert {name.rpartition("1.2.0")[2] for name in listed[4:7]} == {
            "-boot.ext4.lz4", "-root.ext4.lz4", "-root.verity.lz4",
        }  # fmt: skip
        assert listed[7].endswith(".manifest.json")
        with zipfile.ZipFile(out) as archive:
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
            assert archive.testzip() is None

    def test_the_same_contents_make_the_same_file(self, source: Owner, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        for out in (one, two):
            source.do("bundle", "create", out, *source.repository(keys=False))
        assert one.read_bytes() == two.read_bytes()
        assert {path.name for path in tmp_path.iterdir()} == {"owner", "one", "two"}

    def test_updog_reads_it(self, source: Owner, tmp_path: Path) -> None:
        out = tmp_path / "update.bundle"
        source.do("bundle", "create", out, *source.repository(keys=False))
        store = TrustStore(tmp_path / "metadata", tmp_path / "trust.json", private=False)
        transport = open_bundle(out)
        repository = refresh_store(store, source.root.read_bytes(), transport, source.now)
        assert b'"1.2.0"' in repository.read_target("manifest.json", 1 << 20)
        target = repository.target("demo-x86_64-1.1.0-boot.ext4.lz4")
        assert len(repository.read_target(target.name, 1 << 20)) == target.length_bytes
        transport.close()

    def test_it_carries_a_mirror_across(self, source: Owner, tmp_path: Path) -> None:
        out = tmp_path / "update.bundle"
        source.do("bundle", "create", out, *source.repository(keys=False))
        carried = Owner(source.base, source.now, location=str(out))
        carried.do(*mirroring(carried, tmp_path / "mirror"))
        assert host_of(tmp_path / "mirror", source).updates() == ["1.1.0", "1.2.0"]
        assert carried.do("repo", "validate", *carried.repository(keys=False))["sound"] is True

    def test_it_is_not_taken_for_another_variant(self, source: Owner, tmp_path: Path) -> None:
        """It says itself what it is for; a mirror of something else stays as it is."""
        bundle, mirror = tmp_path / "update.bundle", tmp_path / "mirror"
        source.do("bundle", "create", *source.repository(keys=False), bundle)
        carried = Owner(source.base, source.now, location=str(bundle))
        words = ["repo", "mirror", *carried.repository(keys=False), "--variant", "metal"]
        assert carried.refused(*words, mirror) == (
            "cannot read the updates of metal x86_64: there are none (there: demo x86_64)"
        )
        assert not mirror.exists()

    def test_a_failed_one_leaves_nothing(self, source: Owner, tmp_path: Path) -> None:
        out = tmp_path / "update.bundle"
        (boot,) = (source.repo / "targets").glob("*1.1.0-boot*")
        boot.unlink()
        assert "is missing" in source.refused(
            "bundle", "create", out, *source.repository(keys=False)
        )
        assert {path.name for path in tmp_path.iterdir()} == {"owner"}
