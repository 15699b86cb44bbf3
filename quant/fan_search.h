/* quant/fan_search.h - the scale of blocks whose weights are d * level, for d stored as binary16
 *
 * A fan of scales is tried, each of which puts the block's value of largest magnitude on a given level; the one whose
 * least squares refit leaves the least weighted error goes on: it is rounded to binary16, codes are taken anew, and it
 * is refitted to these, as often as asked. Method and measurements: docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_FAN_SEARCH_H
#define PARE_QUANT_FAN_SEARCH_H

#include "quant/half_scale.h"
#include "quant/lattice.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum { PARE_FAN_LEN = 32, PARE_MAX_FAN = 512 };

/* As many blocks as a vector has lanes: weight i of block l is lane l of x[i]; w: the weights of the errors. */
typedef struct pare_fan_blocks {
    bool has_weights;
    pare_vec x[PARE_FAN_LEN];
    pare_vec w[PARE_FAN_LEN]; /* not written and not read without weights: they count as 1 */
} pare_fan_blocks;

/* What a fan tries: the peak, with its sign, on each of these levels, none of them 0. */
typedef struct pare_fan {
    float low, high;        /* the outermost levels of the type */
    int n_levels, n_polish; /* n_polish: rounds of refitting the rounded scale, at least 1 */
    float level[PARE_MAX_FAN];
} pare_fan;

/* The level of a type nearest to v, low and high its outermost ones (of constant bounds gcc would make two instructions
 * instead of one). Handed on by constant pointers, so it is inlined where it is used. */
typedef pare_vec (*pare_level_fn)(pare_vec v, pare_vec low, pare_vec high);

PARE_INLINE pare_vec pare_level_whole(pare_vec v, pare_vec low, pare_vec high)
{
    return pare_vec_nearest(pare_vec_min(pare_vec_max(v, low), high));
}

/* The best of the trial scales, not rounded. */
typedef struct pare_fan_best {
    pare_vec peak, inverse; /* inverse: 1 / peak, 0 for blocks of nothing */
    pare_vec vv;            /* sum w (x / peak)^2 */
    pare_vec error, scale;  /* in units of peak^2 and of peak */
    pare_vec qq;            /* sum w level^2: what a change of the scale costs */
} pare_fan_best;

/* Magnitudes below this cannot make a binary16 scale other than the smallest, and their reciprocals may overflow. */
#define PARE_FAN_TINY 0x1p-40f

/* What rounding leaves of a block that lies on its levels, as a share of its squares: counts as nothing, so that of all
 * scales that fit such a block the first one is taken. */
#define PARE_FAN_EXACT 0x1p-42f

/* An empty fan. */
void pare_fan_init(pare_fan *fan, float low, float high, int n_polish);

/* Adds the levels first, first + step, ... up to last, and with both_sides their negatives. */
void pare_fan_add(pare_fan *fan, float first, float step, float last, bool both_sides);

/* Take n blocks of PARE_FAN_LEN weights from src on, 1 <= n <= PARE_VEC_LANES; other lanes repeat the last. weight: of
 * src[0] on, or NULL. */
PARE_INLINE void pare_fan_load(pare_fan_blocks *b, const float *src, const float *weight, size_t n)
{
    b->has_weights = weight != NULL;
    for (size_t l = 0; l < PARE_VEC_LANES; l++) {
        size_t first = (l < n ? l : n - 1) * PARE_FAN_LEN;
        for (size_t i = 0; i < PARE_FAN_LEN; i++)
            b->x[i][l] = src[first + i];
        for (size_t i = 0; weight != NULL && i < PARE_FAN_LEN; i++)
            b->w[i][l] = weight[first + i];
    }
}

