/* quant/feedback_lanes.h - what rounding by columns and by units share: a row's value in every lane, products of errors
 * with a form; for sources that are compiled once a path */
#ifndef PARE_QUANT_FEEDBACK_LANES_H
#define PARE_QUANT_FEEDBACK_LANES_H

#include "quant/feedback.h"
#include "quant/vec.h"

enum { ROWS = PARE_FEEDBACK_ROWS, BLOCK = 64, TILE = 4 }; /* BLOCK: columns whose errors are carried on together */

/* The value of a row's column in every lane. */
typedef struct lanes {
    pare_vec v[PARE_PARTS];
} lanes;

PARE_INLINE lanes load(const float *p)
{
    lanes r;
    memcpy(&r, p, sizeof r);
    return r;
}

PARE_INLINE void store(float *p, lanes r)
{
    memcpy(p, &r, sizeof r);
}

/* y[i] += sum over k < n_terms of d[k] m[k][i], for i in [first, end); m's rows lie `stride` apart. */
static void add_products(float *y, size_t first, size_t end, const float *d, size_t n_terms, const float *m,
                         size_t stride)
{
    size_t i = first;
    for (; i + TILE <= end; i += TILE) {
        lanes sum[TILE] = {{{{0}}}};
        for (size_t k = 0; k < n_terms; k++) {
            lanes e = load(d + k * ROWS);
            const float *row = m + k * stride + i;
            for (int t = 0; t < TILE; t++)
                for (int p = 0; p < PARE_PARTS; p++)
                    sum[t].v[p] += e.v[p] * row[t];
        }
        for (size_t t = 0; t < TILE; t++) {
            lanes at = load(y + (i + t) * ROWS);
            for (int p = 0; p < PARE_PARTS; p++)
                at.v[p] += sum[t].v[p];
            store(y + (i + t) * ROWS, at);
        }
    }
    for (; i < end; i++) {
        lanes sum = {{{0}}}, at = load(y + i * ROWS);
        for (size_t k = 0; k < n_terms; k++)
            for (int p = 0; p < PARE_PARTS; p++)
                sum.v[p] += load(d + k * ROWS).v[p] * m[k * stride + i];
        for (int p = 0; p < PARE_PARTS; p++)
            at.v[p] += sum.v[p];
        store(y + i * ROWS, at);
    }
}

/* Weight minus what it is decoded to, at position k. */
PARE_INLINE lanes miss(const pare_feedback_slab *s, size_t k)
{
    lanes x = load(s->x + k * ROWS), base = load(s->base + k * ROWS), step = load(s->step + k * ROWS),
          level = load(s->level + k * ROWS);
    for (int p = 0; p < PARE_PARTS; p++)
        x.v[p] -= base.v[p] + step.v[p] * level.v[p];
    return x;
}

/* slope[k] = sum over j of H_kj (x_j - y_j), and sum[] of that times x_k - y_k. */
static void measure(const pare_form *f, const pare_feedback_slab *s, float *slope, float *sum)
{
    float error[BLOCK * ROWS];
    memset(slope, 0, f->n * ROWS * sizeof *slope);
    for (size_t at = 0, n; at < f->n; at += n) {
        n = f->n - at < BLOCK ? f->n - at : BLOCK;
        for (size_t k = 0; k < n; k++)
            store(error + k * ROWS, miss(s, at + k));
        add_products(slope, 0, f->n, error, n, f->h + at * f->n, f->n);
    }
    lanes total = {{{0}}};
    for (size_t k = 0; k < f->n; k++) {
        lanes e = miss(s, k), h = load(slope + k * ROWS);
        for (int p = 0; p < PARE_PARTS; p++)
            total.v[p] += e.v[p] * h.v[p];
    }
    store(sum, total);
}

#endif
