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
