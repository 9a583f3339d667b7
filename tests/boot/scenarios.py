"""What a host goes through, one function for each story.

`first_boot` and `first_update` come first: they leave the disks that the others start from. Each
other story has a host of its own and can run beside the rest.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.boot.build import run
from tests.boot.journal import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.boot.host import Host
    from tests.boot.machine import Machine

GREETING: Final = "hello from the user"
UPDATE: Final = "updog --log-level warn update --now --reboot"
_BLOCK_BYTES: Final = 4096


def first_boot(host: Host) -> None:
    """A new disk: 1.0.0 on set A makes its settings from defaults, and a user changes one."""
    journal = host.journal
    journal.heading("A new host: 1.0.0 on set A, root on dm-verity, settings from defaults.")
    with host.boot("1.0.0", "A", "hello from the defaults") as machine:
        journal.step("first boot", "1.0.0 on set A, on dm-verity, datastore created")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "signpost status")
        _check_units(host, machine)
        host.shell(machine, f"migrator datastore set settings.motd '{GREETING}'")
        end = host.restart(machine, "systemctl poweroff")
    journal.expect("end of the first boot", end, "guest-shutdown")
    journal.expect("flags", host.flags(), {"A": (1, 1, True), "B": (0, 0, False)})
    journal.step("clean shutdown", "try of the confirmed set marks it")


def first_update(host: Host) -> None:
    """From there to 2.0.0 on set B, confirmed."""
    journal = host.journal
    journal.heading("It looks for an update: not its turn yet. It updates now, and restarts.")
    with host.boot("1.0.0", "A", GREETING) as machine:
        host.shell(machine, "updog check-update", 3)
        found = host.shell(machine, "updog check-update --now")
        journal.expect("check-update --now", found.stdout, "testos 2.0.0\n")
        journal.step("check-update", "its turn comes later; with --now: testos 2.0.0")
        end = host.restart(machine, UPDATE)
        journal.step("updog update --now --reboot", end)
    journal.expect("end", end, "guest-reset")
    journal.expect("flags", host.flags(), {"A": (1, 1, True), "B": (2, 1, False)})
    if not host.whole("B"):
        raise Failed("veritysetup: set B does not match its hash tree")

    journal.heading("2.0.0 comes up on set B. Its settings are migrated, its boot confirmed.")
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.step("first boot of 2.0.0", "set B, on dm-verity, settings migrated")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "signpost status")
        host.shell(machine, "migrator datastore list")
        host.shell(machine, "journalctl -b -u signpost-health -o cat --no-pager")
        host.shell(machine, "updog check-update --now", 3)
        host.restart(machine, "systemctl poweroff")
    journal.expect("flags", host.flags(), {"A": (1, 1, True), "B": (2, 1, True)})
    journal.step("health", "checks passed, set B confirmed, nothing newer")


def panicking(host: Host) -> None:
    """An update whose init ends: back to 2.0.0 by itself, and not tried again."""
    journal = host.journal
    _update(host, "panicking", "2.1.0")
    with host.start() as machine:
        end = host.wait_for_restart(machine)
        journal.expect("panic in the log", "Kernel panic" in machine.serial(), True)
        journal.step("first boot of 2.1.0", f"kernel panic, {end}")
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.step("next boot", "2.0.0 on set B again, by itself")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        shown = host.shell(machine, "signpost status").stdout
        _expect_text(shown, r"Last failure: Set A .*did not come up")
        _not_again(host, machine)
    journal.step("after it", "2.1.0 is not tried again, and status says what happened")


def failing(host: Host) -> None:
    """An update whose required check fails: given up with its reason, and not tried again."""
    _update(host, "failing", "2.2.0")
    _comes_back(host, "2.2.0", r"required check 50-database failed \(exit status 3\): the database")


def stuck(host: Host) -> None:
    """An update whose required check is never ready: given up at the deadline."""
    _update(host, "stuck", "2.3.0")
    _comes_back(host, "2.3.0", r"required check 60-catalogue timed out .*: still loading")


def rollback(host: Host) -> None:
    """Back to the former version with its settings, and forward again."""
    journal = host.journal
    journal.heading("Back to 1.0.0, with settings as 1.0.0 knows them, and forward again.")
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "migrator datastore set settings.host.colour green")
        host.shell(machine, "signpost rollback-to-inactive")
        host.restart(machine)
    with host.boot("1.0.0", "A", GREETING) as machine:
        journal.step("rollback-to-inactive", "1.0.0 on set A, with its own settings")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "migrator datastore list")
        host.shell(machine, "signpost rollback-to-inactive")
        host.restart(machine)
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        listed = host.shell(machine, "migrator datastore list").stdout
        _expect_text(listed, r"settings\.host\.colour.*green")
    journal.step("and back again", "2.0.0 on set B, with what 1.0.0 did not know")


def corrupted(host: Host) -> None:
    """A root block of the confirmed set goes bad: the machine ends up on the other set."""
    journal = host.journal
    journal.heading("A block of set B's root goes bad on disk, in what a boot needs.")
    number = host.boot_partitions()["B"] + 1
    host.overwrite(number, _offset_of(host, "/usr/lib/systemd/systemd"), bytes(_BLOCK_BYTES))
    journal.expect("whole", host.whole("B"), expected=False)
    with host.start() as machine:
        end = host.wait_for_restart(machine)
        _expect_text(machine.serial(), r"verity: .*is corrupted")
        journal.step("boot of set B", f"dm-verity finds it, {end}")
    with host.boot("1.0.0", "A", GREETING) as machine:
        _expect_text(machine.serial(), r"set B was not shut down cleanly: checking all of")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        shown = host.shell(machine, "signpost status").stdout
        _expect_text(shown, r"Last failure: Set B .*does not match its hash tree")
    journal.step("next boot", "all of B checked and given up; 1.0.0 on set A")


def corrupted_update(host: Host) -> None:
    """A fresh update goes bad before its first boot, in its root hash: given up at once."""
    journal = host.journal
    _update(host, "good", "2.0.0", was="1.0.0", active="A")
    journal.heading("Before its first boot, the boot partition of the update is lost.")
    host.overwrite(host.boot_partitions()["B"], 0, bytes(1 << 20))
    with host.boot("1.0.0", "A", GREETING) as machine:
        _expect_text(machine.serial(), r"set B does not start: cannot mount its boot partition")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "signpost status")
        _not_again(host, machine)
    journal.step("first boot of 2.0.0", "no root hash: given up, 1.0.0 in the same boot")


def clean_restart(host: Host) -> None:
    """A clean restart while a new version is on probation is not a failure."""
    journal = host.journal
    _update(
        host, "good", "2.0.0", was="1.0.0", active="A", before="touch /var/lib/testos/not-ready"
    )
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.step("first boot of 2.0.0", "on probation, its check is not ready")
        end = host.restart(machine)
        journal.expect("end", end, "guest-reset")
    journal.expect("flags", host.flags()["B"], (2, 1, False))
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.step("clean restart", "the try was given back, 2.0.0 again")
        host.shell(machine, "rm /var/lib/testos/not-ready")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
    journal.expect("flags", host.flags()["B"], (2, 0, True))
    journal.step("ready at last", "confirmed")


def own_kernel(host: Host) -> None:
    """A version that brings its own kernel and initramfs, started with kexec."""
    journal = host.journal
    _update(host, "kernel", "3.0.0")
    with host.boot("3.0.0", "A", GREETING) as machine:
        line = host.shell(machine, "cat /proc/cmdline").stdout
        _expect_text(line, r"testos\.kernel=3\.0\.0 signpost\.active=A")
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "signpost status")
    journal.step("first boot of 3.0.0", "its own kernel, set A, settings migrated, confirmed")


def bad_signature(host: Host) -> None:
    """The root hash has a signature that the kernel does not accept: the set is given up."""
    journal = host.journal
    journal.heading("Somebody puts another signature beside the root hash of set B.")
    number = host.boot_partitions()["B"]
    with tempfile.TemporaryDirectory(prefix="boot-") as directory:
        image, signature = Path(directory, "boot"), Path(directory, "root-hash.p7s")
        host.read_partition(number, image)
        signature.write_bytes(b"not a signature")
        run(["debugfs", "-w", "-R", f"write {signature} root-hash.p7s", image])
        host.overwrite(number, 0, image.read_bytes())
    with host.boot("1.0.0", "A", GREETING) as machine:
        _expect_text(machine.serial(), r"set B does not start: cannot open .* with dm-verity")
    journal.step("signature refused", "set B given up, 1.0.0 on set A in the same boot")


def boot_loader(host: Host) -> None:
    """A boot loader has chosen, as GRUB's gptprio does: its choice is taken, no try is spent."""
    journal = host.journal
    before = host.flags()
    shown = run(["sgdisk", "-i", str(host.boot_partitions()["A"]), host.disk])
    unique = shown.partition("Partition unique GUID: ")[2].split()[0]
    with host.boot("1.0.0", "A", GREETING, command_line=f"signpost.boot={unique}") as machine:
        machine.pull_the_plug()
    journal.expect("flags", host.flags(), before)
    journal.step("signpost.boot= names A", "1.0.0 on set A; the flags are the boot loader's affair")


