"""Independent witnesses: what pare writes is read by the gguf, safetensors and tokenizers packages, value by value."""
import json
import pathlib
import subprocess
import sys

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer

pare, work, demo, shared = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])
N_CHECKS = 0


def run(*args):
    return subprocess.run([pare, *map(str, args)], check=True, capture_output=True).stdout


def check(ok, what):
    global N_CHECKS
    N_CHECKS += 1
    if not ok:
        sys.exit(f'interop: FAILED: {what}')


def bf16_file(path):
    """safetensors without BF16 support in numpy: the raw 16-bit patterns, widened."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8:8 + n])
    out = {}
    for name, t in header.items():
        if name == '__metadata__':
            continue
        a, b = t['data_offsets']
        raw = data[8 + n + a:8 + n + b]
        if t['dtype'] == 'BF16':
            out[name] = (np.frombuffer(raw, '<u2').astype(np.uint32) << 16).view(np.float32).reshape(t['shape'])
        else:
            out[name] = np.frombuffer(raw, {'F32': '<f4', 'F16': '<f2'}[t['dtype']]).reshape(t['shape']).astype(np.float32)
    return out


def gguf_values(path):
    return {t.name: np.asarray(dequantize(t.data, t.tensor_type), np.float32) for t in GGUFReader(path).tensors}


def rope_rows(w, n_head):
    """The order of q and k rows in a llama GGUF: the halves of each head interleaved."""
    return w.reshape(n_head, 2, w.shape[0] // n_head // 2, -1).swapaxes(1, 2).reshape(w.shape)


def conversion():
    run('convert', demo, '-o', work / 'f32.gguf', '--dtype', 'f32')
    hub, ours = bf16_file(demo / 'model.safetensors'), gguf_values(work / 'f32.gguf')
    config = json.loads((demo / 'config.json').read_text())
    check(len(hub) == len(ours), 'number of tensors')
    for i in range(config['num_hidden_layers']):
        for kind, heads in (('q', config['num_attention_heads']), ('k', config['num_key_value_heads'])):
            a = rope_rows(hub[f'model.layers.{i}.self_attn.{kind}_proj.weight'], heads)
            check(np.array_equal(a, ours[f'blk.{i}.attn_{kind}.weight']), f'rows of blk.{i}.attn_{kind}')
        check(np.array_equal(hub[f'model.layers.{i}.mlp.down_proj.weight'], ours[f'blk.{i}.ffn_down.weight']), 'ffn_down')
    check(np.array_equal(hub['model.embed_tokens.weight'], ours['token_embd.weight']), 'token_embd')
    fields = GGUFReader(work / 'f32.gguf').fields
    check(fields['general.architecture'].contents() == 'llama', 'architecture')
    check(len(fields['tokenizer.ggml.tokens'].contents()) == config['vocab_size'], 'tokens')


def quantized_files():
    """The package decodes our blocks to what pare decodes them to, when it writes them as safetensors in F32."""
    for preset in ('q8_0', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q2_k', 'q3_k_m', 'q4_k_m', 'q5_k_m', 'q6_k', 'f16', 'bf16'):
        out = work / f'{preset}.gguf'
        run('quantize', demo, '-t', preset, '-o', out)
        theirs = gguf_values(out)
        run('convert', out, '-o', work / f'{preset}-f32.gguf', '--dtype', 'f32')
        ours = gguf_values(work / f'{preset}-f32.gguf')
        check(theirs.keys() == ours.keys(), f'{preset}: names')
        for name in theirs:
            check(np.array_equal(theirs[name], ours[name]), f'{preset}: {name} decodes differently')


def scales():
    """NVFP4 with the scale of each matrix: decoded by the package, times it, the weight that pare reads."""
    run('quantize', demo, '-t', 'nvfp4', '-o', work / 'nvfp4.gguf')
    run('convert', work / 'nvfp4.gguf', '-o', work / 'nvfp4-f32.gguf', '--dtype', 'f32')
    theirs, ours = gguf_values(work / 'nvfp4.gguf'), gguf_values(work / 'nvfp4-f32.gguf')
    packed = [t.name for t in GGUFReader(work / 'nvfp4.gguf').tensors if t.tensor_type.name == 'NVFP4']
    check(len(packed) > 0 and set(theirs) - set(ours) == {n.replace('.weight', '.scale') for n in packed}, 'scales')
    for name in packed:
        scale = theirs[name.replace('.weight', '.scale')]
        check(scale.shape == (1,) and np.frexp(scale[0])[0] == 0.5, f'the scale of {name} is no power of two')
        check(np.array_equal(theirs[name] * scale, ours[name]), f'{name} times its scale')


def folders():
    """GGUF to folder: the safetensors package reads it, and the values are the original's."""
    run('convert', work / 'f32.gguf', '-o', work / 'folder', '--dtype', 'f32')
    original, again = bf16_file(demo / 'model.safetensors'), load_file(work / 'folder' / 'model.safetensors')
    check(original.keys() == again.keys(), 'names in the folder')
    for name in original:
        check(np.array_equal(original[name], again[name]), f'folder: {name}')
    run('convert', demo, '-o', work / 'bf16', '--format', 'safetensors')
    with safe_open(work / 'bf16' / 'model.safetensors', framework='np') as f:
        check(set(f.keys()) == set(original), 'names of the BF16 folder')
    check(all(np.array_equal(v, original[k]) for k, v in bf16_file(work / 'bf16' / 'model.safetensors').items()), 'BF16 values')
    text = (demo / 'text.txt').read_text()
    ids = [Tokenizer.from_file(str(p / 'tokenizer.json')).encode(text).ids for p in (demo, work / 'folder')]
    check(ids[0] == ids[1], 'tokenizer.json made from GGUF metadata gives other ids')


def tokens():
    """Ids equal those of the tokenizers package, special tokens included, on every text at hand."""
    folders = [demo] + [p.parent for p in sorted(shared.glob('oracle/models/*/tokenizer.json'))
                        if p.parent.name in ('llama', 'llama_rope', 'mistral', 'qwen2', 'qwen3', 'qwen3_tiny')]
    folders += [p for p in [shared / 'models' / 'ref'] if p.exists()]
    texts = [demo / 'text.txt'] + sorted(shared.glob('text/*.txt'))
    special = work / 'special.txt'
    special.write_text('Hello <|begin_of_text|>world<|eot_id|> <s>[INST] a</s>\n<|im_start|>user\u00a0\u3000x\u200b\r\n 123456 naïve e\u0301 👩‍👩‍👧 \t\n\n\nend')
    for folder in folders:
        reference = Tokenizer.from_file(str(folder / 'tokenizer.json'))
        for text in texts + [special]:
            theirs = reference.encode(text.read_bytes().decode()).ids
            ours = json.loads(run('tokenize', folder, '-f', text))
            check(ours == theirs, f'{folder.name}: ids of {text.name} differ')


def pins():
    run('quantize', demo, '-t', 'q4_k_m', '-o', work / 'pinned.gguf', '--pin')
    sums = subprocess.run(['sha256sum', '-c', '--strict', 'SHA256SUMS'], cwd=work, capture_output=True)
    check(sums.returncode == 0, f'sha256sum -c --strict: {sums.stderr.decode()}')


for part in (conversion, quantized_files, scales, folders, tokens, pins):
    part()
    print(f'interop: {part.__name__}: ok')
print(f'interop: {N_CHECKS} checks passed')
