#!/usr/bin/env bash
# What quantized keys and values cost, beside llama.cpp: KL divergence of each model with the types of the cache, from
# the same model with floats (pare: F32; llama-perplexity: F16), on the same windows. A row a model and type:
#   MODEL TYPE   pare: not rotated, as llama.cpp, in full   llama-perplexity: not rotated (LLAMA_ATTN_ROT_DISABLE=1), rotated
#   scripts/bench_kv_stock.sh PEER TEXT [-k CHUNKS] [-t TYPES] [-p PARE] MODEL.gguf...
#   PEER     a llama-perplexity binary, its libraries beside it; $TMPDIR has room for its file (2 bytes a token of the
#            vocabulary and position)
#   CHUNKS   default: 16 windows of 512 tokens; TYPES default: "q4_0 q5_0 q8_0"
set -euo pipefail
peer=$(realpath "${1:?usage: scripts/bench_kv_stock.sh PEER TEXT [-k CHUNKS] [-t TYPES] [-p PARE] MODEL.gguf...}") text=$2
shift 2
chunks=16 types="q4_0 q5_0 q8_0" pare=$(dirname "$0")/../build/pare
while getopts k:t:p: option; do
    case $option in
    k) chunks=$OPTARG ;;
    t) types=$OPTARG ;;
    p) pare=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(dirname "$peer")

ours() { # model, type, rotation
    "$pare" eval "$1" --logits "$work/base.lgt" -f "$text" --chunks "$chunks" --cache-k "$2" --cache-v "$2" \
        --cache-rotate "$3" --json --quiet |
        python3 -c 'import json, sys; print("%.6f" % json.load(sys.stdin)["kld_mean"])'
}
theirs() { # model, type
    "$peer" -m "$1" -f "$text" -c 512 --chunks "$chunks" --no-repack -fa on -ctk "$2" -ctv "$2" \
        --kl-divergence-base "$work/base" --kl-divergence 2>&1 | awk '/Mean +KLD/ { print $3 }'
}
for model in "$@"; do
    "$pare" eval "$model" -f "$text" --chunks "$chunks" --save-logits "$work/base.lgt" --force --quiet >"$work/log"
    "$peer" -m "$model" -f "$text" -c 512 --chunks "$chunks" --no-repack -fa on -ctk f16 -ctv f16 \
        --kl-divergence-base "$work/base" >"$work/log" 2>&1
    for type in $types; do
        echo "$(basename "$model" .gguf) $type $(ours "$model" "$type" off) $(ours "$model" "$type" llama)" \
            "$(ours "$model" "$type" full) $(LLAMA_ATTN_ROT_DISABLE=1 theirs "$model" "$type") $(theirs "$model" "$type")"
    done
done
