/* quant/kv_unit.h - one unit of a cache of keys and values, encoded and decoded; C11 and CUDA C++ compile it
 *
 * Layouts and formulas: docs/methods/KV_CACHE.md. Codes of b bits stand in groups of 8, b bytes each: code k of a group
 * in bits b k .. b k + b - 1 of the little-endian number.
 *
 *   BLOCKS     llama.cpp's blocks, one behind the other
 *   GAUSS      | length (F16) | codes of the first half | of the second half |
 *   PRODUCT    | length (F16) | rest's length (F16) | codes ... as GAUSS, less one bit | dim signs, 1: minus |
 *   MIDRISE    each 32 elements  | scale (F16) | 32 codes |
 *   RANGES     each 32 elements  | step (F16) | least (F16) | 32 codes |
 *   CHANNELS   each element of the head, of 32 tokens, as RANGES
 *   TRANSFORM  | length (F16) | a code for each coordinate that has bits, one behind the other from the lowest bit on |
 *
 * Sums run over 16 lanes, element i in lane i % 16, then over the lanes in one order. Divisions and square roots are
 * IEEE 754's, products are not contracted: the same bytes on every path and device. */
#ifndef PARE_QUANT_KV_UNIT_H
#define PARE_QUANT_KV_UNIT_H

#include "quant/hadamard.h"
#include "quant/kv_codec.h"
#include "quant/plain.h"
#include "quant/plain_round.h"

#include <math.h>

/* ---- sums ---- */

PARE_HD float pare_kv_add_lanes(const float *lane)
{
    float v[8];
    for (int k = 0; k < 8; k++)
        v[k] = lane[k] + lane[k + 8];
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* sum x y; n: a multiple of 8 */
PARE_HD float pare_kv_dot(const float *x, const float *y, uint32_t n)
{
    float lane[16] = {0};
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16, x += 16, y += 16)
        for (int k = 0; k < 16; k++)
            lane[k] += x[k] * y[k];
    for (int k = 0; i + (uint32_t)k < n; k++)
        lane[k] += x[k] * y[k];
    return pare_kv_add_lanes(lane);
}

PARE_HD bool pare_kv_finite(const float *x, uint32_t n)
{
    uint32_t bad = 0;
    for (uint32_t i = 0; i < n; i++)
        bad |= (uint32_t)((pare_f32_to_bits(x[i]) & 0x7f800000u) == 0x7f800000u);
    return bad == 0;
}

/* A scale, to binary16; whether it fits. */
PARE_HD bool pare_kv_put_half(float v, uint8_t *dst)
{
    uint16_t half = pare_f32_to_f16(v);
    pare_store_u16le(dst, half);
    return (half & 0x7c00) != 0x7c00;
}

PARE_HD float pare_kv_half(const uint8_t *src)
{
    return pare_f16_to_f32(pare_load_u16le(src));
}

/* ---- codes ---- */

/* n codes, a multiple of 8, of 0 to 8 bits. */
PARE_HD void pare_kv_pack(const uint8_t *codes, uint32_t n, int bits, uint8_t *dst)
{
    if (bits == 8)
        memcpy(dst, codes, n);
    for (uint32_t i = 0; bits < 8 && i < n; i += 8, codes += 8, dst += bits) {
        uint64_t word = 0;
        for (int k = 0; k < 8; k++)
            word |= (uint64_t)codes[k] << (bits * k);
        for (int k = 0; k < bits; k++)
            dst[k] = (uint8_t)(word >> (8 * k));
    }
}

PARE_HD void pare_kv_unpack(const uint8_t *src, uint32_t n, int bits, uint8_t *codes)
{
    if (bits == 8)
        memcpy(codes, src, n);
    for (uint32_t i = 0; bits < 8 && i < n; i += 8, codes += 8, src += bits) {
        uint64_t word = 0;
        for (int k = 0; k < bits; k++)
            word |= (uint64_t)src[k] << (8 * k);
        for (int k = 0; k < 8; k++)
            codes[k] = (uint8_t)(word >> (bits * k) & ((1u << bits) - 1));
    }
}

/* ---- PLAIN ---- */

PARE_HD bool pare_kv_plain_encode(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    uint16_t half[PARE_KV_MAX_DIM], infinity = u->type == PARE_TYPE_F16 ? 0x7c00 : 0x7f80, bad = 0;
    for (uint32_t i = 0; u->type == PARE_TYPE_F32 && i < u->dim; i++)
        pare_store_f32le(dst + 4 * i, x[i]);
    for (uint32_t i = 0; u->type == PARE_TYPE_F16 && i < u->dim; i++)
        half[i] = pare_f32_to_f16(x[i]);
    for (uint32_t i = 0; u->type == PARE_TYPE_BF16 && i < u->dim; i++)
        half[i] = pare_f32_to_bf16(x[i]);
    for (uint32_t i = 0; u->type != PARE_TYPE_F32 && i < u->dim; i++) {
        bad = (uint16_t)(bad | ((half[i] & infinity) == infinity));
        pare_store_u16le(dst + 2 * i, half[i]);
    }
    return bad == 0;
}

