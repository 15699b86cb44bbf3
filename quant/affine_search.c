/* quant/affine_search.c - super-blocks whose sub-blocks have a scale and a min: Q2_K, Q4_K, Q5_K */
#include "quant/super_lanes.h"

enum { POLISH = 2 /* moves of the best line */ };

/* weight = scale * code - offset; the error with some codes, which the nearest ones can only lower. */
typedef struct line {
    pare_vec scale, offset, error;
} line;

/* The best lines of the sub-blocks by themselves, their offsets of one sign. A change of scale costs
 * stiffness * change^2 when the offset follows by slope * change. */
typedef struct lines {
    pare_vec scale[PARE_PARTS], offset[PARE_PARTS], stiffness[PARE_PARTS], slope[PARE_PARTS];
    float sign, error;
} lines;

static const pare_vec zero = {0};

/* Of the given sign, or zero. */
static pare_vec signed_part(pare_vec v, float sign)
{
    return sign < 0 ? pare_vec_min(v, zero) : pare_vec_max(v, zero);
}

/* To the least squares line through the codes at `at`, its offset of the given sign. */
static line move_line(const pare_super_shape *shape, const pare_super_part *part, float sign, line at)
{
    pare_super_moments m = pare_super_measure(shape, part, -at.offset, at.scale);
    pare_vec det = m.qq * part->w1 - m.q * m.q;
    pare_vec scale = (m.qx * part->w1 - m.q * part->wx) * pare_vec_inverse(det);
    pare_vec offset = (m.q * scale - part->wx) * pare_vec_inverse(part->w1);
    pare_mask both = (det > 0) & (offset * sign >= 0);
    scale = pare_vec_pick(both, scale, m.qx * pare_vec_inverse(m.qq));
    offset = pare_vec_pick(both, offset, zero);
    pare_vec error = part->wxx - scale * m.qx + offset * part->wx;
    return (line){scale, offset, pare_vec_pick(scale > 0, error, pare_vec_all(HUGE_VALF))};
}

static line better_line(line a, line b)
{
    pare_mask first = a.error < b.error;
    return (line){pare_vec_pick(first, a.scale, b.scale), pare_vec_pick(first, a.offset, b.offset),
                  pare_vec_pick(first, a.error, b.error)};
}

static line fit_part(const pare_super_shape *shape, const pare_super_reach *reach, const pare_super_part *part,
                     float sign)
{
    pare_vec low, high;
    pare_super_range(shape, part, &low, &high);
    if (sign > 0)
        low = pare_vec_min(low, zero);
    line best = {zero, signed_part(-low, sign), zero};
    best.error = pare_super_error(shape, part, -best.offset, best.scale);
    for (int k = 0; k < reach->n_starts; k++) {
        float cut_low = shape->cuts[k][0], cut_high = shape->cuts[k][1];
        pare_vec range = high - low, scale = range * ((1 - cut_low - cut_high) / (float)shape->code_high);
        line at = {scale, signed_part(-low - range * cut_low, sign), zero};
        for (int i = 0; i < reach->n_moves; i++)
            at = move_line(shape, part, sign, at);
        best = better_line(at, best);
    }
    for (int i = 0; i < POLISH; i++)
        best = better_line(move_line(shape, part, sign, best), best);
    return best;
}

static lines fit_lines(const pare_super_lanes *lanes, const pare_super_reach *reach, float sign)
{
    lines fit = {.sign = sign};
    pare_vec error[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++) {
        const pare_super_part *part = &lanes->part[p];
        line best = fit_part(lanes->shape, reach, part, sign);
        pare_super_moments m = pare_super_measure(lanes->shape, part, -best.offset, best.scale);
        fit.scale[p] = best.scale;
        fit.offset[p] = best.offset;
        fit.slope[p] = m.q * pare_vec_inverse(part->w1);
        fit.stiffness[p] = pare_vec_max(m.qq - m.q * fit.slope[p], zero);
        error[p] = best.error;
    }
    fit.error = pare_vec_sum(error);
    return fit;
}

