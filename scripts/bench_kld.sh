#!/usr/bin/env bash
# Time comparisons of two models: `pare eval --reference`, one run, against llama-perplexity's two, which write the
# reference's distributions to a file (--kl-divergence-base) and read them back beside the candidate (--kl-divergence).
# In turn (A B A B ...), whole processes, medians of wall clock and of CPU seconds (user + system), which tell more when
# others use the machine. Four comparisons of the same model and text:
#   f32    reference F32, candidate decoded to F32, --compute f32: float32 in the peer, too (-fa off -ctk f32 -ctv f32)
#   quant  reference F32, candidate as it is, --compute f32; the peer rounds its activations to 8 bits
#   bf16   reference BF16, candidate as it is, --compute bf16, against the peer as it comes
#   pass   BF16 alone, its perplexity: one pass of each program
# Last, the divergence between pare's own two arithmetics, from one record of each.
#   scripts/bench_kld.sh PEER [-m MODEL] [-q CANDIDATE] [-f TEXT] [-c N] [-k CHUNKS] [-t THREADS] [-n RUNS] [-r LIST] [-p PARE]
#   PEER       a llama-perplexity binary; $TMPDIR has room for its file (2 bytes a token of the vocabulary and position)
#   MODEL      a Hub folder or a GGUF file, converted to F32 and BF16 first (default: tests/data/demo)
#   CANDIDATE  a quantized GGUF of it (default: q4_k_m by pare)
#   TEXT       default: tests/data/demo/text.txt; CHUNKS default: 12; THREADS default: all CPUs; RUNS default: 5
#   LIST       which of them, default: "f32 quant bf16 pass noise"
set -euo pipefail
cd "$(dirname "$0")/.."
peer=${1:?usage: scripts/bench_kld.sh PEER [-m MODEL] [-q CANDIDATE] [-f TEXT] [-c N] [-k CHUNKS] [-t THREADS] [-n RUNS] [-r LIST] [-p PARE]}
shift
model=tests/data/demo candidate= text=tests/data/demo/text.txt ctx=512 chunks=12 threads=$(nproc) runs=5 list="f32 quant bf16 pass noise" pare=build/pare
while getopts m:q:f:c:k:t:n:r:p: option; do
    case $option in
    m) model=$OPTARG ;;
    q) candidate=$OPTARG ;;
    f) text=$OPTARG ;;
    c) ctx=$OPTARG ;;
    k) chunks=$OPTARG ;;
    t) threads=$OPTARG ;;
    n) runs=$OPTARG ;;
    r) list=$OPTARG ;;
    p) pare=$OPTARG ;;
    *) exit 2 ;;
    esac
done
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
for dtype in f32 bf16; do
    "$pare" convert "$model" -o "$work/$dtype.gguf" --dtype "$dtype" --quiet >"$work/convert"
done
if [ -z "$candidate" ]; then
    candidate=$work/candidate.gguf
    "$pare" quantize "$work/f32.gguf" -t q4_k_m -o "$candidate" --quiet >"$work/quantize"
fi

"$pare" convert "$candidate" -o "$work/candidate-f32.gguf" --dtype f32 --quiet >"$work/convert"

ours() { # arithmetic, model, more: what pare is run with
    "$pare" eval "$2" -f "$text" -c "$ctx" --chunks "$chunks" -j "$threads" --compute "$1" --json --quiet "${@:3}"
}
theirs() { # model, more
    "$peer" -m "$1" -f "$text" -c "$ctx" --chunks "$chunks" -t "$threads" "${@:2}"
}
float=(-fa off -ctk f32 -ctv f32) # the peer's attention in float32, too

