#!/usr/bin/env bash
# Run the libFuzzer targets (clang, ASan, UBSan), each for the same time, starting from tests/fuzz/corpus/<target>.
# New inputs are kept in build-fuzz/corpus/<target>; an input that crashes, hangs or takes too much memory ends the run.
#   scripts/fuzz.sh MINUTES | --seconds SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    --seconds) seconds=$2; shift 2 ;;
    ''|*[!0-9]*) echo "usage: scripts/fuzz.sh MINUTES | --seconds SECONDS [TARGET...]" >&2; exit 2 ;;
    *) seconds=$(($1 * 60)); shift ;;
esac

cmake --preset fuzz -DPARE_WERROR=ON >build-fuzz.log 2>&1 || { cat build-fuzz.log; exit 1; }
cmake --build --preset fuzz -j "$(nproc)" >>build-fuzz.log 2>&1 || { tail -60 build-fuzz.log; exit 1; }

targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    for program in build-fuzz/tests/fuzz/fuzz_*; do
        [ -f "$program" ] && [ -x "$program" ] && targets+=("$(basename "$program")")
    done
fi
[ "${#targets[@]}" -gt 0 ] || { echo "fuzz: no targets were built" >&2; exit 1; }

for target in "${targets[@]}"; do
    found=build-fuzz/corpus/$target
    seeds=tests/fuzz/corpus/$target
    mkdir -p "$found" build-fuzz/artifacts
    dictionary=()
    [ -f "tests/fuzz/$target.dict" ] && dictionary=("-dict=tests/fuzz/$target.dict")
    corpora=("$found")
    [ -d "$seeds" ] && corpora+=("$seeds")
    echo "fuzz: $target for $seconds s"
    log=build-fuzz/$target.log
    status=0
    "build-fuzz/tests/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="build-fuzz/artifacts/$target-" ${dictionary[@]+"${dictionary[@]}"} \
        "${corpora[@]}" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        tail -60 "$log" >&2
        echo "fuzz: $target failed (exit $status); the input is in build-fuzz/artifacts" >&2
        exit 1
    fi
    grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$log"
done