/* Of the given sign the outermost of 16 values, or zero. */
static float end_of(const pare_vec *v, float sign)
{
    float lane[16], end = 0;
    memcpy(lane, v, sizeof lane);
    for (int k = 0; k < 16; k++)
        end = sign * lane[k] > sign * end ? lane[k] : end;
    return end;
}

/* The integers nearest to the lines' scales under d, and the offsets that follow. */
static void round_scales(const pare_super_shape *shape, const lines *fit, float d, pare_vec *scale, pare_vec *offset)
{
    pare_vec inverse = pare_vec_inverse(pare_vec_all(d)), high = pare_vec_all((float)shape->scale_high);
    for (int p = 0; p < PARE_PARTS; p++) {
        scale[p] = pare_vec_nearest(pare_vec_clamp(fit->scale[p] * inverse, zero, high));
        offset[p] = signed_part(fit->offset[p] + fit->slope[p] * (scale[p] * d - fit->scale[p]), fit->sign);
    }
}

static void round_mins(const pare_super_shape *shape, const pare_vec *offset, float dmin, pare_vec *min)
{
    pare_vec inverse = pare_vec_inverse(pare_vec_all(dmin)), high = pare_vec_all((float)shape->scale_high);
    for (int p = 0; p < PARE_PARTS; p++)
        min[p] = pare_vec_nearest(pare_vec_clamp(offset[p] * inverse, zero, high));
}

/* Under t's d and dmin: every sub-block's scales near the one it has, each with the mins around the best one for the
 * codes that it gives. The lines in here count in units of d and dmin. */
static void settle(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_trial *t)
{
    const pare_super_shape *shape = lanes->shape;
    pare_vec high = pare_vec_all((float)shape->scale_high), inv_dmin = pare_vec_inverse(pare_vec_all(t->dmin));
    pare_vec error[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++) {
        const pare_super_part *part = &lanes->part[p];
        pare_vec middle = t->scale[p], from = t->min[p] * t->dmin, inv_w = pare_vec_inverse(part->w1);
        line best = {middle, t->min[p], pare_super_error(shape, part, -from, middle * t->d)};
        for (int c = -reach->scales; c <= reach->scales; c++) {
            line at = {pare_vec_clamp(middle + (float)c, zero, high), zero, zero};
            pare_vec scale = at.scale * t->d, q = pare_super_measure(shape, part, -from, scale).q;
            pare_vec target = (scale * q - part->wx) * inv_w * inv_dmin;
            pare_vec first = pare_vec_nearest(target - 0.5f * (float)(reach->mins - 1));
            for (int i = 0; i < reach->mins; i++) {
                at.offset = pare_vec_clamp(first + (float)i, zero, high);
                at.error = pare_super_error(shape, part, at.offset * -t->dmin, scale);
                best = better_line(at, best);
            }
        }
        t->scale[p] = best.scale;
        t->min[p] = best.offset;
        error[p] = best.error;
    }
    t->error = pare_vec_sum(error);
}

/* d and dmin by least squares over the whole super-block, with its integers and codes. */
static void refit(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_trial *t)
{
    (void)reach;
    pare_vec v[5][PARE_PARTS];
    float sum[5];
    for (int p = 0; p < PARE_PARTS; p++) {
        const pare_super_part *part = &lanes->part[p];
        pare_vec a = t->scale[p], b = t->min[p];
        pare_super_moments m = pare_super_measure(lanes->shape, part, b * -t->dmin, a * t->d);
        v[0][p] = a * a * m.qq;
        v[1][p] = a * b * m.q;
        v[2][p] = b * b * part->w1;
        v[3][p] = a * m.qx;
        v[4][p] = b * part->wx;
    }
    for (int i = 0; i < 5; i++)
        sum[i] = pare_vec_sum(v[i]);
    float aa = sum[0], ab = sum[1], bb = sum[2], ax = sum[3], bx = sum[4], det = aa * bb - ab * ab;
    if (det > 0) {
        t->d = pare_super_half((ax * bb - ab * bx) / det);
        t->dmin = pare_super_half((ab * ax - aa * bx) / det);
    } else if (aa > 0) {
        t->d = pare_super_half((ax + ab * t->dmin) / aa);
    }
}

