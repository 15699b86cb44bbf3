#include "quant/block32.h"

#include "core/half.h"
#include "quant/lanes.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

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

/* The weighted search: a state holds the best scale so far, with the smallest sum of w (d * code + m - x)^2 for d and m
 * as they are stored. Every sum runs over LANES partial sums in a fixed order: vector code, and the same bytes on any
 * machine. */
enum { LANES = 8 };

typedef struct search {
    const float *x, *w;
    float max_code;
    float half; /* 0: affine; else m = -half * d */
    double sum_w, sum_wx;
    float error;
    uint16_t d, m;
    float codes[PARE_BLOCK32];
} search;

static double add_lanes(const float *lanes)
{
    double sum = 0;
    for (int l = 0; l < LANES; l++)
        sum += (double)lanes[l];
    return sum;
}

/* codes[i] = (x[i] - base) * inverse to the nearest code. */
static void nearest_codes(const search *s, float base, float inverse, float *codes)
{
    for (int i = 0; i < PARE_BLOCK32; i++) {
        float steps = (s->x[i] - base) * inverse;
        steps = steps > 0 ? steps : 0;
        steps = steps < s->max_code ? steps : s->max_code;
        codes[i] = (float)(int)(steps + 0.5f);
    }
}

/* Take the scale if its nearest codes have a smaller error. False when they have not. */
static bool try_scale(search *s, double d, double m)
{
    uint16_t d_bits = pare_f32_to_f16((float)d), m_bits = s->half > 0 ? 0 : pare_f32_to_f16((float)m);
    float scale = pare_f16_to_f32(d_bits), base = s->half > 0 ? -s->half * scale : pare_f16_to_f32(m_bits);
    float codes[PARE_BLOCK32], lanes[LANES] = {0};
    if (!isfinite(scale) || !isfinite(base))
        return false;
    nearest_codes(s, base, reciprocal(scale), codes);
    for (int i = 0; i < PARE_BLOCK32; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float miss = scale * codes[i + l] + base - s->x[i + l];
            lanes[l] += s->w[i + l] * miss * miss;
        }
    float error = (float)add_lanes(lanes);
    if (!(error < s->error))
        return false;
    s->error = error;
    s->d = d_bits;
    s->m = m_bits;
    memcpy(s->codes, codes, sizeof codes);
    return true;
}

/* Take the scale that fits best to given codes: weighted least squares. */
static bool refit(search *s, const float *codes)
{
    float lanes_q[LANES] = {0}, lanes_qq[LANES] = {0}, lanes_qx[LANES] = {0};
    for (int i = 0; i < PARE_BLOCK32; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float q = codes[i + l] - s->half, wq = s->w[i + l] * q;
            lanes_q[l] += wq;
            lanes_qq[l] += wq * q;
            lanes_qx[l] += wq * s->x[i + l];
        }
    double q = add_lanes(lanes_q), qq = add_lanes(lanes_qq), qx = add_lanes(lanes_qx);
    if (s->half > 0)
        return qq > 0 && try_scale(s, qx / qq, 0);
    double determinant = s->sum_w * qq - q * q;
    if (!(determinant > 0))
        return false;
    return try_scale(s, (s->sum_w * qx - q * s->sum_wx) / determinant, (qq * s->sum_wx - q * qx) / determinant);
}

static void search_start(search *s)
{
    float lanes_w[LANES] = {0}, lanes_wx[LANES] = {0};
    for (int i = 0; i < PARE_BLOCK32; i += LANES)
        for (int l = 0; l < LANES; l++) {
            lanes_w[l] += s->w[i + l];
            lanes_wx[l] += s->w[i + l] * s->x[i + l];
        }
    s->sum_w = add_lanes(lanes_w);
    s->sum_wx = add_lanes(lanes_wx);
    s->error = HUGE_VALF;
}

/* Refit to the codes of a trial scale. */
static void search_trial(search *s, float base, float inverse)
{
    float codes[PARE_BLOCK32];
    nearest_codes(s, base, inverse, codes);
    refit(s, codes);
}

/* Refit the best until nothing improves. */
static void search_finish(search *s, pare_block32 *out)
{
    for (int round = 0; round < 8 && refit(s, s->codes); round++)
        continue;
    out->d = s->d;
    out->m = s->m;
    for (int i = 0; i < PARE_BLOCK32; i++)
        out->codes[i] = (uint8_t)s->codes[i];
}

void pare_block32_symmetric(pare_block32 *out, const float *x, const float *scaled, int half)
{
    plain_symmetric(out, x, half);
    float d = pare_f16_to_f32(out->d);
    if (scaled == NULL || d == 0 || !isfinite(d))
        return;
    search s = {.x = x, .w = scaled, .max_code = (float)(2 * half - 1), .half = (float)half};
    search_start(&s);
    try_scale(&s, d, 0);
    for (int step = -8; step <= 16; step++) { /* the peak on level half - 2 .. half + 4, on either side */
        float trial = d / (1 + (float)step * 0.25f / (float)half);
        search_trial(&s, -(float)half * trial, 1 / trial);
        search_trial(&s, (float)half * trial, -1 / trial);
    }
    search_finish(&s, out);
}

void pare_block32_affine(pare_block32 *out, const float *x, const float *scaled, int max_code)
{
    plain_affine(out, x, max_code);
    float d = pare_f16_to_f32(out->d), m = pare_f16_to_f32(out->m);
    if (scaled == NULL || d == 0 || !isfinite(d) || !isfinite(m))
        return;
    search s = {.x = x, .w = scaled, .max_code = (float)max_code};
    search_start(&s);
    try_scale(&s, d, m);
    for (int step = -18; step <= 36; step++) /* the range spread over max_code - 0.9 .. max_code + 1.8 steps */
        search_trial(&s, m, (1 + (float)step * 0.05f / (float)max_code) / d);
    search_finish(&s, out);
}

void pare_block32_encode(const pare_block32_format *format, const float *src, size_t row_len, const float *weight,
                         pare_effort effort, void *dst)
{
    float w[PARE_BLOCK32];
    uint8_t *out = dst;
    for (size_t i = 0; i < row_len; i += PARE_BLOCK32, out += format->block_bytes) {
        pare_block32 block;
        pare_take_weights(weight, i, PARE_BLOCK32, w);
        format->block(&block, src + i, effort == PARE_EFFORT_RTN ? NULL : w, format->range);
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
