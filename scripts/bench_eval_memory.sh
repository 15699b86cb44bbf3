#!/usr/bin/env bash
# Show that the memory of an evaluation grows little with the window: make a model with a large vocabulary (random BF16
# weights, a tokenizer that falls back to bytes) and a Q8_0 of it, compare the two at two lengths of the window, and
# report the peak of resident memory of each run: private pages (RssAnon, sampled), and all with the mapped models
# (VmHWM). Needs about 1 GB in $TMPDIR and python3; removes what it made.
#   scripts/bench_eval_memory.sh [-v VOCAB] [-e WIDTH] [-l LAYERS] [-s SHORT] [-c LONG] [-t THREADS] [-a f32|bf16] [-p PARE]
set -euo pipefail
cd "$(dirname "$0")/.."
vocab=150000 width=512 layers=2 short=512 long=8192 threads=$(nproc) compute=f32 pare=build/pare
while getopts v:e:l:s:c:t:a:p: option; do
    case $option in
    v) vocab=$OPTARG ;;
    e) width=$OPTARG ;;
    l) layers=$OPTARG ;;
    s) short=$OPTARG ;;
    c) long=$OPTARG ;;
    t) threads=$OPTARG ;;
    a) compute=$OPTARG ;;
    p) pare=$OPTARG ;;
    *) exit 2 ;;
    esac
done
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 - "$work/model.gguf" "$vocab" "$width" "$layers" <<'PY'
import random, struct, sys
path, (vocab, embd, n_layer) = sys.argv[1], map(int, sys.argv[2:])
head, kv_heads, ff = 64, 2, 3 * embd
random.seed(1)
# a million BF16 numbers between 2^-9 and 2^-5 in magnitude, repeated
chunk = b''.join(struct.pack('<H', random.getrandbits(1) << 15 | random.randint(118, 121) << 7 | random.getrandbits(7))
                 for _ in range(1 << 20))
text = lambda s: struct.pack('<Q', len(s.encode())) + s.encode()
meta = []
def u32(k, v): meta.append(text(k) + struct.pack('<II', 4, v))
def f32(k, v): meta.append(text(k) + struct.pack('<If', 6, v))
def string(k, v): meta.append(text(k) + struct.pack('<I', 8) + text(v))
def array(k, type_, items): meta.append(text(k) + struct.pack('<IIQ', 9, type_, len(items)) + b''.join(items))
string('general.architecture', 'llama')
for k, v in {'context_length': 131072, 'embedding_length': embd, 'block_count': n_layer, 'feed_forward_length': ff,
             'attention.head_count': embd // head, 'attention.head_count_kv': kv_heads,
             'rope.dimension_count': head, 'vocab_size': vocab}.items():
    u32('llama.' + k, v)
f32('llama.attention.layer_norm_rms_epsilon', 1e-5)
tokens = ['<unk>', '<s>', '</s>'] + [f'<0x{i:02X}>' for i in range(256)]
kinds = [2, 3, 3] + [6] * 256
words = [f'\u2581token{i}' for i in range(vocab - len(tokens))]
string('tokenizer.ggml.model', 'llama')
array('tokenizer.ggml.tokens', 8, [text(t) for t in tokens + words])
array('tokenizer.ggml.scores', 6, [struct.pack('<f', -i) for i in range(vocab)])
array('tokenizer.ggml.token_type', 5, [struct.pack('<i', k) for k in kinds + [1] * len(words)])
u32('tokenizer.ggml.bos_token_id', 1)
u32('tokenizer.ggml.eos_token_id', 2)
kv = kv_heads * head
tensors = [('token_embd.weight', [vocab, embd]), ('output_norm.weight', [embd])]
for i in range(n_layer):
    tensors += [(f'blk.{i}.{n}.weight', s) for n, s in [
        ('attn_norm', [embd]), ('attn_q', [embd, embd]), ('attn_k', [kv, embd]), ('attn_v', [kv, embd]),
        ('attn_output', [embd, embd]), ('ffn_norm', [embd]), ('ffn_gate', [ff, embd]), ('ffn_up', [ff, embd]),
        ('ffn_down', [embd, ff])]]
infos, at = b'', 0
sizes = []
for name, shape in tensors:
    size = 4 * shape[0] if len(shape) == 1 else 2 * shape[0] * shape[1]
    infos += text(name) + struct.pack('<I', len(shape)) + struct.pack(f'<{len(shape)}Q', *reversed(shape))
    infos += struct.pack('<IQ', 0 if len(shape) == 1 else 30, at)
    sizes.append(size)
    at += size + -size % 32
with open(path, 'wb') as f:
    f.write(b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(meta)) + b''.join(meta) + infos)
    f.write(b'\0' * (-f.tell() % 32))
    for (name, shape), size in zip(tensors, sizes):
        left = size
        if len(shape) == 1:
            f.write(struct.pack('<f', 1) * shape[0])
            left = 0
        while left > 0:
            f.write(chunk[:left])
            left -= min(left, len(chunk))
        f.write(b'\0' * (-size % 32))
print(f'model: vocabulary {vocab}, {embd} wide, {n_layer} layers, {kv} in keys and in values; {at / 1e6:.0f} MB')
PY
"$pare" quantize "$work/model.gguf" -t q8_0 --method rtn -o "$work/q8_0.gguf" -j "$threads" --quiet >"$work/quantize"
python3 -c "t = open('tests/data/demo/text.txt').read(); print((t * ($long * 2 // len(t) + 2))[:$long * 2 + 1000])" >"$work/text"

measure() { # window, windows: private and all pages at their peak, KiB, into the file of that name
    local anon=0 all=0 now
    "$pare" eval "$work/q8_0.gguf" --reference "$work/model.gguf" -f "$work/text" -c "$1" --chunks "$2" -j "$threads" \
        --compute "$compute" --json --quiet >"$work/out" 2>"$work/err" &
    local pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        [ -n "$now" ] && [ "$now" -gt "$anon" ] && anon=$now
        now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        [ -n "$now" ] && all=$now
        sleep 0.02
    done
    wait "$pid" || { cat "$work/out" "$work/err"; exit 1; }
    echo "$anon $all" >"$work/$1"
    awk -v c="$1" '{ printf "window of %6d tokens: private %7.1f MiB, with mapped pages %7.1f MiB\n", c, $1 / 1024, $2 / 1024 }' "$work/$1"
}
measure "$short" $((2048 / short > 0 ? 2048 / short : 1))
measure "$long" 1
echo "growth: $(paste -d' ' "$work/$short" "$work/$long" | awk '{ printf "private %.1f MiB, with mapped pages %.1f MiB", ($3 - $1) / 1024, ($4 - $2) / 1024 }') ($threads threads, $compute)"
