"""An update that was broken off goes on where its verified data ends, or starts over."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from partition.kernel import KERNEL, Kernel
from signpost.layout import Part
from tests.support.images import MIB, PARTS, Files, Update, lz4, make_tree, make_update
from updog import digests
from updog.errors import DownloadFailed, ImageMismatch, Interrupted, StreamInvalid
from updog.journal import Journal
from updog.pipeline import install_images
from updog.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from partition.kernel import StrPath

ROOT_MIB = 40


@pytest.fixture(scope="module")
def update(tmp_path_factory: pytest.TempPathFactory) -> Update:
    return make_update(tmp_path_factory.mktemp("update"), root_mib=ROOT_MIB)


class Host:
    """A disk and a state directory that outlive runs of the updater."""

    def __init__(self, directory: Path) -> None:
        self.disk = directory / "disk.img"
        state = directory / "state"
        state.mkdir(mode=0o700)
        self.journal = state / "journal.json"

    def run(
        self,
        update: Update,
        transport: Files,
        *,
        cancel: threading.Event | None = None,
        kernel: Kernel = KERNEL,
    ) -> None:
        install_images(
            update.jobs(self.disk),
            transport,
            journal=Journal(self.journal, kernel=kernel),
            progress=NoProgress(),
            cancel=cancel or threading.Event(),
            kernel=kernel,
        )

    def break_off(self, update: Update, part: Part = Part.ROOT, share: float = 0.9) -> Files:
        """Run until so much of one image was received, then lose the network."""
        transport = update.transport()
        target = update.target(part)
        transport.break_at[target.name] = int(target.length_bytes * share)
        with pytest.raises(DownloadFailed):
            self.run(update, transport)
        return transport

    def kept(self, part: Part) -> dict[str, object]:
        kept: dict[str, object] = json.loads(self.journal.read_text())["images"][part.value]
        return kept

    def region_start(self, update: Update, part: Part) -> int:
        return next(job.region.offset_bytes for job in update.jobs(self.disk) if job.part is part)

    def damage(self, update: Update, part: Part, offset: int) -> None:
        """Change a byte of a partition behind everybody's back."""
        with self.disk.open("r+b") as file:
            file.seek(self.region_start(update, part) + offset)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def starts(transport: Files) -> dict[str, int]:
    return dict(transport.opened)


def name(update: Update, part: Part) -> str:
    return update.target(part).name


def test_the_rest_is_fetched_and_no_more(update: Update, host: Host) -> None:
    first = host.break_off(update)
    root, length = name(update, Part.ROOT), update.target(Part.ROOT).length_bytes

    second = update.transport()
    host.run(update, second)

    assert update.is_on(host.disk)
    assert list(starts(second)) == [root]  # what was finished is not fetched again
    assert starts(second)[root] > length // 2
    assert starts(second)[root] + second.sent[root] == length
    # At most one span's worth is fetched twice.
    assert first.sent[root] + second.sent[root] < length + 16 * MIB


def test_it_may_break_again_and_again(update: Update, host: Host) -> None:
    sent = 0
    for share in (0.2, 0.5, 0.7, 0.9, 0.97):
        sent += host.break_off(update, share=share).sent.get(name(update, Part.ROOT), 0)
    last = update.transport()
    host.run(update, last)
    assert update.is_on(host.disk)
    assert sent + last.sent[name(update, Part.ROOT)] < 2 * update.target(Part.ROOT).length_bytes


@pytest.mark.parametrize("part", PARTS)
def test_every_image_can_be_gone_on_with(update: Update, host: Host, part: Part) -> None:
    host.break_off(update, part, share=0.95)
    second = update.transport()
    host.run(update, second)
    assert update.is_on(host.disk)
    order = list(PARTS)
    # The image before may not have been read back by then: it is opened, at its end.
    assert [started for started in starts(second) if second.sent.get(started)] == [
        name(update, later) for later in order[order.index(part) :]
    ]


@pytest.mark.parametrize(
    "options", [["-B4", "-BD", "-BX"], ["-B6", "-BD", "--content-size"], ["-l"]], ids=" ".join
)
def test_streams_with_history(
    update: Update, host: Host, options: list[str], tmp_path: Path
) -> None:
    """Linked blocks need what is on the disk; so does everything in the format's own state."""
    root = tmp_path / "root"
    root.write_bytes(update.images[Part.ROOT].read_bytes())
    other = update.with_target(Part.ROOT, lz4(root, *options).read_bytes(), f"{tmp_path.name}.lz4")
    host.break_off(other, share=0.8)
    second = other.transport()
    host.run(other, second)
    assert other.is_on(host.disk)
    assert starts(second)[name(other, Part.ROOT)] > 0


