#!/usr/bin/env bash
# What stock llama.cpp computes from the GGUF files that pare makes of the tiny models: the largest difference to the
# logits beside them (of transformers), a line a model. For a look by hand: nothing here runs in the tests.
#   scripts/check_stock.sh LLAMA_CPP_SOURCE LLAMA_CPP_BUILD PARE [FOLDER...]
# LLAMA_CPP_BUILD holds libllama.so; FOLDER: one with config.json, tokens.i32 and logits.f32 (default: tests/families/*).
# GELU out of a table of half floats costs stock up to 1e-2; windows that GGUF has no key for are another function.
set -euo pipefail
# shellcheck source=stock_logits.sh
. "$(dirname "$(realpath "$0")")/stock_logits.sh"
for folder; do
    [ -f "$folder/logits.f32" ] || continue
    name=$(basename "$folder")
    if "$pare" convert "$folder" --dtype f32 -o "$work/$name.gguf" --quiet >/dev/null 2>"$work/log" &&
        stock_logits "$work/$name.gguf" "$folder" "$work/logits" 2>"$work/log"; then
        printf '%-24s ' "$name"
        python3 - "$work/logits" "$folder/logits.f32" <<'PY'
import array, sys
a, b = (array.array("f", open(p, "rb").read()) for p in sys.argv[1:])
print("%.2g" % max(abs(x - y) for x, y in zip(a, b)) if len(a) == len(b) else f"{len(a)} logits for {len(b)}")
PY
    else
        printf '%-24s fails: %s\n' "$name" "$(tail -1 "$work/log")"
    fi
    rm -f "$work/$name.gguf"
done
