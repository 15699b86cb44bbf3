#include "quant/feedback_lanes.h"

/* The level nearest to v. */
PARE_INLINE pare_vec nearest(const pare_feedback_levels *levels, pare_vec v)
{
    if (levels->n == 0)
        return pare_vec_nearest(pare_vec_clamp(v, pare_vec_all(0), pare_vec_all(levels->high)));
    pare_vec level = pare_vec_all(levels->level[0]);
    for (int k = 0; k + 1 < levels->n; k++)
        level = pare_vec_pick(v > levels->between[k], pare_vec_all(levels->level[k + 1]), level);
    return level;
}

/* The level of weights x at position k. */
PARE_INLINE lanes choose(const pare_feedback_levels *levels, const pare_feedback_slab *s, size_t k, lanes x)
{
    lanes base = load(s->base + k * ROWS), step = load(s->step + k * ROWS);
    for (int p = 0; p < PARE_PARTS; p++)
        x.v[p] = nearest(levels, (x.v[p] - base.v[p]) * pare_vec_inverse(step.v[p]));
    return x;
}

/* Round from the last position to the first, each column with what those behind it left to it. */
static void round_columns(const pare_form *f, const pare_feedback_levels *levels, pare_feedback_slab *s)
{
    float *target = s->work, error[BLOCK * ROWS];
    memcpy(target, s->x, f->n * ROWS * sizeof *target);
    for (size_t end = f->n, at; end > 0; end = at) {
        at = (end - 1) / BLOCK * BLOCK;
        for (size_t k = end; k-- > at;) {
            store(s->level + k * ROWS, choose(levels, s, k, load(target + k * ROWS)));
            store(error + (k - at) * ROWS, miss(s, k));
            add_products(target, at, k, error + (k - at) * ROWS, 1, f->lower + k * f->n, f->n);
        }
        add_products(target, 0, at, error, end - at, f->lower + at * f->n, f->n);
    }
}

/* The best level of position k, given all others; change: of the weight. Whether some lane's did. */
PARE_INLINE bool move(const pare_form *f, const pare_feedback_levels *levels, pare_feedback_slab *s, const float *slope,
                      size_t k, float *change)
{
    lanes level = load(s->level + k * ROWS), base = load(s->base + k * ROWS), step = load(s->step + k * ROWS),
          x = load(slope + k * ROWS), d;
    float h = 1 / f->h[k * f->n + k];
    pare_mask any = {0};
    for (int p = 0; p < PARE_PARTS; p++)
        x.v[p] = base.v[p] + step.v[p] * level.v[p] + x.v[p] * h;
    lanes best = choose(levels, s, k, x);
    for (int p = 0; p < PARE_PARTS; p++) {
        d.v[p] = (level.v[p] - best.v[p]) * step.v[p];
        any |= d.v[p] != 0;
    }
    store(s->level + k * ROWS, best);
    store(change, d);
    return pare_mask_any(any);
}

/* One sweep over all columns; slope follows. Whether anything changed. */
static bool sweep(const pare_form *f, const pare_feedback_levels *levels, pare_feedback_slab *s, float *slope)
{
    float change[BLOCK * ROWS];
    bool moved = false;
    for (size_t end = f->n, at; end > 0; end = at) {
        bool here = false;
        at = (end - 1) / BLOCK * BLOCK;
        for (size_t k = end; k-- > at;)
            if (move(f, levels, s, slope, k, change + (k - at) * ROWS)) {
                add_products(slope, at, end, change + (k - at) * ROWS, 1, f->h + k * f->n, f->n);
                here = true;
            }
        if (here) {
            add_products(slope, 0, at, change, end - at, f->h + at * f->n, f->n);
            add_products(slope, end, f->n, change, end - at, f->h + at * f->n, f->n);
        }
        moved = moved || here;
    }
    return moved;
}

void pare_feedback_round(const pare_form *form, const pare_feedback_levels *levels, int n_sweeps,
                         pare_feedback_slab *slab)
{
    float *slope = slab->work + form->n * ROWS;
    measure(form, slab, slope, slab->before);
    round_columns(form, levels, slab);
    measure(form, slab, slope, slab->after);
    bool moved = true;
    for (int i = 0; i < n_sweeps && moved; i++)
        moved = sweep(form, levels, slab, slope);
    if (n_sweeps > 0)
        measure(form, slab, slope, slab->after);
}
