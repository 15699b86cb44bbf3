#include "quant/group_fit.h"
#include "quant/half_scale.h"
#include "quant/lattice.h"
#include "quant/vec.h"

#include <math.h>

enum { STEP = 16, MAX_ROUNDS = 3 };

#define TINY 0x1p-40f /* weights up to this are nearest to 0 under the smallest binary16 */

/* Of the trials of a group with a free zero point: codes by which the outermost weights may lie beyond the codes' ends,
 * all pairs of them. */
static const float ends[] = {-0.5f, 0.0f, 0.5f, 1.0f, 1.5f, 2.0f};
enum { N_ENDS = sizeof ends / sizeof *ends, N_LEVELS = 24 };

/* With v = x / d, k the nearest integer to v within the bounds, r = v - k. */
typedef struct sums {
    float rr, rk, kk;
} sums;

/* 16 weights from x + i on; zeros, which are on every lattice, behind the last. */
PARE_INLINE void take(const float *x, size_t n, size_t i, pare_vec v[PARE_PARTS])
{
    float tail[STEP] = {0};
    if (n - i < STEP) {
        memcpy(tail, x + i, (n - i) * sizeof *tail);
        memcpy(v, tail, sizeof tail);
    } else
        memcpy(v, x + i, sizeof tail);
}

/* A group in hand. */
typedef struct fitted {
    const float *x, *weight; /* weight NULL: 1 */
    size_t n;
} fitted;

static sums measure(const fitted *f, float d, float low, float high)
{
    pare_vec rr[PARE_PARTS] = {0}, rk[PARE_PARTS] = {0}, kk[PARE_PARTS] = {0}, v[PARE_PARTS];
    pare_vec inverse = pare_vec_all(1 / d), least = pare_vec_all(low), most = pare_vec_all(high);
    pare_vec w[PARE_PARTS] = {0};
    for (int p = 0; p < PARE_PARTS; p++)
        w[p] = pare_vec_all(1);
    for (size_t i = 0; i < f->n; i += STEP) {
        take(f->x, f->n, i, v);
        if (f->weight != NULL)
            take(f->weight, f->n, i, w);
        for (int p = 0; p < PARE_PARTS; p++) {
            pare_vec at = v[p] * inverse, k = pare_vec_nearest(pare_vec_clamp(at, least, most)), r = at - k;
            rr[p] += w[p] * r * r;
            rk[p] += w[p] * r * k;
            kk[p] += w[p] * k * k;
        }
    }
    return (sums){pare_vec_sum(rr), pare_vec_sum(rk), pare_vec_sum(kk)};
}

/* A scale and zero point on trial. */
typedef struct trial {
    float d, error; /* error: after the least squares refit of d */
    int zero;
} trial;

static void try_one(const pare_group_shape *shape, const fitted *f, float d, int zero, trial *best)
{
    int top = (1 << shape->bits) - 1;
    if (!(d > 0))
        return;
    sums s = measure(f, d, (float)-zero, (float)(top - zero));
    float error = s.kk > 0 ? (s.rr - s.rk * s.rk / s.kk) * d * d : s.rr * d * d;
    if (error < best->error)
        *best = (trial){d, error, zero};
}

static int clamp_int(float v, int low, int high)
{
    return v <= (float)low ? low : v >= (float)high ? high : (int)pare_lattice_whole(v);
}

/* Zero points are free: the lowest weight on code -a, the highest on top + b. */
static void try_lines(const pare_group_shape *shape, const fitted *f, float low, float high, trial *best)
{
    float top = (float)((1 << shape->bits) - 1);
    for (int i = 0; i < N_ENDS; i++)
        for (int j = 0; j < N_ENDS; j++) {
            float d = (high - low) / (top + ends[i] + ends[j]);
            int zero = d > 0 ? clamp_int(-low / d - ends[i], shape->zero_low, shape->zero_high) : 0;
            try_one(shape, f, d, zero, best);
        }
}

/* There is one zero point: the largest weight on levels from a little less than the smaller end of the codes to some
 * more than the larger one. */
static void try_levels(const pare_group_shape *shape, const fitted *f, float peak, trial *best)
{
    int zero = shape->zero_low, other = (1 << shape->bits) - 1 - zero;
    float small = (float)(zero < other ? zero : other), large = (float)(zero < other ? other : zero);
    float first = 0.95f * small, last = large + 0.25f * large + 0.5f;
    for (int i = 0; i < N_LEVELS; i++)
        try_one(shape, f, peak / (first + (last - first) * (float)i / (N_LEVELS - 1)), zero, best);
}

/* The best trial's scale as a binary16 holds it, refitted to the codes that it gives. */
static float settle(const pare_group_shape *shape, const fitted *f, const trial *best)
{
    float low = (float)-best->zero, high = (float)((1 << shape->bits) - 1 - best->zero), kept = 0, least = INFINITY;
    float d = pare_f16_to_f32(pare_f32_to_f16_nonzero(best->d));
    for (int round = 0; round < MAX_ROUNDS && isfinite(d); round++) {
        sums s = measure(f, d, low, high);
        float error = s.rr * d * d, next = s.kk > 0 ? d * (1 + s.rk / s.kk) : d;
        if (!(error < least))
            break;
        least = error;
        kept = d;
        d = pare_f16_to_f32(pare_f32_to_f16_nonzero(next));
    }
    return kept;
}

