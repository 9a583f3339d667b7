"""`make demo`: from an empty directory to an updated disk, and back, with the real commands.

What you see is what each command printed. Other people's tools confirm it: `sgdisk` and `cgpt` read
the partition table, `veritysetup` checks the hash tree. A "reboot" here is the boot loader's part
alone, done by `signpost choose-boot`; `make test-boot` does it with a real machine.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from demo.images import make_boot, make_root
from demo.shell import DemoFailed, Shell

WORK = Path("demo-work")
VARIANT = "demo"
KEYS = ("root", "targets", "snapshot", "timestamp")
SIGN = " ".join(f"--key keys/{role}.pem" for role in KEYS[1:])


def main() -> int:
    """Tell the story; 0 if every command did what it should."""
    try:
        tell()
    except DemoFailed as failed:
        print(f"demo: {failed}", file=sys.stderr)
        return 1
    return 0


def tell() -> None:
    """The story, from an empty directory."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "images").mkdir(parents=True)
    arch = platform.machine()
    shell = Shell(WORK)

    shell.say("Three versions of an operating system, as real file systems.")
    for version, filesystem in (("1.0.0", "ext4"), ("1.1.0", "erofs"), ("1.2.0", "ext4")):
        make_root(
            WORK / f"images/root-{version}.img",
            version=version,
            variant=VARIANT,
            filesystem="erofs" if filesystem == "erofs" else "ext4",
            size_mib=96,
        )
        make_boot(WORK / f"images/boot-{version}.img", version=version)
    shell.run("ls -sh images")

    shell.say("The owner makes keys and a root of trust, and publishes 1.0.0 and 1.1.0.")
    shell.run(f"repo-tools key generate --no-passphrase {' '.join(f'keys/{key}' for key in KEYS)}")
    shell.run(
        "repo-tools root init root.json "
        + " ".join(f"--{role}-key keys/{role}.pub" for role in KEYS)
    )
    shell.run("repo-tools root sign root.json --key keys/root.pem --yes")
    shell.environment |= {
        "REPO_TOOLS_REPO": "repo",
        "REPO_TOOLS_VARIANT": VARIANT,
        "REPO_TOOLS_ARCH": arch,
        "REPO_TOOLS_ROOT": "root.json",
    }
    shell.run(f"repo-tools repo init {SIGN} --yes")
    publish(shell, "1.0.0", "--waves none")
    publish(shell, "1.1.0", "--migrate-from 1.0.0 --waves none")

    shell.say("A host: a disk with 1.0.0 on set A, set B empty.")
    shell.run(
        "repo-tools disk create disk.img --boot images/boot-1.0.0.img "
        "--root-image images/root-1.0.0.img"
    )
    shell.run("sgdisk -v disk.img", show="No problems")
    host = Path(WORK, "host")
    (host / "etc").mkdir(parents=True)
    (host / "usr/share/updog").mkdir(parents=True)
    shutil.copy(WORK / "root.json", host / "usr/share/updog/root.json")
    release(host, "1.0.0")

    with shell.start("repo-tools repo serve repo") as server:
        url = server.first_line().split()[-1].rstrip("/")
        (host / "etc/updog.toml").write_text(
            f'metadata_base_url = "{url}/{VARIANT}/{arch}"\n'
            f'targets_base_url = "{url}/targets"\nseed = 1234\n'
        )
        story(shell, host)
    print("\nAll of it held.")


