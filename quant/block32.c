#include "quant/block32.h"

#include "core/half.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Share of the row's mean importance that every column has at least: keeps columns that calibration never saw. */
static const double weight_floor = 1e-3;

/* 1 / d, or 0 where that is no number to multiply with: the scale is stored as 0 there and any code does. */
static float reciprocal(float d)
{
    float r = d != 0 ? 1.0f / d : 0.0f;
    return isfinite(r) ? r : 0.0f;
}

static int clamp(int code, int max_code)
{
    return code < 0 ? 0 : code > max_code ? max_code : code;
}

/* The published rules: the code comes from the scale before it is rounded to binary16, by truncation. */

static void plain_symmetric(pare_block32 *out, const float *x, int half)
{
    float peak = 0; /* the value of largest magnitude, with its sign; the first one on ties */
    for (int i = 0; i < PARE_BLOCK32; i++)
        if (fabsf(x[i]) > fabsf(peak))
            peak = x[i];
    float d = peak / (float)-half, inverse = reciprocal(d), offset = (float)half + 0.5f;
    out->d = pare_f32_to_f16(d);
    out->m = 0;
    for (int i = 0; i < PARE_BLOCK32; i++)
        out->codes[i] = (uint8_t)clamp((int)(x[i] * inverse + offset), 2 * half - 1);
}

