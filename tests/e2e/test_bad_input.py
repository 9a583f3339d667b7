"""Whatever is wrong: one clear line, exit code 1, set A as it was, set B never marked valid.

The host runs 1.0.0 from set A. Something is broken; `updog update` runs as a process of its own;
then cgpt says what the boot loader would find.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import NEW, OLD, Stage
from tests.support import bootloader, disks
from tests.support.host import PARTS, publish, release, target_name
from tests.support.repository import Repository
from tests.support.servers import Handler, Request, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROOT = target_name(NEW, "root")
CONFIRMED = disks.Flags(priority=1, tries_left=0, successful=True)


def lz4(data: bytes, *options: str) -> bytes:
    return subprocess.run(
        ["lz4", "-q", "-c", *options], input=data, capture_output=True, check=True
    ).stdout


def refuse(stage: Stage, *words: str, says: str, exit_code: int = 1) -> str:
    """Run `updog update`; check what this file promises; return the line."""
    before = stage.set_a()
    done = stage.updog(*(words or ("update", "--progress", "none")))
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("updog: ")]
    assert len(errors) == 1, done.stderr
    assert says in errors[0], errors[0]
    assert "Traceback" not in done.stderr
    active, inactive = stage.flags()
    assert active == CONFIRMED
    assert inactive.priority == 0
    assert inactive.tries_left == 0
    assert not inactive.successful
    assert bootloader.next_boot(stage.host.disk) == "A"
    assert stage.set_a() == before
    return errors[0]


def plain(part: str) -> bytes:
    return release(NEW).plain[part]


@pytest.mark.parametrize(
    "part, broken, says",
    [
        pytest.param(
            "root",
            lambda: lz4(bytes(5 << 20), "--content-size"),
            "4.0 MiB",
            id="an image larger than its partition, and it says so",
        ),
        pytest.param(
            "boot",
            lambda: lz4(bytes(2 << 20), "--no-frame-crc"),
            "1.0 MiB",
            id="an image larger than its partition, and it does not say so",
        ),
        pytest.param(
            "root",
            lambda: release(NEW).packed["root"][:-40],
            "ends",
            id="a stream that ends early, and whose digest is right",
        ),
        pytest.param(
            "root",
            lambda: release(NEW).packed["root"] + b"tail",
            "after its last LZ4 frame",
            id="bytes after the last frame",
        ),
        pytest.param("root", lambda: plain("root"), "LZ4", id="no LZ4 at all"),
        pytest.param("boot", lambda: b"", "LZ4", id="an empty image"),
        pytest.param(
            "hash",
            lambda: release(OLD).packed["hash"],
            "tree",
            id="the hash image of another root image",
        ),
        pytest.param("hash", lambda: lz4(bytes(1 << 16)), "hash", id="a hash image of zeros"),
    ],
)
def test_an_image_that_is_signed_and_wrong(
    tmp_path: Path, part: str, broken: Callable[[], bytes], says: str
) -> None:
    refuse(Stage.build(tmp_path, broken={target_name(NEW, part): broken()}), says=says)


@pytest.mark.parametrize("part", PARTS)
def test_one_byte_differs_from_what_was_signed(tmp_path: Path, part: str) -> None:
    """The byte is in the middle; LZ4 may or may not notice, the digest does."""
    stage = Stage.build(tmp_path)
    target = stage.target(target_name(NEW, part))
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    refuse(stage, says=target_name(NEW, part))


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_file_of_another_length(tmp_path: Path, change: int) -> None:
    stage = Stage.build(tmp_path)
    target = stage.target(ROOT)
    data = target.read_bytes()
    target.write_bytes(data[:change] if change < 0 else data + bytes(change))
    refuse(stage, says=ROOT)


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    stage = Stage.build(tmp_path)
    stage.target(ROOT).unlink()
    refuse(stage, says=ROOT)


def test_metadata_that_has_expired(tmp_path: Path) -> None:
    stage = Stage.build(tmp_path)
    stage.repository.timestamp.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(
        days=1
    )
    stage.repository.publish("timestamp")
    stage.serve()
    refuse(stage, says="expired on")


def test_metadata_of_a_stranger(tmp_path: Path) -> None:
    """A whole repository, well signed, by keys that this host does not know."""
    stage = Stage.build(tmp_path)
    stage.repository = publish(OLD, NEW, repository=Repository(now=datetime.now(UTC)))
    stage.serve()
    refuse(stage, says="timestamp")


def test_a_replay_of_older_metadata(tmp_path: Path) -> None:
    """The host saw a newer timestamp; then the server shows the one from before."""
    stage = Stage.build(tmp_path)
    old = dict(stage.repository.files)
    stage.repository.publish_all()
    stage.serve()
    assert stage.updog("check-update").returncode == 0
    for name, data in old.items():
        (stage.served / "metadata" / name).write_bytes(data)
    refuse(stage, says="timestamp")


@pytest.mark.parametrize("role", ["timestamp.json", "snapshot.json", "targets.json"])
def test_a_role_that_is_missing(tmp_path: Path, role: str) -> None:
    stage = Stage.build(tmp_path)
    for file in stage.served.joinpath("metadata").glob(f"*{role}"):
        file.unlink()
    refuse(stage, says=role)


def manifest(change: Callable[[dict[str, object]], None]) -> bytes:
    """The manifest as it would be published, changed."""
    repository = publish(OLD, NEW)
    (data,) = (
        data
        for name, data in repository.target_files.items()
        if name.endswith(".manifest.json") and b"1.1.0" in data
    )
    value = json.loads(data)
    change(value)
    return json.dumps(value).encode()


def _waves_backwards(value: dict[str, object]) -> None:
    updates = value["updates"]
    assert isinstance(updates, list)
    updates[1]["waves"] = {"0": "2026-02-02T00:00:00Z", "1024": "2026-02-01T00:00:00Z"}


def _bad_version(value: dict[str, object]) -> None:
    updates = value["updates"]
    assert isinstance(updates, list)
    updates[1]["version"] = "one point one"


def _no_step(value: dict[str, object]) -> None:
    value["migrations"] = {"(0.9.0, 1.0.0)": []}


def _unknown_migration(value: dict[str, object]) -> None:
    value["migrations"] = {"(1.0.0, 1.1.0)": ["migrate_v1.1.0_nobody-has-it.lz4"]}


@pytest.mark.parametrize(
    "data, says",
    [
        pytest.param(b"<html>moved</html>", "manifest", id="not JSON"),
        pytest.param(
            b'{"updates": [], "updates": [], "migrations": {}}', "updates", id="a key twice"
        ),
        pytest.param(manifest(_bad_version), "one point one", id="no version"),
        pytest.param(manifest(_waves_backwards), "waves", id="waves out of order"),
        pytest.param(manifest(_no_step), "migration path", id="a step is missing"),
        pytest.param(manifest(_unknown_migration), "nobody-has-it", id="a migration is no target"),
        pytest.param(b"", "manifest", id="nothing"),
    ],
)
def test_a_manifest_that_is_signed_and_wrong(tmp_path: Path, data: bytes, says: str) -> None:
    stage = Stage.build(tmp_path, broken={"manifest.json": data})
    refuse(stage, says=says)
    assert not stage.set_b_touched()


@pytest.mark.parametrize("size_kib", [4, 16, 28, 48])
def test_a_full_var(tmp_path: Path, size_kib: int) -> None:
    """/var runs full sooner or later; the real system says so, in a mount namespace."""
    stage = Stage.build(tmp_path)
    var = stage.host.paths.root / "var"
    shutil.rmtree(var)
    var.mkdir()
    before = stage.set_a()
    script = f'mount -t tmpfs -o size={size_kib}k,mode=755 tmpfs "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, str(var), *stage.command("update")],
        env=stage.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert stage.set_a() == before
    assert stage.flags() == (CONFIRMED, disks.Flags(0, 0, successful=False))


def test_a_second_updater(tmp_path: Path) -> None:
    """The first is held up by its server; the second gives way, and status can be read."""
    stage = Stage.build(tmp_path)
    with slow_server(stage.served, slow=target_name(NEW, "root")) as (url, reached):
        stage.configure(url)
        first = subprocess.Popen(
            stage.command("update", "--progress", "none"),
            env=stage.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert reached.wait(60)
        second = stage.updog("update", "--progress", "none")
        status = stage.updog("status", "--json")
        first.terminate()
        _, errors = first.communicate(timeout=60)
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stderr
    assert status.returncode == 0, status.stderr
    assert NEW in status.stdout
    assert first.returncode == 1, "SIGTERM ends it like any failure"
    assert "updog: interrupted" in errors
    assert "Traceback" not in errors
    assert stage.flags()[1] == disks.Flags(priority=0, tries_left=0, successful=False)

    stage.configure()
    again = stage.updog("update", "--progress", "none")
    assert again.returncode == 0, again.stderr
    assert stage.flags()[1] == disks.Flags(priority=2, tries_left=1, successful=False)
    assert stage.host.boot() == NEW


@contextmanager
def slow_server(directory: Path, *, slow: str) -> Iterator[tuple[str, threading.Event]]:
    """Serve files; of one, send half, say so, and then nothing more."""
    reached, over = threading.Event(), threading.Event()

    def answer(handler: Handler, request: Request) -> None:
        path = directory / request.name.lstrip("/")
        if not path.is_file():
            handler.send_body(b"", status=404)
            return
        data = path.read_bytes()
        if not path.name.endswith(slow):
            handler.send_body(data)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        reached.set()
        over.wait(60)

    with answering(answer) as server:
        try:
            yield server.url, reached
        finally:
            over.set()


def test_no_disk(tmp_path: Path) -> None:
    stage = Stage.build(tmp_path)
    stage.host.disk.rename(tmp_path / "away")
    done = stage.updog("update")
    assert done.returncode == 1
    assert "disk.img" in done.stderr
    assert "Traceback" not in done.stderr
    assert not stage.host.disk.exists(), "a mistyped path must not become a file"


@pytest.mark.parametrize(
    "partitions, says",
    [
        pytest.param([], "partition", id="a table without our partitions"),
        pytest.param(disks.partitions(sets=1), "set", id="one set only"),
        pytest.param(
            [disks.partitions()[number] for number in (0, 2, 1, 3, 4, 6, 5, 7, 8, 9)],
            "expected 2 and 6",
            id="root and hash the other way round",
        ),
    ],
)
def test_a_disk_of_another_kind(
    tmp_path: Path, partitions: list[disks.Partition], says: str
) -> None:
    stage = Stage.build(tmp_path)
    disks.make_table(stage.host.disk, partitions, fresh_boot=bool(partitions))
    before = stage.host.disk.read_bytes()
    done = stage.updog("update", "--progress", "none")
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert stage.host.disk.read_bytes() == before


def test_both_copies_of_the_table_are_damaged(tmp_path: Path) -> None:
    stage = Stage.build(tmp_path)
    with stage.host.disk.open("r+b") as disk:
        for offset, whence in ((520, 0), (-500, 2)):
            disk.seek(offset, whence)
            disk.write(b"\xff" * 8)
    before = stage.host.disk.read_bytes()
    done = stage.updog("update", "--progress", "none")
    assert done.returncode == 1
    assert "partition table" in done.stderr
    assert stage.host.disk.read_bytes() == before


def test_an_unknown_key_in_the_configuration(tmp_path: Path) -> None:
    stage = Stage.build(tmp_path)
    stage.configure(extra="ignore_wave = true\n")
    line = refuse(stage, says="ignore_wave")
    assert "ignore_waves" in line + stage.updog("update").stderr, "the near miss is named"


@pytest.mark.parametrize("seed", ["2048", "-1", "true", '"7"'])
def test_a_seed_that_is_none(tmp_path: Path, seed: str) -> None:
    stage = Stage.build(tmp_path)
    config = stage.host.paths.root / "etc/updog.toml"
    config.write_text(config.read_text().replace("seed = 7", f"seed = {seed}"))
    refuse(stage, says="seed")


@pytest.mark.parametrize(
    "words, exit_code",
    [
        (("update", "--image", "one"), 2),
        (("update", "--frobnicate"), 2),
        (("update", "--image", "9.9.9"), 1),
        (("check-update", "--image", "9.9.9"), 3),
        (("update", "--reboot"), 1),
    ],
)
def test_words_that_make_no_sense(tmp_path: Path, words: tuple[str, ...], exit_code: int) -> None:
    """--reboot is refused on an image file, before anything is downloaded."""
    stage = Stage.build(tmp_path)
    before = stage.host.disk.read_bytes()
    done = stage.updog(*words)
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert stage.host.disk.read_bytes() == before


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_started_without_standard_streams(tmp_path: Path, closed: str) -> None:
    """Their numbers must not go to the disk: what is said on stderr would be written into it."""
    stage = Stage.build(tmp_path)
    script = f'"$@" {closed}; exit $?'
    command = ["sh", "-c", script, "sh", *stage.command("update", "--progress", "none")]
    done = subprocess.run(command, env=stage.environment(), capture_output=True, check=False)
    assert done.returncode == 0
    assert stage.flags()[1] == disks.Flags(priority=2, tries_left=1, successful=False)
    assert stage.host.boot() == NEW


def test_nobody_can_be_told(tmp_path: Path) -> None:
    """Stderr goes to a file on a full disk: an update that cannot say what it does ends."""
    stage = Stage.build(tmp_path)
    with open("/dev/full", "w") as full:  # noqa: PTH123  a device
        done = subprocess.run(
            stage.command("update", "--progress", "none"),
            env=stage.environment(),
            stderr=full,
            stdout=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, b"")
    assert stage.flags() == (CONFIRMED, disks.Flags(0, 0, successful=False))
