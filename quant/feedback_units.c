#include "quant/feedback_lanes.h"
#include "quant/unit_search.h"

enum { UNIT = PARE_FORM_UNIT };

/* What is known of the units in hand. */
typedef struct units {
    const pare_form *form;
    const pare_unit_book *book;
    const float *factor;
    pare_feedback_slab *slab;
} units;

/* The form of a unit's errors in levels, but for the steps. */
static pare_form_square scaled_square(const pare_form_square *square, const float *factor)
{
    pare_form_square r = *square;
    for (int i = 0; factor != NULL && i < UNIT; i++)
        for (int j = 0; j < UNIT; j++) {
            float f = factor[i] * factor[j];
            r.m[i * UNIT + j] *= f;
            r.inverse[i * UNIT + j] /= f;
            if (i / PARE_FORM_HALF == j / PARE_FORM_HALF)
                r.half[i / PARE_FORM_HALF][i % PARE_FORM_HALF * PARE_FORM_HALF + j % PARE_FORM_HALF] *= f;
        }
    return r;
}

static pare_form_square square_at(const units *u, const pare_form_square *squares, size_t k)
{
    return scaled_square(squares + k / UNIT, u->factor != NULL ? u->factor + k : NULL);
}

/* Levels of the unit at position k, where the step is not 0. */
static void take_levels(const units *u, size_t k, const float *level)
{
    for (size_t i = k; i < k + UNIT; i++) {
        lanes now = load(u->slab->level + i * ROWS), step = load(u->slab->step + i * ROWS),
              next = load(level + (i - k) * ROWS);
        for (int p = 0; p < PARE_PARTS; p++)
            now.v[p] = pare_vec_pick(step.v[p] != 0, next.v[p], now.v[p]);
        store(u->slab->level + i * ROWS, now);
    }
}

/* Round from the last unit to the first, each with what those behind it left to it. */
static void round_all(const units *u)
{
    const pare_form *f = u->form;
    pare_feedback_slab *s = u->slab;
    float *target = s->work, error[BLOCK * ROWS], wanted[UNIT * ROWS], level[UNIT * ROWS];
    memcpy(target, s->x, f->n * ROWS * sizeof *target);
    for (size_t end = f->n, at; end > 0; end = at) {
        at = (end - 1) / BLOCK * BLOCK;
        for (size_t k = end - UNIT;; k -= UNIT) {
            for (size_t i = k; i < k + UNIT; i++) {
                lanes x = load(target + i * ROWS), step = load(s->step + i * ROWS);
                for (int p = 0; p < PARE_PARTS; p++)
                    x.v[p] *= pare_vec_inverse(step.v[p]);
                store(wanted + (i - k) * ROWS, x);
            }
            memcpy(level, s->level + k * ROWS, sizeof level);
            pare_form_square square = square_at(u, f->first, k);
            pare_unit_search(u->book, &square, wanted, level);
            take_levels(u, k, level);
            for (size_t i = k; i < k + UNIT; i++)
                store(error + (i - at) * ROWS, miss(s, i));
            add_products(target, at, k, error + (k - at) * ROWS, UNIT, f->lower + k * f->n, f->n);
            if (k == at)
                break;
        }
        add_products(target, 0, at, error, end - at, f->lower + at * f->n, f->n);
    }
}

/* wanted: the real numbers that cost least at position k, given all other units. */
static void find_wanted(const units *u, size_t k, const float *slope, float *wanted)
{
    const float *inverse = u->form->again[k / UNIT].inverse;
    for (size_t i = 0; i < UNIT; i++) {
        lanes sum = {{{0}}}, level = load(u->slab->level + (k + i) * ROWS), step = load(u->slab->step + (k + i) * ROWS);
        for (size_t j = 0; j < UNIT; j++) {
            lanes at = load(slope + (k + j) * ROWS);
            for (int p = 0; p < PARE_PARTS; p++)
                sum.v[p] += at.v[p] * inverse[i * UNIT + j];
        }
        for (int p = 0; p < PARE_PARTS; p++)
            level.v[p] += sum.v[p] * pare_vec_inverse(step.v[p]);
        store(wanted + i * ROWS, level);
    }
}

