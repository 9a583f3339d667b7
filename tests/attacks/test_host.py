"""Attacks beyond the TUF specification: what a signed repository, a disk or a clock could do.

Here the attacker, or a mistake, may even have been signed: images that are not what they should
be, names that are more than names. The host's last line is that the other set is not bootable
before all of it was read back and fits together.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import tracemalloc
import zipfile
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from partition.errors import PartitionError, StateFileUnsafe
from signpost.layout import Slot
from signpost.state import BootState
from tests.support import bootloader
from tests.support.host import (
    ARCH,
    PARTS,
    VARIANT,
    Host,
    content,
    extents,
    publish,
    release,
    target_name,
)
from tests.support.repository import NOW, Repository
from updog.bundle import open_bundle
from updog.errors import ClockNotSet, MetadataExpired, RepositoryInvalid, UpdogError
from updog.trust import refresh

if TYPE_CHECKING:
    from pathlib import Path


def refuses(host: Host, repository: Repository, why: str) -> None:
    """An update ends with that line; the running set is untouched, the other one not bootable."""
    with pytest.raises((UpdogError, PartitionError), match=why):
        host.update(repository)
    with host.boot_disk() as disk:
        assert disk.state.sets[Slot.B].is_clear
    assert content(bootloader.Image(host.disk), "A") == "1.0.0"
    assert host.boot() == "1.0.0"


def packed(data: bytes, *options: str) -> bytes:
    """Compress with the lz4 tool; from a file, since it cannot tell the size of a pipe."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = ["lz4", "-q", "-c", *options, file.name]
        return subprocess.run(command, capture_output=True, check=True).stdout


def region(host: Host, part: str) -> bytes:
    """What the other set's partition holds."""
    image = bootloader.Image(host.disk)
    start, stop = extents(image)["B", part]
    return image.read(start, stop - start)


class TestImages:
    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("size_is_told", [True, False])
    def test_an_image_larger_than_its_partition(
        self, host: Host, part: str, *, size_is_told: bool
    ) -> None:
        """Signed, by mistake. Where the frame tells its size, not one byte of it is written."""
        data = release("1.1.0").plain[part] + bytes(5 << 20)
        broken = packed(data, *(["--content-size"] if size_is_told else []))
        repository = publish("1.0.0", "1.1.0", broken={target_name("1.1.0", part): broken})
        host.paths.trusted_root.write_bytes(repository.shipped_root)
        before = {each: region(host, each) for each in PARTS}
        refuses(host, repository, "the image needs")
        if size_is_told:
            assert region(host, part) == before[part]
        if part == "boot":
            assert region(host, "root") == before["root"]

    def test_a_decompression_bomb(self, host: Host) -> None:
        """Half a gigabyte of zeros in two megabytes, for a partition of one."""
        bomb = packed(bytes(512 << 20))
        assert len(bomb) < 3 << 20
        repository = publish("1.0.0", "1.1.0", broken={target_name("1.1.0", "boot"): bomb})
        host.paths.trusted_root.write_bytes(repository.shipped_root)
        before = region(host, "root")
        tracemalloc.start()
        refuses(host, repository, "it holds .*, the image needs")
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert region(host, "root") == before
        assert peak_bytes < 128 << 20

    def test_a_manifest_that_names_another_variants_image(self, host: Host) -> None:
        """One of three images is of other software: the hash tree says so, whoever signed it."""
        other = release("2.0.0").packed["root"]
        repository = publish("1.0.0", "1.1.0", broken={target_name("1.1.0", "root"): other})
        host.paths.trusted_root.write_bytes(repository.shipped_root)
        refuses(host, repository, "tree")

    def test_an_update_of_another_variant_is_not_taken(self, host: Host) -> None:
        """Signed and newer, but for another variant, or another machine."""
        repository = publish("1.0.0", "1.1.0")
        host.paths.trusted_root.write_bytes(repository.shipped_root)
        manifest = json.loads(
            next(data for name, data in repository.target_files.items() if "manifest" in name)
        )
        (newest,) = [each for each in manifest["updates"] if each["version"] == "1.1.0"]
        for change in ({"variant": f"{VARIANT}-other"}, {"arch": f"{ARCH}_other"}):
            listed = {**manifest, "updates": [{**newest, **change}]}
            repository.add_target("manifest.json", json.dumps(listed).encode())
            repository.publish("targets", "snapshot", "timestamp")
            assert host.check_update(repository) is None
            host.update(repository)
            assert host.boot() == "1.0.0"


def with_manifest(
    repository: Repository, *, images: dict[str, str] | None = None, migration: str | None = None
) -> None:
    """Publish the same manifest with other names in it."""
    current = repository.targets.targets["manifest.json"].hashes["sha256"]
    manifest = json.loads(repository.target_files[f"{current}.manifest.json"])
    for update in manifest["updates"]:
        if update["version"] == "1.1.0":
            update["images"] |= images or {}
    if migration is not None:
        manifest["migrations"]["(1.0.0, 1.1.0)"] = [migration]
        repository.add_target(migration, b"evil")
    for name in (images or {}).values():
        repository.add_target(name, b"evil")
    repository.add_target("manifest.json", json.dumps(manifest).encode())
    repository.publish("targets", "snapshot", "timestamp")


