#!/usr/bin/env bash
# What each preset costs: size, KL divergence from the original, same most likely token and perplexity, of pare's file and,
# when a peer's quantizer is given, of the peer's file. Both are measured by pare eval on the same windows.
#   scripts/bench_quality.sh -m MODEL -f TEXT [-k WINDOWS] [-p PARE] [-e EFFORT] [-q PEER_QUANTIZE] [-i IMATRIX] [-o OUT] PRESET...
# OUT.md gets the table, OUT.svg bytes against KL divergence, OUT.tsv the figures; without -o the table goes to standard
# output. PEER_QUANTIZE is called as llama-quantize is: [--imatrix FILE] F32.gguf OUT.gguf PRESET.
# Give a TEXT that calibration never saw.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
pare=build/pare windows=160 effort=default peer='' imatrix='' out='' model='' text=''
while getopts m:f:k:p:e:q:i:o: option; do
    case $option in
        m) model=$OPTARG ;; f) text=$OPTARG ;; k) windows=$OPTARG ;; p) pare=$OPTARG ;; e) effort=$OPTARG ;;
        q) peer=$OPTARG ;; i) imatrix=$OPTARG ;; o) out=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$model" ] && [ -n "$text" ] && [ $# -gt 0 ] || usage

work=$(mktemp -d "${TMPDIR:-/tmp}/pare-quality.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$pare" convert "$model" -o "$work/f32.gguf" --dtype f32 -q >/dev/null

measure() { # file, label, preset: a line preset, by, bytes, KLD, its error, median, 99 %, 99.9 %, same top-1 in %, perplexity
    "$pare" eval "$1" --reference "$work/f32.gguf" -f "$text" --chunks "$windows" --json -q >"$work/eval.json"
    jq -r --arg preset "$3" --arg who "$2" --arg bytes "$(stat -c %s "$1")" '
        [$preset, $who, $bytes, .kld_mean, .kld_stderr, .kld_median, .kld_p99, .kld_p999,
         (.same_top1 | if . <= 1 then . * 100 else . end), .perplexity] | @tsv' "$work/eval.json" | tee -a "$work/table.tsv" |
        awk -F '\t' '{ printf "%s %s: %d bytes, KLD %.6f\n", $1, $2, $3, $4 }' >&2
}

for preset in "$@"; do
    "$pare" quantize "$work/f32.gguf" -t "$preset" -o "$work/ours.gguf" --effort "$effort" ${imatrix:+--imatrix "$imatrix"} --force -q >/dev/null
    measure "$work/ours.gguf" pare "$preset"
    [ -n "$peer" ] || continue
    "$peer" ${imatrix:+--imatrix "$imatrix"} "$work/f32.gguf" "$work/theirs.gguf" "$preset" >"$work/peer.log" 2>&1 ||
        { tail -5 "$work/peer.log" >&2; exit 1; }
    measure "$work/theirs.gguf" peer "$preset"
done

# Ratio: pare's KLD divided by the peer's. The last line is the geometric mean over the presets.
awk -F '\t' '
    NR == FNR { if ($2 == "peer") peer[$1] = $4; next }
    FNR == 1 { print "| preset | by | bytes | mean KLD | median | 99 % | 99.9 % | same top-1, % | perplexity | ratio |"
               print "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |" }
    { ratio = ""
      if ($2 == "pare" && $1 in peer) { ratio = sprintf("%.3f", $4 / peer[$1]); sum += log($4 / peer[$1]); n++ }
      printf "| %s | %s | %d | %.6f ± %.6f | %.6f | %.5f | %.4f | %.2f | %.3f | %s |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, ratio }
    END { if (n > 0) printf "| geometric mean | | | | | | | | | %.3f |\n", exp(sum / n) }
' "$work/table.tsv" "$work/table.tsv" >"$work/table.md"
if [ -z "$out" ]; then
    cat "$work/table.md"
else
    python3 scripts/plot_quality.py "$work/table.tsv" >"$work/plot.svg"
    cp "$work/table.md" "$out.md" && cp "$work/plot.svg" "$out.svg" && cp "$work/table.tsv" "$out.tsv"
fi
