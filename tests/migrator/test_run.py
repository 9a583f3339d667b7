"""A migration from beginning to end, on real directories; and every way in which it is refused."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING

import lz4.frame
import pytest
from semver import Version

from migrator import pack
from migrator.datastore import Datastore
from migrator.errors import MigratorError
from migrator.executable import Limits
from migrator.run import Outcome, migrate, rehearse, rehearse_both_ways
from partition import durable
from partition.errors import PartitionError
from partition.kernel import Kernel
from tests.migrator.builders import Host, read_files
from updog.errors import UpdogError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIVE = {
    "live/settings/motd": '"hi"',
    "live/settings/source": '"v1"',
    "live/settings/source.template": '"t"',
    "pending/tx/settings/source": '"v1"',
}
REMOVE = '[[steps]]\nkind = "remove-settings"\nsettings = ["settings.motd"]'
REPLACE = '[[steps]]\nkind = "replace-string"\nsetting = "settings.source"\nold = "v1"\nnew = "v2"'
ADD = '[[steps]]\nkind = "add-settings"\nsettings = ["settings.new"]'
COPY = '#!/bin/sh\ncp -r "$3" "$5"\n'
STEPS = {
    ("1.0.0", "1.1.0"): ["migrate_v1.1.0_remove.toml.lz4"],
    ("1.1.0", "1.2.0"): [],
    ("1.2.0", "2.0.0-rc.1+b7"): ["migrate_v2.0.0_replace.toml.lz4", "migrate_v2.0.0_add.toml.lz4"],
}
MIGRATIONS: dict[str, str | bytes] = {
    "migrate_v1.1.0_remove.toml.lz4": REMOVE,
    "migrate_v2.0.0_replace.toml.lz4": REPLACE,
    "migrate_v2.0.0_add.toml.lz4": ADD,
}
FIRST = "migrate_v1.1.0_remove.toml.lz4"
NEWEST = Version.parse("2.0.0-rc.1+b7")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.install("1.0.0", LIVE)
    host.publish(STEPS, MIGRATIONS)
    return host


def test_all_the_way_up_and_back(host: Host) -> None:
    assert migrate(host.setting(), NEWEST) is Outcome.MIGRATED
    assert host.files() == {
        "live/settings/source": '"v2"',
        "live/settings/source.template": '"t"',
        "pending/tx/settings/source": '"v2"',
    }
    assert host.chain().startswith("current -> v2 -> v2.0 -> v2.0.0-rc.1+b7 -> v2.0.0-rc.1+b7_")
    # The copy that was migrated from is still there, whole, under its version.
    assert read_files(host.base / "v1.0.0") == LIVE
    assert migrate(host.setting(), Version(1)) is Outcome.MIGRATED
    assert host.files() == LIVE
    assert not (host.current / "kept.json").exists()


def test_step_by_step(host: Host) -> None:
    assert migrate(host.setting(), Version(1, 1)) is Outcome.MIGRATED
    assert "live/settings/motd" not in host.files()
    copy = host.chain().rpartition(" -> ")[2]
    assert migrate(host.setting(), Version(1, 2)) is Outcome.RELINKED
    assert host.chain() == f"current -> v1 -> v1.2 -> v1.2.0 -> {copy}"
    assert migrate(host.setting(), NEWEST) is Outcome.MIGRATED
    assert migrate(host.setting(), Version(1)) is Outcome.MIGRATED
    assert host.files() == LIVE


def test_old_copies_are_collected_but_for_the_previous_version(host: Host) -> None:
    for version in (Version(1, 1), NEWEST, Version(1, 1), Version(1), Version(1, 1)):
        migrate(host.setting(), version)
        copies = [name for name in host.names() if "_" in name]
        assert len(copies) == 2
    assert [name for name in host.names() if "_" not in name] == [
        "current",
        "v1",
        "v1.0",
        "v1.0.0",
        "v1.1",
        "v1.1.0",
    ]


def test_the_same_version_needs_nothing(host: Host) -> None:
    for path in host.cache.iterdir():
        path.unlink()
    before = host.names()
    assert migrate(host.setting(), Version(1)) is Outcome.SAME_VERSION
    assert host.names() == before


def test_no_datastore_yet(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert migrate(host.setting(), Version(1)) is Outcome.NO_DATASTORE
    host.base.rmdir()
    assert migrate(host.setting(), Version(1)) is Outcome.NO_DATASTORE
    assert not host.base.exists()


def test_another_build_of_the_same_version_is_a_matter_of_links(host: Host) -> None:
    assert migrate(host.setting(), Version.parse("1.0.0+2")) is Outcome.RELINKED
    assert host.chain() == "current -> v1 -> v1.0 -> v1.0.0+2 -> v1.0.0_0123456789abcdef"


def test_executables_and_data_take_turns(host: Host) -> None:
    script = """#!/usr/bin/env python3