class TestNames:
    @pytest.mark.parametrize(
        "name", ["../../../etc/passwd", "/etc/passwd", "a/../../b", "%2e%2e/x", "a\nb", "a\\b"]
    )
    def test_an_image_with_a_path_for_a_name(
        self, host: Host, repository: Repository, name: str
    ) -> None:
        with_manifest(repository, images={"boot": name})
        refuses(host, repository, "refusing target name|manifest")

    @pytest.mark.parametrize(
        "name", ["../../../etc/cron.d/evil", "/etc/cron.d/evil", "sub/migration", "..", "a\x1b[2J"]
    )
    def test_a_migration_with_a_path_for_a_name(
        self, host: Host, repository: Repository, name: str
    ) -> None:
        before = {path for path in host.directory.rglob("*") if "updog" not in path.parts}
        with_manifest(repository, migration=name)
        refuses(host, repository, "refusing target name|manifest")
        created = {path for path in host.directory.rglob("*") if "updog" not in path.parts} - before
        assert not [path for path in created if path.is_file()]


class TestRecall:
    def test_only_the_owner_can_send_hosts_back(self, host: Host, repository: Repository) -> None:
        """A recall lowers max_version; nothing but the targets key can say so."""
        host.update(repository)
        assert host.boot() == "1.1.0"
        host.signpost(BootState.mark_successful_boot)
        attacker = publish("1.0.0")
        for role in ("snapshot", "timestamp"):
            attacker.signers[role] = repository.signers[role]
            attacker.metadata[role].signed.version = 10
        attacker.publish("snapshot", "timestamp")
        with pytest.raises(RepositoryInvalid, match="targets was signed by 0/1 keys"):
            host.update(attacker)
        assert host.boot() == "1.1.0"

    def test_a_recall_leads_only_to_what_the_manifest_still_offers(
        self, host: Host, repository: Repository
    ) -> None:
        """Down to the newest version that is not recalled, and up again when there is one."""
        host.update(repository)
        assert host.boot() == "1.1.0"
        host.signpost(BootState.mark_successful_boot)
        publish("1.0.0", repository=repository)
        host.update(repository)
        assert host.boot() == "1.0.0"


class TestClock:
    def test_set_back_it_revives_nothing(self, host: Host, repository: Repository) -> None:
        """A year back, metadata that expired would be good again; the host remembers better."""
        host.update(repository)
        assert host.boot() == "1.1.0"
        host.signpost(BootState.mark_successful_boot)
        host.boots += 29 * 24
        host.check_update(repository)
        host.boots -= 365 * 24
        repository.timestamp.expires = NOW + timedelta(days=20)
        repository.publish("timestamp")
        with pytest.raises(MetadataExpired, match="it expired on 2026-03-21T12:00:00Z"):
            host.update(repository)

    def test_far_ahead_it_does_no_lasting_harm(self, host: Host, repository: Repository) -> None:
        host.boots += 10_000 * 24
        with pytest.raises(MetadataExpired, match="this clock says 2053"):
            host.update(repository)
        host.boots -= 10_000 * 24
        host.update(repository)
        assert host.boot() == "1.1.0"

    def test_never_set_it_is_not_believed(self, host: Host, repository: Repository) -> None:
        host.boots -= 57 * 365 * 24
        with pytest.raises(ClockNotSet, match="this clock says 1969"):
            host.update(repository)


STATE = ["metadata/timestamp.json", "trust.json", "attempts.json"]


class TestState:
    @pytest.mark.parametrize("name", STATE)
    def test_a_link_in_place_of_state(self, host: Host, repository: Repository, name: str) -> None:
        """It could make root read, or write, somebody else's file."""
        host.update(repository)
        assert host.boot() == "1.1.0"
        host.signpost(BootState.mark_successful_boot)
        secret = host.directory / "secret"
        secret.write_bytes(b"secret")
        path = host.paths.state / name
        path.unlink()
        path.symlink_to(secret)
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        with pytest.raises(StateFileUnsafe, match="it is a symbolic link") as caught:
            host.update(repository)
        assert "secret" not in str(caught.value)
        assert secret.read_bytes() == b"secret"
        assert host.boot() == "1.1.0"

    @pytest.mark.parametrize("name", [*STATE, "."])
    def test_state_that_others_could_have_written(
        self, host: Host, repository: Repository, name: str
    ) -> None:
        host.update(repository)
        assert host.boot() == "1.1.0"
        host.signpost(BootState.mark_successful_boot)
        path = host.paths.state / name
        path.chmod(path.stat().st_mode | 0o022)
        publish("1.0.0", "1.1.0", "2.0.0", repository=repository)
        with pytest.raises(StateFileUnsafe, match="others may write to it"):
            host.update(repository)
        assert host.boot() == "1.1.0"


def bundle(repository: Repository, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in repository.files.items():
            archive.writestr(f"metadata/{name}", data)
        for name, data in repository.target_files.items():
            archive.writestr(f"targets/{name}", data)
    return path


class TestBundle:
    def test_a_replayed_bundle_is_refused(
        self, host: Host, repository: Repository, tmp_path: Path
    ) -> None:
        """Good when it was made; the host has seen newer metadata since, from the network."""
        old = bundle(repository, tmp_path / "old.zip")
        with closing(open_bundle(old)) as transport:
            refresh(host.environment(), transport)
        publish("1.0.0", repository=repository)
        host.update(repository)
        with (
            closing(open_bundle(old)) as transport,
            pytest.raises(RepositoryInvalid, match="New timestamp version 2 must be >= 3"),
        ):
            refresh(host.environment(), transport)

    def test_a_bundle_of_the_attacker_is_refused(self, host: Host, tmp_path: Path) -> None:
        evil = bundle(publish("1.0.0", "1.1.0"), tmp_path / "evil.zip")
        with closing(open_bundle(evil)) as transport, pytest.raises(RepositoryInvalid):
            refresh(host.environment(), transport)
