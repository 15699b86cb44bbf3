#!/usr/bin/env bash
# Time `pare eval` against another program's perplexity run on the same F32 GGUF file and text, in turn (A B A B ...), and
# print the medians and the ratio. Times are of whole processes, loading and tokenizing included: wall clock, and CPU
# seconds (user + system), which tell more when others use the machine.
#   scripts/bench_eval.sh PEER [-m MODEL] [-f TEXT] [-c N] [-k CHUNKS] [-t THREADS] [-n PAIRS] [-p PARE]
#   PEER   a llama-perplexity binary (it is given -m -f -c --chunks -t -fa off -ctk f32 -ctv f32)
#   MODEL  a Hub folder or a GGUF file, converted to F32 first (default: tests/data/demo)
#   TEXT   default: tests/data/demo/text.txt; CHUNKS default: all windows; THREADS default: all CPUs; PAIRS default: 5
set -euo pipefail
cd "$(dirname "$0")/.."
peer=${1:?usage: scripts/bench_eval.sh PEER [-m MODEL] [-f TEXT] [-c N] [-k CHUNKS] [-t THREADS] [-n PAIRS] [-p PARE]}
shift
model=tests/data/demo text=tests/data/demo/text.txt ctx=512 chunks=-1 threads=$(nproc) pairs=5 pare=build/pare
while getopts m:f:c:k:t:n:p: option; do
    case $option in
    m) model=$OPTARG ;;
    f) text=$OPTARG ;;
    c) ctx=$OPTARG ;;
    k) chunks=$OPTARG ;;
    t) threads=$OPTARG ;;
    n) pairs=$OPTARG ;;
    p) pare=$OPTARG ;;
    *) exit 2 ;;
    esac
done
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$pare" convert "$model" -o "$work/f32.gguf" --dtype f32 --quiet >"$work/convert"

TIMEFORMAT='%R %U %S'
timed() { # name, command...: appends "wall cpu" to the name's list, keeps its output
    local name=$1
    shift
    { time "$@" >"$work/$name.out" 2>"$work/$name.err"; } 2>"$work/time" || { tail -5 "$work/$name.err"; exit 1; }
    awk '{ printf "%.3f %.3f\n", $1, $2 + $3 }' "$work/time" >>"$work/$name.times"
}
ours=("$pare" eval "$work/f32.gguf" -f "$text" -c "$ctx" -j "$threads" --json --quiet)
[ "$chunks" = -1 ] || ours+=(--chunks "$chunks")
theirs=("$peer" -m "$work/f32.gguf" -f "$text" -c "$ctx" --chunks "$chunks" -t "$threads" -fa off -ctk f32 -ctv f32)
for ((i = 1; i <= pairs; i++)); do
    timed pare "${ours[@]}"
    timed peer "${theirs[@]}"
    printf 'pair %d: pare %s s, peer %s s (wall, CPU)\n' "$i" "$(tail -1 "$work/pare.times")" "$(tail -1 "$work/peer.times")"
done

median() { # name, column
    cut -d' ' -f"$2" "$work/$1.times" | sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
windows=$(grep -o '"n_chunks": *[0-9]*' "$work/pare.out" | head -1 | grep -o '[0-9]*$')
echo "cpu: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $threads threads; $(date -u +%F)"
echo "perplexity: pare $(grep -o '"perplexity": *[0-9.]*' "$work/pare.out" | head -1 | grep -o '[0-9.]*$'), peer" \
    "$(cat "$work/peer.out" "$work/peer.err" | grep -o 'PPL = [0-9.]*' | tail -1 | grep -o '[0-9.]*$')"
for column in 1 2; do
    awk -v a="$(median pare $column)" -v b="$(median peer $column)" -v tokens=$((windows * ctx)) -v what="$([ $column = 1 ] && echo 'wall clock' || echo 'CPU time')" \
        'BEGIN { printf "%s, medians: pare %.2f s (%.0f tokens/s), peer %.2f s (%.0f tokens/s): %.2f times as fast\n", what, a, tokens / a, b, tokens / b, b / a }'
done
