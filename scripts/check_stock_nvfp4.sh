#!/usr/bin/env bash
# Does stock llama.cpp multiply by the scales of NVFP4 matrices (NAME.scale) that pare writes? A line a model: matrices in
# NVFP4, scales, and the root mean square of the difference of stock's logits of that file and of the same weights as
# F32, in standard deviations. Stock rounds activations to 8 bits: 0.002 to 0.05, and 0.2 where experts are chosen; a
# scale that it passes over makes about 1. For a look by hand: nothing here runs in the tests.
#   scripts/check_stock_nvfp4.sh LLAMA_CPP_SOURCE LLAMA_CPP_BUILD PARE [FOLDER...]
# Arguments as of scripts/check_stock.sh.
set -euo pipefail
# shellcheck source=stock_logits.sh
. "$(dirname "$(realpath "$0")")/stock_logits.sh"
for folder; do
    [ -f "$folder/tokens.i32" ] || continue
    if "$pare" quantize "$folder" -t nvfp4 --pure --embedding-type f16 -o "$work/q.gguf" --force -q >/dev/null 2>"$work/log" &&
        "$pare" convert "$work/q.gguf" --dtype f32 -o "$work/f.gguf" --force -q >/dev/null 2>"$work/log" &&
        stock_logits "$work/q.gguf" "$folder" "$work/a" >"$work/log" 2>&1 &&
        stock_logits "$work/f.gguf" "$folder" "$work/b" >"$work/log" 2>&1; then
        tensors=$("$pare" inspect "$work/q.gguf" --tensors)
        printf '%-24s %3d nvfp4 %3d scales ' "$(basename "$folder")" "$(grep -c ' nvfp4  *\[' <<<"$tensors" || true)" \
            "$(grep -c '\.scale ' <<<"$tensors" || true)"
        python3 - "$work/a" "$work/b" <<'PY'
import array, sys
a, b = (array.array("f", open(p, "rb").read()) for p in sys.argv[1:])
mean = sum(b) / max(len(b), 1)
spread = sum((y - mean) ** 2 for y in b)
print("%.4f" % (sum((x - y) ** 2 for x, y in zip(a, b)) / spread) ** 0.5 if spread > 0 else "no logits")
PY
    else
        printf '%-24s fails: %s\n' "$(basename "$folder")" "$(tail -1 "$work/log")"
    fi
done