def damaged_table(host: Host) -> None:
    """The primary partition table is damaged: the backup is used, and the primary repaired."""
    journal = host.journal
    journal.heading("The primary partition table is damaged.")
    with host.disk.open("r+b") as disk:
        disk.seek(512)
        disk.write(bytes(512))
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        host.shell(machine, "signpost status")
    verified = run(["sgdisk", "-v", host.disk])
    _expect_text(verified, "No problems found")
    journal.step("boot", "from the backup table; both are good again, says sgdisk")


STORIES: Final[tuple[Callable[[Host], None], ...]] = (
    panicking,
    failing,
    rollback,
    corrupted,
    own_kernel,
    stuck,
    damaged_table,
    boot_loader,
    bad_signature,
)
"""Those that start with 2.0.0 confirmed on set B."""

EARLY_STORIES: Final[tuple[Callable[[Host], None], ...]] = (corrupted_update, clean_restart)
"""Those that start with 1.0.0 on set A."""


def _update(
    host: Host,
    repository: str,
    version: str,
    *,
    was: str = "2.0.0",
    active: str = "B",
    before: str = "true",
) -> None:
    """Let the host take a version from a repository, and restart."""
    journal = host.journal
    journal.heading(f"The owner publishes {version}; the host, on {was}, takes it and restarts.")
    with host.boot(was, active, GREETING) as machine:
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        machine.run(f"sed -i s,/good,/{repository}, /var/lib/testos/updog.toml; {before}")
        end = host.restart(machine, UPDATE)
    journal.expect("end of the update", end, "guest-reset")
    journal.step(f"update to {version}", end)


