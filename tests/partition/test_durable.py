"""State that lasts: old or new after any power cut, private, and never half trusted."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from partition import durable
from partition.errors import ReadFailed, StateFileCorrupt, StateFileUnsafe, WriteFailed
from partition.kernel import KERNEL
from partition.ownership import check_owner
from tests.support.cuts import states
from tests.support.power import PowerKernel, materialise
from tests.support.recording import RecordingKernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from partition.kernel import Kernel, StrPath


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory as `make_directory` leaves it."""
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    return place


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


class TestFiles:
    def test_what_was_written_is_read(self, state: Path) -> None:
        durable.write_file(state / "seed", b"2047\n")

        assert durable.read_file(state / "seed", max_bytes=5) == b"2047\n"
        assert (mode(state / "seed"), names(state)) == (0o600, ["seed"])

    def test_what_is_not_there_is_none(self, state: Path) -> None:
        assert durable.read_file(state / "seed") is None
        assert durable.read_json(state / "seed.json") is None

    def test_the_order_is_write_flush_rename_flush(self, state: Path) -> None:
        kernel = RecordingKernel()

        durable.write_file(state / "seed", b"1", kernel=kernel)

        assert kernel.log == [
            "write .seed.new 1",
            "fsync .seed.new",
            "replace .seed.new seed",
            "fsync state",
        ]

    def test_permissions_do_not_depend_on_the_umask(self, state: Path) -> None:
        before = os.umask(0o777)
        try:
            durable.write_file(state / "public", b"", mode=0o644)
        finally:
            os.umask(before)

        assert mode(state / "public") == 0o644

    @pytest.mark.parametrize("call", ["write", "fsync", "replace"])
    def test_a_full_disk_leaves_the_old_file_and_no_litter(self, state: Path, call: str) -> None:
        durable.write_file(state / "seed", b"old")

        kernel = RecordingKernel(fail={call: errno.ENOSPC})
        with pytest.raises(WriteFailed) as caught:
            durable.write_file(state / "seed", b"new", kernel=kernel)

        assert str(caught.value) == f"cannot write {state}/seed: No space left on device"
        assert durable.read_file(state / "seed") == b"old"
        assert names(state) == ["seed"]

    def test_short_writes_are_continued(self, state: Path) -> None:
        durable.write_file(state / "seed", bytes(range(100)), kernel=RecordingKernel(short=7))

        assert durable.read_file(state / "seed") == bytes(range(100))

    def test_what_a_crash_left_beside_it_is_taken_over(self, state: Path) -> None:
        (state / ".seed.new").write_bytes(b"much longer than what is written next")

        durable.write_file(state / "seed", b"new")

        assert durable.read_file(state / "seed") == b"new"
        assert names(state) == ["seed"]

    def test_a_writer_that_comes_between_gets_a_file_of_its_own(self, state: Path) -> None:
        """We open the temporary file, wait for its lock, and its holder renames it meanwhile."""

        class Late(RecordingKernel):
            def flock(self, fd: int, operation: int) -> None:
                if (state / ".seed.new").exists() and not (state / "seed").exists():
                    (state / ".seed.new").rename(state / "seed")
                    (state / "seed").write_bytes(b"theirs")
                super().flock(fd, operation)

        with (state / ".seed.new").open("wb"):
            durable.write_file(state / "seed", b"ours", kernel=Late())

        assert durable.read_file(state / "seed") == b"ours"
        assert names(state) == ["seed"]

    def test_a_link_in_its_place_is_replaced_and_not_followed(
        self, state: Path, tmp_path: Path
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        (state / "seed").symlink_to(victim)

        durable.write_file(state / "seed", b"new")

        assert victim.read_bytes() == b"precious"
        assert not (state / "seed").is_symlink()

    def test_a_link_in_the_temporary_place_is_refused(self, state: Path, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        (state / ".seed.new").symlink_to(victim)

        with pytest.raises(WriteFailed):
            durable.write_file(state / "seed", b"new")

        assert victim.read_bytes() == b"precious"

    def test_a_missing_directory_is_told(self, state: Path) -> None:
        with pytest.raises(ReadFailed, match=r"cannot read .*/none: No such file or directory"):
            durable.write_file(state / "none" / "seed", b"")

    def test_removing_is_durable_and_may_find_nothing(self, state: Path) -> None:
        durable.write_file(state / "seed", b"")
        kernel = RecordingKernel()

        durable.remove_file(state / "seed", kernel=kernel)
        durable.remove_file(state / "seed", kernel=RecordingKernel())

        assert kernel.log == ["unlink seed", "fsync state"]


class TestReading:
    """What another user could have put there is never used."""

    def test_a_link_is_refused(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_bytes(b"{}")
        (state / "seed").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(StateFileUnsafe) as caught:
            durable.read_file(state / "seed")

        assert str(caught.value) == f"refusing to use {state}/seed: it is a symbolic link"

    @pytest.mark.parametrize("loose", [0o620, 0o602, 0o666, 0o777])
    def test_a_file_that_others_may_write_is_refused(self, state: Path, loose: int) -> None:
        durable.write_file(state / "seed", b"1")
        (state / "seed").chmod(loose)

        with pytest.raises(StateFileUnsafe, match=rf"others may write to it \(mode 0{loose:o}\)"):
            durable.read_file(state / "seed")
        assert durable.read_file(state / "seed", private=False) == b"1"

    @pytest.mark.parametrize("loose", [0o770, 0o707, 0o1777])
    def test_a_directory_that_others_may_write_is_refused(self, state: Path, loose: int) -> None:
        durable.write_file(state / "seed", b"1")
        state.chmod(loose)

        uses: list[Callable[[], object]] = [
            lambda: durable.read_file(state / "seed"),
            lambda: durable.write_file(state / "seed", b"2"),
            lambda: durable.replace_directory(state / "set", {}),
            lambda: durable.make_directory(state),
        ]
        for use in uses:
            with pytest.raises(StateFileUnsafe, match=f"refusing to use {state}: others may write"):
                use()
        durable.write_file(state / "seed", b"2", private=False)
        assert durable.read_file(state / "seed", private=False) == b"2"

    def test_readable_by_all_is_no_reason_to_refuse(self, state: Path) -> None:
        durable.write_file(state / "seed", b"1", mode=0o644)
        state.chmod(0o755)

        assert durable.read_file(state / "seed") == b"1"

    @pytest.mark.parametrize("kind", ["directory", "fifo"])
    def test_what_is_no_file_is_refused_at_once(self, state: Path, kind: str) -> None:
        if kind == "fifo":
            os.mkfifo(state / "seed")
        else:
            (state / "seed").mkdir()

        with pytest.raises(StateFileUnsafe, match="not a regular file"):
            durable.read_file(state / "seed")

    @pytest.mark.parametrize("owner, ours", [(0, True), (os.geteuid(), True), (12345, False)])
    def test_what_belongs_to_another_user_is_refused(
        self, state: Path, *, owner: int, ours: bool
    ) -> None:
        status = os.stat_result((0o100600, 1, 1, 1, owner, 0, 0, 0, 0, 0))
        if ours:
            check_owner(state, status)
            return
        with pytest.raises(StateFileUnsafe, match=r"belongs to user 12345, expected \d+ or root"):
            check_owner(state, status)

    def test_what_cannot_be_reached_is_told(self, state: Path) -> None:
        durable.write_file(state / "seed", b"")

        with pytest.raises(ReadFailed, match="seed/file: Not a directory"):
            durable.read_file(state / "seed" / "file")
        with pytest.raises(ReadFailed, match="seed: it is not a directory"):
            durable.check_directory(state / "seed")

    def test_more_than_expected_is_corrupt(self, state: Path) -> None:
        durable.write_file(state / "seed", b"12345")

        with pytest.raises(StateFileCorrupt, match="it is longer than 4 bytes"):
            durable.read_file(state / "seed", max_bytes=4)


class TestJson:
    def test_what_was_written_is_read(self, state: Path) -> None:
        value = {"format": 1, "versions": ["1.2.3"], "naïve": None}

        durable.write_json(state / "a.json", value)

        assert durable.read_json(state / "a.json") == value
        assert (state / "a.json").read_text().endswith("}\n")

    @pytest.mark.parametrize(
        "text, why",
        [
            (b"", "Expecting value"),
            (b'{"a": 1', "Expecting ',' delimiter"),
            (b'{"a": 1, "a": 2}', "a key occurs twice in one object"),
            (b'{"a": [{"b": 1, "b": 1}]}', "a key occurs twice in one object"),
            (b'{"a": NaN}', "NaN is not JSON"),
            (b'{"a": 1} trailing', "Extra data"),
            (b'"\xff"', "invalid start byte"),
            (b"[" * 100_000, "recursion"),
            (b"1" * 10_000, "integer string conversion"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_no_json_is_corrupt(self, state: Path, text: bytes, why: str) -> None:
        durable.write_file(state / "a.json", text)

        with pytest.raises(StateFileCorrupt, match=why) as caught:
            durable.read_json(state / "a.json")

        assert str(caught.value).startswith(f"cannot use {state}/a.json: ")


class TestDirectories:
    def test_a_set_of_files_is_replaced_whole(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"copied" * 300_000)
        durable.replace_directory(state / "set", {"a": b"1", "b": b"2"})

        durable.replace_directory(state / "set", {"b": b"3", "c": tmp_path / "source"})

        found = {path.name: path.read_bytes() for path in (state / "set").iterdir()}
        assert found == {"b": b"3", "c": b"copied" * 300_000}
        assert (mode(state / "set"), mode(state / "set/b")) == (0o700, 0o600)
        assert names(state) == ["set"]

    @pytest.mark.parametrize("call", ["write", "fsync", "exchange"])
    def test_a_failure_leaves_the_old_set_and_no_litter(self, state: Path, call: str) -> None:
        durable.replace_directory(state / "set", {"a": b"1"})

        kernel = RecordingKernel(fail={call: errno.ENOSPC})
        with pytest.raises(WriteFailed, match=f"cannot write {state}"):
            durable.replace_directory(state / "set", {"b": b"2"}, kernel=kernel)

        assert names(state) == ["set"]
        assert names(state / "set") == ["a"]

    def test_a_file_system_that_cannot_exchange_is_told(self, state: Path) -> None:
        """As vfat and older ZFS answer."""

        class Old(RecordingKernel):
            def exchange(self, one: StrPath, other: StrPath) -> None:
                number = errno.EINVAL
                raise OSError(number, os.strerror(number), str(one), None, str(other))

        durable.replace_directory(state / "set", {"a": b"1"})
        with pytest.raises(WriteFailed, match="cannot exchange two directories atomically"):
            durable.replace_directory(state / "set", {"b": b"2"}, kernel=Old())

        assert names(state / "set") == ["a"]

    def test_exchanging_with_nothing_is_an_error_that_names_both(self, state: Path) -> None:
        (state / "one").touch()

        with pytest.raises(FileNotFoundError) as caught:
            KERNEL.exchange(state / "one", state / "other")

        assert (caught.value.filename, caught.value.filename2) == (
            str(state / "one"),
            str(state / "other"),
        )

    def test_a_link_in_its_place_is_refused(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "victim").mkdir()
        (state / "set").symlink_to(tmp_path / "victim")

        with pytest.raises(StateFileUnsafe, match="it is a symbolic link"):
            durable.replace_directory(state / "set", {"a": b"1"})

        assert list((tmp_path / "victim").iterdir()) == []

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\0b"])
    def test_a_name_that_leads_elsewhere_is_a_mistake_of_the_caller(
        self, state: Path, name: str
    ) -> None:
        with pytest.raises(ValueError, match="not a plain file name"):
            durable.replace_directory(state / "set", {name: b""})

        assert names(state) == []

    def test_making_makes_what_is_missing_above(self, state: Path) -> None:
        durable.make_directory(state / "a" / "b" / "c")
        durable.make_directory(state / "a" / "b" / "c")

        assert [mode(state / place) for place in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]

    def test_making_over_a_file_is_told(self, state: Path) -> None:
        (state / "a").touch()

        with pytest.raises(WriteFailed, match=f"cannot write {state}/a/b: Not a directory"):
            durable.make_directory(state / "a" / "b")
        with pytest.raises(WriteFailed, match="something else is in its place"):
            durable.make_directory(state / "a", private=False)

    def test_a_tree_is_removed_without_following_links(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept/file").touch()
        (state / "tree/deep").mkdir(parents=True)
        (state / "tree/link").symlink_to(tmp_path / "kept")
        (state / "tree/deep/file").touch()

        durable.remove_tree(state / "tree")
        durable.remove_tree(state / "tree")

        assert names(state) == []
        assert (tmp_path / "kept/file").exists()

    def test_a_tree_is_flushed_leaves_first(self, state: Path) -> None:
        (state / "tree/deep").mkdir(parents=True)
        (state / "tree/a").touch()
        (state / "tree/deep/b").touch()
        (state / "tree/gone").symlink_to("nowhere")
        kernel = RecordingKernel()

        durable.sync_tree(state / "tree", kernel=kernel)

        assert kernel.log == ["fsync b", "fsync deep", "fsync a", "fsync tree"]


def write_new(state: Path, kernel: Kernel) -> None:
    durable.write_file(state / "file", b"new" * 500, kernel=kernel)


def replace_set(state: Path, kernel: Kernel) -> None:
    durable.replace_directory(state / "set", {"b": b"new", "c": b"new"}, kernel=kernel)


def replace_link(state: Path, kernel: Kernel) -> None:
    durable.replace_symlink(state / "link", "new", kernel=kernel)


def remove(state: Path, kernel: Kernel) -> None:
    durable.remove_file(state / "file", kernel=kernel)


def make(state: Path, kernel: Kernel) -> None:
    durable.make_directory(state / "made" / "deep", kernel=kernel)


def contents(place: Path) -> Iterator[tuple[str, object]]:
    """What a reader sees; temporary names are not looked at."""
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if not name.startswith("."):
            yield name, path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()


@pytest.mark.parametrize("change", [write_new, replace_set, replace_link, remove])
def test_a_power_cut_leaves_old_or_new_and_the_next_write_succeeds(
    tmp_path: Path, change: Callable[[Path, Kernel], None]
) -> None:
    state = tmp_path / "state"
    durable.make_directory(state)
    durable.write_file(state / "file", b"old" * 500)
    durable.replace_directory(state / "set", {"a": b"old", "b": b"old"})
    durable.replace_symlink(state / "link", "old")
    old = dict(contents(state))
    kernel = PowerKernel(tmp_path)
    change(state, kernel)
    history = kernel.history()
    new = dict(contents(state))
    assert old != new

    seen = []
    for number, cut in enumerate(states(history)):
        left = tmp_path / f"after-{number}"
        materialise(history, cut, left)
        found = dict(contents(left / "state"))
        assert found in (old, new)
        seen.append(found)
        change(left / "state", KERNEL)
        assert dict(contents(left / "state")) == new
        durable.remove_tree(left)

    assert old in seen
    assert new in seen


def test_what_was_done_has_lasted_when_the_call_returns(tmp_path: Path) -> None:
    """Cut right after each call: only the new state is left, however much was in the air."""
    durable.make_directory(tmp_path / "state")
    durable.write_file(tmp_path / "state/file", b"old")
    for change in (write_new, replace_set, replace_link, make, remove):
        kernel = PowerKernel(tmp_path / "state")
        change(tmp_path / "state", kernel)
        history = kernel.history()
        expected = dict(contents(tmp_path / "state"))

        left = tmp_path / f"after-{change.__name__}"
        materialise(history, history.flushed, left)

        assert dict(contents(left)) == expected
