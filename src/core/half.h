/* core/half.h - IEEE 754 binary16 and bfloat16, exact widening, narrowing to nearest even; C11 and CUDA C++
 *
 * Integer code and one exact product of normal numbers, so the result does not depend on the CPU, its rounding mode or
 * flush-to-zero. */
#ifndef PARE_CORE_HALF_H
#define PARE_CORE_HALF_H

#include "core/bytes.h"

/* binary16 (1 sign, 5 exponent, 10 fraction bits) to binary32, exact; NaN payloads are kept. Without branches, so that
 * a loop over it becomes vector code. */
PARE_HD float pare_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fffu;
    uint32_t rebias = mag >= 0x7c00u ? 224u << 23 : 112u << 23; /* infinity and NaN keep the largest exponent */
    uint32_t normal = (mag << 13) + rebias;
    uint32_t subnormal = pare_f32_to_bits((float)(int32_t)mag * (1.0f / 16777216.0f)); /* 2^-24; normal in binary32 */
    uint32_t choice = 0u - (uint32_t)(mag < 0x400u); /* a mask: compilers make a branch of ?: around a product */
    return pare_bits_to_f32(sign | (subnormal & choice) | (normal & ~choice));
}

/* binary32 to binary16, round to nearest even; overflow gives infinity, NaN stays NaN (quiet). Selections instead of
 * branches: real weights would mispredict them. */
PARE_HD uint16_t pare_f32_to_f16(float f)
{
    uint32_t u = pare_f32_to_bits(f), sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    uint32_t exponent = mag >> 23, fraction = (mag & 0x7fffffu) | 0x800000u;
    /* bits that do not fit: 13, for a subnormal result 14..24; with 25 everything below 2^-25 rounds to zero */
    uint32_t drop = exponent > 112 ? 13 : exponent > 101 ? 126 - exponent : 25;
    uint32_t kept = fraction >> drop, rest = fraction & ((1u << drop) - 1), middle = 1u << (drop - 1);
    kept += (uint32_t)(rest > middle) | ((uint32_t)(rest == middle) & kept);
    /* a normal result carries its hidden bit into the exponent: 1 less before the addition */
    uint32_t result = (exponent > 112 ? (exponent - 113) << 10 : 0) + kept;
    result = mag >= 0x47800000u ? 0x7c00u : result; /* 65536 and above */
    result = mag > 0x7f800000u ? 0x7e00u | (mag >> 13 & 0x3ffu) : result;
    return (uint16_t)(sign | result);
}

PARE_HD float pare_bf16_to_f32(uint16_t h)
{
    return pare_bits_to_f32((uint32_t)h << 16);
}

/* binary32 to bfloat16, round to nearest even; NaN stays NaN (quiet). */
PARE_HD uint16_t pare_f32_to_bf16(float f)
{
    uint32_t u = pare_f32_to_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

#endif
