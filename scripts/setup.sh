#!/usr/bin/env bash
# Install the Debian packages that pare needs to build and to run its tests. Does nothing when they are there.
# As root, or through sudo. The names are those of Debian 12 and newer, and of Ubuntu 24.04.
#   scripts/setup.sh [--package]    --package: what scripts/package.sh needs, too
set -euo pipefail

packages=(
    build-essential cmake ninja-build pkg-config git ca-certificates jq
    libzstd-dev libxxhash-dev libjansson-dev libpcre2-dev libutf8proc-dev libssl-dev
    libopenblas-openmp-dev libdnnl-dev libcmocka-dev
    clang libclang-rt-dev libomp-dev # the second compiler and the fuzz targets of scripts/test.sh
    python3-venv                     # the independent readers of tests/interop
)
[ "${1:-}" != --package ] || packages+=(file lintian mmdebstrap)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
    echo "setup: all ${#packages[@]} packages are installed"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo; missing: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
${as_root[@]+"${as_root[@]}"} apt-get update -q
${as_root[@]+"${as_root[@]}"} apt-get install -q -y --no-install-recommends "${missing[@]}"
