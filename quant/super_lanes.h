/* quant/super_lanes.h - a super-block of 256 weights as 16 lanes of 16, and what its codes leave under given scales
 *
 * Lane g holds weights 16 g .. 16 g + 15. A sub-block is a lane or, of 32 weights, the pair of lanes 2 j and 2 j + 1:
 * then whatever is known of it stands in both. The searches treat all sub-blocks at once. For use inside of
 * scale_search.c and the two searches behind it. */
#ifndef PARE_QUANT_SUPER_LANES_H
#define PARE_QUANT_SUPER_LANES_H

#include "quant/scale_search.h"
#include "quant/vec.h"

#include <math.h>

enum { PARE_SUPER_MAX_FIRST = 8 };

/* Some lanes of a super-block: x[l] are weights l of them, w[l] the weights of the errors; their sums w, w x, w x^2. */
typedef struct pare_super_part {
    pare_vec x[16], w[16], w1, wx, wxx;
} pare_super_part;

typedef struct pare_super_lanes {
    const pare_super_shape *shape;
    pare_super_part part[PARE_PARTS];
} pare_super_lanes;

/* A super-block's integers under a d and dmin, which are binary16 values, and the error with the nearest codes. */
typedef struct pare_super_trial {
    float d, dmin, error;
    pare_vec scale[PARE_PARTS], min[PARE_PARTS];
} pare_super_trial;

/* Sums w q, w q^2 and w q x over sub-blocks, q being codes. */
typedef struct pare_super_moments {
    pare_vec q, qq, qx;
} pare_super_moments;

/* From sums of lanes to sums of sub-blocks. */
static inline pare_vec pare_super_join(const pare_super_shape *shape, pare_vec v)
{
    return shape->sub_len == 16 ? v : v + pare_vec_swap(v);
}

/* The lowest and the highest weight of every sub-block. */
static inline void pare_super_range(const pare_super_shape *shape, const pare_super_part *part, pare_vec *low,
                                    pare_vec *high)
{
    *low = *high = part->x[0];
    for (int l = 1; l < 16; l++) {
        *low = pare_vec_min(part->x[l], *low);
        *high = pare_vec_max(part->x[l], *high);
    }
    if (shape->sub_len == 32) {
        *low = pare_vec_min(*low, pare_vec_swap(*low));
        *high = pare_vec_max(*high, pare_vec_swap(*high));
    }
}

/* The nearest codes of v / scale */
static inline pare_vec pare_super_code(const pare_super_shape *shape, pare_vec v)
{
    pare_vec low = pare_vec_all((float)shape->code_low), high = pare_vec_all((float)shape->code_high);
    return pare_vec_nearest(pare_vec_clamp(v, low, high));
}

/* sum w (x - y)^2 with the nearest codes q to y = base + scale * q. A base of zero costs nothing. */
static inline pare_vec pare_super_error(const pare_super_shape *shape, const pare_super_part *part, pare_vec base,
                                        pare_vec scale)
{
    pare_vec sum = {0}, inverse = pare_vec_inverse(scale);
    for (int l = 0; l < 16; l++) {
        pare_vec v = part->x[l] - base, r = v - scale * pare_super_code(shape, v * inverse);
        sum += part->w[l] * r * r;
    }
    return pare_super_join(shape, sum);
}

/* Of the same codes. */
static inline pare_super_moments pare_super_measure(const pare_super_shape *shape, const pare_super_part *part,
                                                    pare_vec base, pare_vec scale)
{
    pare_super_moments m = {{0}, {0}, {0}};
    pare_vec inverse = pare_vec_inverse(scale);
    for (int l = 0; l < 16; l++) {
        pare_vec q = pare_super_code(shape, (part->x[l] - base) * inverse), wq = part->w[l] * q;
        m.q += wq;
        m.qq += wq * q;
        m.qx += wq * part->x[l];
    }
    m.q = pare_super_join(shape, m.q);
    m.qq = pare_super_join(shape, m.qq);
    m.qx = pare_super_join(shape, m.qx);
    return m;
}

/* The search for types with mins (affine_search.c) and without (signed_search.c). */
pare_super_trial pare_affine_search(const pare_super_lanes *lanes, pare_effort effort);
pare_super_trial pare_signed_search(const pare_super_lanes *lanes, pare_effort effort);

/* The nearest binary16; not zero unless v is. */
float pare_super_half(float v);

/* The units, as binary16 values, whose multiples by integers in the range of the scales come closest to the ideal
 * values: those of least sum of stiffness * (ideal - unit * integer)^2, the best first. Tried are 64 that put the peak,
 * which is the outermost ideal value, between 0.6 and 1.04 of an end of the range, of both ends if one is below 0. */
void pare_super_units(const pare_super_shape *shape, const pare_vec *ideal, const pare_vec *stiffness, float peak,
                      int n_best, float *best);

/* No trial yet: any other is better, unless its error is not finite. */
#define PARE_SUPER_NONE                                                                                                \
    {                                                                                                                  \
        .d = HUGE_VALF, .error = HUGE_VALF                                                                             \
    }

typedef void (*pare_super_step)(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_trial *t);

/* Of n first trials those of least error: settle the integers under d and dmin and refit these, in turn, while the
 * error falls. *best, at first PARE_SUPER_NONE, is what has the least error so far. The errors of `first` are
 * overwritten. */
void pare_super_follow(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_step settle,
                       pare_super_step refit, pare_super_trial *first, int n, pare_super_trial *best);

#endif
