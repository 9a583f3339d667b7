"""Block devices through sysfs: the trees of real machines, and odd ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from partition.blockdev import DeviceNumber, Devices, PartitionNode, parse_mount
from partition.errors import DeviceNotFound
from tests.support.sysfs_tree import SysfsTree


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    return SysfsTree(tmp_path)


def devices(tree: SysfsTree) -> Devices:
    return Devices(tree.sysfs, tree.dev, tree.proc)


def number(text: str) -> DeviceNumber:
    return DeviceNumber.parse(text)


class TestDeviceNumber:
    @pytest.mark.parametrize(
        "device, expected",
        [
            # Encoded as the kernel does it (MKDEV and new_encode_dev), minors above 255 included.
            (0x0000_0801, "8:1"),
            (0x0010_0305, "3:261"),
            (0x0011_032C, "259:300"),
            (0x0FFF_FFFF, "4095:65535"),
            (0xFFFF_FFFF, "4095:1048575"),
        ],
    )
    def test_is_not_eight_bits_each(self, device: int, expected: str) -> None:
        assert str(DeviceNumber.of(device)) == expected

    def test_agrees_with_the_system(self) -> None:
        assert str(DeviceNumber.of(Path("/dev/null").stat().st_rdev)) == "1:3"


class TestVerityOverNvme:
    """dm-0 over nvme0n1p2 (data) and nvme0n1p3 (hash), as on a real host; minors above 255."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> SysfsTree:
        tree = SysfsTree(tmp_path)
        disk = tree.disk("nvme0n1", 259, 300, sector_size=4096)
        partitions = [
            tree.partition(disk, f"nvme0n1p{n}", n, 259, 300 + n, start=n * 2048, size=2048)
            for n in range(1, 13)
        ]
        verity = tree.device_mapper("dm-0", 254, 0, slaves=partitions[1:3])
        tree.mount("/", verity)
        return tree

    def test_the_disk_is_found_through_both_lower_devices(self, tree: SysfsTree) -> None:
        found = devices(tree)
        under = found.under(Path("/"))

        assert str(under) == "254:0"
        assert found.lower(under) == (number("259:302"), number("259:303"))
        assert found.disk_of(under) == number("259:300")
        assert found.node(found.disk_of(under)) == tree.dev / "nvme0n1"

    def test_the_partition_numbers_are_those_of_the_table(self, tree: SysfsTree) -> None:
        found = devices(tree)

        assert found.partition_number(number("259:303")) == 3
        assert found.partition_number(number("259:300")) is None

    def test_the_nth_partition_goes_by_its_attribute_not_its_name(self, tree: SysfsTree) -> None:
        found = devices(tree)

        assert found.partition(number("259:300"), 1) == PartitionNode(
            tree.dev / "nvme0n1p1", 2048 * 512, 2048 * 512
        )
        assert found.partition(number("259:300"), 12) == PartitionNode(
            tree.dev / "nvme0n1p12", 12 * 2048 * 512, 2048 * 512
        )
        assert found.partition(number("259:300"), 13) is None

    def test_the_sector_size_is_the_logical_one(self, tree: SysfsTree) -> None:
        assert devices(tree).logical_block_size(number("259:300")) == 4096


