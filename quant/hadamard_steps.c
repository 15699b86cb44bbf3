#include "quant/hadamard_steps.h"

#include "quant/vec.h"

enum { MOST = 16, FULL = MOST * PARE_VEC_LANES }; /* vectors in registers, and their elements */

static const uint32_t no_flips[FULL];

/* For the step h inside a vector: lane l's partner l ^ h, and the sign bit in lanes with bit h. */
#define SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#define M INT32_MIN
#if PARE_VEC_LANES == 16
#define STEP_1(v)                                                                                                      \
    SHUFFLE(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14) +                                                 \
        FLIP(v, 0, M, 0, M, 0, M, 0, M, 0, M, 0, M, 0, M, 0, M)
#define STEP_2(v)                                                                                                      \
    SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13) +                                                 \
        FLIP(v, 0, 0, M, M, 0, 0, M, M, 0, 0, M, M, 0, 0, M, M)
#define STEP_4(v)                                                                                                      \
    SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11) +                                                 \
        FLIP(v, 0, 0, 0, 0, M, M, M, M, 0, 0, 0, 0, M, M, M, M)
#define STEP_8(v)                                                                                                      \
    SHUFFLE(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7) +                                                 \
        FLIP(v, 0, 0, 0, 0, 0, 0, 0, 0, M, M, M, M, M, M, M, M)
#elif PARE_VEC_LANES == 8
#define STEP_1(v) SHUFFLE(v, 1, 0, 3, 2, 5, 4, 7, 6) + FLIP(v, 0, M, 0, M, 0, M, 0, M)
#define STEP_2(v) SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5) + FLIP(v, 0, 0, M, M, 0, 0, M, M)
#define STEP_4(v) SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3) + FLIP(v, 0, 0, 0, 0, M, M, M, M)
#define STEP_8(v) v
#else
#define STEP_1(v) SHUFFLE(v, 1, 0, 3, 2) + FLIP(v, 0, M, 0, M)
#define STEP_2(v) SHUFFLE(v, 2, 3, 0, 1) + FLIP(v, 0, 0, M, M)
#define STEP_4(v) v
#define STEP_8(v) v
#endif
#define FLIP(v, ...) (pare_vec)((pare_mask)(v) ^ (pare_mask){__VA_ARGS__})

/* All steps inside a vector: a + b in the lanes without bit h, a - b = a + (-b) in those with it. */
PARE_INLINE pare_vec steps_inside(pare_vec v)
{
    v = STEP_1(v);
    v = STEP_2(v);
    v = STEP_4(v);
    return STEP_8(v);
}

PARE_INLINE pare_vec flipped(pare_vec v, const uint32_t *flips)
{
    pare_mask flip;
    memcpy(&flip, flips, sizeof flip);
    return (pare_vec)((pare_mask)v ^ flip);
}

/* len elements that are held in registers: a multiple of the lanes, at most MOST vectors. */
PARE_INLINE void steps_in_registers(float *x, int len, float scale, const uint32_t *flips, bool back)
{
    pare_vec v[MOST];
    int n = len / PARE_VEC_LANES;
#pragma GCC unroll 16
    for (int k = 0; k < n; k++) {
        v[k] = pare_vec_load(x + k * PARE_VEC_LANES);
        v[k] = steps_inside(back ? v[k] : flipped(v[k], flips + k * PARE_VEC_LANES));
    }
#pragma GCC unroll 4
    for (int h = 1; h < n; h *= 2)
#pragma GCC unroll 16
        for (int k = 0; k < n; k++)
            if ((k & h) == 0) {
                pare_vec a = v[k], b = v[k + h];
                v[k] = a + b;
                v[k + h] = a - b;
            }
#pragma GCC unroll 16
    for (int k = 0; k < n; k++) {
        v[k] = v[k] * scale;
        v[k] = back ? flipped(v[k], flips + k * PARE_VEC_LANES) : v[k];
        memcpy(x + k * PARE_VEC_LANES, &v[k], sizeof v[k]);
    }
}

/* Steps of h, 2 h ... over len elements, one by one or as the compiler sees fit; then scale and signs. */
PARE_INLINE void steps_in_memory(float *x, int len, int h, float scale, const uint32_t *flips, bool back)
{
    for (; h < len; h *= 2)
        for (int i = 0; i < len; i += 2 * h)
            for (int k = i; k < i + h; k++) {
                float a = x[k], b = x[k + h];
                x[k] = a + b;
                x[k + h] = a - b;
            }
    for (int i = 0; i < len; i++)
        x[i] = pare_bits_to_f32(pare_f32_to_bits(x[i] * scale) ^ (back ? flips[i] : 0));
}

/* More than fits the registers: parts that do, then the steps between them. */
static void long_block(float *x, int len, float scale, const uint32_t *flips, bool back)
{
    for (int i = 0; i < len; i += FULL)
        if (back)
            steps_in_registers(x + i, FULL, 1, no_flips, false);
        else
            steps_in_registers(x + i, FULL, 1, flips + i, false);
    steps_in_memory(x, len, FULL, scale, flips, back);
}

/* Less than 16. */
static void short_block(float *x, int len, float scale, const uint32_t *flips, bool back)
{
    for (int i = 0; i < len && !back; i++)
        x[i] = pare_bits_to_f32(pare_f32_to_bits(x[i]) ^ flips[i]);
    steps_in_memory(x, len, 1, scale, flips, back);
}

/* The blocks of n vectors that begin at x. Lengths that are known to the compiler have no loops left. */
PARE_INLINE void transform(int len, float *x, size_t stride, size_t n, const uint32_t *flips, bool back)
{
    float scale = pare_rotation_scale((uint32_t)len);
    for (size_t k = 0; k < n; k++, x += stride) {
        if (len < 16)
            short_block(x, len, scale, flips, back);
        else if (len <= FULL)
            steps_in_registers(x, len, scale, flips, back);
        else
            long_block(x, len, scale, flips, back);
    }
}

PARE_INLINE void transform_any(int len, float *x, size_t stride, size_t n, const uint32_t *flips, bool back)
{
    if (len == 16)
        transform(16, x, stride, n, flips, back);
    else if (len == 32)
        transform(32, x, stride, n, flips, back);
    else if (len == 64)
        transform(64, x, stride, n, flips, back);
    else if (len == 128)
        transform(128, x, stride, n, flips, back);
    else if (len == FULL)
        transform(FULL, x, stride, n, flips, back);
    else if (len < 16)
        for (size_t k = 0; k < n; k++)
            short_block(x + k * stride, len, pare_rotation_scale((uint32_t)len), flips, back);
    else
        for (size_t k = 0; k < n; k++)
            long_block(x + k * stride, len, pare_rotation_scale((uint32_t)len), flips, back);
}

void pare_hadamard_steps(const pare_rotation *r, const uint32_t *flips, float *x, size_t n, bool back)
{
    enum { PIECE = 32 }; /* vectors that stay in the cache while all their blocks are turned */
    for (size_t k = 0; k < n; k += PIECE)
        for (uint32_t at = 0, len; at < r->dim; at += len) {
            float *first = x + k * r->dim + at;
            size_t piece = n - k < PIECE ? n - k : PIECE;
            len = pare_rotation_block(r, at);
            if (back)
                transform_any((int)len, first, r->dim, piece, flips + at, true);
            else
                transform_any((int)len, first, r->dim, piece, flips + at, false);
        }
}
