/* quant/vec.h - float vectors of the width that the path's registers have, and what the language lacks for them
 *
 * Every lane computes the same on all paths: work in lanes that do not depend on each other, and add lanes up in one
 * order. A struct of 16 lanes is PARE_PARTS vectors. */
#ifndef PARE_QUANT_VEC_H
#define PARE_QUANT_VEC_H

#include "quant/lanes.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined __AVX512F__
#define PARE_VEC_LANES 16
#elif defined __AVX2__
#define PARE_VEC_LANES 8
#else
#define PARE_VEC_LANES 4
#endif

enum { PARE_PARTS = 16 / PARE_VEC_LANES };

typedef float pare_vec __attribute__((vector_size(4 * PARE_VEC_LANES)));
typedef int32_t pare_mask __attribute__((vector_size(4 * PARE_VEC_LANES))); /* -1: yes; what a comparison gives */

/* For functions that constant arguments tailor to their caller. */
#define PARE_INLINE static inline __attribute__((always_inline))

static inline pare_vec pare_vec_all(float v)
{
    return (pare_vec){0} + v;
}

static inline pare_vec pare_vec_load(const float *v)
{
    pare_vec r;
    memcpy(&r, v, sizeof r);
    return r;
}

static inline pare_vec pare_vec_pick(pare_mask yes, pare_vec a, pare_vec b)
{
    return (pare_vec)((yes & (pare_mask)a) | (~yes & (pare_mask)b));
}

/* v where yes, else 0 */
static inline pare_vec pare_vec_where(pare_mask yes, pare_vec v)
{
    return (pare_vec)(yes & (pare_mask)v);
}

static inline bool pare_mask_any(pare_mask yes)
{
    uint64_t pair[PARE_VEC_LANES / 2], any = 0;
    memcpy(pair, &yes, sizeof pair);
    for (int l = 0; l < PARE_VEC_LANES / 2; l++)
        any |= pair[l];
    return any != 0;
}

/* a > b ? a : b, so b where a is a NaN. A loop over arrays, since gcc makes one instruction of that, but not of
 * pare_vec_pick; for constant bounds neither. */
static inline pare_vec pare_vec_max(pare_vec a, pare_vec b)
{
    float x[PARE_VEC_LANES], y[PARE_VEC_LANES];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
#pragma omp simd
    for (int l = 0; l < PARE_VEC_LANES; l++)
        x[l] = x[l] > y[l] ? x[l] : y[l];
    return pare_vec_load(x);
}

static inline pare_vec pare_vec_min(pare_vec a, pare_vec b)
{
    float x[PARE_VEC_LANES], y[PARE_VEC_LANES];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
#pragma omp simd
    for (int l = 0; l < PARE_VEC_LANES; l++)
        x[l] = x[l] < y[l] ? x[l] : y[l];
    return pare_vec_load(x);
}

/* Inside low..high; low for a NaN. */
static inline pare_vec pare_vec_clamp(pare_vec v, pare_vec low, pare_vec high)
{
    return pare_vec_min(pare_vec_max(v, low), high);
}

/* To the nearest integer, ties to even, for |v| < 2^22: the sum has no bits left for a fraction. */
static inline pare_vec pare_vec_nearest(pare_vec v)
{
    return (v + 12582912.0f) - 12582912.0f;
}

/* 12582912 + the nearest integer in -top..top, for |v| < 2^22: that integer is in the low bits. Clamped as integers,
 * for which gcc has one instruction for constant bounds too. */
static inline pare_vec pare_vec_code(pare_vec v, int32_t top)
{
    enum { ZERO = 0x4b400000 }; /* the bits of 12582912 */
    int32_t bits[PARE_VEC_LANES];
    v += 12582912.0f;
    memcpy(bits, &v, sizeof bits);
#pragma omp simd
    for (int l = 0; l < PARE_VEC_LANES; l++) {
        bits[l] = bits[l] > ZERO - top ? bits[l] : ZERO - top;
        bits[l] = bits[l] < ZERO + top ? bits[l] : ZERO + top;
    }
    memcpy(&v, bits, sizeof v);
    return v;
}

/* 1 / v; 0 for 0 */
static inline pare_vec pare_vec_inverse(pare_vec v)
{
    return (pare_vec)((v != 0) & (pare_mask)(1 / v));
}