class TestOddTrees:
    def test_a_plain_partition(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        tree.mount("/", tree.partition(disk, "sda2", 2, 8, 2))
        found = devices(tree)

        assert found.lower(found.under(Path("/"))) == (number("8:2"),)
        assert found.node(found.disk_of(number("8:2"))) == tree.dev / "sda"

    def test_a_loop_device_with_partitions(self, tree: SysfsTree) -> None:
        disk = tree.disk("loop7", 7, 7)
        tree.mount("/", tree.partition(disk, "loop7p3", 3, 259, 3))
        found = devices(tree)

        assert found.disk_of(found.under(Path("/"))) == number("7:7")

    def test_a_whole_loop_device(self, tree: SysfsTree) -> None:
        tree.mount("/", tree.disk("loop0", 7, 0))
        found = devices(tree)

        assert found.disk_of(found.under(Path("/"))) == number("7:0")

    def test_verity_over_encryption_over_a_partition(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        crypt = tree.device_mapper("dm-0", 254, 0, slaves=[tree.partition(disk, "sda2", 2, 8, 2)])
        hashes = tree.partition(disk, "sda3", 3, 8, 3)
        tree.mount("/", tree.device_mapper("dm-1", 254, 1, slaves=[crypt, hashes]))
        found = devices(tree)

        assert found.lower(number("254:1")) == (number("8:2"), number("8:3"))
        assert found.disk_of(number("254:1")) == number("8:0")

    def test_verity_without_lower_devices_is_told(self, tree: SysfsTree) -> None:
        tree.mount("/", tree.device_mapper("dm-0", 254, 0, slaves=[]))

        with pytest.raises(DeviceNotFound) as caught:
            devices(tree).disk_of(number("254:0"))

        assert str(caught.value) == (
            f"cannot find the disk under {tree.dev}/dm-0: device-mapper shows no device below it"
        )

    def test_data_and_hash_on_two_disks_are_told(self, tree: SysfsTree) -> None:
        one = tree.partition(tree.disk("sda", 8, 0), "sda2", 2, 8, 2)
        two = tree.partition(tree.disk("sdb", 8, 16), "sdb3", 3, 8, 19)
        tree.mount("/", tree.device_mapper("dm-0", 254, 0, slaves=[one, two]))

        with pytest.raises(DeviceNotFound) as caught:
            devices(tree).disk_of(number("254:0"))

        assert str(caught.value) == (
            f"cannot find the disk under {tree.dev}/dm-0: it lies on several "
            f"({tree.dev}/sda, {tree.dev}/sdb), expected one"
        )

    def test_a_kernel_name_with_a_slash(self, tree: SysfsTree) -> None:
        disk = tree.disk("cciss/c0d0", 104, 0)
        part = tree.partition(disk, "cciss!c0d0p2", 2, 104, 2)
        (part.directory / "uevent").unlink()
        found = devices(tree)

        assert found.node(number("104:0")) == tree.dev / "cciss/c0d0"
        assert found.node(number("104:2")) == tree.dev / "cciss/c0d0p2"

    @pytest.mark.parametrize("text", ["9:9", "259:1048575"])
    def test_a_device_that_sysfs_does_not_show(self, tree: SysfsTree, text: str) -> None:
        with pytest.raises(DeviceNotFound, match=f"cannot find block device {text}: .*not exist"):
            devices(tree).lower(number(text))

    def test_a_disk_without_a_sector_size(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        (disk.directory / "queue/logical_block_size").unlink()

        with pytest.raises(DeviceNotFound, match=r"sector size of .*/sda: cannot read"):
            devices(tree).logical_block_size(number("8:0"))


class TestMounts:
    def test_the_deepest_mount_that_leads_there_counts(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        for place, n in (("/", 1), ("/mnt/host", 2), ("/mnt/host2", 3), ("/mnt/host/var", 4)):
            tree.mount(place, tree.partition(disk, f"sda{n}", n, 8, n))
        found = devices(tree)

        assert found.under(Path("/mnt/host")) == number("8:2")
        assert found.under(Path("/mnt/host/etc")) == number("8:2")
        assert found.under(Path("/mnt/hostile")) == number("8:1")

    def test_of_two_mounts_in_one_place_the_later_is_on_top(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        for n in (1, 2):
            tree.mount("/", tree.partition(disk, f"sda{n}", n, 8, n))

        assert devices(tree).under(Path("/")) == number("8:2")

    def test_a_mount_point_with_a_space(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        tree.mount("/mnt/my host", tree.partition(disk, "sda2", 2, 8, 2))

        assert devices(tree).under(Path("/mnt/my host/etc")) == number("8:2")

    def test_an_anonymous_number_leads_through_the_source(self, tree: SysfsTree) -> None:
        """btrfs, as mountinfo shows it."""
        disk = tree.disk("sda", 8, 0)
        tree.partition(disk, "sda2", 2, 8, 2)
        tree.mount("/", None, number="0:32", file_system="btrfs", source="/dev/sda2")

        assert devices(tree).under(Path("/")) == number("8:2")

    def test_an_anonymous_number_leads_through_a_mapper_name(self, tree: SysfsTree) -> None:
        disk = tree.disk("sda", 8, 0)
        tree.device_mapper("dm-4", 254, 4, slaves=[tree.partition(disk, "sda2", 2, 8, 2)])
        (tree.dev / "mapper").mkdir()
        (tree.dev / "mapper/root").symlink_to("../dm-4")
        tree.mount("/", None, number="0:32", file_system="btrfs", source="/dev/mapper/root")

        assert devices(tree).under(Path("/")) == number("254:4")

    @pytest.mark.parametrize("kind", ["overlay", "tmpfs", "rootfs"])
    def test_a_root_in_memory_is_told(self, tree: SysfsTree, kind: str) -> None:
        tree.mount("/", None, file_system=kind, source=kind)

        with pytest.raises(DeviceNotFound) as caught:
            devices(tree).under(Path("/"))

        assert str(caught.value) == (
            f"cannot find the disk under /: / is {kind}, which is on no block device"
        )

    def test_no_mount_and_no_proc_are_told(self, tree: SysfsTree, tmp_path: Path) -> None:
        with pytest.raises(DeviceNotFound, match="no mount leads there"):
            devices(tree).under(Path("/"))
        with pytest.raises(DeviceNotFound, match=r"cannot read .*/self/mountinfo"):
            Devices(tree.sysfs, tree.dev, tmp_path / "no-proc").under(Path("/"))

    def test_the_example_of_the_manual(self) -> None:
        """proc(5)."""
        mount = parse_mount(
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
        )

        assert mount == ((98, 0), Path("/mnt2"), "ext3", "/dev/root")


def test_the_kernel_of_this_machine_is_understood() -> None:
    """Whatever holds / here: either a disk comes out, or an error of ours."""
    found = Devices()
    try:
        disk = found.disk_of(found.under(Path("/")))
    except DeviceNotFound:
        return
    assert found.partition_number(disk) is None
    assert found.logical_block_size(disk) % 512 == 0


def test_a_loop_device_says_whether_it_goes_past_the_page_cache(tree: SysfsTree) -> None:
    disk = tree.disk("loop3", 7, 3)
    partition = tree.partition(disk, "loop3p4", 4, 259, 7)
    other = tree.disk("vda", 254, 0)
    (disk.directory / "loop").mkdir()
    (disk.directory / "loop/dio").write_text("0\n")
    found = devices(tree)
    assert found.loop_uses_direct_io(found.disk_of(number(partition.number))) is False
    assert found.loop_uses_direct_io(number(other.number)) is None
    (disk.directory / "loop/dio").write_text("1\n")
    assert found.loop_uses_direct_io(number(disk.number)) is True