PARE_HD void pare_kv_plain_decode(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    if (u->type == PARE_TYPE_F32)
        pare_f32_decode(src, x, u->dim);
    else if (u->type == PARE_TYPE_F16)
        pare_f16_decode(src, x, u->dim);
    else
        pare_bf16_decode(src, x, u->dim);
}

/* ---- BLOCKS ---- */

/* The d of least sum x^2 (x - d l)^2, for levels l: ik_llama.cpp, PR 1547. d where there is none. */
PARE_HD float pare_kv_refit(const float *x, const float *level, float d)
{
    float xl[32], ll[32], weight[32];
    for (int i = 0; i < 32; i++) {
        weight[i] = x[i] * x[i];
        xl[i] = weight[i] * level[i];
        ll[i] = xl[i] * level[i];
        weight[i] = 1;
    }
    float squares = pare_kv_dot(ll, weight, 32);
    return squares > 0 ? pare_kv_dot(xl, x, 32) / squares : d;
}

/* The same for x = d c + min: normal equations of two unknowns. What is there stays where they are nearly singular, as
 * where all but one weight is small. */
PARE_HD void pare_kv_refit_line(const float *x, const uint8_t *codes, float *d, float *min)
{
    float w[32], c[32], wc[32], one[32];
    for (int i = 0; i < 32; i++) {
        w[i] = x[i] * x[i];
        c[i] = (float)codes[i];
        wc[i] = w[i] * c[i];
        one[i] = 1;
    }
    float sw = pare_kv_dot(w, one, 32), swc = pare_kv_dot(w, c, 32), swcc = pare_kv_dot(wc, c, 32);
    float swx = pare_kv_dot(w, x, 32), swcx = pare_kv_dot(wc, x, 32), det = sw * swcc - swc * swc;
    if (!(det > 1e-3f * (sw * swcc)) || !(det <= 3.402823466e38f))
        return;
    *d = (sw * swcx - swc * swx) / det;
    *min = (swx - *d * swc) / sw;
}

PARE_HD float pare_kv_round_whole(const float *x, int half, bool refit, uint8_t *codes)
{
    float level[32], d = pare_round_whole(x, half, codes);
    for (int i = 0; i < 32 && refit; i++)
        level[i] = (float)(codes[i] - half);
    return refit ? pare_kv_refit(x, level, d) : d;
}

PARE_HD float pare_kv_round_line(const float *x, int top, bool refit, uint8_t *codes, float *min)
{
    float d = pare_round_line(x, top, codes, min);
    if (refit)
        pare_kv_refit_line(x, codes, &d, min);
    return d;
}

PARE_HD bool pare_kv_q8_0(const float *x, bool refit, pare_q8_0 *out)
{
    (void)refit;
    pare_q8_0_round(x, out);
    return (pare_load_u16le(out->d) & 0x7c00) != 0x7c00;
}

PARE_HD bool pare_kv_q4_0(const float *x, bool refit, pare_q4_0 *out)
{
    uint8_t codes[32];
    float d = pare_kv_round_whole(x, 8, refit, codes);
    pare_pack_nibbles(codes, out->qs);
    return pare_kv_put_half(d, out->d);
}

PARE_HD bool pare_kv_q5_0(const float *x, bool refit, pare_q5_0 *out)
{
    uint8_t codes[32];
    float d = pare_kv_round_whole(x, 16, refit, codes);
    pare_pack_nibbles(codes, out->qs);
    pare_store_u32le(out->qh, pare_pack_fifth(codes));
    return pare_kv_put_half(d, out->d);
}

PARE_HD bool pare_kv_q4_1(const float *x, bool refit, pare_q4_1 *out)
{
    uint8_t codes[32];
    float min, d = pare_kv_round_line(x, 15, refit, codes, &min);
    pare_pack_nibbles(codes, out->qs);
    bool fits = pare_kv_put_half(d, out->d);
    return pare_kv_put_half(min, out->m) && fits;
}

PARE_HD bool pare_kv_q5_1(const float *x, bool refit, pare_q5_1 *out)
{
    uint8_t codes[32];
    float min, d = pare_kv_round_line(x, 31, refit, codes, &min);
    pare_pack_nibbles(codes, out->qs);
    pare_store_u32le(out->qh, pare_pack_fifth(codes));
    bool fits = pare_kv_put_half(d, out->d);
    return pare_kv_put_half(min, out->m) && fits;
}

/* ggml's quantize_row_iq4_nl_ref: the largest value on the outermost level, nearest levels, then the scale as above,
 * its sums one after the other. Below 1e-15 all is 0, where ggml leaves the codes undefined. */
PARE_HD bool pare_kv_iq4_nl(const float *x, bool refit, pare_iq4_nl *out)
{
    (void)refit;
    uint8_t codes[32];
    float most = pare_largest(x, 32), d = most / (float)pare_iq4_level(0), xl = 0, ll = 0;
    float inverse = pare_magnitude(most) < 1e-15f ? 0 : 1 / d;
    int32_t code[32] = {0};
    for (unsigned k = 1; k < 16; k++) { /* by the differences as they are rounded, the upper level on ties */
        float low = (float)pare_iq4_level(k - 1), high = (float)pare_iq4_level(k);
        for (int i = 0; i < 32; i++)
            code[i] += inverse * x[i] - low >= high - inverse * x[i] ? 1 : 0;
    }
    for (int i = 0; i < 32; i++) {
        float level = (float)pare_iq4_level((unsigned)code[i]), weight = x[i] * x[i];
        codes[i] = (uint8_t)code[i];
        xl += weight * level * x[i];
        ll += weight * level * level;
    }
    pare_pack_nibbles(codes, out->qs);
    return pare_kv_put_half(inverse != 0 && ll > 0 ? xl / ll : 0, out->d);
}