/* The lines from the lowest weight, or zero, to the highest. */
static pare_super_trial round_plainly(const pare_super_lanes *lanes)
{
    const pare_super_shape *shape = lanes->shape;
    pare_super_trial t = {0};
    pare_vec offset[PARE_PARTS];
    lines fit = {.sign = 1};
    for (int p = 0; p < PARE_PARTS; p++) {
        pare_vec low, high;
        pare_super_range(shape, &lanes->part[p], &low, &high);
        low = pare_vec_min(low, zero);
        fit.offset[p] = -low;
        fit.scale[p] = (pare_vec_max(high, zero) - low) / (float)shape->code_high;
    }
    t.d = pare_super_half(end_of(fit.scale, 1) / (float)shape->scale_high);
    t.dmin = pare_super_half(end_of(fit.offset, 1) / (float)shape->scale_high);
    round_scales(shape, &fit, t.d, t.scale, offset);
    round_mins(shape, offset, t.dmin, t.min);
    return t;
}

/* Follow the lines to the end, from several first values of d and dmin; *best is kept unless it is beaten. */
static void follow(const pare_super_lanes *lanes, const pare_super_reach *reach, const lines *fit,
                   pare_super_trial *best)
{
    const pare_super_shape *shape = lanes->shape;
    float d[PARE_SUPER_MAX_FIRST], dmin[PARE_SUPER_MAX_FIRST];
    pare_super_trial first[PARE_SUPER_MAX_FIRST * PARE_SUPER_MAX_FIRST];
    pare_vec w1[PARE_PARTS], offset[PARE_PARTS];
    int n = 0;
    for (int p = 0; p < PARE_PARTS; p++)
        w1[p] = lanes->part[p].w1;
    pare_super_units(shape, fit->scale, fit->stiffness, end_of(fit->scale, 1), reach->n_first, d);
    for (int i = 0; i < reach->n_first; i++) {
        pare_super_trial t = {.d = d[i]};
        round_scales(shape, fit, d[i], t.scale, offset);
        pare_super_units(shape, offset, w1, end_of(offset, fit->sign), reach->n_first, dmin);
        for (int k = 0; k < reach->n_first; k++) {
            first[n] = t;
            first[n].dmin = dmin[k];
            round_mins(shape, offset, dmin[k], first[n].min);
            n++;
        }
    }
    pare_super_follow(lanes, reach, settle, refit, first, n, best);
}

/* Whether the weights of some sub-block are all above zero: a negative dmin may be the better one. */
static bool has_positive_sub(const pare_super_lanes *lanes)
{
    pare_vec low[PARE_PARTS], high;
    for (int p = 0; p < PARE_PARTS; p++)
        pare_super_range(lanes->shape, &lanes->part[p], &low[p], &high);
    return end_of(low, 1) > 0;
}

pare_super_trial pare_affine_search(const pare_super_lanes *lanes, pare_effort effort)
{
    if (effort == PARE_EFFORT_RTN)
        return round_plainly(lanes);
    const pare_super_reach *reach = &lanes->shape->reach[effort];
    pare_super_trial best = PARE_SUPER_NONE;
    lines fit = fit_lines(lanes, reach, 1);
    if (has_positive_sub(lanes)) {
        lines other = fit_lines(lanes, reach, -1);
        if (effort == PARE_EFFORT_BEST)
            follow(lanes, reach, &other, &best);
        else if (other.error < fit.error)
            fit = other;
    }
    follow(lanes, reach, &fit, &best);
    return best;
}
