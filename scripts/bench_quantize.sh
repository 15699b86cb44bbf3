#!/usr/bin/env bash
# Time `pare quantize` against another quantizer on the same F32 or F16 GGUF file, in turn (A B A B ...): medians of whole
# processes and their ratio, a line a preset. Both files are in the page cache after the first, uncounted run.
#   scripts/bench_quantize.sh PEER -m MODEL [-i IMATRIX] [-t THREADS] [-n PAIRS] [-p PARE] PRESET...
#   PEER   a llama-quantize binary, called as: PEER [--imatrix FILE] MODEL OUT PRESET THREADS
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -gt 0 ] || usage
peer=$1
shift
model='' imatrix='' threads=$(nproc) pairs=5 pare=build/pare
while getopts m:i:t:n:p: option; do
    case $option in
        m) model=$OPTARG ;; i) imatrix=$OPTARG ;; t) threads=$OPTARG ;; n) pairs=$OPTARG ;; p) pare=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$model" ] && [ $# -gt 0 ] || usage

work=$(mktemp -d "${TMPDIR:-/tmp}/pare-speed.XXXXXX")
trap 'rm -rf "$work"' EXIT

seconds() { # wall-clock seconds of a command
    local from to
    from=$(date +%s.%N)
    "$@" >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; exit 1; }
    to=$(date +%s.%N)
    awk -v a="$from" -v b="$to" 'BEGIN { printf "%.3f\n", b - a }'
}
ours() { seconds "$pare" quantize "$model" -t "$1" ${imatrix:+--imatrix "$imatrix"} -o "$work/ours.gguf" --force -q -j "$threads"; }
theirs() { seconds "$peer" ${imatrix:+--imatrix "$imatrix"} "$model" "$work/theirs.gguf" "$1" "$threads"; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

for preset in "$@"; do
    ours "$preset" >/dev/null
    theirs "$preset" >/dev/null
    : >"$work/a"
    : >"$work/b"
    for _ in $(seq "$pairs"); do
        ours "$preset" >>"$work/a"
        theirs "$preset" >>"$work/b"
    done
    awk -v p="$preset" -v a="$(median "$work/a")" -v b="$(median "$work/b")" \
        'BEGIN { printf "%-10s pare %.2f s, peer %.2f s, %.2f times as fast\n", p, a, b, b / a }'
done
