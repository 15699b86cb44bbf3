/* quant/plain_round.h - the published plain rules of block types: rounding under a scale that covers the largest value
 *
 * What ggml's quantize_row_*_ref give, to the byte, of finite values (ggml/src/ggml-quants.c): PARE_EFFORT_RTN of the
 * encoders, and what llama.cpp writes to a cache. C11 and CUDA C++ compile it; products must not be contracted. Where a
 * scale does not fit its field, the field is not finite, or cut (NVFP4). */
#ifndef PARE_QUANT_PLAIN_ROUND_H
#define PARE_QUANT_PLAIN_ROUND_H

#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

PARE_HD float pare_magnitude(float v)
{
    return pare_bits_to_f32(pare_f32_to_bits(v) & 0x7fffffffu);
}

/* The largest magnitude. As integers, which order magnitudes alike and which compilers make vectors of. */
PARE_HD float pare_largest_magnitude(const float *x, int n)
{
    uint32_t most = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits = pare_f32_to_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return pare_bits_to_f32(most);
}

/* The value of largest magnitude, with its sign; the first one on ties; +0 where all are 0. */
PARE_HD float pare_largest(const float *x, int n)
{
    float most = pare_largest_magnitude(x, n);
    int i = 0;
    while (i + 1 < n && pare_magnitude(x[i]) != most)
        i++;
    return most != 0 ? x[i] : 0;
}

/* 1 / d, or 0 where that is no number to multiply with: the scale is stored as 0 there and any code does. */
PARE_HD float pare_reciprocal(float d)
{
    float r = d != 0 ? 1.0f / d : 0.0f;
    return pare_magnitude(r) <= 3.402823466e38f ? r : 0.0f;
}

/* 16 bytes of 32 codes: qs[j] holds the low 4 bits of code j in its low nibble, of code j + 16 in the high one. */
PARE_HD void pare_pack_nibbles(const uint8_t *codes, uint8_t *qs)
{
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

/* Bit j: bit 4 of code j. */
PARE_HD uint32_t pare_pack_fifth(const uint8_t *codes)
{
    uint32_t high = 0;
    for (int j = 0; j < 32; j++)
        high |= (uint32_t)(codes[j] >> 4 & 1) << j;
    return high;
}

/* 32 codes of x = d * (code - half), in 0..2 half - 1; returns d. The code comes from the scale before it is rounded to
 * binary16, by truncation. */
PARE_HD float pare_round_whole(const float *x, int half, uint8_t *codes)
{
    float d = pare_largest(x, 32) / (float)-half, inverse = pare_reciprocal(d), offset = (float)half + 0.5f;
    for (int i = 0; i < 32; i++) {
        int code = (int)(x[i] * inverse + offset);
        codes[i] = (uint8_t)(code < 2 * half - 1 ? code : 2 * half - 1);
    }
    return d;
}

/* 32 codes of x = d * code + min, in 0..top; returns d. */
PARE_HD float pare_round_line(const float *x, int top, uint8_t *codes, float *min)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float d = (high - low) / (float)top, inverse = pare_reciprocal(d);
    for (int i = 0; i < 32; i++) {
        int code = (int)((x[i] - low) * inverse + 0.5f);
        codes[i] = (uint8_t)(code < top ? code : top);
    }
    *min = low;
    return d;
}

/* To nearest, halves away from zero, as roundf, but not a call a weight: v - trunc(v) is exact. |v| < 2^31. */
PARE_HD int pare_round_away(float v)
{
    int whole = (int)v;
    float rest = v - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

PARE_HD void pare_q8_0_round(const float *x, pare_q8_0 *out)
{
    float d = pare_largest_magnitude(x, 32) / 127.0f, inverse = pare_reciprocal(d);
    pare_store_u16le(out->d, pare_f32_to_f16(d));
    for (int j = 0; j < 32; j++)
        out->qs[j] = (uint8_t)pare_round_away(x[j] * inverse);
}

/* Codes of the nearest FP4 levels at the scale as ggml compares them: by the difference as binary32 rounds it, the
 * smaller magnitude on ties. half_scale: pare_fp4_level doubles. */
PARE_HD void pare_fp4_codes(const float *x, int n, float half_scale, uint8_t *codes)
{
    for (int i = 0; i < n; i++) {
        float size = pare_magnitude(x[i]), least = size;
        codes[i] = 0;
        for (unsigned k = 1; k < 8; k++) {
            float miss = pare_magnitude((float)pare_fp4_level(k) * half_scale - size);
            if (miss < least) {
                least = miss;
                codes[i] = (uint8_t)(x[i] < 0 ? k + 8 : k);
            }
        }
    }
}

/* The largest magnitude between 4 and 8 times the scale. */
PARE_HD void pare_mxfp4_round(const float *x, pare_mxfp4 *out)
{
    uint8_t codes[32];
    int e = (int)(pare_f32_to_bits(pare_largest_magnitude(x, 32)) >> 23) - 2;
    out->e = (uint8_t)(e > 0 ? e : 0);
    pare_fp4_codes(x, 32, pare_mxfp4_half_scale(out->e), codes);
    pare_pack_nibbles(codes, out->qs);
}

/* The code nearest to a sixth of the largest magnitude, ties upwards, 0x7e from 256 on. */
PARE_HD uint8_t pare_nvfp4_plain_scale(const float *x)
{
    float scale = pare_largest_magnitude(x, 16) / 6.0f;
    if (scale >= 256)
        return 0x7e;
    if (scale < 1.0f / 64) { /* subnormal: multiples of 2^-9 */
        int code = (int)(scale * 512.0f + 0.5f);
        return (uint8_t)(code < 7 ? code : 7);
    }
    uint32_t bits = pare_f32_to_bits(scale) + (1u << 19), code = (bits >> 20) - (120u << 3);
    return (uint8_t)(code < 0x7e - 6 ? code : 0x7e);
}

PARE_HD void pare_nvfp4_round(const float *x, pare_nvfp4 *out)
{
    for (int s = 0; s < 4; s++, x += 16) {
        uint8_t codes[16];
        out->d[s] = pare_nvfp4_plain_scale(x);
        pare_fp4_codes(x, 16, pare_nvfp4_half_scale(out->d[s]), codes);
        for (int j = 0; j < 8; j++)
            out->qs[8 * s + j] = (uint8_t)(codes[j] | codes[j + 8] << 4);
    }
}

#endif
