"""Checkpoints of packed integers, made here after the published layouts: pare must read the very values."""
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

import packed

pare, work, model = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
N_CHECKS = 0


def run(*args, code=0):
    p = subprocess.run([pare, *map(str, args)], capture_output=True, text=True)
    if p.returncode != code:
        sys.exit(f'packed: FAILED: {args}: exit {p.returncode}: {p.stderr}')
    return p.stderr


def check(ok, what):
    global N_CHECKS
    N_CHECKS += 1
    if not ok:
        sys.exit(f'packed: FAILED: {what}')


def load(path):
    data = path.read_bytes()
    n = int.from_bytes(data[:8], 'little')
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name != '__metadata__':
            raw = np.frombuffer(data[8 + n:][slice(*t['data_offsets'])],
                                {'BF16': '<u2', 'F16': '<f2', 'F32': '<f4', 'I32': '<i4'}[t['dtype']])
            out[name] = ((raw.astype(np.uint32) << 16).view(np.float32) if t['dtype'] == 'BF16' else raw).reshape(t['shape'])
    return out


def make(folder, source, pack, settings, stand_in=None):
    """A folder like source with its linear weights packed; the values they stand for are returned."""
    folder.mkdir()
    truth, tensors = load(source / 'model.safetensors'), {}
    for name, w in truth.items():
        truth[name] = w.astype(np.float32)
        if '_proj.weight' not in name:
            tensors[name] = truth[name]
            continue
        parts, truth[name] = pack(truth[name])
        for end, part in parts.items():
            tensors[name.removesuffix('weight') + end] = np.ascontiguousarray(part)
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})
    config = json.loads((source / 'config.json').read_text())
    config['torch_dtype'] = 'float32'
    if stand_in:
        (folder / stand_in).write_text(json.dumps(settings))
    else:
        config['quantization_config'] = settings
    (folder / 'config.json').write_text(json.dumps(config))
    for file in source.glob('*token*.json'):
        shutil.copy(file, folder)
    return truth


def same_values(folder, truth, what):
    back = folder.with_name(folder.name + '.f32')
    run('convert', folder, '-o', back, '--dtype', 'f32')
    got = load(back / 'model.safetensors')
    check(got.keys() == truth.keys(), f'{what}: names')
    for name, w in truth.items():
        check(got[name].dtype == np.float32 and np.array_equal(got[name], w), f'{what}: {name}')


def gptq():
    rng = np.random.default_rng(1)
    for bits in 2, 3, 4, 8:
        for version in 1, 2:
            for group, symmetric, act_order in (32, False, False), (64, True, False), (-1, False, False), (32, False, True):
                name = f'gptq{bits}v{version}g{group}s{symmetric:d}a{act_order:d}'

                def pack(w):
                    q, z, s, group_of = packed.quantize(w, bits, group, rng, symmetric, act_order)
                    parts = packed.pack_gptq(q, z, s, group_of, bits, version)
                    if version == 1:  # as AutoGPTQ did
                        parts['bias'] = np.zeros(len(w), np.float16)
                    return parts, packed.values(q, z, s, group_of)
                settings = {'quant_method': 'gptq', 'bits': bits, 'group_size': group, 'sym': symmetric,
                            'desc_act': act_order, 'checkpoint_format': 'gptq' if version == 1 else 'gptq_v2'}
                truth = make(work / name, model, pack, settings)
                same_values(work / name, truth, name)


def awq():
    rng = np.random.default_rng(2)
    for version in 'gemm', 'gemv':
        for group in 32, 64, 128, -1:
            name = f'awq_{version}g{group}'

            def pack(w):
                q, z, s, group_of = packed.quantize(w, 4, group, rng)
                parts = packed.pack_awq(q, z, s) if version == 'gemm' else packed.pack_awq_gemv(q, z, s, group)
                return parts, packed.values(q, z, s, group_of)
            settings = {'quant_method': 'awq', 'bits': 4, 'group_size': group, 'zero_point': True, 'version': version}
            truth = make(work / name, model, pack, settings)
            same_values(work / name, truth, name)


def decoded(folder):
    """The values of a folder that pare wrote, by the decoders here."""
    config = json.loads((folder / 'config.json').read_text())
    settings, tensors = config['quantization_config'], load(folder / 'model.safetensors')
    out = {}
    for name, t in tensors.items():
        if not name.endswith(('.qweight', '.qzeros', '.scales', '.g_idx')):
            out[name] = t.astype(np.float32)
        elif name.endswith('.qweight'):
            module = name.removesuffix('qweight')
            parts = {end: tensors[module + end] for end in ('qweight', 'qzeros', 'scales', 'g_idx') if module + end in tensors}
            if settings['quant_method'] == 'awq':
                in_features = len(parts['qweight'])
                group = settings['group_size'] if settings['group_size'] > 0 else in_features
                out[module + 'weight'] = packed.values(*packed.unpack_awq(parts, group))
            else:
                out[module + 'weight'] = packed.values(*packed.unpack_gptq(parts, settings['bits']))
    return out


