#!/usr/bin/env bash
# Set up, build and run every test: gcc release (warnings are errors; with nvcc the CUDA plugin for the oldest architecture, with
# what newer ones are compiled from when it is loaded, and for one newer: scripts/package.sh builds all of them), independent programs as witnesses, gcc with ASan and UBSan, clang release, the portable build (its plugin for one
# architecture: nvcc takes time), and the fuzz targets over their seed corpus for a short while. What needs the reference data
# in ../shared skips with a line when that folder is absent; PARE_REQUIRE_SHARED=1 makes its absence a failure.
#   scripts/test.sh [--quick]    --quick: the gcc release tests only
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0
[ "${1:-}" = --quick ] && quick=1
jobs=$(nproc)

stage() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

configure_and_build() { # preset, further cmake arguments
    local preset=$1
    shift
    cmake --preset "$preset" -DPARE_WERROR=ON "$@" >"build-$preset.log" 2>&1 || { cat "build-$preset.log"; return 1; }
    cmake --build --preset "$preset" -j "$jobs" >>"build-$preset.log" 2>&1 || { tail -60 "build-$preset.log"; return 1; }
}

run_tests() { # build folder, further ctest arguments
    ctest --test-dir "$1" --output-on-failure -j "$jobs" --timeout 900 "${@:2}"
}

stage "set-up"
scripts/setup.sh

stage "gcc release"
configure_and_build release "-DPARE_CUDA_ARCHITECTURES=80;90-real"
run_tests build

if [ "$quick" = 0 ]; then
    stage "interoperability"
    tests/interop/run.sh build/pare build/interop-venv

    stage "gcc, address and undefined-behaviour sanitizers"
    configure_and_build asan
    # OpenBLAS and the OpenMP runtime keep their buffers until the process ends.
    LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp" run_tests build-asan -LE long

    stage "clang release"
    configure_and_build clang -DPARE_CUDA=OFF
    run_tests build-clang -LE long -E '^(test_rows_|hostile|test_.*_cmd$)' # of the program as a whole: twice so far

    stage "portable build"
    configure_and_build portable -DPARE_CUDA_ARCHITECTURES=80
    scripts/check_portable.sh build-portable

    stage "fuzz targets"
    scripts/fuzz.sh --seconds "${PARE_FUZZ_SECONDS:-3}"
fi
stage "all tests passed"
