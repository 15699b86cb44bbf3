#!/usr/bin/env bash
# The same weights in every form: perplexity of a model packed in each format of folders, and of what is made of that
# folder: a GGUF file in the type that --dtype auto keeps, in F32, and a folder of floats. Prints a Markdown table for
# docs/benchmarks/formats.md; exit 1 when two forms of the same weights differ by more than 0.05 %.
#   scripts/bench_formats.sh [-p PARE] [-m MODEL] [-f TEXT] [-n CHUNKS]
set -euo pipefail
cd "$(dirname "$0")/.."
pare=build/pare model=tests/data/demo text=tests/data/demo/text.txt chunks=8
while getopts p:m:f:n: option; do
    case $option in
        p) pare=$OPTARG ;;
        m) model=$OPTARG ;;
        f) text=$OPTARG ;;
        n) chunks=$OPTARG ;;
        *) exit 2 ;;
    esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

perplexity() { "$pare" eval "$1" -f "$text" -c 128 --chunks "$chunks" --json -q | sed -n 's/.*"perplexity": *\([0-9.]*\).*/\1/p' | head -1; }
convert() { "$pare" convert "$@" --force -q >/dev/null; }

status=0
echo "| folder | packed | as GGUF, auto | as GGUF, f32 | as floats | largest difference |"
echo "| --- | --- | --- | --- | --- | --- |"
row() { # name, folder
    local packed auto f32 floats
    packed=$(perplexity "$2")
    convert "$2" -o "$work/auto.gguf"
    auto=$(perplexity "$work/auto.gguf")
    convert "$2" --dtype f32 -o "$work/f32.gguf"
    f32=$(perplexity "$work/f32.gguf")
    convert "$2" --dtype f32 --format safetensors -o "$work/floats"
    floats=$(perplexity "$work/floats")
    rm -rf "$work/auto.gguf" "$work/f32.gguf" "$work/floats"
    awk -v name="$1" -v a="$packed" -v b="$auto" -v c="$f32" -v d="$floats" 'BEGIN {
        n = split(a " " b " " c " " d, x, " "); low = high = x[1]
        for (i = 2; i <= n; i++) { if (x[i] < low) low = x[i]; if (x[i] > high) high = x[i] }
        printf "| %s | %s | %s | %s | %s | %.4f %% |\n", name, a, b, c, d, 100 * (high / low - 1)
        exit !(n == 4 && high / low - 1 <= 0.0005) }' || status=1
}
row "as it is" "$model"
pack() { # name, further arguments of convert
    local name=$1
    shift
    convert "$model" -o "$work/packed" "$@"
    row "$name" "$work/packed"
    rm -rf "$work/packed"
}
pack "AutoAWQ, 4 bits, groups of 32" --format awq --group-size 32
for bits in 2 3 4 8; do
    pack "GPTQ, $bits bits, groups of 32" --format gptq --bits $bits --group-size 32
done
pack "GPTQ, 4 bits, zero points" --format gptq --group-size 64 --symmetric no
pack "compressed-tensors, 4 bits" --format compressed-tensors --group-size 32
pack "compressed-tensors, 8 bits, whole rows" --format compressed-tensors --bits 8 --whole-rows
for format in fp8 nvfp4 mxfp4; do
    pack "$format" --format $format
done
exit $status
