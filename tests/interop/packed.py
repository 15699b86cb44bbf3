"""Packed integer weights after their published layouts, in numpy: what pare is compared with. q, z: integers; s: scales.

A weight [out, in] has codes q [out, in], zero points z [out, groups], scales s [out, groups] and the group of each
column: w = (q - z[group]) * s[group]."""
import numpy as np

AWQ_ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])  # nibble i of a word is column 8 c + AWQ_ORDER[i]


def to_stream(numbers, bits):
    """[n, m] numbers as little-endian streams of bits along the rows: [n, m * bits / 32] int32."""
    n = numbers.astype(np.uint8)[:, :, None]
    flat = np.unpackbits(n, axis=2, bitorder='little')[:, :, :bits].reshape(len(n), -1)
    return np.packbits(flat, axis=1, bitorder='little').view('<i4')


def from_stream(words, bits):
    flat = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder='little')
    flat = flat.reshape(len(words), -1, bits).astype(np.int32)
    return (flat << np.arange(bits)).sum(axis=2)


def values(q, z, s, group_of):
    """In float32, where the product is exact."""
    return (q - z[:, group_of]).astype(np.float32) * s.astype(np.float32)[:, group_of]


def pack_gptq(q, z, s, group_of, bits, version=1, scales=np.float16):
    return {'qweight': np.ascontiguousarray(to_stream(q, bits).T), 'qzeros': to_stream(z.T - (version == 1), bits),
            'scales': np.ascontiguousarray(s.T).astype(scales), 'g_idx': group_of.astype(np.int32)}


def unpack_gptq(t, bits, version=1):
    q = from_stream(t['qweight'].T, bits)
    z = from_stream(t['qzeros'], bits).T + (version == 1)
    return q, z, t['scales'].T, t['g_idx']


def unpack_awq(t, group):
    def nibbles(words):
        n = (words.astype(np.int64)[:, :, None] >> (4 * np.arange(8)) & 15)[:, :, np.argsort(AWQ_ORDER)]
        return n.reshape(len(words), -1)
    q, z = nibbles(t['qweight']).T, nibbles(t['qzeros']).T
    return q, z, t['scales'].T, np.arange(q.shape[1]) // group


def pack_awq(q, z, s):
    def words(n):
        n = n.reshape(len(n), -1, 8)[:, :, AWQ_ORDER].astype(np.int64)
        return (n << (4 * np.arange(8))).sum(axis=2).astype(np.uint32).view(np.int32)
    return {'qweight': words(q.T), 'qzeros': words(z.T), 'scales': np.ascontiguousarray(s.T).astype(np.float16)}


