/* core/vector_math.h - e^x as straight-line code that a compiler turns into vector instructions
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2; n comes from adding 1.5 * 2^(mantissa bits), which rounds to an integer and
 * leaves it in the low bits; e^r is a Taylor polynomial; 2^n is written into the exponent field. ln 2 is split so that
 * n * hi is exact (Cody and Waite, "Software Manual for the Elementary Functions", 1980). No operation depends on the
 * instruction set, so every vector width gives the same bits. */
#ifndef PARE_CORE_VECTOR_MATH_H
#define PARE_CORE_VECTOR_MATH_H

#include "core/bytes.h"

/* Relative error below 1.2e-7 (1 ulp) for -87 <= x <= 88; x outside is moved to the nearer end, so e^x for x < -87 is
 * 1.6e-38 instead of smaller. NaN stays NaN. */
static inline float pare_exp_f32(float x)
{
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504088896341f + 0x1.8p23f;
    float n = shifted - 0x1.8p23f;
    float r = (x - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f; /* hi has 12 bits, n at most 7 */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    float tail = r + r * r * p; /* e^r - 1: adding 1 last keeps the error at one rounding */
    float two_n = pare_bits_to_f32((pare_f32_to_bits(shifted) + 127u) << 23);
    return (1.0f + tail) * two_n;
}

/* Relative error below 3e-16 for -708 <= x <= 709; x outside is moved to the nearer end. */
static inline double pare_exp_f64(double x)
{
    x = x < -708.0 ? -708.0 : x;
    x = x > 709.0 ? 709.0 : x;
    double shifted = x * 1.4426950408889634074 + 0x1.8p52;
    double n = shifted - 0x1.8p52;
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33; /* hi has 32 bits, n at most 11 */
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    double tail = r + r * r * p;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023u) << 52;
    double two_n;
    memcpy(&two_n, &bits, sizeof two_n);
    return (1.0 + tail) * two_n;
}

#endif
