"""Which disk and which set: named, said by the boot stage, or shown by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from partition.blockdev import DeviceNumber, Devices
from partition.errors import DeviceNotFound, StateFileUnsafe
from signpost.errors import ActiveSetMissing, ActiveSetUnknown, LayoutInvalid
from signpost.layout import Slot
from signpost.location import Location, find_active, find_disk, locate
from tests.support.disks import DATA
from tests.support.gptbytes import fixture, with_types
from tests.support.sysfs_tree import Device, SysfsTree

if TYPE_CHECKING:
    from pathlib import Path


class Host:
    """A machine with an NVMe disk of two sets, minors from 300 on."""

    def __init__(self, directory: Path) -> None:
        self.tree = SysfsTree(directory)
        self.image = directory / "disk.img"
        self.image.write_bytes(fixture("sgdisk-fresh"))
        self.disk = self.tree.disk("nvme0n1", 259, 300, image=self.image)
        self.partitions = {
            number: self.tree.partition(self.disk, f"nvme0n1p{number}", number, 259, 300 + number)
            for number in range(1, 11)
        }

    def mount_verity(self, *numbers: int) -> Device:
        slaves = [self.partitions[number] for number in numbers]
        verity = self.tree.device_mapper("dm-0", 254, 0, slaves=slaves)
        self.tree.mount("/", verity)
        return verity

    def locate(self, os_disk: Path | None = None, active: Slot | None = None) -> Location:
        tree = self.tree
        return locate(
            os_disk, active, root=tree.root, sysfs=tree.sysfs, dev=tree.dev, proc=tree.proc
        )

    @property
    def devices(self) -> Devices:
        return Devices(self.tree.sysfs, self.tree.dev, self.tree.proc)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class TestKernelShows:
    @pytest.mark.parametrize("numbers, slot", [((2, 3), Slot.A), ((6, 7), Slot.B)])
    def test_verity_over_one_set(self, host: Host, numbers: tuple[int, int], slot: Slot) -> None:
        host.mount_verity(*numbers)

        found = host.locate()

        assert found == Location(host.tree.dev / "nvme0n1", slot, is_image=True)

    def test_a_plain_root_partition(self, host: Host) -> None:
        host.tree.mount("/", host.partitions[6])

        assert host.locate().active is Slot.B

    def test_a_root_file_system_elsewhere(self, host: Host) -> None:
        """With --root, the disk under that directory is meant."""
        host.tree.mount("/", None, file_system="overlay")
        host.tree.mount(str(host.tree.root), host.partitions[2])

        assert host.locate().active is Slot.A

    def test_data_and_hash_of_different_sets_are_refused(self, host: Host) -> None:
        host.mount_verity(2, 7)

        with pytest.raises(ActiveSetUnknown) as caught:
            host.locate()

        dev = host.tree.dev
        assert str(caught.value) == (
            f"cannot tell the active set of {dev}/nvme0n1: the root file system is on "
            f"{dev}/nvme0n1p2, {dev}/nvme0n1p7, which is not in one set"
        )

    def test_a_root_on_a_partition_of_neither_set_is_refused(self, host: Host) -> None:
        host.tree.mount("/", host.partitions[10])

        with pytest.raises(ActiveSetUnknown, match="nvme0n1p10, which is not in one set"):
            host.locate()

    def test_a_root_on_a_disk_of_somebody_else_is_refused(self, host: Host) -> None:
        """The table is sound; there are no sets in it."""
        host.image.write_bytes(with_types(DATA))
        host.tree.mount("/", host.partitions[1])

        with pytest.raises(LayoutInvalid, match="it has 0 boot partitions, expected 1 or 2"):
            host.locate()

    def test_a_single_set(self, host: Host) -> None:
        host.image.write_bytes(fixture("sgdisk-single-set"))
        host.mount_verity(2, 3)

        assert host.locate().active is Slot.A

    def test_mapper_devices_without_lower_ones_are_told_with_a_way_out(self, host: Host) -> None:
        host.mount_verity()

        with pytest.raises(DeviceNotFound, match="device-mapper shows no device") as caught:
            host.locate()

        assert caught.value.hint == "name the disk with --os-disk"


class TestBootStageSays:
    @pytest.mark.parametrize("text", ["B", "B\n"])
    def test_a_file_in_run(self, host: Host, text: str) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot(text)

        assert host.locate().active is Slot.B

    def test_a_word_on_the_command_line_of_which_the_last_wins(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.command_line("quiet signpost.active=A ro signpost.active=B signpost.activex=A")

        assert host.locate().active is Slot.B

    def test_the_file_before_the_command_line(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot("A")
        host.tree.command_line("signpost.active=B")

        assert host.locate().active is Slot.A

    @pytest.mark.parametrize("text", ["", "C", "a", "AB", "/dev/sda", "A B", "\0"])
    def test_nonsense_is_refused_not_passed_over(self, host: Host, text: str) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot(text)

        with pytest.raises(ActiveSetUnknown, match=r"active-set says .*, expected A or B"):
            host.locate()

    def test_nonsense_on_the_command_line_is_refused(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.command_line("signpost.active=both")

        with pytest.raises(ActiveSetUnknown, match="command line says 'both', expected A or B"):
            host.locate()

    def test_a_file_that_anybody_may_write_is_refused(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot("B")
        (host.tree.root / "run/signpost/active-set").chmod(0o666)

        with pytest.raises(StateFileUnsafe, match="others may write"):
            host.locate()

    def test_no_command_line_at_all(self, host: Host) -> None:
        host.mount_verity(2, 3)
        (host.tree.proc / "cmdline").unlink()

        assert host.locate().active is Slot.A


class TestNamed:
    def test_both_ask_nobody_else(self, host: Host) -> None:
        found = host.locate(host.image, Slot.B)

        assert found == Location(host.image, Slot.B, is_image=True)

    def test_the_set_alone(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot("A")

        assert host.locate(active=Slot.B) == Location(
            host.tree.dev / "nvme0n1", Slot.B, is_image=True
        )

    def test_an_image_needs_its_set_even_if_the_host_runs_one(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot("A")

        with pytest.raises(ActiveSetMissing) as caught:
            host.locate(host.image)

        assert str(caught.value) == (
            f"cannot tell the active set of {host.image}: a disk image does not run"
        )
        assert caught.value.exit_code == 2
        assert "--active-set" in (caught.value.hint or "")

    def test_a_disk_that_is_not_there(self, host: Host, tmp_path: Path) -> None:
        for active in (None, Slot.A):
            with pytest.raises(DeviceNotFound, match="No such file or directory"):
                host.locate(tmp_path / "nothing", active)

    def test_the_running_disk_by_its_number(self, host: Host) -> None:
        """A block device that was named is the running one if the numbers agree."""
        host.mount_verity(6, 7)
        named = DeviceNumber(259, 300)

        found = find_active(
            host.tree.dev / "nvme0n1", named, root=host.tree.root, devices=host.devices
        )

        assert found is Slot.B

    def test_another_disk_does_not_run_what_the_host_runs(self, host: Host) -> None:
        host.mount_verity(2, 3)
        host.tree.said_at_boot("A")
        other = host.tree.disk("sdb", 8, 16)

        with pytest.raises(ActiveSetUnknown) as caught:
            find_active(
                host.tree.dev / other.name,
                DeviceNumber(8, 16),
                root=host.tree.root,
                devices=host.devices,
            )

        assert str(caught.value) == (
            f"cannot tell the active set of {host.tree.dev}/sdb: "
            f"the system runs from {host.tree.dev}/nvme0n1, another disk"
        )


class TestRootInMemory:
    """An overlay or an initramfs: no disk under it, but the boot stage may have spoken."""

    def test_a_named_disk_and_what_was_said_suffice(self, host: Host) -> None:
        host.tree.mount("/", None, file_system="overlay")
        host.tree.said_at_boot("B")

        found = find_active(
            host.image, DeviceNumber(259, 300), root=host.tree.root, devices=host.devices
        )

        assert found is Slot.B

    def test_without_either_it_is_told(self, host: Host) -> None:
        host.tree.mount("/", None, file_system="overlay")

        with pytest.raises(ActiveSetUnknown, match="overlay, which is on no block device"):
            find_active(
                host.image, DeviceNumber(259, 300), root=host.tree.root, devices=host.devices
            )
        with pytest.raises(DeviceNotFound, match="overlay, which is on no block device") as caught:
            find_disk(
                None,
                root=host.tree.root,
                sysfs=host.tree.sysfs,
                dev=host.tree.dev,
                proc=host.tree.proc,
            )
        assert caught.value.hint == "name the disk with --os-disk"
