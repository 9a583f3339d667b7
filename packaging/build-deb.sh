#!/usr/bin/env bash
# Builds the Debian packages into DIRECTORY: build-deb.sh DIRECTORY
#
#   updog              a host's programs, units and checks, with their Python dependencies
#   updog-initramfs    the boot stage for initramfs-tools
#   updog-repo-tools   a repository owner's programs
#
# With dpkg-deb alone: nothing here is compiled, and debhelper would be a large thing to need for it.
# SOURCE_DATE_EPOCH is honoured, so that equal sources make equal packages.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(realpath -m "$1")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
architecture=$(dpkg --print-architecture)
python=$(.venv/bin/python -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
next="${python%.*}.$((${python#*.} + 1))"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
mkdir -p "$out"

# pack NAME TARGET: install TARGET into a tree of its own and make a package of it.
pack() {
    local name=$1 target=$2 tree="$stage/$1"
    make --no-print-directory -s -f packaging/install.mk "$target" DESTDIR="$tree"
    mkdir -p "$tree/DEBIAN"
    sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@PYTHON@/$python/; s/@NEXT_PYTHON@/$next/" \
        -e "s/@INSTALLED_SIZE@/$(du -sk --apparent-size "$tree" | cut -f1)/" \
        "packaging/debian/$name.control" >"$tree/DEBIAN/control"
    for script in postinst prerm postrm triggers conffiles; do
        [ -f "packaging/debian/$name.$script" ] || continue
        install -m 0755 "packaging/debian/$name.$script" "$tree/DEBIAN/$script"
    done
    for list in triggers conffiles; do
        [ ! -f "$tree/DEBIAN/$list" ] || chmod 0644 "$tree/DEBIAN/$list"
    done
    find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group --build "$tree" "$out" >/dev/null
    echo "$out/${name}_${version}_$(sed -n 's/^Architecture: //p' "$tree/DEBIAN/control").deb"
}

pack updog install-host
pack updog-initramfs install-initramfs
pack updog-repo-tools install-repo-tools
