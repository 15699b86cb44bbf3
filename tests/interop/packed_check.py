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


gptq()
awq()
written()
lattices()
print(f'packed: {N_CHECKS} checks passed')