static bool are_multiples(const float *x, size_t n, float step, float slack)
{
    pare_vec v[PARE_PARTS], inverse = pare_vec_all(1 / step);
    for (size_t i = 0; i < n; i += STEP) {
        take(x, n, i, v);
        for (int p = 0; p < PARE_PARTS; p++) {
            pare_vec at = v[p] * inverse;
            if (pare_mask_any(pare_vec_abs(at - pare_vec_nearest(at)) > slack * pare_vec_abs(at)))
                return false;
        }
    }
    return true;
}

/* A zero point for weights of low..high steps; false: there is none. The lowest that serves: rounding by the usual rule
 * gives code 0 to the lowest weight, so it is most often the one that the weights were made with. */
static bool place_zero(const pare_group_shape *shape, float low, float high, int *zero)
{
    float top = (float)((1 << shape->bits) - 1), least = fmaxf((float)shape->zero_low, -low);
    *zero = (int)least;
    return least <= fminf((float)shape->zero_high, top - high);
}

/* Steps that put the peak on level 1, 2, ...: the first, largest one of which all weights are multiples. Codes of more
 * than 4 bits leave so little between two levels that only exact products are told from others. */
static bool find_lattice(const pare_group_shape *shape, const float *x, size_t n, float low, float high, trial *found)
{
    int top = (1 << shape->bits) - 1;
    float peak = fmaxf(-low, high), slack = shape->bits > 4 ? 0x1p-20f : PARE_LATTICE_SLACK;
    for (int level = 1; level <= top; level++) {
        float step = peak / (float)level;
        if (!(step > 0) || !are_multiples(x, n < STEP ? n : STEP, step, slack) || !are_multiples(x, n, step, slack))
            continue;
        float d = pare_lattice_scale(x, n, step, pare_lattice_whole, (float)-top, (float)top);
        if (d > 0 && place_zero(shape, pare_lattice_whole(low / d), pare_lattice_whole(high / d), &found->zero)) {
            found->d = d;
            return true;
        }
    }
    return false;
}

/* The greatest common divisor; 0 of zeros. */
static int divisor(int a, int b)
{
    for (b = b < 0 ? -b : b; b != 0;) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static bool is_half(float d)
{
    return pare_f16_to_f32(pare_f32_to_f16(d)) == d && isfinite(d);
}

static float step_of(float x, float d, float least, float most)
{
    float v = x / d;
    return pare_lattice_whole(v > least ? v < most ? v : most : least);
}

/* Codes of the weights under d in -zero .. top - zero, in the one form that find_lattice would give them: the largest
 * step, the lowest zero point. */
static void finish(const pare_group_shape *shape, const float *x, size_t n, float d, int zero, pare_group *group,
                   uint8_t *codes)
{
    float least = (float)-zero, most = (float)((1 << shape->bits) - 1 - zero), low = 0, high = 0;
    int common = 0;
    for (size_t i = 0; i < n; i++) {
        float k = step_of(x[i], d, least, most);
        low = k < low ? k : low;
        high = k > high ? k : high;
        common = divisor(common, (int)k);
    }
    int step = common;
    while (step > 1 && (common % step != 0 || !is_half(d * (float)step)))
        step--;
    step = step > 0 ? step : 1;
    place_zero(shape, low / (float)step, high / (float)step, &zero);
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint8_t)((int)step_of(x[i], d, least, most) / step + zero);
    }
    *group = (pare_group){pare_f32_to_f16(d * (float)step), (uint8_t)zero};
}

/* The least and the greatest weight, or 0. */
static void find_ends(const float *x, size_t n, float *low, float *high)
{
    *low = *high = 0;
    for (size_t i = 0; i < n; i++) {
        *low = x[i] < *low ? x[i] : *low;
        *high = x[i] > *high ? x[i] : *high;
    }
}

bool pare_group_fit(const pare_group_shape *shape, const float *x, const float *weight, size_t n, pare_group *group,
                    uint8_t *codes)
{
    const fitted f = {x, weight, n};
    float low, high, d = 0x1p-14f;
    trial best = {.error = INFINITY};
    find_ends(x, n, &low, &high);
    place_zero(shape, 0, 0, &best.zero);
    if (low < -TINY || high > TINY) {
        if (find_lattice(shape, x, n, low, high, &best))
            d = best.d;
        else {
            if (shape->zero_low == shape->zero_high)
                try_levels(shape, &f, fmaxf(-low, high), &best);
            else
                try_lines(shape, &f, low, high, &best);
            d = settle(shape, &f, &best);
        }
    }
    if (!(d > 0))
        return false;
    finish(shape, x, n, d, best.zero, group, codes);
    return true;
}

bool pare_group_round(const pare_group_shape *shape, const float *x, size_t n, pare_group *group, uint8_t *codes)
{
    float low, high, top = (float)((1 << shape->bits) - 1);
    bool symmetric = shape->zero_low == shape->zero_high;
    find_ends(x, n, &low, &high);
    float d = symmetric ? fmaxf(-low, high) / (float)((1 << (shape->bits - 1)) - 1) : (high - low) / top;
    d = pare_f16_to_f32(pare_f32_to_f16_nonzero(fmaxf(d, TINY)));
    int zero = isfinite(d) ? clamp_int(-low / d, shape->zero_low, shape->zero_high) : 0;
    if (!isfinite(d))
        return false;
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)((int)step_of(x[i], d, (float)-zero, top - (float)zero) + zero);
    *group = (pare_group){pare_f32_to_f16(d), (uint8_t)zero};
    return true;
}
