/* quant/minifloat.h - floats of 4, 6 and 8 bits as safetensors stores them: weights that stand alone, no scale
 *
 *   dtype        bits s.e.m  bias  not finite                    source
 *   F8_E4M3      1.4.3       7     x1111111 NaN                  OCP 8-bit Floating Point (OFP8) v1.0
 *   F8_E5M2      1.5.2       15    as IEEE 754                   OFP8 v1.0
 *   F8_E4M3FNUZ  1.4.3       8     10000000 NaN                  Noune et al., arXiv 2206.02915
 *   F8_E5M2FNUZ  1.5.2       16    10000000 NaN                  the same
 *   F8_E8M0      0.8.0       127   11111111 NaN                  OCP Microscaling Formats (MX) v1.0
 *   F6_E2M3      1.2.3       1     -                             MX v1.0
 *   F6_E3M2      1.3.2       3     -                             MX v1.0
 *   F4           1.2.1       1     -                             MX v1.0, E2M1
 *
 * F4: byte = 2 weights, the first in the low nibble. F6: 3 bytes = 4 weights, weight k in bits 6k..6k+5 of the
 * little-endian number. */
#ifndef PARE_QUANT_MINIFLOAT_H
#define PARE_QUANT_MINIFLOAT_H

#include "core/half.h"

#include <assert.h>
#include <stddef.h>

#define PARE_MINIFLOAT_NAN 0x7fc00000u

/* Code of one sign bit, then exponent_bits, then fraction_bits: its value when every code is a finite number. Exact. */
PARE_HD float pare_minifloat(unsigned code, int exponent_bits, int fraction_bits, int bias)
{
    unsigned fraction = code & ((1u << fraction_bits) - 1);
    int exponent = (int)(code >> fraction_bits & ((1u << exponent_bits) - 1));
    unsigned significand = exponent != 0 ? fraction | 1u << fraction_bits : fraction;
    int power = (exponent != 0 ? exponent : 1) - bias - fraction_bits;
    float value = (float)significand * pare_bits_to_f32((uint32_t)(127 + power) << 23);
    return code >> (exponent_bits + fraction_bits) & 1 ? -value : value;
}

PARE_HD float pare_f8_e4m3_to_f32(uint8_t code)
{
    return (code & 0x7f) == 0x7f ? pare_bits_to_f32(PARE_MINIFLOAT_NAN) : pare_minifloat(code, 4, 3, 7);
}

/* The upper byte of a binary16. */
PARE_HD float pare_f8_e5m2_to_f32(uint8_t code)
{
    return pare_f16_to_f32((uint16_t)(code << 8));
}

PARE_HD float pare_f8_e4m3fnuz_to_f32(uint8_t code)
{
    return code == 0x80 ? pare_bits_to_f32(PARE_MINIFLOAT_NAN) : pare_minifloat(code, 4, 3, 8);
}

PARE_HD float pare_f8_e5m2fnuz_to_f32(uint8_t code)
{
    return code == 0x80 ? pare_bits_to_f32(PARE_MINIFLOAT_NAN) : pare_minifloat(code, 5, 2, 16);
}

PARE_HD float pare_f8_e8m0_to_f32(uint8_t code)
{
    if (code == 255)
        return pare_bits_to_f32(PARE_MINIFLOAT_NAN);
    return pare_bits_to_f32(code == 0 ? 0x00400000u : (uint32_t)code << 23); /* 2^-127 is subnormal */
}

/* Struct of one byte, and the decoder. */
#define PARE_FLOAT8(stem)                                                                                              \
    typedef struct pare_##stem {                                                                                       \
        uint8_t d[1];                                                                                                  \
    } pare_##stem;                                                                                                     \
    PARE_HD void pare_##stem##_decode(const void *src, float *dst, size_t n_blocks)                                    \
    {                                                                                                                  \
        const uint8_t *code = (const uint8_t *)src;                                                                    \
        for (size_t i = 0; i < n_blocks; i++)                                                                          \
            dst[i] = pare_##stem##_to_f32(code[i]);                                                                    \
    }

PARE_FLOAT8(f8_e4m3)
PARE_FLOAT8(f8_e5m2)
PARE_FLOAT8(f8_e4m3fnuz)
PARE_FLOAT8(f8_e5m2fnuz)
PARE_FLOAT8(f8_e8m0)
#undef PARE_FLOAT8

typedef struct pare_f4 {
    uint8_t d[1];
} pare_f4;

PARE_HD void pare_f4_decode(const void *src, float *dst, size_t n_blocks)
{
    const uint8_t *pair = (const uint8_t *)src;
    for (size_t i = 0; i < n_blocks; i++) {
        dst[2 * i] = pare_minifloat(pair[i] & 15u, 2, 1, 1);
        dst[2 * i + 1] = pare_minifloat(pair[i] >> 4, 2, 1, 1);
    }
}

/* Struct of 4 weights in 3 bytes, and the decoder. */
#define PARE_FLOAT6(stem, exponent_bits, fraction_bits, bias)                                                          \
    typedef struct pare_##stem {                                                                                       \
        uint8_t d[3];                                                                                                  \
    } pare_##stem;                                                                                                     \
    static_assert(sizeof(pare_##stem) == 3, "no padding");                                                             \
    PARE_HD void pare_##stem##_decode(const void *src, float *dst, size_t n_blocks)                                    \
    {                                                                                                                  \
        const uint8_t *d = (const uint8_t *)src;                                                                       \
        for (size_t i = 0; i < n_blocks; i++, d += 3) {                                                                \
            uint32_t four = (uint32_t)d[0] | (uint32_t)d[1] << 8 | (uint32_t)d[2] << 16;                               \
            for (int k = 0; k < 4; k++)                                                                                \
                dst[4 * i + (size_t)k] = pare_minifloat(four >> 6 * k & 63, exponent_bits, fraction_bits, bias);       \
        }                                                                                                              \
    }

PARE_FLOAT6(f6_e2m3, 2, 3, 1)
PARE_FLOAT6(f6_e3m2, 3, 2, 3)
#undef PARE_FLOAT6

#endif