def written():
    """What pare packs: nearer to the source than plain rounding, and read back as the decoders here read it."""
    rng = np.random.default_rng(3)
    source = {k: v.astype(np.float32) for k, v in load(model / 'model.safetensors').items()}
    for args in (['awq'], ['awq', '--group-size', '32'], ['awq', '--symmetric', 'yes'], ['gptq'],
                 *(['gptq', '--bits', b, '--symmetric', s, '--group-size', '64'] for b in (2, 3, 4, 8) for s in ('yes', 'no')),
                 ['gptq', '--whole-rows']):
        folder = work / ('out_' + '_'.join(map(str, args)).replace('--', ''))
        run('convert', model, '-o', folder, '--format', *args)
        got = decoded(folder)
        check(got.keys() == source.keys(), f'{args}: names')
        settings = json.loads((folder / 'config.json').read_text())['quantization_config']
        error = plain = 0
        for name, w in source.items():
            if '_proj.weight' in name:
                q, z, s, group_of = packed.quantize(w, settings['bits'], settings['group_size'], rng,
                                                    settings.get('sym', 'symmetric' in folder.name and 'yes' in folder.name))
                plain += ((packed.values(q, z, s, group_of) - w) ** 2).sum()
                error += ((got[name] - w) ** 2).sum()
        print(f'{folder.name}: {error / plain:.3f} of the squared error of plain rounding')
        check(error < plain, f'{args}: error {error} against {plain}')
        same_values(folder, got, str(args))


def lattices():
    """Packed weights keep their codes through GGUF and back: values, and here the very bytes."""
    rng = np.random.default_rng(4)

    def pack(w):
        q, z, s, group_of = packed.quantize(w, 4, 64, rng)
        return packed.pack_awq(q, z, s), packed.values(q, z, s, group_of)

    def pack_symmetric(w):
        q, z, s, group_of = packed.quantize(w, 4, 64, rng, symmetric=True)
        return packed.pack_gptq(q, z, s, group_of, 4), packed.values(q, z, s, group_of)
    make(work / 'awq', model, pack, {'quant_method': 'awq', 'bits': 4, 'group_size': 64, 'version': 'gemm'})
    make(work / 'gptq', model, pack_symmetric,
         {'quant_method': 'gptq', 'bits': 4, 'group_size': 64, 'sym': True, 'desc_act': False})
    run('convert', work / 'awq', '-o', work / 'awq_f32', '--dtype', 'f32', '--format', 'safetensors')
    for method, types in ('awq', ('auto', 'q5_1', 'q8_0')), ('gptq', ('auto', 'q4_1', 'q5_0', 'q5_1', 'q8_0')):
        original = load(work / method / 'model.safetensors')
        for kind in types:
            middle, back = work / f'{method}_{kind}.gguf', work / f'{method}_{kind}'
            if kind == 'auto':
                run('convert', work / method, '-o', middle)
            else:
                run('quantize', work / method, '-t', kind, '--pure', '--embedding-type', 'f32', '--output-type', 'f32',
                    '-o', middle)
            run('convert', middle, '-o', back, '--format', method, '--group-size', '64', '--dtype', 'f32')
            again = load(back / 'model.safetensors')
            check(original.keys() == again.keys(), f'{method} by {kind}: names')
            for name, t in original.items():
                check(np.array_equal(t, again[name]), f'{method} by {kind}: {name}')
    run('quantize', work / 'awq', '-t', 'q4_1', '--pure', '--embedding-type', 'f32', '--output-type', 'f32', '-o',
        work / 'awq_q4_1.gguf')
    run('convert', work / 'awq_q4_1.gguf', '-o', work / 'awq_q4_1', '--dtype', 'f32')
    for name, exact in load(work / 'awq_f32' / 'model.safetensors').items():
        got = load(work / 'awq_q4_1' / 'model.safetensors')[name].astype(np.float64)
        check(((got - exact) ** 2).sum() <= 1e-6 * (exact.astype(np.float64) ** 2).sum(), f'awq as Q4_1: {name}')
    why = run('quantize', work / 'awq', '-t', 'q4_k_m', '-o', work / 'never.gguf', code=4)
    check('quantization_config' in why and '--requantize' in why, 'packed weights are quantized again only if asked for')
    run('quantize', work / 'awq', '-t', 'q4_k_m', '-o', work / 'again.gguf', '--requantize')


