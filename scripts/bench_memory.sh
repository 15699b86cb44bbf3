#!/usr/bin/env bash
# Show that memory does not grow with the model: make a model folder of about 8 GB (random weights, sharded safetensors),
# convert and quantize it, and report the largest resident memory of each run: private pages (RssAnon), and with the
# mapped input (VmHWM). Needs about 25 GB of disk in $TMPDIR and python3; removes what it made.
#   scripts/bench_memory.sh [GIGABYTES] [PARE] [THREADS]
set -euo pipefail
cd "$(dirname "$0")/.."
gigabytes=${1:-8}
pare=${2:-build/pare}
threads=${3:-$(nproc)}
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 - "$work/model" "$gigabytes" <<'PY'
import json, os, random, struct, sys
folder, gigabytes = sys.argv[1], float(sys.argv[2])
os.makedirs(folder)
embd, ff, heads, kv, vocab = 4096, 14336, 32, 8, 32000
random.seed(1)
# 4 MiB of BF16 numbers between 2^-9 and 2^-5 in magnitude, repeated: finite, and no two blocks of 256 alike nearby
chunk = b''.join(struct.pack('<H', random.getrandbits(1) << 15 | random.randint(118, 121) << 7 | random.getrandbits(7))
                 for _ in range(2 << 20))
layer = {'input_layernorm.weight': [embd], 'post_attention_layernorm.weight': [embd],
         'self_attn.q_proj.weight': [embd, embd], 'self_attn.k_proj.weight': [embd // heads * kv, embd],
         'self_attn.v_proj.weight': [embd // heads * kv, embd], 'self_attn.o_proj.weight': [embd, embd],
         'mlp.gate_proj.weight': [ff, embd], 'mlp.up_proj.weight': [ff, embd], 'mlp.down_proj.weight': [embd, ff]}
size = lambda shape: 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
per_layer, ends = sum(map(size, layer.values())), 2 * 2 * vocab * embd
n_layer = max(1, round((gigabytes * 1e9 - ends) / per_layer))
shards = [{'model.embed_tokens.weight': [vocab, embd], 'lm_head.weight': [vocab, embd], 'model.norm.weight': [embd]}]
for i in range(n_layer):
    if i % 4 == 0:
        shards.append({})
    shards[-1].update({f'model.layers.{i}.{k}': v for k, v in layer.items()})
weight_map, total = {}, 0
for s, tensors in enumerate(shards):
    name, header, at = f'model-{s + 1:05d}-of-{len(shards):05d}.safetensors', {}, 0
    for k, shape in tensors.items():
        header[k] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [at, at + size(shape)]}
        at += size(shape)
        weight_map[k] = name
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        left = at
        while left > 0:
            f.write(chunk[:left])
            left -= min(left, len(chunk))
    total += at
json.dump({'metadata': {'total_size': total}, 'weight_map': weight_map}, open(os.path.join(folder, 'model.safetensors.index.json'), 'w'))
json.dump({'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'hidden_size': embd, 'intermediate_size': ff,
           'num_attention_heads': heads, 'num_key_value_heads': kv, 'num_hidden_layers': n_layer, 'vocab_size': vocab,
           'max_position_embeddings': 8192, 'rms_norm_eps': 1e-5, 'rope_theta': 10000.0, 'hidden_act': 'silu',
           'tie_word_embeddings': False, 'torch_dtype': 'bfloat16'}, open(os.path.join(folder, 'config.json'), 'w'))
print(f'model: {total / 1e9:.2f} GB of weights, {n_layer} layers, {len(shards)} shards')
PY

measure() { # label, command...
    local label=$1 anon=0 now
    shift
    SECONDS=0
    "$@" >"$work/out.log" 2>&1 &
    local pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        [ -n "$now" ] && [ "$now" -gt "$anon" ] && anon=$now
        now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        [ -n "$now" ] && total=$now
        sleep 0.05
    done
    wait "$pid" || { cat "$work/out.log"; exit 1; }
    printf '%-28s %6d s   private %7.1f MiB   with mapped pages %8.1f MiB\n' "$label" "$SECONDS" \
        "$(awk "BEGIN { print $anon / 1024 }")" "$(awk "BEGIN { print $total / 1024 }")"
}

measure "convert to GGUF" "$pare" convert "$work/model" -o "$work/model.gguf" -j "$threads"
measure "quantize folder, q8_0" "$pare" quantize "$work/model" -t q8_0 -o "$work/q8_0.gguf" -j "$threads"
rm "$work/q8_0.gguf"
measure "quantize GGUF, q4_k_m, pin" "$pare" quantize "$work/model.gguf" -t q4_k_m -o "$work/q4_k_m.gguf" --pin -j "$threads"
measure "verify" "$pare" verify "$work/pare.lock"
