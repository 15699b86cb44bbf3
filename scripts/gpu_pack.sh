#!/usr/bin/env bash
# Pack what scripts/gpu_check.sh needs on a machine where nothing can be installed or fetched: the portable build, the
# reference model, a stretch of text, small models with expected logits. One file below 60 MB.
#   scripts/gpu_pack.sh [-b BUILD] [-s SHARED] [-o FILE]
#   BUILD   of `cmake --preset portable` (default: build-portable); SHARED: the reference data (default: ../shared);
#   FILE    default: BUILD/pare-gpu.tar.xz
set -euo pipefail
cd "$(dirname "$0")/.."
build=build-portable shared=${PARE_SHARED:-../shared} file=''
while getopts b:s:o: option; do
    case $option in
    b) build=$OPTARG ;;
    s) shared=$OPTARG ;;
    o) file=$OPTARG ;;
    *) exit 2 ;;
    esac
done
file=${file:-$build/pare-gpu.tar.xz}
# One of each kind of architecture, those with small files.
oracle=(llama_rope mistral qwen2 qwen3_tiny mixtral gemma2 gpt2 gpt_neox starcoder2 olmo2)

work=$(mktemp -d "${TMPDIR:-/tmp}/pare-pack.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/pack/ref" "$work/pack/oracle"
for program in pare pare-check-device pare-cuda.so; do
    cp "$build/$program" "$work/pack/" || { echo "gpu_pack: build first: cmake --preset portable && cmake --build --preset portable" >&2; exit 1; }
done
cp "$shared"/models/ref/*.json "$shared/models/ref/model.safetensors" "$work/pack/ref/"
head -c 160000 "$shared/text/wikitext2-test.txt" >"$work/pack/text.txt"
for model in "${oracle[@]}"; do
    mkdir "$work/pack/oracle/$model"
    cp "$shared/oracle/models/$model"/*.json "$shared/oracle/models/$model"/*.safetensors \
        "$shared/oracle/models/$model"/{tokens.i32,logits.f32} "$work/pack/oracle/$model/"
    cp "$shared/oracle/models/$model"/tokenizer.model "$shared/oracle/models/$model"/merges.txt "$work/pack/oracle/$model/" 2>/dev/null || true
done
chmod -R u+w "$work/pack"
tar -C "$work/pack" --sort=name --owner=0 --group=0 --mtime=@0 -c . | xz -T0 -6 --memlimit-compress=2GiB >"$file.part"
mv "$file.part" "$file"
bytes=$(stat -c %s "$file")
echo "gpu_pack: $file, $bytes bytes"
[ "$bytes" -lt 60000000 ] || { echo "gpu_pack: more than 60 MB" >&2; exit 1; }
