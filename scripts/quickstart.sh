#!/usr/bin/env bash
# Set up, build, and do the whole job on the demo model of the repository: convert, quantize, pin, measure, verify.
#   scripts/quickstart.sh [FOLDER]    where the models are written; the default is build/quickstart
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build/quickstart}
demo=tests/data/demo
log=build/quickstart.log

say() { printf '\n== %s\n' "$1"; }

show() { # print a command, then run it
    printf '\n$ %s\n' "$*"
    "$@"
}

say "libraries and tools"
scripts/setup.sh

say "build"
mkdir -p build
if ! { cmake --preset release && cmake --build --preset release --target pare -j "$(nproc)"; } >"$log" 2>&1; then
    tail -60 "$log" >&2
    exit 1
fi
pare=build/pare
"$pare" --version

say "the main job, in $folder"
pinned=$folder/pinned
mkdir -p "$pinned"
rm -f "$folder"/demo.gguf "$pinned"/demo-q4_k_m.gguf "$pinned"/pare.lock "$pinned"/SHA256SUMS
show "$pare" inspect "$demo"
show "$pare" convert "$demo" -o "$folder/demo.gguf"
show "$pare" quantize "$folder/demo.gguf" -t q4_k_m -o "$pinned/demo-q4_k_m.gguf" --pin
show "$pare" eval "$pinned/demo-q4_k_m.gguf" --reference "$folder/demo.gguf" -f "$demo/text.txt"
show "$pare" verify "$pinned/pare.lock"
show sh -c "cd '$pinned' && sha256sum -c --strict SHA256SUMS"

say "done: the quantized model is $pinned/demo-q4_k_m.gguf, its pin $pinned/pare.lock"
