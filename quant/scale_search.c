#include "quant/scale_search.h"

#include "core/half.h"
#include "quant/lanes.h"

#include <math.h>
#include <string.h>

enum {
    REACH = 3,     /* how far from its present scale a sub-block looks for a better one */
    MAX_ROUNDS = 6 /* of refitting d and dmin; each must lower the error */
};

typedef struct sub_block {
    const float *x, *w; /* [sub_len] */
    float w_sum;
} sub_block;

/* A sub-block's map from codes to weights: scale * code - offset. */
typedef struct line {
    float scale, offset;
} line;

/* Weighted sums over a sub-block, with q the code and r = x + offset - scale * q what it leaves. */
typedef struct sums {
    float rr, rq, r, qq, q;
} sums;

/* A super-block under d and dmin: its error, and the equations for a better d and dmin with the same codes,
 *     aa * dd - ab * dm = ar,   ab * dd - bb * dm = br,   for the changes dd and dm. */
typedef struct trial {
    uint16_t d, dmin;
    int16_t scale[PARE_MAX_SUBS], min[PARE_MAX_SUBS];
    float error, aa, ab, bb, ar, br;
} trial;

/* Inside low..high; low for a NaN. */
static inline float clamp(float v, float low, float high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

/* To the nearest integer, ties to even, for |v| < 2^22: the sum has no bits left for a fraction. */
static inline float nearest(float v)
{
    return (v + 12582912.0f) - 12582912.0f;
}

static inline float inverse(float v)
{
    return v != 0 ? 1 / v : 0;
}

static sums measure(const pare_super_shape *shape, const sub_block *s, line at)
{
    float rr[PARE_LANES] = {0}, rq[PARE_LANES] = {0}, r1[PARE_LANES] = {0}, qq[PARE_LANES] = {0}, q1[PARE_LANES] = {0};
    float inv = inverse(at.scale), low = (float)shape->code_low, high = (float)shape->code_high;
    for (int l = 0; l < shape->sub_len; l += PARE_LANES) {
        for (int k = 0; k < PARE_LANES; k++) {
            float v = s->x[l + k] + at.offset, w = s->w[l + k];
            float q = nearest(clamp(v * inv, low, high)), r = v - at.scale * q, wr = w * r, wq = w * q;
            rr[k] += wr * r;
            rq[k] += wr * q;
            r1[k] += wr;
            qq[k] += wq * q;
            q1[k] += wq;
        }
    }
    return (sums){pare_add_lanes(rr), pare_add_lanes(rq), pare_add_lanes(r1), pare_add_lanes(qq), pare_add_lanes(q1)};
}

/* The error alone. */
static float error_at(const pare_super_shape *shape, const sub_block *s, line at)
{
    float rr[PARE_LANES] = {0};
    float inv = inverse(at.scale), low = (float)shape->code_low, high = (float)shape->code_high;
    for (int l = 0; l < shape->sub_len; l += PARE_LANES) {
        for (int k = 0; k < PARE_LANES; k++) {
            float v = s->x[l + k] + at.offset;
            float q = nearest(clamp(v * inv, low, high)), r = v - at.scale * q;
            rr[k] += s->w[l + k] * r * r;
        }
    }
    return pare_add_lanes(rr);
}

/* Round to codes at *at, then move *at to the least squares line through these codes, its offset not below zero.
 * Returns the error of the moved line with these codes: rounding again can only lower it. */
static float move_line(const pare_super_shape *shape, const sub_block *s, line *at)
{
    sums m = measure(shape, s, *at);
    float det = m.qq * s->w_sum - m.q * m.q, da = 0, db = 0;
    bool both = shape->has_min && det > 0;
    if (both) {
        da = (m.rq * s->w_sum - m.q * m.r) / det;
        db = (m.q * m.rq - m.qq * m.r) / det;
    }
    if (!both || at->offset + db < 0) {
        db = -at->offset;
        da = m.qq > 0 ? (m.rq + m.q * db) / m.qq : 0;
    }
    if (shape->has_min && !(at->scale + da > 0))
        return m.rr;
    at->scale += da;
    at->offset += db;
    return m.rr + da * (da * m.qq - 2 * m.rq) + db * (db * s->w_sum + 2 * m.r) - 2 * da * db * m.q;
}

/* The line that gives the extreme weight (side 0: the one of largest magnitude, at the end of larger codes; side 1: at
 * the other end) the code at that end, moved outwards by t. */
static line start_line(const pare_super_shape *shape, float low, float high, int side, float t)
{
    if (shape->has_min)
        return (line){(high - low) / ((float)shape->code_high + t), -low};
    float peak = high > -low ? high : low;
    return (line){peak / (side == 0 ? (float)shape->code_low - t : (float)shape->code_high + t), 0};
}

static line fit_line(const pare_super_shape *shape, const sub_block *s)
{
    float low = shape->has_min && !(s->x[0] < 0) ? 0 : s->x[0], high = s->x[0];
    for (int l = 1; l < shape->sub_len; l++) {
        low = s->x[l] < low ? s->x[l] : low;
        high = s->x[l] > high ? s->x[l] : high;
    }
    line best = {0, shape->has_min ? -low : 0};
    if (low == high && (shape->has_min || high == 0))
        return best;
    float least = error_at(shape, s, best),
          step = (shape->start_high - shape->start_low) / (float)(shape->n_starts - 1);
    for (int k = 0; k < shape->n_starts; k++) {
        for (int side = 0; side < (shape->has_min ? 1 : 2); side++) {
            line at = start_line(shape, low, high, side, shape->start_low + step * (float)k);
            float e = move_line(shape, s, &at);
            if (shape->has_min)
                e = move_line(shape, s, &at);
            if (e < least) {
                least = e;
                best = at;
            }
        }
    }
    move_line(shape, s, &best);
    return best;
}

static line line_of(const trial *t, int j)
{
    return (line){pare_f16_to_f32(t->d) * (float)t->scale[j], pare_f16_to_f32(t->dmin) * (float)t->min[j]};
}

/* Under fixed d and dmin: the scale within REACH, with the min that is kept or the best one for the codes that follow.
 */
static void choose_integers(const pare_super_shape *shape, const sub_block *s, trial *t, int j)
{
    float d = pare_f16_to_f32(t->d), dmin = pare_f16_to_f32(t->dmin), inv_dmin = inverse(dmin);
    int scale = t->scale[j], min = t->min[j];
    float least = error_at(shape, s, line_of(t, j)), offset = dmin * (float)min;
    for (int c = scale - REACH; c <= scale + REACH; c++) {
        if (c < shape->scale_low || c > shape->scale_high)
            continue;
        if (!shape->has_min) {
            float e = error_at(shape, s, (line){d * (float)c, 0});
            if (e < least) {
                least = e;
                t->scale[j] = (int16_t)c;
            }
            continue;
        }
        sums m = measure(shape, s, (line){d * (float)c, offset});
        if (m.rr < least) {
            least = m.rr;
            t->scale[j] = (int16_t)c;
            t->min[j] = (int16_t)min;
        }
        int next = (int)nearest(clamp((offset - m.r / s->w_sum) * inv_dmin, 0, (float)shape->scale_high));
        if (next == min)
            continue;
        float e = error_at(shape, s, (line){d * (float)c, dmin * (float)next});
        if (e < least) {
            least = e;
            t->scale[j] = (int16_t)c;
            t->min[j] = (int16_t)next;
        }
    }
}

/* Choose every sub-block's integers under t's d and dmin, and sum up. */
static void settle(const pare_super_shape *shape, const sub_block *subs, trial *t)
{
    t->error = t->aa = t->ab = t->bb = t->ar = t->br = 0;
    for (int j = 0; j < shape->n_sub; j++) {
        choose_integers(shape, &subs[j], t, j);
        sums m = measure(shape, &subs[j], line_of(t, j));
        float a = (float)t->scale[j], b = (float)t->min[j];
        t->error += m.rr;
        t->aa += a * a * m.qq;
        t->ab += a * b * m.q;
        t->bb += b * b * subs[j].w_sum;
        t->ar += a * m.rq;
        t->br += b * m.r;
    }
}

/* d and dmin by least squares over the whole super-block, with its integers and codes. */
static void refit_halves(trial *t)
{
    float det = t->aa * t->bb - t->ab * t->ab, dd = 0, dm = 0;
    if (det > 0) {
        dd = (t->ar * t->bb - t->ab * t->br) / det;
        dm = (t->ab * t->ar - t->aa * t->br) / det;
    }
    float d = pare_f16_to_f32(t->d), dmin = pare_f16_to_f32(t->dmin);
    if (!(det > 0) || dmin + dm < 0) {
        dm = 0;
        dd = t->aa > 0 ? t->ar / t->aa : 0;
    }
    t->d = pare_f32_to_f16(d + dd);
    t->dmin = pare_f32_to_f16(dmin + dm);
}

/* The half of v, not zero unless v is. */
static uint16_t half_of(float v)
{
    uint16_t h = pare_f32_to_f16(v);
    return (h & 0x7fff) == 0 && v != 0 ? h | 1 : h;
}

/* Scales from each sub-block's own best line, the largest at the end of its range. */
static trial first_trial(const pare_super_shape *shape, const sub_block *subs)
{
    line best[PARE_MAX_SUBS];
    trial t = {0};
    float scale = 0, offset = 0;
    for (int j = 0; j < shape->n_sub; j++) {
        best[j] = fit_line(shape, &subs[j]);
        scale = fabsf(best[j].scale) > fabsf(scale) ? best[j].scale : scale;
        offset = best[j].offset > offset ? best[j].offset : offset;
    }
    t.d = half_of(scale / (float)(shape->has_min ? shape->scale_high : shape->scale_low));
    t.dmin = half_of(offset / (float)shape->scale_high);
    float inv_d = inverse(pare_f16_to_f32(t.d)), inv_dmin = inverse(pare_f16_to_f32(t.dmin));
    for (int j = 0; j < shape->n_sub; j++) {
        float c = best[j].scale * inv_d, m = best[j].offset * inv_dmin;
        t.scale[j] = (int16_t)nearest(clamp(c, (float)shape->scale_low, (float)shape->scale_high));
        t.min[j] = (int16_t)nearest(clamp(m, 0, (float)shape->scale_high));
    }
    return t;
}

static void search(const pare_super_shape *shape, const float *x, const float *w, pare_super_fit *fit)
{
    sub_block subs[PARE_MAX_SUBS];
    for (int j = 0; j < shape->n_sub; j++) {
        subs[j] = (sub_block){x + j * shape->sub_len, w + j * shape->sub_len, 0};
        for (int l = 0; l < shape->sub_len; l++)
            subs[j].w_sum += subs[j].w[l];
    }
    trial best = first_trial(shape, subs);
    settle(shape, subs, &best);
    for (int round = 0; round < MAX_ROUNDS; round++) {
        trial next = best;
        refit_halves(&next);
        settle(shape, subs, &next);
        if (!(next.error < best.error))
            break;
        best = next;
    }
    fit->d = best.d;
    fit->dmin = best.dmin;
    memcpy(fit->scale, best.scale, sizeof fit->scale);
    memcpy(fit->min, best.min, sizeof fit->min);
    for (int j = 0; j < shape->n_sub; j++) {
        line at = line_of(&best, j);
        float inv = inverse(at.scale);
        for (int l = j * shape->sub_len; l < (j + 1) * shape->sub_len; l++) {
            float q = nearest(clamp((x[l] + at.offset) * inv, (float)shape->code_low, (float)shape->code_high));
            fit->code[l] = (int8_t)q;
        }
    }
}

void pare_super_encode(const pare_super_shape *shape, const float *src, size_t row_len, const float *weight,
                       pare_effort effort, void *dst)
{
    (void)effort;
    float w[PARE_SUPER_LEN], limit = 65504.0f * (float)(shape->code_high * shape->scale_high);
    uint8_t *block = dst;
    for (size_t at = 0; at < row_len; at += PARE_SUPER_LEN, block += shape->block_bytes) {
        const float *x = src + at;
        pare_super_fit fit = {0};
        float peak = 0;
        for (int l = 0; l < PARE_SUPER_LEN; l++)
            peak = fabsf(x[l]) > peak ? fabsf(x[l]) : peak;
        if (peak > limit) {
            fit.d = 0x7c00;
        } else if (peak > 0) {
            pare_take_weights(weight, at, PARE_SUPER_LEN, w);
            search(shape, x, w, &fit);
        }
        shape->pack(&fit, block);
    }
}