static inline pare_vec pare_vec_abs(pare_vec v)
{
    return (pare_vec)((pare_mask)v & 0x7fffffff);
}

/* The larger magnitude, as the bits of a float, none of them a NaN. As integers: gcc has one instruction for those. */
static inline pare_mask pare_vec_larger(pare_mask magnitude, pare_vec v)
{
    int32_t x[PARE_VEC_LANES], y[PARE_VEC_LANES];
    memcpy(x, &magnitude, sizeof x);
    memcpy(y, &v, sizeof y);
#pragma omp simd
    for (int l = 0; l < PARE_VEC_LANES; l++)
        x[l] = (y[l] & 0x7fffffff) > x[l] ? y[l] & 0x7fffffff : x[l];
    memcpy(&magnitude, x, sizeof x);
    return magnitude;
}

/* The nearest binary16, ties to even, of finite v; at most 65504. */
static inline pare_vec pare_vec_half(pare_vec v)
{
    pare_mask sign = (pare_mask)v & INT32_MIN;
    pare_vec size = pare_vec_min(pare_vec_abs(v), pare_vec_all(65504));
    pare_mask bits = (pare_mask)size; /* ten bits of fraction stay */
    pare_vec normal = (pare_vec)((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fff);
    pare_vec small = (size + 0.5f) - 0.5f; /* multiples of 2^-24: what 0.5f has bits for */
    return (pare_vec)((pare_mask)pare_vec_pick(size < 0x1p-14f, small, normal) | sign);
}

/* The same, but the smallest number instead of a 0 unless v is 0. */
static inline pare_vec pare_vec_half_nonzero(pare_vec v)
{
    pare_vec half = pare_vec_half(v), least = pare_vec_all(0x1p-24f);
    pare_vec smallest = (pare_vec)((pare_mask)least | ((pare_mask)v & INT32_MIN));
    return pare_vec_pick((half == 0) & (v != 0), smallest, half);
}

/* Lanes 2 j and 2 j + 1 change places. */
static inline pare_vec pare_vec_swap(pare_vec v)
{
#if PARE_VEC_LANES == 16
    static const pare_mask from = {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14};
#elif PARE_VEC_LANES == 8
    static const pare_mask from = {1, 0, 3, 2, 5, 4, 7, 6};
#else
    static const pare_mask from = {1, 0, 3, 2};
#endif
#if defined __clang__
    pare_vec r;
    for (int k = 0; k < PARE_VEC_LANES; k++)
        r[k] = v[from[k]];
    return r;
#else
    return __builtin_shuffle(v, from);
#endif
}

/* The lanes of a and b in turn: a first, b first, a second ... of their lower or upper halves. */
#if PARE_VEC_LANES == 16
#define PARE_VEC_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define PARE_VEC_ZIP_HIGH(a, b)                                                                                        \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif PARE_VEC_LANES == 8
#define PARE_VEC_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define PARE_VEC_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define PARE_VEC_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define PARE_VEC_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

/* As many vectors as one has lanes: lane j of vector i and lane i of vector j change places. Zipping the upper half of
 * the vectors with the lower one moves a bit of the vectors' numbers to the lanes', so as many times as there are bits
 * exchanges the two. */
PARE_INLINE void pare_vec_transpose(pare_vec v[PARE_VEC_LANES])
{
    enum { HALF = PARE_VEC_LANES / 2 };
#pragma GCC unroll 4
    for (int bit = 1; bit < PARE_VEC_LANES; bit *= 2) {
        pare_vec zipped[PARE_VEC_LANES];
#pragma GCC unroll 8
        for (int j = 0; j < HALF; j++) {
            zipped[2 * j] = PARE_VEC_ZIP_LOW(v[j], v[j + HALF]);
            zipped[2 * j + 1] = PARE_VEC_ZIP_HIGH(v[j], v[j + HALF]);
        }
        memcpy(v, zipped, sizeof zipped);
    }
}

/* The sum of 16 lanes. */
static inline float pare_vec_sum(const pare_vec *v)
{
    float lane[16], half[PARE_LANES];
    memcpy(lane, v, sizeof lane);
    for (int k = 0; k < PARE_LANES; k++)
        half[k] = lane[k] + lane[k + PARE_LANES];
    return pare_add_lanes(half);
}

#endif
