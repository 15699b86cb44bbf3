#!/usr/bin/env bash
# Build the Debian packages into build-package/packages: pare, libpare0, libpare-dev and, where nvcc is, pare-cuda. Two
# builds of one commit give the same bytes (scripts/check_reproducible.sh). Then lintian and a smoke
# test in a clean system (scripts/check_package.sh).
#   scripts/package.sh [--no-check] [CMAKE_ARGUMENT...]    --no-check: build alone, e.g. scripts/package.sh -DPARE_CUDA=OFF
set -euo pipefail
cd "$(dirname "$0")/.."

check=1
if [ "${1:-}" = --no-check ]; then
    check=0
    shift
fi
jobs=${PARE_JOBS:-$(nproc)}
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || { echo "package: no git here: set SOURCE_DATE_EPOCH" >&2; exit 1; }
fi
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

scripts/setup.sh --package
mkdir -p build-package
{ cmake --preset package "$@" && cmake --build --preset package -j "$jobs"; } >build-package/build.log 2>&1 ||
    { tail -60 build-package/build.log >&2; exit 1; }
rm -rf build-package/packages build-package/_CPack_Packages
(cd build-package && cpack -B packages >package.log 2>&1) || { tail -40 build-package/package.log >&2; exit 1; }
rm -rf build-package/packages/_CPack_Packages
(cd build-package/packages && sha256sum ./*.deb)
[ "$check" = 1 ] || exit 0

# The file has the tags that do not apply, each with its reason.
lintian --allow-root --suppress-tags-from-file packaging/debian/lintian-suppressed --fail-on error,warning \
    --tag-display-limit 0 build-package/packages/*.deb
scripts/check_package.sh build-package/packages
