#!/usr/bin/env bash
# How long converting a mixture of 128 experts a layer takes beside copying its bytes: make a Hub folder with random
# weights, copy its weight files (cp) and convert it to GGUF in turn, several pairs, and print medians and memory.
#   scripts/bench_mixture.sh [KIND] [GIGABYTES] [PARE] [PAIRS]
# KIND: matrices   a tensor an expert and matrix, BF16 (Qwen3 MoE: 2048 wide, experts of 768)
#       packed     experts in one tensor a layer, MXFP4 (gpt-oss: 2880 wide, experts of 2880)
#       fused      the same in BF16, stored [in, out] with gate and up in turn
# CPU time is that of all threads: on a machine that is busy with other work it says more than the clock.
# Last comes the largest private memory (RssAnon, sampled) of conversions with 1 to 64 threads.
# Input and output lie in $TMPDIR: on a tmpfs, or a disk whose files stay in the page cache, copying is memory speed.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-matrices}
gigabytes=${2:-2}
pare=${3:-build/pare}
pairs=${4:-5}
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-mixture.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 - "$work/model" "$kind" "$gigabytes" <<'PY'
import json, os, random, struct, sys
folder, kind, gigabytes = sys.argv[1], sys.argv[2], float(sys.argv[3])
os.makedirs(folder)
vocab, experts = 512, 128
random.seed(1)
# 4 MiB of BF16 numbers between 2^-9 and 2^-5 in magnitude, and of codes and exponents below 255, repeated
floats = b''.join(struct.pack('<H', random.getrandbits(1) << 15 | random.randint(118, 121) << 7 | random.getrandbits(7))
                  for _ in range(2 << 20))
codes = random.randbytes(4 << 20).replace(b'\xff', b'\x7f')
config = {'vocab_size': vocab, 'max_position_embeddings': 4096, 'rope_theta': 10000.0, 'hidden_act': 'silu',
          'tie_word_embeddings': False, 'torch_dtype': 'bfloat16', 'num_experts_per_tok': 8}
if kind == 'matrices':
    embd, ff, heads, kv, dim = 2048, 768, 32, 4, 128
    layer = {'input_layernorm.weight': [embd], 'post_attention_layernorm.weight': [embd], 'mlp.gate.weight': [experts, embd],
             'self_attn.q_proj.weight': [heads * dim, embd], 'self_attn.k_proj.weight': [kv * dim, embd],
             'self_attn.v_proj.weight': [kv * dim, embd], 'self_attn.o_proj.weight': [embd, heads * dim],
             'self_attn.q_norm.weight': [dim], 'self_attn.k_norm.weight': [dim]}
    for e in range(experts):
        for part, shape in (('gate_proj', [ff, embd]), ('up_proj', [ff, embd]), ('down_proj', [embd, ff])):
            layer[f'mlp.experts.{e}.{part}.weight'] = shape
    config.update({'architectures': ['Qwen3MoeForCausalLM'], 'model_type': 'qwen3_moe', 'moe_intermediate_size': ff,
                   'num_experts': experts, 'norm_topk_prob': True, 'rms_norm_eps': 1e-6, 'intermediate_size': 4 * ff})