pare_f32() { ours f32 "$work/candidate-f32.gguf" --reference "$work/f32.gguf"; }
peer_f32() {
    theirs "$work/f32.gguf" "${float[@]}" --kl-divergence-base "$work/base"
    theirs "$work/candidate-f32.gguf" "${float[@]}" --kl-divergence-base "$work/base" --kl-divergence
}
pare_quant() { ours f32 "$candidate" --reference "$work/f32.gguf"; }
peer_quant() {
    theirs "$work/f32.gguf" "${float[@]}" --kl-divergence-base "$work/base"
    theirs "$candidate" "${float[@]}" --kl-divergence-base "$work/base" --kl-divergence
}
pare_bf16() { ours bf16 "$candidate" --reference "$work/bf16.gguf"; }
peer_bf16() {
    theirs "$work/bf16.gguf" --kl-divergence-base "$work/base"
    theirs "$candidate" --kl-divergence-base "$work/base" --kl-divergence
}
pare_pass() { ours bf16 "$work/bf16.gguf"; }
peer_pass() { theirs "$work/bf16.gguf"; }

TIMEFORMAT='%R %U %S'
timed() { # function: appends "wall cpu" to its list, keeps its output
    { time "$1" >"$work/$1.out" 2>"$work/$1.err"; } 2>"$work/time" || { tail -5 "$work/$1.err"; exit 1; }
    awk '{ printf "%.3f %.3f\n", $1, $2 + $3 }' "$work/time" >>"$work/$1.times"
}
median() { # function, column
    cut -d' ' -f"$2" "$work/$1.times" | sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
number() { # key, file: of pare's JSON
    grep -o "\"$1\": *[-0-9.e]*" "$2" | head -1 | sed 's/.*: *//'
}

echo "cpu: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $threads threads; $(date -u +%F)"
echo "load at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "windows: $chunks of $ctx tokens; medians of $runs runs in turn"
for kind in $list; do
    [ "$kind" = noise ] && continue
    for ((i = 1; i <= runs; i++)); do
        timed "pare_$kind"
        timed "peer_$kind"
    done
    for column in 1 2; do
        awk -v kind="$kind" -v a="$(median "pare_$kind" $column)" -v b="$(median "peer_$kind" $column)" \
            -v what="$([ $column = 1 ] && echo 'wall clock' || echo 'CPU time')" \
            'BEGIN { printf "%-5s %-10s pare %6.2f s, peer %6.2f s: %.2f times as fast\n", kind, what, a, b, b / a }'
    done
    paste -d' ' "$work/pare_$kind.times" "$work/peer_$kind.times" |
        awk -v kind="$kind" '{ printf "%-5s run %d: pare %s s (CPU %s), peer %s s (CPU %s): %.2f, %.2f\n", kind, NR, $1, $2, $3, $4, $3 / $1, $4 / $2 }'
    if [ "$kind" = pass ]; then
        echo "$kind  perplexity: pare $(number perplexity "$work/pare_pass.out")," \
            "peer $(cat "$work/peer_pass.out" "$work/peer_pass.err" | grep -o 'PPL = [0-9.]*' | tail -1 | grep -o '[0-9.]*$')"
    else
        echo "$kind  mean KL divergence: pare $(number kld_mean "$work/pare_$kind.out")," \
            "peer $(grep -h 'Mean.*KLD' "$work/peer_$kind.out" "$work/peer_$kind.err" | head -1 | sed 's/.*KLD: *//')"
    fi
done
case " $list " in
*" noise "*) # what bf16 adds: the distributions of both arithmetics compared, on the same F32 model
    ours f32 "$work/f32.gguf" --save-logits "$work/logits" >"$work/f32.out"
    ours bf16 "$work/f32.gguf" --logits "$work/logits" >"$work/noise.out"
    echo "noise of bf16 against f32, F32 model: mean KL divergence $(number kld_mean "$work/noise.out")," \
        "99.9 % $(number kld_p999 "$work/noise.out"), largest $(number kld_max "$work/noise.out")," \
        "same most likely token $(number same_top1 "$work/noise.out")"
    echo "perplexity: f32 $(number perplexity "$work/f32.out"), bf16 $(number perplexity "$work/noise.out")"
    ;;
esac