def _comes_back(host: Host, version: str, reason: str) -> None:
    """The update judges itself a failure, for a reason, and 2.0.0 comes back."""
    journal = host.journal
    with host.start() as machine:
        end = host.wait_for_restart(machine)
        _expect_text(machine.serial(), reason)
        journal.step(f"first boot of {version}", f"a required check does not pass, {end}")
    with host.boot("2.0.0", "B", GREETING) as machine:
        journal.expect("verdict", host.wait_for_verdict(machine), "active")
        shown = host.shell(machine, "signpost status").stdout
        _expect_text(shown, rf"Last failure: Set A \({re.escape(version)}\) .*{reason}")
        _not_again(host, machine)
    journal.step("next boot", "2.0.0 on set B, with the reason; not tried again")


def _check_units(host: Host, machine: Machine) -> None:
    """No fault is found with the units, and those that can be are well confined."""
    listing = "cd /usr/lib/systemd/system; ls migrator* signpost-* updog-*"
    names = machine.run(listing).stdout.replace("@.", "@x.").split()
    result = machine.run(f"systemd-analyze verify --man=no {' '.join(names)}")
    host.journal.expect("systemd-analyze verify", (result.status, result.stderr), (0, ""))
    services = [name for name in names if name.endswith(".service")]
    # Checks belong to the owner, and must be able to look at everything.
    services.remove("signpost-health.service")
    host.shell(
        machine,
        f"for unit in {' '.join(services)}; do "
        "systemd-analyze security --no-pager --threshold=30 $unit >/run/exposure || exit 1; "
        "tail -n 1 /run/exposure; done",
    )
    host.journal.step("units", f"systemd finds no fault with {len(names)}, exposure below 3")


def _not_again(host: Host, machine: Machine) -> None:
    host.shell(machine, "updog check-update --now", 3)
    host.shell(machine, "updog check-update --now --explain", 3)


def _offset_of(host: Host, path: str) -> int:
    """Where in the root image of 2.0.0 the content of a file is stored, in bytes."""
    image = host.world.images["2.0.0"].root
    shown = run(["dump.erofs", f"--path={path}", "-e", image])
    found = re.search(r"\|\s*\d+ :\s*(\d+)\.\.", shown)
    if found is None:
        raise Failed(f"dump.erofs does not say where {path} is: {shown}")
    return int(found[1]) // _BLOCK_BYTES * _BLOCK_BYTES


def _expect_text(text: str, pattern: str) -> None:
    if not re.search(pattern, text):
        raise Failed(f"expected /{pattern}/, saw: {text[-2000:]}")
