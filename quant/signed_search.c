/* quant/signed_search.c - super-blocks whose sub-blocks have a scale of either sign: Q3_K, Q6_K */
#include "quant/super_lanes.h"

enum { POLISH = 1 /* moves of the best scale */ };

/* Scales of sub-blocks, the error with some codes (the nearest ones can only lower it), and what a change of a scale
 * costs with these: stiffness * change^2. */
typedef struct scales {
    pare_vec scale, error, stiffness;
} scales;

static const pare_vec zero = {0};

static pare_vec peaks_of(const pare_super_shape *shape, const pare_super_part *part)
{
    pare_vec low, high;
    pare_super_range(shape, part, &low, &high);
    return pare_vec_pick(high > -low, high, low);
}

/* To the least squares scales with the codes that the given scales have. */
static scales move_scale(const pare_super_shape *shape, const pare_super_part *part, pare_vec scale)
{
    pare_super_moments m = pare_super_measure(shape, part, zero, scale);
    scale = m.qx * pare_vec_inverse(m.qq);
    return (scales){scale, part->wxx - scale * m.qx, m.qq};
}

static scales better_scale(scales a, scales b)
{
    pare_mask first = a.error < b.error;
    return (scales){pare_vec_pick(first, a.scale, b.scale), pare_vec_pick(first, a.error, b.error),
                    pare_vec_pick(first, a.stiffness, b.stiffness)};
}

/* The best scales of sub-blocks by themselves. */
static scales fit_part(const pare_super_shape *shape, const pare_super_reach *reach, const pare_super_part *part)
{
    pare_vec peak = peaks_of(shape, part);
    scales best = {zero, part->wxx, zero};
    for (int k = 0; k < reach->n_starts; k++) {
        scales at = {peak * (1 / shape->peak_codes[k]), zero, zero};
        for (int i = 0; i < reach->n_moves; i++)
            at = move_scale(shape, part, at.scale);
        best = better_scale(at, best);
    }
    for (int i = 0; i < POLISH; i++)
        best = better_scale(move_scale(shape, part, best.scale), best);
    return best;
}

/* The integers nearest to the ideal scales. */
static pare_super_trial trial_of(const pare_super_shape *shape, const pare_vec *ideal, float d)
{
    pare_super_trial t = {.d = d};
    pare_vec low = pare_vec_all((float)shape->scale_low), high = pare_vec_all((float)shape->scale_high);
    pare_vec inverse = pare_vec_inverse(pare_vec_all(d));
    for (int p = 0; p < PARE_PARTS; p++)
        t.scale[p] = pare_vec_nearest(pare_vec_clamp(ideal[p] * inverse, low, high));
    return t;
}

/* Under t's d: every sub-block's best scale near the one it has. */
static void settle(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_trial *t)
{
    const pare_super_shape *shape = lanes->shape;
    pare_vec low = pare_vec_all((float)shape->scale_low), high = pare_vec_all((float)shape->scale_high);
    pare_vec error[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++) {
        const pare_super_part *part = &lanes->part[p];
        pare_vec middle = t->scale[p], best = middle, least = pare_super_error(shape, part, zero, middle * t->d);
        for (int c = 1; c <= 2 * reach->scales; c++) {
            pare_vec scale = middle + (float)(c % 2 == 0 ? -c / 2 : (c + 1) / 2);
            scale = pare_vec_clamp(scale, low, high);
            pare_vec e = pare_super_error(shape, part, zero, scale * t->d);
            pare_mask better = e < least;
            least = pare_vec_pick(better, e, least);
            best = pare_vec_pick(better, scale, best);
        }
        t->scale[p] = best;
        error[p] = least;
    }
    t->error = pare_vec_sum(error);
}

/* d by least squares over the whole super-block, with its integers and codes. */
static void refit(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_trial *t)
{
    (void)reach;
    pare_vec aa[PARE_PARTS], ax[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++) {
        pare_super_moments m = pare_super_measure(lanes->shape, &lanes->part[p], zero, t->scale[p] * t->d);
        aa[p] = t->scale[p] * t->scale[p] * m.qq;
        ax[p] = t->scale[p] * m.qx;
    }
    float sum_aa = pare_vec_sum(aa), sum_ax = pare_vec_sum(ax);
    if (sum_aa > 0)
        t->d = pare_super_half(sum_ax / sum_aa);
}

static float peak_of(const pare_vec *v)
{
    float lane[16];
    memcpy(lane, v, sizeof lane);
    return pare_peak(lane, 16);
}

/* Scales that give the weight of largest magnitude the lowest code, the largest scale at the lowest integer. */
static pare_super_trial round_plainly(const pare_super_lanes *lanes)
{
    const pare_super_shape *shape = lanes->shape;
    pare_vec scale[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++)
        scale[p] = peaks_of(shape, &lanes->part[p]) / (float)shape->code_low;
    return trial_of(shape, scale, pare_super_half(peak_of(scale) / (float)shape->scale_low));
}

pare_super_trial pare_signed_search(const pare_super_lanes *lanes, pare_effort effort)
{
    if (effort == PARE_EFFORT_RTN)
        return round_plainly(lanes);
    const pare_super_shape *shape = lanes->shape;
    const pare_super_reach *reach = &shape->reach[effort];
    pare_vec scale[PARE_PARTS], stiffness[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++) {
        scales best = fit_part(shape, reach, &lanes->part[p]);
        scale[p] = best.scale;
        stiffness[p] = best.stiffness;
    }
    float d[PARE_SUPER_MAX_FIRST];
    pare_super_units(shape, scale, stiffness, peak_of(scale), reach->n_first, d);
    pare_super_trial first[PARE_SUPER_MAX_FIRST], best = PARE_SUPER_NONE;
    for (int i = 0; i < reach->n_first; i++)
        first[i] = trial_of(shape, scale, d[i]);
    pare_super_follow(lanes, reach, settle, refit, first, reach->n_first, &best);
    return best;
}
