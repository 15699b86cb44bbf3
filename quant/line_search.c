#include "quant/line_search.h"

#include "quant/fan_search.h"
#include "quant/lattice.h"

/* Blocks with their range: u = (x - low) / range, and the weighted sums of 1, u, u^2. */
typedef struct line_blocks {
    pare_fan_blocks in;
    pare_vec low, range, inverse; /* inverse: 1 / range or 0 */
    pare_vec w, wu, wuu;
} line_blocks;

/* A line in u = slope * code + start, and what it leaves: in units of range^2. */
typedef struct line {
    pare_vec slope, start, error;
} line;

PARE_INLINE void measure_range(line_blocks *b, bool weighted)
{
    pare_vec low = b->in.x[0], high = low;
    for (int i = 1; i < PARE_LINE_LEN; i++) {
        low = pare_vec_min(low, b->in.x[i]);
        high = pare_vec_max(high, b->in.x[i]);
    }
    b->low = low;
    b->range = high - low;
    b->inverse = pare_vec_inverse(pare_vec_where(b->range > PARE_FAN_TINY, b->range));
    b->w = b->wu = b->wuu = pare_vec_all(0);
    for (int i = 0; i < PARE_LINE_LEN; i++) {
        pare_vec u = (b->in.x[i] - low) * b->inverse, w = weighted ? b->in.w[i] : pare_vec_all(1);
        b->w += w;
        b->wu += w * u;
        b->wuu += w * u * u;
    }
}

/* The change of a line by least squares, for residuals r = change.slope * code + change.start: sums of w over 1, code,
 * code^2, r and r code. The start alone where all codes are alike. */
PARE_INLINE line solve(pare_vec w, pare_vec q, pare_vec qq, pare_vec r, pare_vec rq)
{
    pare_vec det = w * qq - q * q;
    pare_mask both = det > 1e-6f * w * qq;
    pare_vec inverse = pare_vec_inverse(pare_vec_where(both, det));
    line change;
    change.slope = (w * rq - q * r) * inverse;
    change.start = pare_vec_pick(both, (qq * r - q * rq) * inverse, r / w);
    change.error = change.slope * rq + change.start * r; /* what it takes off */
    return change;
}

/* Take the nearest codes at u = (code + a) / c, that is at v = u c - a, and the line that fits best to them. */
PARE_INLINE line fit(const line_blocks *b, bool weighted, pare_vec top, pare_vec c, pare_vec a)
{
    pare_vec r1 = pare_vec_all(0), rr = r1, rq = r1, slope = c * b->inverse, zero = r1;
    for (int i = 0; i < PARE_LINE_LEN; i++) {
        pare_vec v = (b->in.x[i] - b->low) * slope - a, q = pare_vec_nearest(pare_vec_clamp(v, zero, top));
        pare_vec r = v - q, wr = weighted ? b->in.w[i] * r : r;
        r1 += wr;
        rr += wr * r;
        rq += wr * q;
    }
    pare_vec q = c * b->wu - a * b->w - r1, step = 1 / c;
    pare_vec qq = c * c * b->wuu - 2 * a * c * b->wu + a * a * b->w - 2 * rq - rr;
    line change = solve(b->w, q, qq, r1, rq), found;
    found.slope = (1 + change.slope) * step;
    found.start = (change.start + a) * step;
    found.error = pare_vec_max(rr - change.error, zero) * (step * step);
    return found;
}

/* Fit, and fit again with the codes of the fitted line; keep it if it is better. */
PARE_INLINE void try_line(const line_blocks *b, bool weighted, pare_vec top, pare_vec c, pare_vec a, line *best)
{
    line once = fit(b, weighted, top, c, a);
    pare_mask forward = once.slope > 0;
    c = pare_vec_inverse(pare_vec_where(forward, once.slope)) + pare_vec_where(~forward, c);
    line twice = fit(b, weighted, top, c, pare_vec_where(forward, once.start * c));
    pare_mask better = twice.error < best->error;
    best->slope = pare_vec_pick(better, twice.slope, best->slope);
    best->start = pare_vec_pick(better, twice.start, best->start);
    best->error = pare_vec_pick(better, twice.error, best->error);
}

/* Round the best line and refit it to its codes. */
PARE_INLINE void finish(const line_blocks *b, bool weighted, const pare_line_shape *shape, const line *best,
                        pare_vec *found_d, pare_vec *found_m)
{
    pare_vec zero = pare_vec_all(0), top = pare_vec_all(shape->top), least = pare_vec_all(HUGE_VALF);
    pare_vec exact_d = best->slope * b->range, exact_m = best->start * b->range + b->low;
    for (int round = 0; round < shape->n_polish; round++) {
        pare_vec d = pare_vec_half_nonzero(exact_d), m = pare_vec_half(exact_m), inverse = pare_vec_inverse(d);
        pare_vec error = zero, r1 = zero, rq = zero, q1 = zero, qq = zero;
        for (int i = 0; i < PARE_LINE_LEN; i++) {
            pare_vec x = b->in.x[i], q = pare_vec_nearest(pare_vec_clamp((x - m) * inverse, zero, top));
            pare_vec r = x - (d * q + m), wr = weighted ? b->in.w[i] * r : r, wq = weighted ? b->in.w[i] * q : q;
            error += wr * r;
            r1 += wr;
            rq += wr * q;
            q1 += wq;
            qq += wq * q;
        }
        pare_mask better = error < least;
        *found_d = pare_vec_pick(better, d, *found_d);
        *found_m = pare_vec_pick(better, m, *found_m);
        least = pare_vec_pick(better, error, least);
        line change = solve(b->w, q1, qq, r1, rq);
        exact_d = d + change.slope;
        exact_m = m + change.start;
    }
}

