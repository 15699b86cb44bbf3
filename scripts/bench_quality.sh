#!/usr/bin/env bash
# What each preset costs: size, KL divergence from the original, same most likely token and perplexity, of pare's file and,
# when a peer's quantizer is given, of the peer's file. Both are measured by pare eval on the same windows.
#   scripts/bench_quality.sh -m MODEL -f TEXT [-k WINDOWS] [-p PARE] [-q PEER_QUANTIZE] [-i IMATRIX] [-o OUT.md] PRESET...
# PEER_QUANTIZE is called as llama-quantize is: [--imatrix FILE] F32.gguf OUT.gguf PRESET.
# Give a TEXT that calibration never saw.
set -euo pipefail
cd "$(dirname "$0")/.."

pare=build/pare windows=160 peer='' imatrix='' out=- model='' text=''
while getopts m:f:k:p:q:i:o: option; do
    case $option in
        m) model=$OPTARG ;; f) text=$OPTARG ;; k) windows=$OPTARG ;; p) pare=$OPTARG ;;
        q) peer=$OPTARG ;; i) imatrix=$OPTARG ;; o) out=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$model" ] && [ -n "$text" ] && [ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/pare-quality.XXXXXX")
trap 'rm -rf "$work"' EXIT
table=$work/table.md
"$pare" convert "$model" -o "$work/f32.gguf" --dtype f32 -q >/dev/null

measure() { # file, label, preset
    local bytes
    bytes=$(stat -c %s "$1")
    "$pare" eval "$1" --reference "$work/f32.gguf" -f "$text" --chunks "$windows" --json -q >"$work/eval.json"
    jq -r --arg preset "$3" --arg who "$2" --arg bytes "$bytes" 'def r(n): . * pow(10; n) | round / pow(10; n);
        "| \($preset) | \($who) | \($bytes) | \(.kld_mean | r(6)) ± \(.kld_stderr | r(6)) | \(.kld_median | r(6)) | \(.kld_p99 | r(5)) | \(.kld_p999 | r(4)) | \(.same_top1 | if . <= 1 then . * 100 else . end | r(2)) | \(.perplexity | r(3)) |"' \
        "$work/eval.json" >>"$table"
    jq -r '.kld_mean' "$work/eval.json"
}

{
    echo "| preset | by | bytes | mean KLD | median | 99 % | 99.9 % | same top-1, % | perplexity |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
} >>"$table"
for preset in "$@"; do
    "$pare" quantize "$work/f32.gguf" -t "$preset" -o "$work/ours.gguf" ${imatrix:+--imatrix "$imatrix"} --force -q >/dev/null
    ours=$(measure "$work/ours.gguf" pare "$preset")
    [ -n "$peer" ] || continue
    "$peer" ${imatrix:+--imatrix "$imatrix"} "$work/f32.gguf" "$work/theirs.gguf" "$preset" >"$work/peer.log" 2>&1 || { tail -5 "$work/peer.log" >&2; exit 1; }
    theirs=$(measure "$work/theirs.gguf" peer "$preset")
    awk -v p="$preset" -v a="$ours" -v b="$theirs" 'BEGIN { printf "%s: KLD %.6f, peer %.6f, ratio %.3f\n", p, a, b, a / b }' >&2
done
if [ "$out" = - ]; then cat "$table"; else cp "$table" "$out"; fi