def story(shell: Shell, host: Path) -> None:
    """The host's part, with the repository being served."""
    on_a = "--os-disk disk.img --active-set A"
    on_b = "--os-disk disk.img --active-set B"

    shell.say("The host updates itself, and keeps running 1.0.0 meanwhile.")
    shell.run("cat host/etc/updog.toml")
    shell.run(f"updog --root host {on_a} check-update")
    shell.run(f"signpost {on_a} status")
    shell.run(f"updog --root host {on_a} update")
    shell.run(f"signpost {on_a} status")

    shell.say("Do others agree? The table, and the hash tree of what is on set B now.")
    shell.run("sgdisk -v disk.img", show="No problems")
    shell.run("sgdisk -i 4 disk.img", show="Attribute flags")
    for option in ("-P", "-T", "-S"):
        shell.run(f"cgpt show -i 4 {option} disk.img")
    verify_set_b(shell)

    shell.say('"Reboot": the boot loader tries set B. It comes up, and says so.')
    booted = shell.run("signpost --os-disk disk.img --active-set A choose-boot")
    if booted.strip() != "B":
        raise DemoFailed("the boot loader did not choose set B")
    release(host, "1.1.0")
    shell.run(f"signpost {on_b} mark-successful-boot")
    shell.run(f"signpost {on_b} status")
    shell.run(f"updog --root host {on_b} check-update", expect=3)

    shell.say("The owner publishes 1.2.0, which nobody can boot. The host takes it, to set A.")
    publish(shell, "1.2.0", "--migrate-from 1.1.0 --waves none")
    shell.run(f"updog --root host {on_b} update")

    shell.say("It is tried once and does not come up; the next boot is set B again, with 1.1.0.")
    boot_1 = shell.run("signpost --os-disk disk.img --active-set B choose-boot")
    boot_2 = shell.run("signpost --os-disk disk.img --active-set B choose-boot")
    if (boot_1.strip(), boot_2.strip()) != ("A", "B"):
        raise DemoFailed("the boot loader did not fall back from A to B")
    new_boot(host)
    shell.run(f"updog --root host {on_b} check-update", expect=3)
    shell.run(f"updog --root host {on_b} check-update --explain", expect=3)

    shell.say("Somebody changes one bit of the image on the server. The operator insists on it.")
    flip_one_bit(next(Path(WORK, "repo/targets").glob("*1.2.0-root.img.lz4")))
    shell.run(f"updog --root host {on_b} update --image 1.2.0", expect=1)
    shell.run(f"signpost {on_b} status")


def publish(shell: Shell, version: str, options: str) -> None:
    """Publish one version."""
    shell.run(
        f"repo-tools repo publish --version {version} --boot images/boot-{version}.img "
        f"--root-image images/root-{version}.img {options} {SIGN} --yes"
    )


def flip_one_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def release(host: Path, version: str) -> None:
    """What the running system says that it is; it changes with every boot of another set."""
    (host / "etc/os-release").write_text(
        f'NAME="Demo OS"\nVARIANT_ID={VARIANT}\nVERSION_ID={version}\n'
    )
    new_boot(host)


def new_boot(host: Path) -> None:
    """A new boot has a new id, as the kernel gives it."""
    boot_id = host / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True, exist_ok=True)
    boot_id.write_bytes(Path("/proc/sys/kernel/random/uuid").read_bytes())


def verify_set_b(shell: Shell) -> None:
    """Copy root and hash of set B out of the disk, and let veritysetup check one by the other."""
    names = {"root": "BOTTLEROCKET-ROOT-B", "hash": "BOTTLEROCKET-HASH-B"}
    table = shell.run("sgdisk -p disk.img", show="-B").splitlines()
    for what, label in names.items():
        first, last = next(line.split()[1:3] for line in table if line.endswith(label))
        shell.run(
            f"dd if=disk.img of=b-{what}.img bs=512 skip={first} "
            f"count={int(last) - int(first) + 1} status=none"
        )
    # The top block of the tree: its digest, with the salt, is the root hash.
    dump = shell.run("veritysetup dump b-hash.img", show="Salt")
    salt = next(line.split()[-1] for line in dump.splitlines() if line.startswith("Salt"))
    top = Path(WORK, "b-hash.img").read_bytes()[4096:8192]
    import hashlib  # noqa: PLC0415  used for this one line of the demo

    digest = hashlib.sha256(bytes.fromhex(salt if salt != "-" else "") + top).hexdigest()
    shell.run(f"veritysetup verify b-root.img b-hash.img {digest}")
    print("set B holds exactly the tree that its root hash says", flush=True)


if __name__ == "__main__":
    sys.exit(main())
