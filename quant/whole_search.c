#include "quant/whole_search.h"

#include "quant/lattice.h"

/* For scales that leave no weight beyond the outermost levels. */
PARE_INLINE pare_vec level_inside(pare_vec v, pare_vec low, pare_vec high)
{
    (void)low;
    (void)high;
    return pare_vec_nearest(v);
}

/* Of a block whose peak is on +level or -level: the lowest level may have no counterpart above. */
static float step_of(const pare_fan *fan, float peak, int level)
{
    return ((float)level > fan->high ? -peak : fabsf(peak)) / (float)level;
}

static pare_mask are_multiples(const pare_fan_blocks *b, pare_vec inverse, int every)
{
    pare_mask yes = inverse == inverse;
    for (int i = 0; i < PARE_FAN_LEN; i += every)
        yes &= pare_lattice_near(b->x[i] * inverse);
    return yes;
}

/* Steps of blocks that may be integers times one step, 0 for others. First a few weights of all blocks are judged, by
 * the peak's levels from lattice_top / 2 on, of which lower ones have a multiple; then whole blocks. The largest step
 * that fits is taken. */
static pare_vec find_steps(const pare_whole_shape *shape, const pare_fan_blocks *b, const pare_fan_best *best)
{
    int top = shape->lattice_top;
    uint32_t allowed = 0;
    pare_vec found = pare_vec_all(0);
    pare_mask is_block = best->inverse != 0;
    for (int level = top / 2 + 1; level <= top; level++)
        if (pare_mask_any(is_block & are_multiples(b, best->inverse * (float)level, 8)))
            allowed |= (uint32_t)1 << level;
    if (shape->row_step > 0) {
        pare_vec step = pare_vec_all(shape->row_step);
        found = pare_vec_where(is_block & are_multiples(b, 1 / step, 1), step);
    }
    for (int level = top; level >= 1 && allowed != 0; level--) {
        int multiple = level;
        while (multiple <= top / 2)
            multiple *= 2;
        if ((allowed >> multiple & 1) == 0)
            continue;
        pare_mask fits = is_block & are_multiples(b, best->inverse * (float)level, 1);
        for (int l = 0; l < PARE_VEC_LANES; l++)
            if (fits[l])
                found[l] = step_of(&shape->fan, best->peak[l], level);
    }
    return found;
}

PARE_INLINE pare_vec search(const pare_whole_shape *shape, const pare_fan_blocks *b, bool weighted, pare_vec *steps)
{
    const pare_fan *fan = &shape->fan;
    pare_fan_best best;
    pare_fan_start(b, weighted, &best);
    *steps = find_steps(shape, b, &best);
    pare_mask has_step = *steps != 0;
    if (pare_mask_any(has_step)) { /* not for other blocks: what they get must not depend on their neighbours */
        pare_fan_best other = best;
        pare_vec level = pare_vec_pick(has_step, best.peak * pare_vec_inverse(*steps), pare_vec_all(1));
        pare_fan_try(b, weighted, pare_level_whole, fan, level, &other);
        best.error = pare_vec_pick(has_step, other.error, best.error);
        best.scale = pare_vec_pick(has_step, other.scale, best.scale);
    }
    for (int k = 0; k < fan->n_levels; k++)
        if (fabsf(fan->level[k]) <= fan->high && fabsf(fan->level[k]) <= -fan->low)
            pare_fan_try(b, weighted, level_inside, fan, pare_vec_all(fan->level[k]), &best);
        else
            pare_fan_try(b, weighted, pare_level_whole, fan, pare_vec_all(fan->level[k]), &best);
    return pare_fan_finish(b, weighted, pare_level_whole, fan, &best);
}

/* The scale that gives the very weights of a block, whose steps may be `step` or the peak over any level; 0 if there is
 * none. */
static float exact_scale(const pare_whole_shape *shape, const float *x, float step)
{
    const pare_fan *fan = &shape->fan;
    float peak = pare_peak(x, PARE_FAN_LEN),
          d = pare_lattice_scale(x, PARE_FAN_LEN, step, pare_lattice_whole, fan->low, fan->high);
    if (d == 0 && shape->row_step > 0)
        d = pare_lattice_scale(x, PARE_FAN_LEN, shape->row_step, pare_lattice_whole, fan->low, fan->high);
    for (int level = 1; d == 0 && level <= shape->lattice_top; level++)
        d = pare_lattice_scale(x, PARE_FAN_LEN, step_of(fan, peak, level), pare_lattice_whole, fan->low, fan->high);
    return d;
}

void pare_whole_scales(const pare_whole_shape *shape, const float *src, const float *weight, size_t n, float *d)
{
    pare_fan_blocks blocks;
    pare_vec steps, found;
    pare_fan_load(&blocks, src, weight, n);
    if (weight != NULL)
        found = search(shape, &blocks, true, &steps);
    else
        found = search(shape, &blocks, false, &steps);
    for (size_t l = 0; l < n; l++) {
        float exact = steps[l] != 0 ? exact_scale(shape, src + l * PARE_FAN_LEN, steps[l]) : 0;
        d[l] = exact != 0 ? exact : found[l];
    }
}