def test_a_signal_keeps_all_that_was_written(update: Update, host: Host) -> None:
    transport, cancel = update.transport(), threading.Event()
    root = update.target(Part.ROOT)
    transport.stall_at[root.name] = root.length_bytes * 3 // 4

    def stop() -> None:
        transport.stalled.wait(30)
        time.sleep(0.3)  # let what was received be written
        cancel.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Interrupted):
        host.run(update, transport, cancel=cancel)
    stopper.join()

    second = update.transport()
    host.run(update, second)
    assert update.is_on(host.disk)
    # All but the block that was being received, and what was waiting to be written.
    assert starts(second)[root.name] > root.length_bytes // 2


def test_a_finished_update_is_looked_at_and_not_fetched(update: Update, host: Host) -> None:
    host.run(update, update.transport())
    second = update.transport()
    host.run(update, second)
    assert second.opened == []
    assert update.is_on(host.disk)


class TestWhatIsNotTrusted:
    """Everything but data that was flushed, and is still there, of this very target."""

    @pytest.mark.parametrize("part", PARTS)
    def test_a_finished_image_that_changed_on_disk(
        self, update: Update, host: Host, part: Part
    ) -> None:
        host.run(update, update.transport())
        host.damage(update, part, 4000)
        second = update.transport()
        host.run(update, second)
        assert update.is_on(host.disk)
        assert second.opened == [(name(update, part), 0)]

    def test_a_beginning_that_changed_on_disk(
        self, update: Update, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        host.break_off(update)
        host.damage(update, Part.ROOT, 12345)
        second = update.transport()
        with caplog.at_level(logging.INFO):
            host.run(update, second)
        assert update.is_on(host.disk)
        assert starts(second)[name(update, Part.ROOT)] == 0
        assert "starting over with root.img.lz4: " in caplog.text

    def test_data_that_was_not_flushed(self, update: Update, host: Host) -> None:
        """Whenever the journal is replaced, all that it speaks of was flushed before."""
        written, flushed, promised = 0, 0, []

        class Ordered(Kernel):
            def pwrite(self, fd: int, data: Buffer, offset_bytes: int) -> int:
                nonlocal written
                count = super().pwrite(fd, data, offset_bytes)
                written += count
                return count

            def fdatasync(self, fd: int) -> None:
                nonlocal flushed
                before = written
                super().fdatasync(fd)
                if Path(f"/proc/self/fd/{fd}").readlink() == host.disk:
                    flushed = before

            def replace(self, source: StrPath, target: StrPath) -> None:
                images = json.loads(Path(source).read_text())["images"]
                promised.append(sum(image["written_bytes"] for image in images.values()))
                assert promised[-1] <= flushed
                super().replace(source, target)

        host.run(update, update.transport(), kernel=Ordered())
        assert len(promised) > 3
        assert promised[-1] == flushed

    def test_a_journal_of_another_version(self, update: Update, host: Host, tmp_path: Path) -> None:
        host.break_off(update)
        root = tmp_path / "root"
        root.write_bytes(update.images[Part.ROOT].read_bytes())
        other = update.with_target(Part.ROOT, lz4(root, "-B7", "-9").read_bytes(), "next.lz4")
        second = other.transport()
        host.run(other, second)
        assert other.is_on(host.disk)
        assert starts(second) == {"next.lz4": 0}

    def test_a_journal_of_another_disk(self, update: Update, host: Host) -> None:
        host.break_off(update)
        host.disk.rename(host.disk.with_name("removed.img"))
        host.disk = host.disk.with_name("new.img")
        second = update.transport()
        host.run(update, second)
        assert update.is_on(host.disk)
        assert set(starts(second).values()) == {0}

    def test_a_new_disk_in_the_place_of_the_old(self, update: Update, host: Host) -> None:
        host.break_off(update)
        host.disk.unlink()
        second = update.transport()
        host.run(update, second)
        assert update.is_on(host.disk)
        assert starts(second) == {name(update, part): 0 for part in PARTS}

    def test_a_damaged_journal(self, update: Update, host: Host) -> None:
        host.break_off(update)
        host.journal.write_text("{")
        second = update.transport()
        host.run(update, second)
        assert update.is_on(host.disk)
        assert starts(second) == {name(update, part): 0 for part in PARTS}

    def test_a_journal_with_the_wrong_digest_state(self, update: Update, host: Host) -> None:
        """It can only lead to a refusal, and that to a fresh start."""
        host.break_off(update)
        kept = json.loads(host.journal.read_text())
        words = kept["images"]["root"]["digests"]["sha256"]["words"]
        words[0] ^= 1
        host.journal.write_text(json.dumps(kept))
        with pytest.raises(StreamInvalid, match="its sha256 digest is"):
            host.run(update, update.transport())
        third = update.transport()
        host.run(update, third)
        assert update.is_on(host.disk)
        assert starts(third) == {name(update, Part.ROOT): 0}

    def test_a_stream_that_turned_out_wrong(
        self, update: Update, host: Host, tmp_path: Path
    ) -> None:
        """The server sends the end of another file: refused, and not gone on with next time."""
        host.break_off(update)
        transport = update.transport()
        wrong = bytearray(update.targets[Part.ROOT].read_bytes())
        wrong[-4:] = b"\0\0\0\0"  # the content's checksum, which only the digest covers
        path = tmp_path / "wrong"
        path.write_bytes(wrong)
        transport.paths[name(update, Part.ROOT)] = path
        with pytest.raises(StreamInvalid, match="its sha256 digest is"):
            host.run(update, transport)
        third = update.transport()
        host.run(update, third)
        assert starts(third) == {name(update, Part.ROOT): 0}
        assert update.is_on(host.disk)

    def test_a_root_image_when_its_hash_image_changed(
        self, update: Update, host: Host, tmp_path: Path
    ) -> None:
        """The journal's root was checked against the old tree; the new one has the last word."""
        host.run(update, update.transport())
        root = tmp_path / "root"
        root.write_bytes(update.images[Part.ROOT].read_bytes()[:-1] + b"!")
        tree = tmp_path / "tree"
        make_tree(root, tree)
        other = update.with_target(Part.HASH, lz4(tree).read_bytes(), "new-tree.lz4")
        second = other.transport()
        with pytest.raises(ImageMismatch, match="the digest of data block"):
            host.run(other, second)
        assert starts(second) == {"new-tree.lz4": 0, name(update, Part.ROOT): 0}


class TestServerThatCannot:
    """Without ranges, or with another file by now, the image starts over."""

    def test_at_once(self, update: Update, host: Host) -> None:
        host.break_off(update)
        second = update.transport()
        second.refuse_to_resume = True
        host.run(update, second)
        assert update.is_on(host.disk)
        root = name(update, Part.ROOT)
        assert [place for opened, place in second.opened if opened == root][1:] == [0]

    def test_in_the_middle(self, update: Update, host: Host) -> None:
        transport = update.transport()
        root = update.target(Part.ROOT)
        transport.change_at[root.name] = root.length_bytes // 2
        host.run(update, transport)
        assert update.is_on(host.disk)
        assert transport.opened.count((root.name, 0)) == 2
        assert transport.sent[root.name] == root.length_bytes * 3 // 2


def test_without_a_way_to_keep_digests_it_starts_over(
    update: Update, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_libcrypto", lambda _: None)
    host.break_off(update)
    second = update.transport()
    host.run(update, second)
    assert update.is_on(host.disk)
    # Finished images need no digest to go on.
    assert starts(second) == {name(update, Part.ROOT): 0}


def test_a_journal_from_a_machine_that_could_keep_digests(
    update: Update, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.break_off(update)
    monkeypatch.setattr(digests, "_libcrypto", lambda _: None)
    second = update.transport()
    host.run(update, second)
    assert update.is_on(host.disk)
    assert starts(second) == {name(update, Part.ROOT): 0}


CHILD = """
import sys, threading, time
from pathlib import Path
from signpost.layout import Part
from tests.support.images import Update
from tests.updog.test_resume import Host
directory, host = Path(sys.argv[1]), Host.__new__(Host)
host.disk, host.journal = Path(sys.argv[2]), Path(sys.argv[3])
update = Update(
    {part: directory / f"{part.value}.img" for part in Part},
    {part: directory / f"{part.value}.img.lz4" for part in Part}, "")
transport = update.transport()
def slow(name, at):
    time.sleep(0.01)
    print(name, at, flush=True)
transport.between = slow
host.run(update, transport)
"""


def run_until(update: Update, host: Host, stop: Callable[[str, int], bool]) -> None:
    """Run in a process of its own, and kill it when `stop` says so of an image and a position."""
    directory = update.images[Part.ROOT].parent
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), str(host.disk), str(host.journal)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    with child.stdout as lines:
        for line in lines:
            image, at = line.split()
            if stop(image, int(at)):
                break
        else:
            pytest.fail("it came to its end before it was to be killed")
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def reached(wanted: str, position: int, image: str, at: int) -> bool:
    return image == wanted and at >= position


def test_killed_it_goes_on(update: Update, host: Host) -> None:
    """SIGKILL in each image, and once more after the root image was saved in part."""
    root = update.target(Part.ROOT)
    for part in PARTS:
        target = update.target(part)
        run_until(update, host, partial(reached, target.name, target.length_bytes // 4))

    def saved(image: str, _: int) -> bool:
        return image == root.name and "root" in json.loads(host.journal.read_text())["images"]

    run_until(update, host, saved)

    last = update.transport()
    host.run(update, last)
    assert update.is_on(host.disk)
    assert list(last.sent) == [root.name]
    assert last.sent[root.name] < root.length_bytes