def pack_awq_gemv(q, z, s, group):
    """AutoAWQ's GEMV: rows of the weight are rows, nibbles in order; zero points and scales are padded to whole words of
    groups, a power of two of them for small groups."""
    n_groups = z.shape[1]
    many = {32: 4, 64: 2}.get(group, 1)
    width = -(-n_groups // 8 // many) * many if n_groups >= 8 * many else many
    width = max(width, many)
    while width * 8 < n_groups:
        width += many
    pad = width * 8 - n_groups
    return {'qweight': to_stream(q, 4), 'qzeros': to_stream(np.pad(z, ((0, 0), (0, pad))), 4),
            'scales': np.pad(s, ((0, 0), (0, pad))).astype(np.float16)}


def quantize(w, bits, group, rng, symmetric=False, act_order=False):
    """Plain rounding: some codes, zero points and scales for w."""
    out, n = w.shape
    group = n if group == -1 else group
    group_of = np.arange(n) // group
    if act_order:
        group_of = rng.permutation(group_of)
    q, z, s = np.zeros((out, n), np.int32), np.zeros((out, n // group), np.int32), np.zeros((out, n // group), np.float16)
    top = 2 ** bits - 1
    for g in range(n // group):
        part = w[:, group_of == g]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if symmetric:
            high = np.maximum(high, -low)
            low = -high
        s[:, g] = np.maximum((high - low) / top, 1e-4)
        z[:, g] = 2 ** (bits - 1) if symmetric else np.clip(np.round(-low / s[:, g]), 1, top)
        q[:, group_of == g] = np.clip(np.round(part / s[:, g, None].astype(np.float32)) + z[:, g, None], 0, top)
    return q, z, s, group_of


# EXL3 (formats/exl3.h). These decode to the bits of exllamav3's own kernels: docs/formats/PACKED.md says how that was seen.
EXL3_MULTIPLIER = {'3inst': 89226354, 'mcg': 0xcbac1fed, 'mul1': 0x83dcd12d}
_T = np.arange(256)
EXL3_ROW = _T // 8 % 4 * 2 + _T % 2 + _T // 2 % 2 * 8  # in the tile, of weight t of its stream: input,
EXL3_COLUMN = _T // 32 + _T // 4 % 2 * 8               # and output


def exl3_codebook(code):
    """The binary16 numbers of all states."""
    x = np.arange(65536, dtype=np.uint64) * EXL3_MULTIPLIER[code] + (64248484 if code == '3inst' else 0)
    x = (x & 0xffffffff).astype('<u4')
    if code == 'mul1':
        total = 1024.0 + x.view(np.uint8).reshape(-1, 4).sum(1)
        scale, shift = np.array([0x1eee, 0xc931], np.uint16).view(np.float16).astype(np.float64)
        return (total * scale + shift).astype(np.float16)
    pair = ((x & 0x8fff8fff) ^ 0x3b603b60).view(np.float16).reshape(-1, 2)
    return pair[:, 0] + pair[:, 1]


def exl3_inner(trellis, code):
    """[in / 16, out / 16, 16 K] int16 to the binary16 numbers between the transforms, [in, out]."""
    tall, wide, n = trellis.shape
    words = np.ascontiguousarray(trellis).view('<u4').astype('>u4')
    stream = np.unpackbits(words.view(np.uint8).reshape(tall, wide, -1), axis=2)
    ends = (_T + 1) * (n // 16)
    bits = stream[:, :, (ends[:, None] + np.arange(-16, 0)) % stream.shape[2]]
    states = (bits.astype(np.uint32) << np.arange(15, -1, -1, dtype=np.uint32)).sum(3)
    w = np.empty((tall, 16, wide, 16), np.float16)
    w[:, EXL3_ROW, :, EXL3_COLUMN] = np.moveaxis(exl3_codebook(code)[states], 2, 0)
    return w.reshape(tall * 16, wide * 16)


def hadamard():
    h = np.ones((1, 1))
    while len(h) < 128:
        h = np.block([[h, h], [h, -h]])
    return h


def exl3_transform(w):
    """Blocks of 128 x 128 times the Hadamard matrix from both sides."""
    tall, wide = w.shape
    blocks = w.astype(np.float64).reshape(tall // 128, 128, wide // 128, 128).transpose(0, 2, 1, 3)
    return (hadamard() @ blocks @ hadamard()).transpose(0, 2, 1, 3).reshape(tall, wide)


def exl3_signs(packed):
    """su, sv of older programs as suh, svh."""
    return 1 - 2 * np.unpackbits(packed.astype('<u2').view(np.uint8), bitorder='little').astype(np.float16)


def unpack_exl3(t, code):
    """The weight [out, in] as floats: sums are exact in float64, the product with the scales is rounded there."""
    suh = t['suh'] if 'suh' in t else exl3_signs(t['su'])
    svh = t['svh'] if 'svh' in t else exl3_signs(t['sv'])
    scale = suh.astype(np.float64)[:, None] * svh.astype(np.float64)
    return np.ascontiguousarray((exl3_transform(exl3_inner(t['trellis'], code)) / 128 * scale).T.astype(np.float32))


def exl3_mark(code):
    return {} if code == '3inst' else {code: np.array(EXL3_MULTIPLIER[code], np.uint32).view(np.int32)}


def random_exl3(n_out, n_in, bits, code, rng, scale=0.02, signs=False):
    """A matrix of any bits, filled up to multiples of 128 as ExLlamaV3 does."""
    n_out, n_in = -(-n_out // 128) * 128, -(-n_in // 128) * 128
    t = {'trellis': rng.integers(-32768, 32768, (n_in // 16, n_out // 16, 16 * bits), dtype=np.int16)}
    if signs:
        t['su'] = rng.integers(-32768, 32768, n_in // 16, dtype=np.int16)
        t['sv'] = rng.integers(-32768, 32768, n_out // 16, dtype=np.int16)
    else:
        t['suh'] = (rng.choice([-scale, scale], n_in) * rng.uniform(0.5, 1.5, n_in)).astype(np.float16)
        t['svh'] = (rng.choice([-1, 1], n_out) * rng.uniform(0.5, 1.5, n_out)).astype(np.float16)
    return {**t, **exl3_mark(code)}


def pack_exl3(w, code):
    """8 bits, each chosen as well as the choice before allows: of a state's 16 bits the upper ones are that choice."""
    n_out, n_in = w.shape
    w = np.pad(w, ((0, -n_out % 128), (0, -n_in % 128))).T
    suh = (np.sqrt((w ** 2).mean(1)) + 1e-6).astype(np.float16)
    suh[::3] *= -1
    svh = np.where(np.arange(w.shape[1]) % 5 == 2, -1, 1).astype(np.float16)
    inner = exl3_transform(w / suh.astype(np.float64)[:, None] / svh) / 128
    tiles = inner.reshape(len(w) // 16, 16, -1, 16)[:, EXL3_ROW, :, EXL3_COLUMN].reshape(256, -1)
    book, before = exl3_codebook(code).astype(np.float64).reshape(256, 256), np.zeros(tiles.shape[1], np.int64)
    chosen = np.zeros(tiles.shape, np.int64)
    for t in range(255):  # the last one is 0, which the first one's state begins with
        error = (book[before] - tiles[t, :, None]) ** 2
        if t == 254:
            error += (book[:, 0] - tiles[255, :, None]) ** 2
        chosen[t] = before = error.argmin(1)
    stream = chosen.T.astype(np.uint8).reshape(len(w) // 16, -1, 256)
    trellis = np.ascontiguousarray(stream).view('>u4').astype('<u4').view('<i2')
    return {'trellis': trellis, 'suh': suh, 'svh': svh, **exl3_mark(code)}