import pathlib, shutil, sys
direction, _, source, _, target = sys.argv[1:]
shutil.copytree(source, target)
live = pathlib.Path(target, "live", "settings")
text = (live / "trace").read_text()[1:-1] if (live / "trace").exists() else ""
mine = "NUMBER"
if direction == "--forward":
    (live / "trace").write_text(f'"{text}{mine}"')
else:
    assert text.endswith(mine), text
    (live / "trace").write_text(f'"{text[:-1]}"')
    if text == mine:
        (live / "trace").unlink()
"""
    host.publish(
        {("1.0.0", "1.1.0"): ["a.lz4", "b.toml.lz4", "c.lz4"], ("1.1.0", "1.2.0"): ["d.lz4"]},
        {
            "a.lz4": script.replace("NUMBER", "1"),
            "b.toml.lz4": REMOVE,
            "c.lz4": script.replace("NUMBER", "2"),
            "d.lz4": script.replace("NUMBER", "3"),
        },
    )
    assert migrate(host.setting(), Version(1, 2)) is Outcome.MIGRATED
    assert host.files()["live/settings/trace"] == '"123"'
    assert "live/settings/motd" not in host.files()
    assert migrate(host.setting(), Version(1, 1)) is Outcome.MIGRATED
    assert host.files()["live/settings/trace"] == '"12"'
    assert migrate(host.setting(), Version(1)) is Outcome.MIGRATED
    assert host.files() == LIVE
    assert not [name for name in host.names() if name.startswith(".migrating")]


def test_what_comes_back_onto_a_group_takes_its_place_before_a_program_meets_it(
    host: Host,
) -> None:
    """The group was made where the newer version knows no name; it is there again with it."""
    host.publish(
        {("1.0.0", "1.1.0"): ["p.lz4"], ("1.1.0", "1.2.0"): ["r.toml.lz4"]},
        {
            "p.lz4": '#!/bin/sh\ncp -R "$3/." "$5"\n',
            "r.toml.lz4": (
                '[[steps]]\nkind = "rename-settings"\n'
                'from = "settings.motd"\nto = "settings.message"'
            ),
        },
    )
    migrate(host.setting(), Version(1, 2))
    (host.current / "live/settings/motd").mkdir()
    (host.current / "live/settings/motd/since").write_text("1")
    newer = host.files()
    assert migrate(host.setting(), Version(1)) is Outcome.MIGRATED
    assert host.files() == LIVE
    assert migrate(host.setting(), Version(1, 2)) is Outcome.MIGRATED
    assert host.files() == newer


def test_a_host_that_rolls_back_finds_the_newer_settings_when_it_returns(host: Host) -> None:
    """Written, flushed and read again each time, with what a user set in between."""
    host.publish(
        {("1.0.0", "2.0.0"): ["m.toml.lz4"]},
        {
            "m.toml.lz4": (
                '[[steps]]\nkind = "rename-settings"\n'
                'from = "settings.motd"\nto = "settings.host.greeting"\n'
                '[[steps]]\nkind = "add-settings"\nsettings = ["settings.host.colour"]'
            )
        },
    )
    migrate(host.setting(), Version(2))
    Datastore(host.current).set({"settings.host.colour": '"green"'})
    migrate(host.setting(), Version(1))
    assert host.files() == LIVE
    Datastore(host.current).set({"settings.motd": '"good morning"'})
    migrate(host.setting(), Version(2))
    assert host.files() == {
        "live/settings/host/greeting": '"good morning"',
        "live/settings/host/colour": '"green"',
        "live/settings/source": '"v1"',
        "live/settings/source.template": '"t"',
        "pending/tx/settings/source": '"v1"',
    }
    assert not (host.current / "kept.json").exists()


def test_an_authors_class_runs_at_boot(host: Host, tmp_path: Path) -> None:
    (tmp_path / "author.py").write_text("""