/* Whether the weights may be that many equal steps of the range: as far as the rounding of weight, low and high to
 * bfloat16 allows, 2^-8 of each. */
static pare_mask are_whole(const line_blocks *b, float steps, int every)
{
    pare_vec inverse = b->inverse * steps, low = pare_vec_abs(b->low), ends = low + pare_vec_abs(b->low + b->range);
    pare_mask yes = b->inverse != 0;
    for (int i = 0; i < PARE_LINE_LEN; i += every) {
        pare_vec u = b->in.x[i] - b->low, v = u * inverse;
        pare_vec slack = pare_vec_abs(b->in.x[i]) + low + u * b->inverse * ends;
        yes &= pare_vec_abs(v - pare_vec_nearest(v)) <= 0x1p-8f * inverse * slack + 1e-4f;
    }
    return yes;
}

/* Into how many equal steps the weights of a block divide its range: 0 where into none up to top, else the smallest
 * number. A few weights of all blocks are judged first, by numbers
 * above top / 2, of which lower ones have a multiple. */
static pare_vec count_steps(const line_blocks *b, int top)
{
    uint32_t allowed = 0;
    pare_vec found = pare_vec_all(0);
    for (int steps = top / 2 + 1; steps <= top; steps++)
        if (pare_mask_any(are_whole(b, (float)steps, 4)))
            allowed |= (uint32_t)1 << steps;
    for (int steps = top; steps >= 1 && allowed != 0; steps--) {
        int multiple = steps;
        while (multiple <= top / 2)
            multiple *= 2;
        if ((allowed >> multiple & 1) == 0)
            continue;
        pare_mask fits = are_whole(b, (float)multiple, 4) & are_whole(b, (float)steps, 1);
        found = pare_vec_pick(fits, pare_vec_all((float)steps), found);
    }
    return found;
}

PARE_INLINE pare_vec search(const pare_line_shape *shape, line_blocks *b, bool weighted, pare_vec *d, pare_vec *m)
{
    pare_vec top = pare_vec_all(shape->top), zero = pare_vec_all(0);
    measure_range(b, weighted);
    line best = {zero, zero, pare_vec_all(HUGE_VALF)};
    pare_vec steps = count_steps(b, (int)shape->top);
    pare_mask has_steps = steps != 0;
    if (pare_mask_any(has_steps)) { /* not for other blocks: what they get must not depend on their neighbours */
        line other = fit(b, weighted, top, pare_vec_pick(has_steps, steps, top), zero);
        best.slope = pare_vec_where(has_steps, other.slope);
        best.start = pare_vec_where(has_steps, other.start);
        best.error = pare_vec_pick(has_steps, other.error, best.error);
    }
    for (int low = 0; low < shape->n_ends; low++)
        for (int high = 0; high < shape->n_ends; high++) {
            float below = shape->first + shape->step * (float)low, above = shape->first + shape->step * (float)high;
            try_line(b, weighted, top, top + (below + above), pare_vec_all(below), &best);
        }
    finish(b, weighted, shape, &best, d, m);
    pare_vec low_size = pare_vec_abs(b->low);
    pare_mask too_large = (low_size > PARE_F16_MAX) | (b->range > PARE_F16_MAX * top);
    *d = pare_vec_pick(too_large, b->range / top, *d);
    *m = pare_vec_pick(too_large, b->low, *m);
    return steps;
}

/* The d and m that give the very weights of a block whose range is n_steps or more of them: exactly, or
 * when rounded as the weights were; of a block of one value with that on any code. They stay if there are none. */
static void make_exact(const float *x, const pare_line_shape *shape, int n_steps, float *d, float *m)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < PARE_LINE_LEN; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    for (int code = 1; low == high && low != *m && (float)code <= shape->top; code++) {
        float step = pare_lattice_scale(x, PARE_LINE_LEN, low / (float)code, pare_lattice_whole, 0, shape->top);
        if (step != 0) {
            *d = step;
            *m = 0;
            return;
        }
    }
    for (int steps = n_steps; low < high && (float)steps <= shape->top; steps++)
        if (pare_lattice_line(x, PARE_LINE_LEN, (high - low) / (float)steps, low, (int)shape->top - steps, shape->top,
                              d, m))
            return;
}

void pare_line_scales(const pare_line_shape *shape, const float *src, const float *weight, size_t n, float *d, float *m)
{
    line_blocks b;
    pare_vec found_d = pare_vec_all(0), found_m = found_d, steps;
    pare_fan_load(&b.in, src, weight, n);
    if (weight != NULL)
        steps = search(shape, &b, true, &found_d, &found_m);
    else
        steps = search(shape, &b, false, &found_d, &found_m);
    for (size_t l = 0; l < n; l++) {
        d[l] = found_d[l];
        m[l] = found_m[l];
        if (steps[l] != 0 || b.range[l] == 0)
            make_exact(src + l * PARE_LINE_LEN, shape, (int)steps[l], &d[l], &m[l]);
    }
}