PARE_HD bool pare_kv_mxfp4(const float *x, bool refit, pare_mxfp4 *out)
{
    (void)refit;
    pare_mxfp4_round(x, out);
    return pare_largest_magnitude(x, 32) < 2.5521178e38f; /* 6 * 2^125: the largest value below 2^128 */
}

PARE_HD bool pare_kv_nvfp4(const float *x, bool refit, pare_nvfp4 *out)
{
    (void)refit;
    pare_nvfp4_round(x, out);
    return pare_largest_magnitude(x, 64) <= 5376; /* the largest value is 2688: what is above is cut, by up to half */
}

/* Columns: type, stem, elements a block. */
#define PARE_KV_BLOCK_TYPES(X)                                                                                         \
    X(Q8_0, q8_0, 32)                                                                                                  \
    X(Q5_1, q5_1, 32)                                                                                                  \
    X(Q5_0, q5_0, 32)                                                                                                  \
    X(Q4_1, q4_1, 32)                                                                                                  \
    X(Q4_0, q4_0, 32)                                                                                                  \
    X(IQ4_NL, iq4_nl, 32)                                                                                              \
    X(MXFP4, mxfp4, 32)                                                                                                \
    X(NVFP4, nvfp4, 64)

PARE_HD bool pare_kv_blocks_encode(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    bool fits = true;
#define PARE_KV_ENCODE(id, stem, len)                                                                                  \
    for (uint32_t i = 0; u->type == PARE_TYPE_##id && i < u->dim / len; i++)                                           \
        fits &= pare_kv_##stem(x + i * len, u->refit != 0, (pare_##stem *)dst + i);
    PARE_KV_BLOCK_TYPES(PARE_KV_ENCODE)
#undef PARE_KV_ENCODE
    return fits;
}

PARE_HD void pare_kv_blocks_decode(const pare_kv_unit *u, const uint8_t *src, float *x)
{
#define PARE_KV_DECODE(id, stem, len)                                                                                  \
    if (u->type == PARE_TYPE_##id)                                                                                     \
        pare_##stem##_decode(src, x, u->dim / len);
    PARE_KV_BLOCK_TYPES(PARE_KV_DECODE)
#undef PARE_KV_DECODE
}

/* ---- GAUSS ---- */

/* Level k of the upper half, 0 .. 2^(bits - 1) - 1, of 1 to 10 bits. For GAUSS: levels of the true distribution of a
 * coordinate on the sphere would gain 0.1 % of the error at 128 dimensions, 0.4 % at 64 (scripts/lloyd_max.py). */
PARE_HD float pare_kv_gauss_upper(int bits, unsigned k)
{
    static const float levels[1023] = {
#include "quant/gauss_levels.h"
    };
    return levels[(1u << (bits - 1)) - 1 + k];
}

/* Level of a code 0 .. 2^bits - 1, rising; 0 bits: 0. */
PARE_HD float pare_kv_gauss_level(int bits, unsigned code)
{
    unsigned half = bits > 0 ? 1u << (bits - 1) : 0;
    if (half == 0)
        return 0;
    return code >= half ? pare_kv_gauss_upper(bits, code - half) : -pare_kv_gauss_upper(bits, half - 1 - code);
}

/* Codes of x * inverse, n elements, a multiple of 8: how many borders of the upper half the magnitude is above, and the
 * sign. */
PARE_HD void pare_kv_gauss_round(const float *x, uint32_t n, float inverse, int bits, uint8_t *codes)
{
    float border[8];
    int half = (1 << bits) / 2;
    for (int k = 1; k < half; k++)
        border[k] = (pare_kv_gauss_upper(bits, (unsigned)k - 1) + pare_kv_gauss_upper(bits, (unsigned)k)) * 0.5f;
    for (uint32_t i = 0; i < n; i += 8, x += 8, codes += 8) {
        int32_t above[8] = {0};
        for (int l = 0; l < 8; l++)
            for (int k = 1; k < half; k++)
                above[l] += pare_magnitude(x[l] * inverse) > border[k] ? 1 : 0;
        for (int l = 0; l < 8; l++)
            codes[l] = (uint8_t)(x[l] > 0 ? half + above[l] : half - 1 - above[l]);
    }
}

PARE_HD void pare_kv_gauss_pack(const float *x, uint32_t n, float inverse, int bits, uint8_t *dst)
{
    uint8_t codes[PARE_KV_MAX_DIM];
    pare_kv_gauss_round(x, n, inverse, bits, codes);
    pare_kv_pack(codes, n, bits, dst);
}

/* The same, with bits that the compiler knows: loops of known length, twice as fast. */
PARE_HD void pare_kv_gauss_part(const float *x, uint32_t n, float inverse, int bits, uint8_t *dst)
{
    if (bits == 1)
        pare_kv_gauss_pack(x, n, inverse, 1, dst);
    else if (bits == 2)
        pare_kv_gauss_pack(x, n, inverse, 2, dst);
    else if (bits == 3)
        pare_kv_gauss_pack(x, n, inverse, 3, dst);
    else if (bits == 4)
        pare_kv_gauss_pack(x, n, inverse, 4, dst);
}

/* Elements of the first half where it has other codes than the second, else all. */
PARE_HD uint32_t pare_kv_first(uint32_t dim, int half_bits)
{
    return half_bits % 2 != 0 ? dim / 2 : dim;
}

/* The levels of the codes at src, times scale. */
PARE_HD void pare_kv_gauss_values(const uint8_t *src, uint32_t dim, int half_bits, float scale, float *x)
{
    uint32_t first = pare_kv_first(dim, half_bits);
    uint8_t codes[PARE_KV_MAX_DIM];
    float level[16];
    for (uint32_t at = 0, n; at < dim; at += n) {
        int bits = at == 0 ? (half_bits + 1) / 2 : half_bits / 2;
        n = at == 0 ? first : dim - first;
        pare_kv_unpack(src, n, bits, codes);
        for (unsigned k = 0; k < 1u << bits; k++)
            level[k] = pare_kv_gauss_level(bits, k) * scale;
        for (uint32_t i = 0; i < n; i++)
            x[at + i] = level[codes[i]];
        src += n / 8 * (uint32_t)bits;
    }
}

PARE_HD uint32_t pare_kv_code_bytes(uint32_t dim, int half_bits)
{
    return dim / 8 * (uint32_t)half_bits / 2;
}

/* Length and codes, at their places; whether the length fits. */
PARE_HD bool pare_kv_gauss_put(const float *x, uint32_t dim, int half_bits, uint8_t *length, uint8_t *dst)
{
    uint32_t first = pare_kv_first(dim, half_bits);
    float norm = sqrtf(pare_kv_dot(x, x, dim)), inverse = pare_reciprocal(norm) * sqrtf((float)dim);
    for (uint32_t at = 0, n; at < dim; at += n) {
        int bits = at == 0 ? (half_bits + 1) / 2 : half_bits / 2;
        n = at == 0 ? first : dim - first;
        pare_kv_gauss_part(x + at, n, inverse, bits, dst);
        dst += n / 8 * (uint32_t)bits;
    }
    return pare_kv_put_half(norm, length);
}

PARE_HD bool pare_kv_gauss_encode(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    return pare_kv_gauss_put(x, u->dim, u->half_bits, dst, dst + 2);
}

PARE_HD void pare_kv_gauss_decode(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    pare_kv_gauss_values(src + 2, u->dim, u->half_bits, pare_kv_half(src) / sqrtf((float)u->dim), x);
}

/* ---- PRODUCT ---- */

/* The projection S is a matrix of signs times a rotation. The papers' S has normal numbers; signs cost a bit, and a
 * projection of a vector that is not all in a few elements is as normal (Achlioptas 2003). What is left of that is a
 * bias of sum k r^3 / (3 |r|^2 |k|^2), 0.2 % of q.k at 128 dimensions and 2 bits, where r are rounding errors and k
 * their levels; rotated they know nothing of each other, and it is gone. */
enum { PARE_KV_MIX_SEED = 0x514a4c };

PARE_HD void pare_kv_mix_signs(float *x, uint32_t dim)
{
    for (uint32_t at = 0; at < dim; at += 64) {
        uint64_t minus = pare_random_bits(PARE_KV_MIX_SEED, at / 64);
        for (uint32_t i = at; i < dim && i < at + 64; i++)
            x[i] = pare_bits_to_f32(pare_f32_to_bits(x[i]) ^ ((uint32_t)(minus >> (i - at) & 1) << 31));
    }
}

PARE_HD void pare_kv_mix(float *x, uint32_t dim, bool back)
{
    const pare_rotation r = {dim, PARE_ROTATION_MAX_DIM, PARE_KV_MIX_SEED};
    if (!back)
        pare_kv_mix_signs(x, dim);
    for (uint32_t at = 0, len; at < dim; at += len) {
        len = pare_rotation_block(&r, at);
        float scale = pare_rotation_scale(len);
        for (uint32_t h = 1; h < len; h *= 2)
            for (uint32_t i = at; i < at + len; i += 2 * h) {
                float *low = x + i, *high = x + i + h;
                for (size_t k = 0; k < h; k++) {
                    float a = low[k], b = high[k];
                    low[k] = a + b;
                    high[k] = a - b;
                }
            }
        for (uint32_t i = at; i < at + len; i++)
            x[i] *= scale;
    }
    if (back)
        pare_kv_mix_signs(x, dim);
}

/* Signs of element i in the rows 64 word .. 64 word + 63: bit set, -1. */
PARE_HD uint64_t pare_kv_signs(uint32_t i, uint32_t word)
{
    return pare_random_bits(0x514a4d, (uint64_t)i * (PARE_KV_MAX_DIM / 64) + word);
}

/* S r: p[j] = sum over i of sign(i, j) r[i], one after the other; p has room for dim, rounded up to 64. */
PARE_HD void pare_kv_project(const float *r, uint32_t dim, float *p)
{
    for (uint32_t j = 0; j < dim; j++)
        p[j] = 0;
    for (uint32_t j = dim; j % 64 != 0; j++)
        p[j] = 0;
    for (uint32_t i = 0; i < dim; i++) {
        uint32_t bits = pare_f32_to_bits(r[i]);
        for (uint32_t at = 0; at < dim; at += 64) {
            uint64_t signs = pare_kv_signs(i, at / 64);
            uint32_t low = (uint32_t)signs, high = (uint32_t)(signs >> 32);
            float *to = p + at;
            for (int j = 0; j < 32; j++)
                to[j] += pare_bits_to_f32(bits ^ (low << (31 - j) & 0x80000000u));
            for (int j = 0; j < 32; j++)
                to[j + 32] += pare_bits_to_f32(bits ^ (high << (31 - j) & 0x80000000u));
        }
    }
}

PARE_HD uint32_t pare_kv_count(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)((v * 0x0101010101010101u) >> 56);
}

/* 64 signs at src, or n bytes of them and zeros. */
PARE_HD uint64_t pare_kv_load_signs(const uint8_t *src, uint32_t n)
{
    uint64_t word = 0;
    for (uint32_t k = 0; k < 8 && k < n; k++)
        word |= (uint64_t)src[k] << (8 * k);
    return word;
}

/* Where the signs of a unit begin. */
PARE_HD uint32_t pare_kv_product_offset(const pare_kv_unit *u)
{
    return 4 + pare_kv_code_bytes(u->dim, u->half_bits - 2);
}

/* Lengths and codes of x; r: what is left. Whether the lengths fit. */
PARE_HD bool pare_kv_product_rest(const pare_kv_unit *u, const float *x, uint8_t *dst, float *r)
{
    bool fits = pare_kv_gauss_put(x, u->dim, u->half_bits - 2, dst, dst + 4);
    pare_kv_gauss_values(dst + 4, u->dim, u->half_bits - 2, pare_kv_half(dst) / sqrtf((float)u->dim), r);
    for (uint32_t i = 0; i < u->dim; i++)
        r[i] = x[i] - r[i];
    fits &= pare_kv_put_half(sqrtf(pare_kv_dot(r, r, u->dim)), dst + 2);
    return fits;
}

/* The signs of p = S r into a unit. */
PARE_HD void pare_kv_product_signs(const pare_kv_unit *u, const float *p, uint8_t *dst)
{
    uint8_t *signs = dst + pare_kv_product_offset(u);
    for (uint32_t j = 0; j < u->dim; j += 8) {
        unsigned byte = 0;
        for (uint32_t k = 0; k < 8; k++)
            byte |= (p[j + k] < 0 ? 1u : 0u) << k;
        signs[j / 8] = (uint8_t)byte;
    }
}

PARE_HD bool pare_kv_product_encode(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    float r[PARE_KV_MAX_DIM], p[PARE_KV_MAX_DIM];
    bool fits = pare_kv_product_rest(u, x, dst, r);
    pare_kv_mix(r, u->dim, false);
    pare_kv_project(r, u->dim, p);
    pare_kv_product_signs(u, p, dst);
    return fits;
}

#define PARE_KV_ROOT_HALF_PI 1.25331414f

/* The levels of a unit; returns sqrt(pi / 2) / dim * |r|. */
PARE_HD float pare_kv_product_values(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    pare_kv_gauss_values(src + 4, u->dim, u->half_bits - 2, pare_kv_half(src) / sqrtf((float)u->dim), x);
    return PARE_KV_ROOT_HALF_PI * pare_kv_half(src + 2) / (float)u->dim;
}

/* x = levels + sqrt(pi / 2) / dim * |r| * S^T sign(S r): the signs' part of that is a count, and exact. */
PARE_HD void pare_kv_product_decode(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    uint32_t dim = u->dim;
    const uint8_t *signs = src + pare_kv_product_offset(u);
    uint64_t words[PARE_KV_MAX_DIM / 64];
    float r[PARE_KV_MAX_DIM], factor = pare_kv_product_values(u, src, x);
    for (uint32_t at = 0; at < dim; at += 64)
        words[at / 64] = pare_kv_load_signs(signs + at / 8, (dim - at) / 8);
    for (uint32_t i = 0; i < dim; i++) {
        int32_t minus = 0; /* products of two signs that are -1 */
        for (uint32_t at = 0; at < dim; at += 64) {
            uint64_t rows = dim - at < 64 ? ((uint64_t)1 << (dim - at)) - 1 : ~(uint64_t)0;
            minus += (int32_t)pare_kv_count((words[at / 64] ^ pare_kv_signs(i, at / 64)) & rows);
        }
        r[i] = factor * (float)((int32_t)dim - 2 * minus);
    }
    pare_kv_mix(r, dim, true);
    for (uint32_t i = 0; i < dim; i++)
        x[i] += r[i];
}

/* ---- MIDRISE ---- */

/* exllamav3's kernels (exllamav3_ext/cache/q_cache_kernels.cuh): scale max |x| + 1e-10, code floor((x / scale + 1) 2^(b
 * - 1)). Its planes of bits are another order of the same codes. */
PARE_HD bool pare_kv_midrise_put(const float *x, int bits, uint8_t *dst)
{
    uint8_t codes[PARE_KV_RANGE];
    float scale = pare_largest_magnitude(x, PARE_KV_RANGE) + 1e-10f, inverse = 1 / scale,
          half = (float)(1 << (bits - 1));
    int top = (1 << bits) - 1;
    for (int i = 0; i < PARE_KV_RANGE; i++) {
        int code = (int)(x[i] * inverse * half + half); /* not below 0 but for the rounding of the inverse */
        codes[i] = (uint8_t)(code < 0 ? 0 : code < top ? code : top);
    }
    pare_kv_pack(codes, PARE_KV_RANGE, bits, dst + 2);
    return pare_kv_put_half(scale, dst);
}

PARE_HD void pare_kv_midrise_get(const uint8_t *src, int bits, float *x)
{
    uint8_t codes[PARE_KV_RANGE];
    float half = (float)(1 << (bits - 1)), step = pare_kv_half(src) / half;
    pare_kv_unpack(src + 2, PARE_KV_RANGE, bits, codes);
    for (int i = 0; i < PARE_KV_RANGE; i++)
        x[i] = ((float)codes[i] - (half - 0.5f)) * step;
}

/* ---- RANGES and CHANNELS ---- */

/* KIVI (quant/new_pack.py): step (max - min) / (2^b - 1), code the nearest (x - min) / step, ties to even; min and step
 * as they are stored. */
PARE_HD bool pare_kv_range_put(const float *x, int bits, uint8_t *dst)
{
    uint8_t codes[PARE_KV_RANGE];
    float low = x[0], high = x[0], top = (float)((1 << bits) - 1);
    for (int i = 1; i < PARE_KV_RANGE; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    bool fits = pare_kv_put_half((high - low) / top, dst);
    fits &= pare_kv_put_half(low, dst + 2);
    float step = pare_kv_half(dst), min = pare_kv_half(dst + 2);
    step = step > 0 ? step : 3e38f; /* all codes are 0 */
    for (int i = 0; i < PARE_KV_RANGE && fits; i++) {
        float v = (x[i] - min) / step;
        v = v > 0 ? v : 0;
        v = v < top ? v : top;
        codes[i] = (uint8_t)((v + 12582912.0f) - 12582912.0f); /* the sum has no bits left for a fraction */
    }
    if (fits)
        pare_kv_pack(codes, PARE_KV_RANGE, bits, dst + 4);
    return fits;
}

PARE_HD void pare_kv_range_get(const uint8_t *src, int bits, float *x)
{
    uint8_t codes[PARE_KV_RANGE];
    float step = pare_kv_half(src), min = pare_kv_half(src + 2);
    pare_kv_unpack(src + 4, PARE_KV_RANGE, bits, codes);
    for (int i = 0; i < PARE_KV_RANGE; i++)
        x[i] = (float)codes[i] * step + min;
}

/* ---- TRANSFORM ---- */

/* The least code whose cell ends above x: borders are the middles between levels. */
PARE_HD unsigned pare_kv_gauss_code(int bits, float x)
{
    const unsigned half = 1u << (bits - 1);
    const float size = pare_magnitude(x);
    unsigned above = 0;
    for (unsigned step = half / 2; step > 0; step /= 2)
        if (size > (pare_kv_gauss_upper(bits, above + step - 1) + pare_kv_gauss_upper(bits, above + step)) * 0.5f)
            above += step;
    return x > 0 ? half + above : half - 1 - above;
}

/* Parts of a basis, quant/kv_basis.h. */
PARE_HD const float *pare_kv_basis_row(const float *basis, uint32_t dim, uint32_t i)
{
    return basis + (size_t)(1 + i) * dim;
}

PARE_HD const float *pare_kv_basis_column(const float *basis, uint32_t dim, uint32_t i)
{
    return basis + (size_t)(1 + dim + i) * dim;
}

PARE_HD int pare_kv_basis_bits(const float *basis, uint32_t dim, uint32_t i)
{
    return (int)basis[(size_t)(1 + 2 * dim) * dim + i];
}

PARE_HD float pare_kv_basis_cost(const float *basis, uint32_t dim, uint32_t i)
{
    return basis[(size_t)(2 + 2 * dim) * dim + i];
}

/* The length of coordinates y is the root of the mean of their squares, r, times one of these factors. A vector that is
 * nearly one coordinate, as those of frequent tokens are, has a small r, and its levels would end far below it. Taken
 * is the length s of least
 *
 *     sum cost_i max(0, |y_i| - s top_i)^2 + s^2 sum cost_i D(b_i)
 *
 * with top_i the last level of b_i bits, and D(b_i) their Lloyd-Max error: what is beyond the levels, and between them.
 */
enum { PARE_KV_LENGTHS = 10 };

PARE_HD float pare_kv_length_factor(uint32_t k)
{
    static const float quarters[4] = {1, 1.18920712f, 1.41421356f, 1.68179283f};
    return quarters[k % 4] * (float)(1u << (k / 4));
}

/* Lloyd-Max error of a normal number: scripts/lloyd_max.py --table. */
PARE_HD float pare_kv_gauss_loss(int bits)
{
    static const float loss[11] = {
        1,           0.363380228f,   0.117481848f,   0.0345477608f,  0.00950100801f, 0.002504668f,
        0.00064424f, 0.00016347823f, 4.11850829e-5f, 1.03368311e-5f, 2.58937584e-6f};
    return loss[bits];
}

PARE_HD float pare_kv_top_level(int bits)
{
    return bits > 0 ? pare_kv_gauss_upper(bits, (1u << (bits - 1)) - 1) : 0;
}

PARE_HD float pare_kv_beyond(float y, float top)
{
    const float v = pare_magnitude(y) - top;
    return v > 0 ? v : 0;
}

/* r of n coordinates. */
PARE_HD float pare_kv_root_mean(float sum_of_squares, uint32_t n)
{
    return n > 0 ? sqrtf(sum_of_squares / (float)n) : 0;
}

/* sum cost_i D(b_i) */
PARE_HD float pare_kv_between_levels(const float *basis, uint32_t dim)
{
    float cost[PARE_KV_MAX_DIM], loss[PARE_KV_MAX_DIM];
    for (uint32_t i = 0; i < dim; i++) {
        cost[i] = pare_kv_basis_cost(basis, dim, i);
        loss[i] = pare_kv_gauss_loss(pare_kv_basis_bits(basis, dim, i));
    }
    return pare_kv_dot(cost, loss, dim);
}

PARE_HD float pare_kv_coordinate_length(const float *basis, uint32_t dim, const float *y, uint32_t n_coded)
{
    float x[PARE_KV_MAX_DIM], v[PARE_KV_MAX_DIM], least = 0, out = 0;
    const float r = pare_kv_root_mean(pare_kv_dot(y, y, dim), n_coded), between = pare_kv_between_levels(basis, dim);
    for (uint32_t k = 0; k < PARE_KV_LENGTHS; k++) {
        const float s = r * pare_kv_length_factor(k);
        for (uint32_t i = 0; i < dim; i++) {
            v[i] = pare_kv_beyond(y[i], s * pare_kv_top_level(pare_kv_basis_bits(basis, dim, i)));
            x[i] = pare_kv_basis_cost(basis, dim, i) * v[i];
        }
        const float sum = pare_kv_dot(x, v, dim) + s * s * between;
        if (k == 0 || sum < least) {
            least = sum;
            out = s;
        }
    }
    return out;
}

/* Codes of y times inverse, at most 10 bits each, into bytes that are all written. */
PARE_HD void pare_kv_put_coordinates(const float *basis, uint32_t dim, const float *y, float inverse, uint32_t n_bytes,
                                     uint8_t *dst)
{
    uint32_t word = 0, at = 0;
    int n = 0;
    for (uint32_t i = 0; i < dim; i++) {
        const int bits = pare_kv_basis_bits(basis, dim, i);
        if (bits == 0)
            continue;
        word |= pare_kv_gauss_code(bits, y[i] * inverse) << n;
        for (n += bits; n >= 8; n -= 8, word >>= 8)
            dst[at++] = (uint8_t)word;
    }
    for (; at < n_bytes; at++, word >>= 8)
        dst[at] = (uint8_t)word;
}

/* Levels of the codes at src, times length; 0 where there are no bits. */
PARE_HD void pare_kv_get_coordinates(const float *basis, uint32_t dim, const uint8_t *src, float length, float *y)
{
    uint32_t word = 0;
    int n = 0;
    for (uint32_t i = 0; i < dim; i++) {
        const int bits = pare_kv_basis_bits(basis, dim, i);
        y[i] = 0;
        if (bits == 0)
            continue;
        for (; n < bits; n += 8)
            word |= (uint32_t)*src++ << n;
        y[i] = pare_kv_gauss_level(bits, word & ((1u << bits) - 1)) * length;
        word >>= bits;
        n -= bits;
    }
}

PARE_HD bool pare_kv_transform_encode(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    float y[PARE_KV_MAX_DIM] = {0}, v[PARE_KV_MAX_DIM];
    uint32_t n_coded = 0;
    for (uint32_t i = 0; i < u->dim; i++)
        v[i] = x[i] - u->basis[i];
    for (uint32_t i = 0; i < u->dim; i++) {
        const bool coded = pare_kv_basis_bits(u->basis, u->dim, i) > 0;
        y[i] = coded ? pare_kv_dot(pare_kv_basis_row(u->basis, u->dim, i), v, u->dim) : 0;
        n_coded += coded ? 1 : 0;
    }
    bool fits = pare_kv_put_half(pare_kv_coordinate_length(u->basis, u->dim, y, n_coded), dst);
    pare_kv_put_coordinates(u->basis, u->dim, y, pare_reciprocal(pare_kv_half(dst)),
                            pare_kv_code_bytes(u->dim, u->half_bits) - 2, dst + 2);
    return fits;
}

PARE_HD void pare_kv_transform_decode(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    float y[PARE_KV_MAX_DIM];
    pare_kv_get_coordinates(u->basis, u->dim, src + 2, pare_kv_half(src), y);
    for (uint32_t e = 0; e < u->dim; e++)
        x[e] = u->basis[e];
    for (uint32_t i = 0; i < u->dim; i++) {
        const float *column = pare_kv_basis_column(u->basis, u->dim, i);
        if (pare_kv_basis_bits(u->basis, u->dim, i) > 0)
            for (uint32_t e = 0; e < u->dim; e++)
                x[e] += y[i] * column[e];
    }
}

/* ---- units ---- */

/* Bytes of 32 codes of half_bits / 2 bits behind n_scales scales. */
PARE_HD uint32_t pare_kv_range_bytes(const pare_kv_unit *u, uint32_t n_scales)
{
    return 2 * n_scales + (uint32_t)u->half_bits * (PARE_KV_RANGE / 16);
}

/* Bytes of a unit; BLOCKS and PLAIN: of the registry (quant/kv_codec.h). */
PARE_HD uint32_t pare_kv_coded_bytes(const pare_kv_unit *u)
{
    if (u->family == PARE_KV_GAUSS)
        return 2 + pare_kv_code_bytes(u->dim, u->half_bits);
    if (u->family == PARE_KV_PRODUCT)
        return 4 + pare_kv_code_bytes(u->dim, u->half_bits);
    if (u->family == PARE_KV_TRANSFORM) /* the length is among the bits */
        return pare_kv_code_bytes(u->dim, u->half_bits);
    if (u->family == PARE_KV_CHANNELS)
        return u->dim * pare_kv_range_bytes(u, 2);
    return u->dim / PARE_KV_RANGE * pare_kv_range_bytes(u, u->family == PARE_KV_RANGES ? 2 : 1);
}

/* Encode a unit: x [dim], or of CHANNELS token t at x + t * stride. False: a value is not finite, or its scale does not
 * fit; the unit's bytes are unspecified then. */
PARE_HD bool pare_kv_unit_encode(const pare_kv_unit *u, const float *x, size_t stride, uint8_t *dst)
{
    bool fits = true;
    int bits = u->half_bits / 2;
    if (u->family == PARE_KV_CHANNELS) {
        for (uint32_t i = 0; i < u->dim; i++, dst += pare_kv_range_bytes(u, 2)) {
            float channel[PARE_KV_RANGE];
            for (size_t t = 0; t < PARE_KV_RANGE; t++)
                channel[t] = x[t * stride + i];
            if (!pare_kv_finite(channel, PARE_KV_RANGE) || !pare_kv_range_put(channel, bits, dst))
                return false;
        }
        return true;
    }
    if (!pare_kv_finite(x, u->dim))
        return false;
    if (u->family == PARE_KV_PLAIN)
        return pare_kv_plain_encode(u, x, dst);
    if (u->family == PARE_KV_BLOCKS)
        return pare_kv_blocks_encode(u, x, dst);
    if (u->family == PARE_KV_GAUSS)
        return pare_kv_gauss_encode(u, x, dst);
    if (u->family == PARE_KV_PRODUCT)
        return pare_kv_product_encode(u, x, dst);
    if (u->family == PARE_KV_TRANSFORM)
        return pare_kv_transform_encode(u, x, dst);
    for (uint32_t i = 0; i < u->dim; i += PARE_KV_RANGE)
        if (u->family == PARE_KV_RANGES)
            fits &= pare_kv_range_put(x + i, bits, dst + i / PARE_KV_RANGE * pare_kv_range_bytes(u, 2));
        else
            fits &= pare_kv_midrise_put(x + i, bits, dst + i / PARE_KV_RANGE * pare_kv_range_bytes(u, 1));
    return fits;
}

/* The opposite; never fails, whatever the bytes are. */
PARE_HD void pare_kv_unit_decode(const pare_kv_unit *u, const uint8_t *src, float *x, size_t stride)
{
    int bits = u->half_bits / 2;
    if (u->family == PARE_KV_CHANNELS)
        for (uint32_t i = 0; i < u->dim; i++, src += pare_kv_range_bytes(u, 2)) {
            float channel[PARE_KV_RANGE];
            pare_kv_range_get(src, bits, channel);
            for (size_t t = 0; t < PARE_KV_RANGE; t++)
                x[t * stride + i] = channel[t];
        }
    else if (u->family == PARE_KV_PLAIN)
        pare_kv_plain_decode(u, src, x);
    else if (u->family == PARE_KV_BLOCKS)
        pare_kv_blocks_decode(u, src, x);
    else if (u->family == PARE_KV_GAUSS)
        pare_kv_gauss_decode(u, src, x);
    else if (u->family == PARE_KV_PRODUCT)
        pare_kv_product_decode(u, src, x);
    else if (u->family == PARE_KV_TRANSFORM)
        pare_kv_transform_decode(u, src, x);
    else
        for (uint32_t i = 0; i < u->dim; i += PARE_KV_RANGE)
            if (u->family == PARE_KV_RANGES)
                pare_kv_range_get(src + i / PARE_KV_RANGE * pare_kv_range_bytes(u, 2), bits, x + i);
            else
                pare_kv_midrise_get(src + i / PARE_KV_RANGE * pare_kv_range_bytes(u, 1), bits, x + i);
}

#endif