from migrator import Migration

class Upper(Migration):
    def forward(self, data, metadata):
        settings = data.get("settings", {})
        if "motd" in settings:
            settings["motd"] = settings["motd"].upper()

    def backward(self, data, metadata):
        settings = data.get("settings", {})
        if "motd" in settings:
            settings["motd"] = settings["motd"].lower()
""")
    program = pack.pack(tmp_path / "author.py")
    host.publish({("1.0.0", "1.1.0"): ["m.lz4"]}, {"m.lz4": program})
    migrate(host.setting(), Version(1, 1))
    assert host.files() == {**LIVE, "live/settings/motd": '"HI"'}
    migrate(host.setting(), Version(1))
    assert host.files() == LIVE


def test_values_that_nobody_touches_leave_as_they_came(host: Host) -> None:
    exact = {
        "live/a/number": "1.50",
        "live/a/list": '["a",  1,{"x":[]}]',
        "live/a/escaped": '"\\u00fc"',
        "live/a/unicode": '"ü"',
        "live/a/long": '"' + "x" * 100_000 + '"',
    }
    for name, text in exact.items():
        (host.current / name).parent.mkdir(exist_ok=True)
        (host.current / name).write_text(text)
    migrate(host.setting(), NEWEST)
    assert {name: host.files()[name] for name in exact} == exact


def test_who_may_read_settings_stays_as_it_was(host: Host) -> None:
    copy = host.base / "v1.0.0_0123456789abcdef"
    copy.chmod(0o710)
    migrate(host.setting(), NEWEST)
    assert stat.S_IMODE(host.current.stat().st_mode) == 0o710


def test_a_program_may_be_given_nothing_and_write_nothing(tmp_path: Path) -> None:
    """Programs that write setting by setting leave no directory where there is none to write."""
    host = Host(tmp_path)
    host.install("1.0.0", {})
    host.publish({("1.0.0", "1.1.0"): ["m.lz4"]}, {"m.lz4": "#!/bin/sh\n"})
    assert migrate(host.setting(), Version(1, 1)) is Outcome.MIGRATED
    assert host.files() == {}


def test_a_rehearsal_and_a_plan_write_nothing(host: Host) -> None:
    before = host.names()
    preview = rehearse(host.setting(), NEWEST)
    assert [line for change in preview.changes for line in change.lines()] == [
        '- settings.motd = "hi"',
        '- settings.source = "v1"',
        '+ settings.source = "v2"',
        "- [pending transaction 'tx'] settings.source = \"v1\"",
        "+ [pending transaction 'tx'] settings.source = \"v2\"",
    ]
    assert preview.route.names == tuple(MIGRATIONS)
    assert host.names() == before
    assert host.files() == LIVE
    _, differing = rehearse_both_ways(host.setting(), NEWEST)
    assert differing == ()


def test_a_rehearsal_tells_what_does_not_come_back(host: Host) -> None:
    script = """#!/usr/bin/env python3
import pathlib, shutil, sys
shutil.copytree(sys.argv[3], sys.argv[5])
if sys.argv[1] == "--backward":
    pathlib.Path(sys.argv[5], "live/settings/motd").write_text('"spoilt"')
