#!/usr/bin/env bash
# Time `pare quantize` against another quantizer on the same file, in turn (A B A B ...): medians of whole processes, wall
# clock and CPU time, and how many times as fast pare is. Input and outputs are in the page cache, or on disk, for both
# alike: TMPDIR says where.
#   scripts/bench_quantize.sh -q PEER [-s GIGABYTES | -m MODEL [-i IMATRIX]] [-w] [-j THREADS] [-n PAIRS] [-p PARE] [-o OUT.md] [PRESET...]
#   -q  a llama-quantize binary, called as: PEER [--imatrix FILE] MODEL OUT PRESET THREADS
#   -s  size of the model that is made when none is given: Llama shape, F16, random weights, with importances; 2 GB
#   -w  without importances, for presets that can do without
#   PRESET  q8_0 q4_k_m q6_k iq2_xxs iq3_s iq4_xs when none is given
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
peer='' gigabytes=2 model='' imatrix='' unweighted=0 threads=$(nproc) pairs=5 pare=build/pare out=''
while getopts q:s:m:i:wj:n:p:o: option; do
    case $option in
        q) peer=$OPTARG ;; s) gigabytes=$OPTARG ;; m) model=$OPTARG ;; i) imatrix=$OPTARG ;; w) unweighted=1 ;;
        j) threads=$OPTARG ;; n) pairs=$OPTARG ;; p) pare=$OPTARG ;; o) out=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$peer" ] || usage
[ $# -gt 0 ] || set -- q8_0 q4_k_m q6_k iq2_xxs iq3_s iq4_xs

work=$(mktemp -d "${TMPDIR:-/tmp}/pare-speed.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ -z "$model" ]; then
    cc -O2 -o "$work/random_model" scripts/random_model.c -lm
    model=$work/model.gguf imatrix=$work/imatrix.gguf
    # 262 MB outside of the layers, 88 MB each
    layers=$(awk -v g="$gigabytes" 'BEGIN { n = int((g * 1e9 - 262144000) / 88096768 + 0.5); print n < 1 ? 1 : n }')
    "$work/random_model" "$model" "$imatrix" "$layers"
fi
[ "$unweighted" = 0 ] || imatrix=''

TIMEFORMAT='%R %U %S'
timed() { # "wall CPU" in seconds of a command
    { time "$@" >"$work/log" 2>&1; } 2>"$work/time" || { tail -5 "$work/log" >&2; exit 1; }
    awk '{ print $1, $2 + $3 }' "$work/time"
}
# No output is there when a program starts: to give back the memory or blocks of an old one is not what is compared.
ours() { rm -f "$work/ours.gguf"; timed "$pare" quantize "$model" -t "$1" ${imatrix:+--imatrix "$imatrix"} -o "$work/ours.gguf" -q -j "$threads"; }
theirs() { rm -f "$work/theirs.gguf"; timed "$peer" ${imatrix:+--imatrix "$imatrix"} "$model" "$work/theirs.gguf" "$1" "$threads"; }
median() { # file, column
    awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

{
    echo '| preset | pare, wall / CPU | peer, wall / CPU | wall, times as fast | CPU, times as fast |'
    echo '| --- | --- | --- | --- | --- |'
} | tee "$work/table.md"
for preset in "$@"; do
    ours "$preset" >/dev/null # not counted: the input is in the page cache from here on
    theirs "$preset" >/dev/null
    : >"$work/a"
    : >"$work/b"
    for _ in $(seq "$pairs"); do
        ours "$preset" >>"$work/a"
        theirs "$preset" >>"$work/b"
    done
    rm -f "$work/ours.gguf" "$work/theirs.gguf"
    awk -v p="$preset" -v aw="$(median "$work/a" 1)" -v ac="$(median "$work/a" 2)" -v bw="$(median "$work/b" 1)" -v bc="$(median "$work/b" 2)" \
        'BEGIN { printf "| %s | %.2f s / %.2f s | %.2f s / %.2f s | %.2f | %.2f |\n", p, aw, ac, bw, bc, bw / aw, bc / ac }' | tee -a "$work/table.md"
done
[ -z "$out" ] || cp "$work/table.md" "$out"