static void plain_affine(pare_block32 *out, const float *x, int max_code)
{
    float min = x[0], max = x[0];
    for (int i = 1; i < PARE_BLOCK32; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    float d = (max - min) / (float)max_code, inverse = reciprocal(d);
    out->d = pare_f32_to_f16(d);
    out->m = pare_f32_to_f16(min);
    for (int i = 0; i < PARE_BLOCK32; i++)
        out->codes[i] = (uint8_t)clamp((int)((x[i] - min) * inverse + 0.5f), max_code);
}

/* The weighted search: a state holds the best scale so far, the smallest sum of w (d * code + m - x)^2 with d and m as
 * they are stored. Sums run in double and in order, so the bytes do not depend on the machine. */
typedef struct search {
    const float *x, *w;
    int max_code;
    int half; /* 0: affine; else m = -half * d */
    double error;
    uint16_t d, m;
    uint8_t codes[PARE_BLOCK32];
} search;

/* Take the scale if its nearest codes have a smaller error. False when they have not. */
static bool try_scale(search *s, double d, double m)
{
    uint16_t d_bits = pare_f32_to_f16((float)d), m_bits = s->half != 0 ? 0 : pare_f32_to_f16((float)m);
    float scale = pare_f16_to_f32(d_bits), base = s->half != 0 ? -(float)s->half * scale : pare_f16_to_f32(m_bits);
    float inverse = reciprocal(scale);
    uint8_t codes[PARE_BLOCK32];
    double error = 0;
    if (!isfinite(scale) || !isfinite(base))
        return false;
    for (int i = 0; i < PARE_BLOCK32; i++) {
        float steps = (s->x[i] - base) * inverse;
        steps = steps < 0 ? 0 : steps > (float)s->max_code ? (float)s->max_code : steps;
        codes[i] = (uint8_t)(steps + 0.5f);
        float miss = scale * (float)codes[i] + base - s->x[i];
        error += (double)s->w[i] * miss * miss;
    }
    if (error >= s->error)
        return false;
    s->error = error;
    s->d = d_bits;
    s->m = m_bits;
    memcpy(s->codes, codes, sizeof codes);
    return true;
}

/* Take the scale that fits best to given codes: weighted least squares. */
static bool refit(search *s, const uint8_t *codes)
{
    double w = 0, wx = 0, wq = 0, wqq = 0, wqx = 0;
    for (int i = 0; i < PARE_BLOCK32; i++) {
        double q = codes[i] - s->half, wi = s->w[i], x = s->x[i];
        w += wi;
        wx += wi * x;
        wq += wi * q;
        wqq += wi * q * q;
        wqx += wi * q * x;
    }
    if (s->half != 0)
        return wqq > 0 && try_scale(s, wqx / wqq, 0);
    double determinant = w * wqq - wq * wq;
    if (!(determinant > 0))
        return false;
    return try_scale(s, (w * wqx - wq * wx) / determinant, (wqq * wx - wq * wqx) / determinant);
}

/* Codes of trial scales, (x - base) * inverse rounded, each refitted; then refits of the best until nothing improves.
 */
static void search_trial(search *s, double base, double inverse)
{
    uint8_t codes[PARE_BLOCK32];
    for (int i = 0; i < PARE_BLOCK32; i++) {
        double steps = (s->x[i] - base) * inverse + s->half;
        codes[i] = (uint8_t)(steps <= 0 ? 0 : steps >= s->max_code ? s->max_code : steps + 0.5);
    }
    refit(s, codes);
}

static void search_finish(search *s, pare_block32 *out)
{
    for (int round = 0; round < 8 && refit(s, s->codes); round++)
        continue;
    out->d = s->d;
    out->m = s->m;
    memcpy(out->codes, s->codes, sizeof out->codes);
}

void pare_block32_symmetric(pare_block32 *out, const float *x, const float *scaled, int half)
{
    plain_symmetric(out, x, half);
    float d = pare_f16_to_f32(out->d);
    if (scaled == NULL || d == 0 || !isfinite(d))
        return;
    search s = {.x = x, .w = scaled, .max_code = 2 * half - 1, .half = half, .error = HUGE_VAL};
    try_scale(&s, d, 0);
    for (int step = -8; step <= 16; step++) { /* the peak on level half - 2 .. half + 4, on either side */
        double inverse = (1 + step * 0.25 / half) / d;
        search_trial(&s, 0, inverse);
        search_trial(&s, 0, -inverse);
    }
    search_finish(&s, out);
}

void pare_block32_affine(pare_block32 *out, const float *x, const float *scaled, int max_code)
{
    plain_affine(out, x, max_code);
    float d = pare_f16_to_f32(out->d), m = pare_f16_to_f32(out->m);
    if (scaled == NULL || d == 0 || !isfinite(d) || !isfinite(m))
        return;
    search s = {.x = x, .w = scaled, .max_code = max_code, .error = HUGE_VAL};
    try_scale(&s, d, m);
    for (int step = -18; step <= 36; step++) /* the range spread over max_code - 0.9 .. max_code + 1.8 steps */
        search_trial(&s, m, (1 + step * 0.05 / max_code) / d);
    search_finish(&s, out);
}

/* Importances relative to their mean, with the floor. */
static double mean_weight(const float *weight, size_t row_len)
{
    double sum = 0;
    for (size_t i = 0; i < row_len; i++)
        sum += weight[i];
    return sum / (double)row_len;
}

void pare_block32_encode(const pare_block32_format *format, const float *src, size_t row_len, const float *weight,
                         void *dst)
{
    double mean = weight != NULL ? mean_weight(weight, row_len) : 0;
    float scaled[PARE_BLOCK32];
    uint8_t *out = dst;
    for (size_t i = 0; i < row_len; i += PARE_BLOCK32, out += format->block_bytes) {
        pare_block32 block;
        for (size_t k = 0; mean > 0 && k < PARE_BLOCK32; k++)
            scaled[k] = (float)(weight[i + k] / mean + weight_floor);
        format->block(&block, src + i, mean > 0 ? scaled : NULL, format->range);
        format->pack(&block, out);
    }
}

void pare_block32_pack_low(const pare_block32 *block, uint8_t *qs)
{
    for (int j = 0; j < PARE_BLOCK32 / 2; j++)
        qs[j] = (uint8_t)((block->codes[j] & 15) | (block->codes[j + 16] & 15) << 4);
}

uint32_t pare_block32_high(const pare_block32 *block)
{
    uint32_t high = 0;
    for (int j = 0; j < PARE_BLOCK32; j++)
        high |= (uint32_t)(block->codes[j] >> 4 & 1) << j;
    return high;
}
