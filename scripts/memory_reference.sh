#!/usr/bin/env bash
# What stock llama.cpp allocates, in bytes: tests/data/memory/reference.tsv and devices.tsv, which
# tests/memory/test_memory_reference.c compares with pare's plans row by row.
#   scripts/memory_reference.sh LLAMA_CPP_SOURCE LLAMA_CPP_BUILD PARE_BUILD [FOLDER]    FOLDER: tests/data/memory
# LLAMA_CPP_BUILD holds libllama.so of that source. Models: tests/families and the reference data's oracle models, as
# GGUF in F16, loaded; tests/data/memory/*.json, models of real sizes, as files without content, not loaded (stock's
# no_alloc, which counts weights as they would lie in a buffer). CPU backend, without repacking. A minute on two cores.
# devices.tsv: layers on devices that are not there (scripts/stand_in_device.h); what that leaves out is ggml-cuda's own.
# Columns: model, n_ctx, sequences, cache shared by them (1) or apart (0), types of K and V, flash attention, windowed
# layers keep all, tokens a graph; of devices: layers on each, where experts are; then bytes of weights, cache, compute
# buffer, output buffer, of devices for the host and each; "-": stock refuses.
set -euo pipefail
source=$1 libraries=$(realpath "$2") build=$(realpath "$3")
here=$(dirname "$(realpath "$0")")/..
out=$(realpath "${4:-$here/tests/data/memory}")
shared=${PARE_SHARED:-$here/../shared}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
c++ -std=c++17 -O1 -fno-access-control -I"$source/src" -I"$source/include" -I"$source/ggml/include" \
    -I"$source/ggml/src" -I"$source/vendor" "$here/scripts/memory_reference.cpp" -L"$libraries" -lllama -lggml \
    -lggml-base -lggml-cpu -o "$work/memory_reference"
export LD_LIBRARY_PATH=$libraries GGML_NO_BACKTRACE=1

few="512,1,1,f16,f16,1,0,512 777,1,1,f16,f16,0,0,512 4096,1,1,q8_0,q8_0,1,0,512 4096,1,1,q8_0,f16,0,0,512
    4096,4,0,f16,f16,1,0,512 8192,3,0,f16,f16,0,0,100 4096,2,1,q4_0,q8_0,1,1,2048 32768,1,1,q4_0,q4_0,1,0,512"
all=$few
for n_ctx in 512 2048 8192 32768; do
    for types in f16,f16 q8_0,q8_0 q4_0,q4_0; do all+=" $n_ctx,1,1,$types,1,0,512"; done
    all+=" $n_ctx,1,1,f16,f16,0,0,512"
done
big="512,1,1,f16,f16,1,0,512 4096,1,1,f16,f16,0,0,512 32768,1,1,q8_0,q8_0,1,0,512 32768,1,1,f16,f16,0,0,512
    32768,4,0,q4_0,q4_0,1,0,512 32768,4,1,f16,f16,1,0,2048"

some="4096,1,1,f16,f16,1,0,512 4096,1,1,q8_0,q8_0,1,0,512 8192,2,0,f16,f16,0,0,512"

measure() { # name, file, further arguments
    "$work/memory_reference" "$@" 2>"$work/log" || echo "$1: $(tail -1 "$work/log")" >&2
}
version=$(sed -n 's/^set(LLAMA_VERSION_[A-Z]* \([0-9]*\))/\1/p' "$source/CMakeLists.txt" | paste -sd.)
for table in reference devices; do
    printf '# stock llama.cpp %s; made by scripts/memory_reference.sh\n' "$version" >"$work/$table.tsv"
done
for kind in families oracle; do
    folders="$here/tests/families" cases=$few
    [ $kind = oracle ] && folders="$shared/oracle/models" cases=$all
    for folder in "$folders"/*/; do
        [ -f "$folder/config.json" ] || continue
        name=$kind/$(basename "$folder")
        "$build/pare" convert "$folder" --dtype f16 -o "$work/model.gguf" --force --quiet >/dev/null 2>&1 || continue
        measure "$name" "$work/model.gguf" $cases >>"$work/reference.tsv"
        [ $kind = families ] && grep -q "^$name" "$work/reference.tsv" || continue
        for layers in all two half; do
            measure "$name" "$work/model.gguf" --layers $layers $some >>"$work/devices.tsv"
        done
    done
done
for config in "$here"/tests/data/memory/*.json; do
    name=paper/$(basename "$config" .json)
    "$build/tests/paper_model" "$config" f16 "$work/model.gguf"
    measure "$name" "$work/model.gguf" --no-alloc $big >>"$work/reference.tsv"
    for layers in all half third; do
        measure "$name" "$work/model.gguf" --no-alloc --layers $layers $some >>"$work/devices.tsv"
    done
    ! grep -q num_experts_per_tok "$config" ||
        measure "$name" "$work/model.gguf" --no-alloc --layers all --experts-on-host $some >>"$work/devices.tsv"
    rm "$work/model.gguf"
done
mv "$work/reference.tsv" "$work/devices.tsv" "$out/"