"""
    host.publish({("1.0.0", "1.1.0"): ["m.lz4"]}, {"m.lz4": script})
    preview, differing = rehearse_both_ways(host.setting(), Version(1, 1))
    assert preview.changes == ()
    assert [change.key for change in differing] == ["settings.motd"]


def test_a_rehearsal_without_a_datastore_has_nothing_to_say(tmp_path: Path) -> None:
    preview = rehearse(Host(tmp_path).setting(), Version(1))
    assert preview.changes == ()
    assert preview.route.names == ()


SCHEMA = {
    "type": "object",
    "properties": {
        "settings": {
            "type": "object",
            "properties": {"source": {"enum": ["v2"]}, "motd": {"type": "string"}},
            "additionalProperties": False,
        }
    },
}


class TestSchema:
    def test_settings_that_match_it_are_taken(self, host: Host, tmp_path: Path) -> None:
        schema = tmp_path / "schema.json"
        schema.write_text(json.dumps(SCHEMA))
        assert migrate(host.setting(schema=schema), NEWEST) is Outcome.MIGRATED

    def test_settings_that_do_not_are_refused(self, host: Host, tmp_path: Path) -> None:
        schema = tmp_path / "schema.json"
        schema.write_text(json.dumps(SCHEMA))
        with pytest.raises(MigratorError) as caught:
            migrate(host.setting(schema=schema), Version(1, 1))
        assert str(caught.value) == (
            "refusing the resulting settings: settings.source does not match "
            f'{schema}: expected enum ["v2"]'
        )
        assert host.files() == LIVE
        assert host.chain() == "current -> v1 -> v1.0 -> v1.0.0 -> v1.0.0_0123456789abcdef"

    @pytest.mark.parametrize("text", ["{", '{"type": "nonsense"}'])
    def test_a_schema_that_is_none_is_refused(self, host: Host, tmp_path: Path, text: str) -> None:
        schema = tmp_path / "schema.json"
        schema.write_text(text)
        with pytest.raises(MigratorError, match="cannot be used"):
            migrate(host.setting(schema=schema), NEWEST)

    def test_an_image_without_one_is_fine(self, host: Host, tmp_path: Path) -> None:
        migrate(host.setting(schema=tmp_path / "absent"), NEWEST)


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def linked(host: Host) -> None:
    host.cached(FIRST).rename(host.cache / "x")
    host.cached(FIRST).symlink_to(host.cache / "x")


def unsigned(host: Host) -> None:
    del host.signed.published["migrate_v1.1.0_remove.toml.lz4"]


def replaced(content: str | bytes, *, compressed: bool = True) -> Callable[[Host], None]:
    """Publish something else for the first migration."""

    def breakage(host: Host) -> None:
        raw = content.encode() if isinstance(content, str) else content
        data = lz4.frame.compress(raw) if compressed else raw
        host.put("migrate_v1.1.0_remove.toml.lz4", data)

    return breakage


def program(content: str | bytes) -> Callable[[Host], None]:
    """Publish a program for the first step."""

    def breakage(host: Host) -> None:
        host.publish({**STEPS, ("1.0.0", "1.1.0"): ["p.lz4"]}, {**MIGRATIONS, "p.lz4": content})

    return breakage


def write(name: str, content: str) -> Callable[[Host], None]:
    return lambda host: write_one(host.base / name, content)


def write_one(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def relink(name: str, target: str) -> Callable[[Host], None]:
    def breakage(host: Host) -> None:
        (host.base / name).unlink()
        (host.base / name).symlink_to(target)

    return breakage


IN_COPY = "v1.0.0_0123456789abcdef"
BAD: dict[str, tuple[Callable[[Host], object], str]] = {
    "a missing link": (lambda host: (host.base / "v1.0").unlink(), "v1.0, which does not exist"),
    "a circle of links": (relink("v1.0.0", "v1"), "more than 4 links follow each other"),
    "a dangling link": (relink("v1.0.0", "gone"), "gone, which does not exist"),
    "an absolute link": (relink("v1", "/v1.0"), "it leads to an absolute path, /v1.0"),
    "a file that is not JSON": (write(f"{IN_COPY}/live/x", "hello"), "live/x: not JSON"),
    "a key that does not parse": (write(f"{IN_COPY}/live/a%2", "1"), "not the encoding of a key"),
    "a missing migration": (lambda host: host.cached(FIRST).unlink(), "there is no file"),
    "a migration that is not signed": (unsigned, f"the repository has no target {FIRST}"),
    "a migration with another hash": (
        lambda host: damaged(host.cached(FIRST)),
        f"{FIRST} is not what was signed",
    ),
    "a link instead of a migration": (
        linked,
        "symbolic links",
    ),
    "a missing manifest": (
        lambda host: host.cached("manifest.json").unlink(),
        "cannot use the cached manifest.json",
    ),
    "a manifest that is none": (
        lambda host: host.put("manifest.json", b"{"),
        "it is not JSON",
    ),
    "no way": (
        lambda host: host.publish({("1.0.0", "1.1.0"): []}, {}),
        "refusing to go from 1.0.0 to 2.0.0-rc.1+b7",
    ),
    "no LZ4": (replaced(REMOVE, compressed=False), "not an LZ4 frame"),
    "nothing at all": (replaced(b"", compressed=False), "it holds no LZ4 frame"),
    "half an LZ4 frame": (
        replaced(lz4.frame.compress(REMOVE.encode())[:-6], compressed=False),
        "in the middle of an LZ4 frame",
    ),
    "something after the frame": (
        replaced(lz4.frame.compress(REMOVE.encode()) + b"x", compressed=False),
        "1 bytes follow the last LZ4 frame",
    ),
    "a bomb": (replaced(bytes(300 << 20)), "it is larger than 268435456 bytes"),
    "no TOML": (replaced("[["), "it is not TOML"),
    "an unknown step": (replaced('[[steps]]\nkind = "x"'), "step 1 (x): there is no such kind"),
    "a list that cannot be compared": (
        lambda host: (
            write(f"{IN_COPY}/live/l", "[1]")(host),
            replaced('[[steps]]\nkind = "replace-lists"\nsetting = "l"\nold = []\nnew = []')(host),
        ),
        "in the live settings: l is a list that holds something else than strings",
    ),
    "a rename into a value": (
        replaced(
            '[[steps]]\nkind = "rename-settings"\n'
            'from = "settings.motd"\nto = "settings.source.motd"'
        ),
        "settings.source would be both a value and a group",
    ),
    "a rename to too long a name": (
        lambda host: (
            write(f"{IN_COPY}/live/l/{'x' * 200}", "1")(host),
            replaced(f'[[steps]]\nkind = "rename-prefixes"\nfrom = "l"\nto = "{"m" * 60}"')(host),
        ),
        "longer than 255 bytes",
    ),
    "a migration that crashes": (program("#!/bin/sh\nkill -ABRT $$\n"), "killed by SIGABRT"),
    "a migration that fails": (program("#!/bin/sh\necho why; exit 1\n"), "it printed: why"),
    "a migration that hangs": (program("#!/bin/sh\nsleep 60\n"), "did not end within 1 seconds"),
    "a migration that writes nothing": (program("#!/bin/sh\n"), "what it wrote is no datastore"),
    "a migration that writes garbage": (
        program('#!/bin/sh\ncp -r "$3" "$5"; echo garbage > "$5/live/settings/x"\n'),
        "p.lz4 failed going forward: what it wrote is no datastore",
    ),
    "a migration that writes an object": (
        program('#!/bin/sh\ncp -r "$3" "$5"; echo "{}" > "$5/live/settings/x"\n'),
        "it is an object; a setting is a scalar or a list",
    ),
    "a migration that writes a bad name": (
        program('#!/bin/sh\ncp -r "$3" "$5"; echo 1 > "$5/live/settings/a b"\n'),
        "not the encoding of a key",
    ),
    "a migration that writes a link": (
        program('#!/bin/sh\ncp -r "$3" "$5"; ln -s /etc/passwd "$5/live/settings/x"\n'),
        "neither a plain file nor a directory",
    ),
    "a migration that is no program": (program(b"\x7fELF nonsense"), "not an executable"),
    "a name without .lz4": (
        lambda host: host.publish(
            {**STEPS, ("1.0.0", "1.1.0"): ["p.toml"]}, {**MIGRATIONS, "p.toml": REMOVE}
        ),
        "its name does not end in .lz4",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_line_and_leaves_current_alone(host: Host, bad: str) -> None:
    breakage, why = BAD[bad]
    breakage(host)
    files = {path: path.lstat() for path in host.base.rglob("*") if path.name != ".migrator.lock"}
    with pytest.raises((MigratorError, UpdogError, PartitionError)) as caught:
        migrate(host.setting(limits=Limits(seconds=1)), NEWEST)
    message = str(caught.value)
    assert why in message
    assert "\n" not in message
    assert getattr(caught.value, "exit_code", None) == 1
    after = {path: path.lstat() for path in host.base.rglob("*") if path.name != ".migrator.lock"}
    assert after.keys() == files.keys()
    assert all(
        (after[path].st_ino, after[path].st_mtime_ns) == (old.st_ino, old.st_mtime_ns)
        for path, old in files.items()
        if path != host.base
    ), "nothing was written again"


def test_a_program_that_spoils_what_it_was_given_to_read_spoils_nothing(host: Host) -> None:
    program('#!/bin/sh\nrm -rf "$3"/live; mkdir "$3"/live; cp -r "$3" "$5"\n')(host)
    migrate(host.setting(), Version(1, 1))
    assert host.files() == {"pending/tx/settings/source": '"v1"'}
    assert read_files(host.base / "v1.0.0") == LIVE
    migrate(host.setting(), Version(1))
    assert host.files() == LIVE


class Failing(Kernel):
    """Fails at the n-th call that changes something."""

    def __init__(self, fail_at: int, error: int = errno.ENOSPC) -> None:
        self.calls = 0
        self._fail_at = fail_at
        self._error = error

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise OSError(self._error, os.strerror(self._error))

    def write(self, fd: int, data: object) -> int:
        self._count()
        return super().write(fd, data)  # type: ignore[arg-type]

    def mkdir(self, path: object, mode: int = 0o700) -> None:
        self._count()
        super().mkdir(path, mode)  # type: ignore[arg-type]

    def symlink(self, points_to: object, path: object) -> None:
        self._count()
        super().symlink(points_to, path)  # type: ignore[arg-type]

    def replace(self, source: object, target: object) -> None:
        self._count()
        super().replace(source, target)  # type: ignore[arg-type]

    def syncfs(self, fd: int) -> None:
        self._count()
        super().syncfs(fd)


def test_a_disk_that_fails_at_any_call_leaves_old_or_new(tmp_path: Path) -> None:
    """Full, or broken: the settings are the old or the new ones, and the next run ends well."""
    new = {
        "live/settings/source": '"v2"',
        "live/settings/source.template": '"t"',
        "pending/tx/settings/source": '"v2"',
    }
    fail_at, failures = 1, 0
    while True:
        host = Host(tmp_path / str(fail_at))
        host.install("1.0.0", LIVE)
        host.publish(STEPS, MIGRATIONS)
        kernel = Failing(fail_at, errno.ENOSPC if fail_at % 2 else errno.EIO)
        try:
            migrate(host.setting(kernel=kernel), NEWEST)
        except (MigratorError, PartitionError):
            failures += 1
        assert host.files() in (LIVE, new)
        if kernel.calls < fail_at:
            break
        migrate(host.setting(), NEWEST)
        assert host.files() == new
        assert len([name for name in host.names() if "_" in name]) == 2
        fail_at += 1
    assert failures > 10


def test_too_little_room_is_known_before_anything_is_written(host: Host) -> None:
    def nearly_full(path: Path) -> os.statvfs_result:
        room = list(os.statvfs(path))
        room[3] = room[4] = 20  # f_bfree, f_bavail: blocks
        return os.statvfs_result(room)

    before = host.names()
    with pytest.raises(MigratorError, match=r"refusing to write a new copy to .*: it needs"):
        migrate(host.setting(space=nearly_full), NEWEST)
    with pytest.raises(MigratorError, match="refusing to write a new copy"):
        rehearse(host.setting(space=nearly_full), NEWEST)
    assert host.names() == before


def test_too_few_inodes(host: Host) -> None:
    def no_names(path: Path) -> os.statvfs_result:
        room = list(os.statvfs(path))
        room[6] = room[7] = 5  # f_ffree, f_favail
        return os.statvfs_result(room)

    with pytest.raises(MigratorError, match="inodes, 5 are free"):
        migrate(host.setting(space=no_names), NEWEST)


def test_two_migrators(host: Host) -> None:
    with (
        durable.exclusive_lock(host.base / ".migrator.lock"),
        pytest.raises(PartitionError, match=f"process {os.getpid()} is at work"),
    ):
        migrate(host.setting(), NEWEST)
    assert host.files() == LIVE


def test_what_an_earlier_run_left_is_removed(host: Host) -> None:
    for name in ("v2.0.0-rc.1+b7_aaaaaaaaaaaaaaaa", ".migrating_bbbbbbbbbbbbbbbb"):
        (host.base / name / "live").mkdir(parents=True)
    (host.base / ".v2.new").symlink_to("x")
    migrate(host.setting(), NEWEST)
    assert not {"v2.0.0-rc.1+b7_aaaaaaaaaaaaaaaa", ".migrating_bbbbbbbbbbbbbbbb", ".v2.new"} & set(
        host.names()
    )


def test_old_copies_that_cannot_be_removed_are_no_failure(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Kernel):
        def rmdir(self, path: object) -> None:  # noqa: ARG002
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    (host.base / "v0.9.0_cccccccccccccccc").mkdir()
    assert migrate(host.setting(kernel=Stubborn()), NEWEST) is Outcome.MIGRATED
    assert "cannot remove old copies" in caplog.text
    assert "v2.0.0-rc.1+b7" in host.chain()
