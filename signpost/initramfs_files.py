"""Print the files that `signpost` needs in an initramfs, one path a line.

Everything of `signpost` and `partition` is imported and what is then loaded is listed: so the list
cannot fall behind the code, and nothing of the updater (network, TUF) is among it. Run by
the initramfs-tools hook, as `python3 -I -m signpost.initramfs_files`.
"""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

# Needs libparted, draws and checks layouts: nothing that happens at boot.
NOT_AT_BOOT = frozenset({"partition.geometry"})


def import_everything() -> None:
    """Import each module of both packages, and what Python loads only when first needed."""
    for package in ("partition", "signpost"):
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, prefix=f"{package}."):
            if module.name not in NOT_AT_BOOT:
                importlib.import_module(module.name)
    # What Python looks up by name: the console's encodings, and that of partition names.
    for codec in ("ascii", "latin_1", "utf_8", "utf_16_le"):
        importlib.import_module(f"encodings.{codec}")


def loaded_files() -> list[Path]:
    """The file of each loaded module, as found on this host."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(Path(file) for file in files if file is not None)


def main() -> None:
    """List the files; fail when a module cannot be imported."""
    import_everything()
    for file in loaded_files():
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main()