def perplexity(source):
    p = subprocess.run([pare, 'eval', source, '-f', model / 'text.txt', '--chunks', '4', '--json'], capture_output=True, text=True)
    check(p.returncode == 0, f'{source}: eval: {p.stderr}')
    return json.loads(p.stdout)['perplexity']


def exl3():
    """Any bits of every codebook, a head of its own beside tied embeddings, sides that are filled up, biases, two files."""
    rng = np.random.default_rng(5)
    config = json.loads((model / 'config.json').read_text())
    config |= {'hidden_size': 200, 'num_attention_heads': 4, 'head_dim': 40, 'intermediate_size': 300, 'vocab_size': 333, 'torch_dtype': 'float16',
               'num_hidden_layers': 2, 'tie_word_embeddings': True, 'attention_bias': True}
    q, kv, ff, embd = 4 * 40, 2 * 40, 300, 200
    shapes = {'self_attn.q_proj': (q, embd), 'self_attn.k_proj': (kv, embd), 'self_attn.v_proj': (kv, embd),
              'self_attn.o_proj': (embd, q), 'mlp.gate_proj': (ff, embd), 'mlp.up_proj': (ff, embd), 'mlp.down_proj': (embd, ff)}
    for code in packed.EXL3_MULTIPLIER:
        folder = work / f'exl3_{code}'
        folder.mkdir()
        config['quantization_config'] = {'quant_method': 'exl3', 'version': '1.4.1', 'bits': 4.5, 'head_bits': 6,
                                         'calibration': {'rows': 250, 'cols': 2048}, 'out_scales': 'always', 'codebook': code}
        truth = {'model.embed_tokens.weight': rng.standard_normal((333, embd)), 'model.norm.weight': rng.uniform(.5, 1.5, embd)}
        files, storage, n = [{k: v.astype(np.float16) for k, v in truth.items()}, {}], {}, 0
        truth = {k: v.astype(np.float32) for k, v in files[0].items()}
        modules = {f'model.layers.{i}.{name}': s for i in range(2) for name, s in shapes.items()} | {'lm_head': (333, embd)}
        for name, (n_out, n_in) in modules.items():
            n += 1
            bits = 6 if name == 'lm_head' else n % 8 + 1
            parts = packed.random_exl3(n_out, n_in, bits, code, rng, signs=n % 11 == 3)
            truth[name + '.weight'] = packed.unpack_exl3(parts, code)[:n_out, :n_in]
            if 'self_attn' in name:
                parts['bias'] = np.zeros(-(-n_out // 128) * 128, np.float16)
                parts['bias'][:n_out] = rng.standard_normal(n_out)
                truth[name + '.bias'] = parts['bias'][:n_out].astype(np.float32)
            files[n > 8] |= {f'{name}.{k}': v for k, v in parts.items()}
            storage[name] = {'quant_format': 'exl3', 'bits_per_weight': bits}
        for i in range(2):
            for norm in 'input_layernorm', 'post_attention_layernorm':
                name = f'model.layers.{i}.{norm}.weight'
                files[1][name] = rng.uniform(.5, 1.5, embd).astype(np.float16)
                truth[name] = files[1][name].astype(np.float32)
        names = [f'model-0000{i + 1}-of-00002.safetensors' for i in range(2)]
        for name, tensors in zip(names, files):
            save_file({k: np.ascontiguousarray(v) if v.ndim else v for k, v in tensors.items()}, folder / name, {'format': 'pt'})
        index = {k: name for name, tensors in zip(names, files) for k in tensors}
        (folder / 'model.safetensors.index.json').write_text(json.dumps({'metadata': {}, 'weight_map': index}))
        (folder / 'config.json').write_text(json.dumps(config))
        (folder / 'quantization_config.json').write_text(json.dumps(config['quantization_config'] | {'tensor_storage': storage}))
        same_values(folder, truth, folder.name)
        run('convert', folder, '-o', work / f'exl3_{code}.gguf')
    # weights that mean something: the model must work nearly as well as the one it was made of

    def pack(w):
        parts = packed.pack_exl3(w, 'mul1')
        return parts, packed.unpack_exl3(parts, 'mul1')
    settings = {'quant_method': 'exl3', 'bits': 8.0, 'head_bits': 16, 'codebook': 'mul1'}
    same_values(work / 'exl3', make(work / 'exl3', model, pack, settings), 'exl3 of the model')
    losses = [perplexity(folder) for folder in (model, work / 'exl3')]
    check(losses[1] < losses[0] * 1.01, f'exl3: perplexities {losses}')


gptq()
awq()
exl3()
written()
lattices()
print(f'packed: {N_CHECKS} checks passed')