/* Levels stay as they are in the rows where the new ones cost no less. Whether some row's changed. */
static bool keep_better(const units *u, const pare_form_square *square, size_t k, const float *wanted, float *level)
{
    pare_mask any = {0};
    for (int p = 0; p < PARE_PARTS; p++) {
        pare_vec d[UNIT], twice[UNIT], cost = {0};
        size_t lane = (size_t)p * PARE_VEC_LANES;
        for (size_t i = 0; i < UNIT; i++) {
            pare_vec now = pare_vec_load(u->slab->level + (k + i) * ROWS + lane);
            d[i] = pare_vec_load(level + i * ROWS + lane) - now;
            twice[i] = d[i] + 2 * (now - pare_vec_load(wanted + i * ROWS + lane));
        }
        for (size_t i = 0; i < UNIT; i++)
            for (size_t j = 0; j < UNIT; j++)
                cost += d[i] * (twice[j] * square->m[i * UNIT + j]);
        for (size_t i = 0; i < UNIT; i++) {
            float *at = level + i * ROWS + lane;
            pare_vec now = pare_vec_load(u->slab->level + (k + i) * ROWS + lane),
                     best = pare_vec_pick(cost < 0, pare_vec_load(at), now);
            any |= best != now;
            memcpy(at, &best, sizeof best);
        }
    }
    return pare_mask_any(any);
}

/* The best levels of the unit at position k, given all others; change: of the weights' errors. Whether some did. */
static bool move(const units *u, const float *slope, size_t k, float *change)
{
    float wanted[UNIT * ROWS], level[UNIT * ROWS];
    pare_form_square square = square_at(u, u->form->again, k);
    find_wanted(u, k, slope, wanted);
    memcpy(level, u->slab->level + k * ROWS, sizeof level);
    pare_unit_search(u->book, &square, wanted, level);
    if (!keep_better(u, &square, k, wanted, level)) {
        memset(change, 0, sizeof level);
        return false;
    }
    for (size_t i = 0; i < UNIT; i++)
        store(change + i * ROWS, miss(u->slab, k + i));
    take_levels(u, k, level);
    for (size_t i = 0; i < UNIT; i++) {
        lanes before = load(change + i * ROWS), after = miss(u->slab, k + i);
        for (int p = 0; p < PARE_PARTS; p++)
            after.v[p] -= before.v[p];
        store(change + i * ROWS, after);
    }
    return true;
}

/* One sweep over all units; slope follows. Whether anything changed. */
static bool sweep(const units *u, float *slope)
{
    const pare_form *f = u->form;
    float change[BLOCK * ROWS];
    bool moved = false;
    for (size_t end = f->n, at; end > 0; end = at) {
        bool here = false;
        at = (end - 1) / BLOCK * BLOCK;
        for (size_t k = end - UNIT;; k -= UNIT) {
            if (move(u, slope, k, change + (k - at) * ROWS)) {
                add_products(slope, at, end, change + (k - at) * ROWS, UNIT, f->h + k * f->n, f->n);
                here = true;
            }
            if (k == at)
                break;
        }
        if (here) {
            add_products(slope, 0, at, change, end - at, f->h + at * f->n, f->n);
            add_products(slope, end, f->n, change, end - at, f->h + at * f->n, f->n);
        }
        moved = moved || here;
    }
    return moved;
}

void pare_feedback_units(const pare_form *form, const pare_unit_book *book, const float *factor, int n_sweeps,
                         pare_feedback_slab *slab)
{
    const units u = {form, book, factor, slab};
    float *slope = slab->work + form->n * ROWS;
    measure(form, slab, slope, slab->before);
    round_all(&u);
    measure(form, slab, slope, slab->after);
    bool moved = true;
    for (int i = 0; i < n_sweeps && moved; i++)
        moved = sweep(&u, slope);
    if (n_sweeps > 0)
        measure(form, slab, slope, slab->after);
}