PARE_INLINE void pare_fan_start(const pare_fan_blocks *b, bool weighted, pare_fan_best *best)
{
    pare_vec peak = pare_vec_all(0), vv = peak;
    for (int i = 0; i < PARE_FAN_LEN; i++)
        peak = pare_vec_pick(pare_vec_abs(b->x[i]) > pare_vec_abs(peak), b->x[i], peak);
    pare_vec inverse = pare_vec_inverse(pare_vec_where(pare_vec_abs(peak) > PARE_FAN_TINY, peak));
    for (int i = 0; i < PARE_FAN_LEN; i++) {
        pare_vec v = b->x[i] * inverse;
        vv += (weighted ? b->w[i] * v : v) * v;
    }
    *best = (pare_fan_best){peak, inverse, vv, pare_vec_all(HUGE_VALF), pare_vec_all(0), pare_vec_all(0)};
}

/* With t the level of the peak, v = t x / peak, q the level nearest to it and r = v - q, the refitted scale is
 * (1 + rq / qq) peak / t and leaves rr - rq^2 / qq; sums of residuals lose no digits, and qq follows from vv. */
PARE_INLINE void pare_fan_try(const pare_fan_blocks *b, bool weighted, pare_level_fn nearest, const pare_fan *fan,
                              pare_vec t, pare_fan_best *best)
{
    pare_vec low = pare_vec_all(fan->low), high = pare_vec_all(fan->high);
    pare_vec rr = pare_vec_all(0), rq = rr, step = 1 / t, inverse = best->inverse * t;
    for (int i = 0; i < PARE_FAN_LEN; i++) {
        pare_vec v = b->x[i] * inverse, q = nearest(v, low, high), r = v - q, wr = weighted ? b->w[i] * r : r;
        rr += wr * r;
        rq += wr * q;
    }
    pare_vec qq = pare_vec_max(best->vv * t * t - 2 * rq - rr, pare_vec_all(0));
    pare_vec ratio = rq * pare_vec_inverse(qq);
    pare_vec left = pare_vec_max(rr - rq * ratio - PARE_FAN_EXACT * qq, pare_vec_all(0));
    pare_vec error = left * (step * step), scale = (1 + ratio) * step;
    pare_mask better = error < best->error;
    best->scale = pare_vec_pick(better, scale, best->scale);
    best->qq = pare_vec_pick(better, qq, best->qq);
    best->error = pare_vec_pick(better, error, best->error);
}

/* The scale of least error after rounding; 0 for blocks that are best made zero, infinite for those that no scale can
 * hold. */
PARE_INLINE pare_vec pare_fan_finish(const pare_fan_blocks *b, bool weighted, pare_level_fn nearest,
                                     const pare_fan *fan, const pare_fan_best *best)
{
    pare_vec low = pare_vec_all(fan->low), high = pare_vec_all(fan->high);
    pare_vec found = pare_vec_all(0), least = best->vv * best->peak * best->peak, scale = best->scale * best->peak;
    for (int round = 0; round < fan->n_polish; round++) {
        pare_vec d = pare_vec_half_nonzero(scale), inverse = pare_vec_inverse(d);
        pare_vec error = pare_vec_all(0), lx = error, ll = error;
        for (int i = 0; i < PARE_FAN_LEN; i++) {
            pare_vec x = b->x[i], q = nearest(x * inverse, low, high), r = x - d * q, wq = weighted ? b->w[i] * q : q;
            error += (weighted ? b->w[i] * r : r) * r;
            lx += wq * x;
            ll += wq * q;
        }
        pare_mask better = error < least;
        found = pare_vec_pick(better, d, found);
        least = pare_vec_pick(better, error, least);
        scale = lx * pare_vec_inverse(ll);
    }
    float limit = PARE_F16_MAX * (fan->high > -fan->low ? fan->high : -fan->low);
    return pare_vec_pick(pare_vec_abs(best->peak) > limit, pare_vec_all(HUGE_VALF), found);
}

/* The whole search. */
PARE_INLINE pare_vec pare_fan_search(const pare_fan_blocks *b, bool weighted, pare_level_fn nearest,
                                     const pare_fan *fan)
{
    pare_fan_best best;
    pare_fan_start(b, weighted, &best);
    for (int k = 0; k < fan->n_levels; k++)
        pare_fan_try(b, weighted, nearest, fan, pare_vec_all(fan->level[k]), &best);
    return pare_fan_finish(b, weighted, nearest, fan, &best);
}

#endif
