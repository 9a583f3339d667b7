#!/usr/bin/env bash
# Installs what this project needs: Debian packages (as root or through sudo) and a virtual environment
# from the hash-locked requirements. Quiet when there is nothing to do; safe to run again at any time.
#
#   packaging/setup.sh [LIST...]     more lists of Debian packages, one name a line (default: apt-packages.txt)
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
lists=("packaging/apt-packages.txt" "$@")

missing=()
while read -r package; do
    [ -n "$package" ] || continue
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done < <(cat "${lists[@]}")

if [ "${#missing[@]}" -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "setup: cannot install Debian packages (${missing[*]}): not root, and there is no sudo" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "setup: installing Debian packages: ${missing[*]}"
    log=$(mktemp)
    if ! { "${as_root[@]}" apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    rm -f "$log"
fi

# Ours, not whatever an activated environment puts first.
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $python is $("$python" --version), expected Python 3.11 or newer" >&2
    exit 1
}

stamp="$venv/.ready"
want=$(cat requirements.lock pyproject.toml packaging/setup.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    echo "setup: building the virtual environment in $venv"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . 2>&1 |
        grep -v -i -E 'warning|^\s*$|\*\*\*|!!|careful|working directory|Editable installation' || true
    "$venv/bin/python" -c 'import updog, signpost, migrator, repo_tools, partition'
    echo "$want" >"$stamp"
fi