else:
    embd, ff, heads, kv, dim = (2880, 2880, 64, 8, 64) if kind == 'packed' else (1440, 1440, 32, 4, 64)
    layer = {'input_layernorm.weight': [embd], 'post_attention_layernorm.weight': [embd], 'self_attn.sinks': [heads],
             'mlp.router.weight': [experts, embd], 'mlp.router.bias': [experts],
             'mlp.experts.gate_up_proj_bias': [experts, 2 * ff], 'mlp.experts.down_proj_bias': [experts, embd]}
    for part, shape in (('q', [heads * dim, embd]), ('k', [kv * dim, embd]), ('v', [kv * dim, embd]), ('o', [embd, heads * dim])):
        layer.update({f'self_attn.{part}_proj.weight': shape, f'self_attn.{part}_proj.bias': [shape[0]]})
    for part, rows, cols in (('gate_up_proj', 2 * ff, embd), ('down_proj', embd, ff)):
        if kind == 'packed':
            layer[f'mlp.experts.{part}_blocks'] = [experts, rows, cols // 32, 16]
            layer[f'mlp.experts.{part}_scales'] = [experts, rows, cols // 32]
        else:
            layer[f'mlp.experts.{part}'] = [experts, cols, rows]
    config.update({'architectures': ['GptOssForCausalLM'], 'model_type': 'gpt_oss', 'num_local_experts': experts,
                   'intermediate_size': ff, 'sliding_window': 128, 'rms_norm_eps': 1e-5, 'swiglu_limit': 7.0,
                   'rope_scaling': {'rope_type': 'yarn', 'factor': 32.0, 'original_max_position_embeddings': 4096}})
    if kind == 'packed':
        config['quantization_config'] = {'quant_method': 'mxfp4'}
config.update({'hidden_size': embd, 'num_attention_heads': heads, 'num_key_value_heads': kv, 'head_dim': dim})

def size(name, shape):
    n = 1
    for d in shape:
        n *= d
    return n if name.endswith(('_blocks', '_scales')) else 2 * n

per_layer = sum(size(k, s) for k, s in layer.items())
n_layer = max(1, round(gigabytes * 1e9 / per_layer))
config['num_hidden_layers'] = n_layer
shards = [{'model.embed_tokens.weight': [vocab, embd], 'lm_head.weight': [vocab, embd], 'model.norm.weight': [embd]}]
for i in range(n_layer):
    shards.append({f'model.layers.{i}.{k}': s for k, s in layer.items()})
weight_map, total = {}, 0
for i, tensors in enumerate(shards):
    name, header, at = f'model-{i + 1:05d}-of-{len(shards):05d}.safetensors', {}, 0
    for k, shape in tensors.items():
        packed = k.endswith(('_blocks', '_scales'))
        header[k] = {'dtype': 'U8' if packed else 'BF16', 'shape': shape, 'data_offsets': [at, at + size(k, shape)]}
        at += size(k, shape)
        weight_map[k] = name
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for k, shape in tensors.items():
            chunk, left = codes if header[k]['dtype'] == 'U8' else floats, size(k, shape)
            while left > 0:
                f.write(chunk[:left])
                left -= min(left, len(chunk))
    total += at
json.dump({'metadata': {'total_size': total}, 'weight_map': weight_map}, open(os.path.join(folder, 'model.safetensors.index.json'), 'w'))
json.dump(config, open(os.path.join(folder, 'config.json'), 'w'))
print(f'{kind}: {total / 1e9:.2f} GB of weights, {n_layer} layers of {experts} experts, {len(weight_map)} tensors')
PY

# Seconds of clock and of CPU of a command are added to a file.
measure() {
    local into=$1
    shift
    TIMEFORMAT='%R %U %S'
    { time "$@" >"$work/out.log" 2>&1; } 2>"$work/time" || { cat "$work/out.log"; exit 1; }
    awk '{ print $1, $2 + $3 }' "$work/time" >>"$into"
}
middle() { awk -v k="$1" '{ print $k }' "$2" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for i in $(seq 0 "$pairs"); do # the first pair warms up
    mkdir "$work/copy"
    measure "$work/copy.s$((i > 0))" cp "$work"/model/*.safetensors "$work/copy"
    rm -rf "$work/copy"
    measure "$work/convert.s$((i > 0))" "$pare" convert "$work/model" -o "$work/model.gguf"
    rm "$work/model.gguf"
done
for k in 1 2; do
    c=$(middle $k "$work/copy.s1")
    p=$(middle $k "$work/convert.s1")
    awk "BEGIN { printf \"%-6s copy %.2f s, convert %.2f s: %.2f times\\n\", $k == 1 ? \"clock\" : \"CPU\", $c, $p, $p / $c }"
done
tail -n 1 "$work/out.log" | sed 's/.*peak/with mapped pages: peak/'

# Private memory, MiB, of a command that writes $work/out*.
private_memory() {
    local most=0 now pid
    "$@" >"$work/out.log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        [ -n "$now" ] && [ "$now" -gt "$most" ] && most=$now
        sleep 0.01
    done
    wait "$pid" || { cat "$work/out.log" >&2; exit 1; }
    rm -rf "$work"/out* "$work"/pare.lock "$work"/SHA256SUMS
    awk "BEGIN { printf \"%.1f\", $most / 1024 }"
}
for threads in 1 2 7 16 64; do
    one=$(private_memory "$pare" convert "$work/model" -o "$work/out.gguf" -j "$threads")
    split=$(private_memory "$pare" convert "$work/model" -o "$work/out.gguf" -j "$threads" --split-size 500M --pin)
    echo "private memory, $threads threads: $one MiB; in parts, with --pin: $split MiB"
done
