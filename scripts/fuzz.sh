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

fuzz() { # target, seconds
    local target=$1 seconds=$2 found=build-fuzz/corpus/$1 seeds=tests/fuzz/corpus/$1 log=build-fuzz/$1.log
    local dictionary=() corpora=("$found")
    mkdir -p "$found" build-fuzz/artifacts
    [ ! -f "tests/fuzz/$target.dict" ] || dictionary=("-dict=tests/fuzz/$target.dict")
    [ ! -d "$seeds" ] || corpora+=("$seeds")
    local TIMEFORMAT='%U %S'
    { time "build-fuzz/tests/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="build-fuzz/artifacts/$target-" ${dictionary[@]+"${dictionary[@]}"} \
        "${corpora[@]}" >"$log" 2>&1; } 2>"$log.time" || {
        local status=$?
        tail -60 "$log" >&2
        echo "fuzz: $target failed (exit $status); the input is in build-fuzz/artifacts" >&2
        return 255 # no other one is begun
    }
    printf 'fuzz: %s for %s s: %s, %s s of CPU\n' "$target" "$seconds" \
        "$(sed -nE 's/^stat::(number_of_executed_units|peak_rss_mb): */\1 /p' "$log" | paste -sd' ')" \
        "$(awk '{ printf "%.0f", $1 + $2 }' "$log.time")"
}
export -f fuzz

# A target has one thread: as many at a time as there are cores.
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -euc "fuzz {} $seconds"
for target in "${targets[@]}"; do cat "build-fuzz/$target.log.time"; done |
    awk '{ s += $1 + $2 } END { printf "fuzz: %.2f hours of CPU in all\n", s / 3600 }'
