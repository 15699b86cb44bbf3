#include "recipe/awq.h"

#include "core/bytes.h"
#include "core/half.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/output_error.h"
#include "quant/path_table.h"
#include "recipe/expert_gram.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATIOS = 20, FORMS = 2, TRIALS = RATIOS * FORMS, ROWS = PARE_ERROR_ROWS, SHARES = 32 };
static const double LEAST = 1e-4, SMALL = 1e-6; /* AutoAWQ's */

typedef struct search {
    const pare_model *m;
    const pare_awq_settings *settings;
    const pare_gram *gram;
    pare_fold_pair *pair;
    size_t n, n_slabs;     /* columns; of all matrices, ROWS rows each */
    float *panels;         /* of H */
    float *scales;         /* [TRIALS, n] */
    double *size, *weight; /* [n] of the inputs, and of the weights in their groups */
    double *part;          /* [SHARES, n] sums over some rows */
    double *cost;          /* [n_slabs, TRIALS] */
} search;

pare_status pare_awq_panels(const pare_gram *g, const float *scale, uint64_t first, uint64_t n, const char *path,
                            float *panels, pare_error *err)
{
    for (uint64_t i = first; i < first + n; i++) {
        const uint8_t *row = g->lower + 4 * (i * (i + 1) / 2);
        for (uint64_t j = first; j <= i; j++) {
            double h = (double)pare_load_f32le(row + 4 * j) / g->count;
            h = scale != NULL ? h / ((double)scale[i] * (double)scale[j]) : h;
            if (!isfinite((float)h))
                return pare_fail(err, PARE_ERR_NUMBER, "%s: products of the inputs of '%s' are not finite", path,
                                 g->name);
            pare_panel_put(panels, (size_t)(i - first), (size_t)(j - first), (float)h);
        }
    }
    return PARE_OK;
}

/* ---- rows of the matrices that read the inputs, ROWS at a time ---- */

/* Of reader i, or of the expert's part of it. */
static uint64_t rows_of(const pare_fold_pair *p, size_t i)
{
    return p->reader[i]->n_rows / p->n_experts;
}

static size_t slabs_of(const pare_fold_pair *p, size_t i)
{
    return (size_t)((rows_of(p, i) + ROWS - 1) / ROWS);
}

/* Read slab `at` of all: x [ROWS, n], and how many rows. */
static pare_status read_slab(const search *s, size_t at, float *x, size_t *n_rows, pare_error *err)
{
    size_t i = 0;
    while (at >= slabs_of(s->pair, i))
        at -= slabs_of(s->pair, i++);
    const pare_tensor *t = s->pair->reader[i];
    uint64_t row = (uint64_t)at * ROWS, left = rows_of(s->pair, i) - row;
    row += s->pair->expert * rows_of(s->pair, i);
    *n_rows = (size_t)(left < ROWS ? left : ROWS);
    pare_status st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = pare_tensor_read_f32(t, row, *n_rows, x, err);
    if (st == PARE_OK && pare_path_now()->find_above(x, *n_rows * s->n, FLT_MAX) < *n_rows * s->n)
        return pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': rows from %" PRIu64 " on hold a weight that is not finite",
                         t->name, row);
    return st;
}

/* Each weight's share of the largest of its group, added up over rows. */
static void add_shares(const search *s, const float *x, size_t n_rows, double *sum)
{
    size_t group = (size_t)s->settings->group;
    for (size_t at = 0; at < n_rows * s->n; at += group) {
        float most = 0;
        for (size_t k = 0; k < group; k++)
            most = fmaxf(most, fabsf(x[at + k]));
        for (size_t k = 0; k < group; k++)
            sum[at % s->n + k] += (double)fabsf(x[at + k]) / ((double)most + SMALL);
    }
}

static pare_status measure_weights(size_t i, int thread, void *ctx, pare_error *err)
{
    const search *s = ctx;
    size_t bytes = ROWS * s->n * sizeof(float), n_rows = 0;
    float *x = pare_scratch_alloc(bytes);
    pare_status st = x != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for rows of %zu weights", s->n);
    (void)thread;
    for (size_t at = s->n_slabs * i / SHARES; at < s->n_slabs * (i + 1) / SHARES && st == PARE_OK; at++)
        if ((st = read_slab(s, at, x, &n_rows, err)) == PARE_OK)
            add_shares(s, x, n_rows, s->part + i * s->n);
    pare_scratch_free(x, bytes);
    return st;
}

/* ---- scales ---- */

/* Sizes that inputs made by one element have in common. */
static void tie(const search *s, double *size, bool square)
{
    const pare_fold_pair *p = s->pair;
    uint64_t stride = p->width;
    for (uint64_t c = 0; c < p->n && p->share > 1; c++) {
        if (c % (p->width * p->share) >= p->width)
            continue; /* of the first head that reads it */
        double sum = 0;
        for (uint64_t k = 0; k < p->share; k++)
            sum += square ? size[c + k * stride] * size[c + k * stride] : size[c + k * stride];
        sum /= (double)p->share;
        for (uint64_t k = 0; k < p->share; k++)
            size[c + k * stride] = square ? sqrt(sum) : sum;
    }
}

/* x^r, or x^r / w^(1 - r), the root of its extremes' product one; inputs that are always zero count for nothing. */
static void make_scales(const search *s, int trial, float *scale)
{
    double r = (double)(trial % RATIOS) / RATIOS, most = 0, least = INFINITY;
    for (size_t c = 0; c < s->n; c++) {
        double v = pow(s->size[c], r);
        v = trial < RATIOS ? v : v / (pow(s->weight[c], 1 - r) + LEAST);
        v = fmax(v, LEAST);
        scale[c] = (float)v;
        most = s->size[c] > 0 ? fmax(most, v) : most;
        least = s->size[c] > 0 ? fmin(least, v) : least;
    }
    double root = sqrt(most * least);
    for (size_t c = 0; c < s->n; c++)
        scale[c] = s->size[c] > 0 && root > 0 ? (float)((double)scale[c] / root) : 1;
}

/* A gain that any type of floats holds: 8 bits. */
static float short_gain(float gain)
{
    return pare_bf16_to_f32(pare_f32_to_bf16(gain));
}

/* Scales with which the norm's gains lose nothing where they are stored. */
static pare_status suit_norm(const search *s, float *scale, pare_error *err)
{
    float *gain = s->pair->norm ? malloc(s->n * sizeof *gain) : NULL;
    if (!s->pair->norm)
        return PARE_OK;
    pare_status st = gain != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu gains", s->n);
    if (st == PARE_OK)
        st = pare_tensor_read_f32(s->pair->giver[0].t, 0, 1, gain, err);
    for (size_t c = 0; c < s->n && st == PARE_OK; c++) {
        float to = gain[c] / scale[c], suited = gain[c] / short_gain(to);
        scale[c] = isnormal(to) && isnormal(suited) ? suited : 1;
    }
    free(gain);
    return st;
}

/* ---- what rounding costs ---- */

/* e = what becomes of x under these scales, less x. */
static bool round_rows(const search *s, const float *x, size_t n_rows, const float *scale, float *e, uint8_t *codes)
{
    const pare_path_table *path = pare_path_now();
    size_t n = s->n, group = (size_t)s->settings->group;
    pare_group g;
    for (size_t i = 0; i < n_rows * n; i++)
        e[i] = x[i] * scale[i % n];
    for (size_t at = 0; at < n_rows * n; at += group) {
        if (!path->group_round(&s->settings->shape, e + at, group, &g, codes))
            return false;
        float d = pare_f16_to_f32(g.d);
        for (size_t k = 0; k < group; k++)
            e[at + k] = d * (float)((int)codes[k] - g.zero) / scale[at % n + k] - x[at + k];
    }
    return true;
}

static pare_status try_slab(size_t at, int thread, void *ctx, pare_error *err)
{
    const search *s = ctx;
    size_t floats = 2 * ROWS * s->n, bytes = floats * sizeof(float) + (size_t)s->settings->group, n_rows = 0;
    float *x = pare_scratch_alloc(bytes), *e = x + ROWS * s->n, cost[ROWS];
    (void)thread;
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for rows of %zu weights", s->n);
    pare_status st = read_slab(s, at, x, &n_rows, err);
    for (size_t t = 0; t < TRIALS && st == PARE_OK; t++) {
        double *sum = &s->cost[at * TRIALS + t];
        *sum = INFINITY;
        if (!round_rows(s, x, n_rows, s->scales + t * s->n, e, (uint8_t *)(x + floats)))
            continue;
        pare_path_now()->output_error(s->panels, s->n, e, n_rows, cost);
        *sum = 0;
        for (size_t i = 0; i < n_rows; i++)
            *sum += (double)cost[i];
    }
    pare_scratch_free(x, bytes);
    return st;
}

/* The first of the least, and what it costs; trial 0 does not scale. */
static size_t best_of(const search *s, double *ratio)
{
    double total[TRIALS] = {0};
    size_t best = 0;
    for (size_t at = 0; at < s->n_slabs; at++)
        for (size_t t = 0; t < TRIALS; t++)
            total[t] += s->cost[at * TRIALS + t];
    for (size_t t = 1; t < TRIALS; t++)
        best = total[t] < total[best] ? t : best;
    *ratio = total[best] > 0 ? total[best] / total[0] : 1;
    return best;
}

static pare_status search_in(search *s, pare_awq_report *report, double *log_ratio, pare_error *err)
{
    double ratio = 1;
    pare_status st = pare_awq_panels(s->gram, NULL, 0, s->n, s->settings->imatrix->path, s->panels, err);
    if (st == PARE_OK)
        st = pare_parallel(SHARES, measure_weights, s, err);
    if (st != PARE_OK)
        return st;
    for (size_t c = 0; c < s->n; c++) {
        double h = (double)pare_load_f32le(s->gram->lower + 4 * ((uint64_t)c * (c + 3) / 2)) / s->gram->count;
        s->size[c] = h > 0 ? sqrt(h) : 0;
        s->weight[c] = 0;
        for (size_t i = 0; i < SHARES; i++)
            s->weight[c] += s->part[i * s->n + c];
    }
    tie(s, s->size, true);
    tie(s, s->weight, false);
    uint64_t n_rows = 0;
    for (size_t i = 0; i < s->pair->n_readers; i++)
        n_rows += rows_of(s->pair, i);
    for (size_t c = 0; c < s->n; c++)
        s->weight[c] /= (double)n_rows;
    for (int t = 0; t < TRIALS; t++)
        make_scales(s, t, s->scales + (size_t)t * s->n);
    if ((st = pare_parallel(s->n_slabs, try_slab, s, err)) != PARE_OK)
        return st;
    size_t best = best_of(s, &ratio);
    report->n_pairs++;
    report->n_scaled += best > 0;
    *log_ratio += log(ratio);
    if (best == 0)
        return PARE_OK;
    memcpy(s->pair->scale, s->scales + best * s->n, s->n * sizeof *s->pair->scale);
    return suit_norm(s, s->pair->scale, err);
}

static pare_status search_pair(search *s, pare_awq_report *report, double *log_ratio, pare_error *err)
{
    pare_status st;
    s->n = (size_t)s->pair->n;
    s->n_slabs = 0;
    for (size_t i = 0; i < s->pair->n_readers; i++)
        s->n_slabs += slabs_of(s->pair, i);
    s->panels = malloc(pare_panel_floats(s->n) * sizeof *s->panels); /* the statistics are larger */
    s->scales = malloc(TRIALS * s->n * sizeof *s->scales);
    s->size = malloc(s->n * sizeof *s->size);
    s->weight = malloc(s->n * sizeof *s->weight);
    s->part = calloc(SHARES * s->n, sizeof *s->part);
    s->cost = malloc(s->n_slabs * TRIALS * sizeof *s->cost);
    if (s->panels == NULL || s->scales == NULL || s->size == NULL || s->weight == NULL || s->part == NULL ||
        s->cost == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the products of %zu columns", s->n);
    else
        st = search_in(s, report, log_ratio, err);
    free(s->panels);
    free(s->scales);
    free(s->size);
    free(s->weight);
    free(s->part);
    free(s->cost);
    return st;
}

/* The statistics of all matrices of the pair, which the format packs; NULL: it is left as it is. */
static const pare_gram *gram_of(const pare_fold_pair *p, const pare_awq_settings *s)
{
    const pare_gram *g = pare_grams_find(&s->imatrix->grams, p->reader[0]->name);
    bool good = g != NULL && g->n_columns == p->n && p->n % s->group == 0;
    good = good && (p->n_experts > 1 ? g->n_experts == p->n_experts : g->n_experts <= 1);
    for (size_t i = 0; i < p->n_readers; i++)
        good = good && s->fits(p->reader[i], s->format) && pare_grams_find(&s->imatrix->grams, p->reader[i]->name) == g;
    for (size_t i = 0; i < p->n_givers; i++)
        good = good && (p->giver[i].t->n_dims == 1 || s->fits(p->giver[i].t, s->format));
    return good ? g : NULL;
}

/* The products of the expert that the pair is of, valid until the next call; *out NULL: it is left as it is. own: of
 * the matrix in hand, to be closed; refused: of one that there are none of. */
static pare_status expert_gram(pare_expert_grams *own, const pare_gram **refused, pare_gram *expert,
                               const pare_gram **out, const pare_fold_pair *p, const pare_imatrix *im, pare_error *err)
{
    const pare_gram *all = *out;
    pare_error why = {0};
    pare_status st = PARE_OK;
    *out = NULL;
    if (all == *refused)
        return PARE_OK;
    if (own->all != all) {
        pare_expert_grams_close(own);
        st = pare_expert_grams_open(own, all, pare_imatrix_find(im, all->name), im->path, &why);
    }
    if (st == PARE_ERR_RANGE) { /* who rounds it says why */
        *refused = all;
        return PARE_OK;
    }
    if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    *out = expert;
    return pare_expert_grams_make(own, p->expert, expert, err);
}

pare_status pare_awq_search(pare_fold *f, const pare_model *m, const pare_awq_settings *settings,
                            pare_awq_report *report, pare_error *err)
{
    pare_status st = PARE_OK;
    double log_ratio = 0;
    pare_expert_grams own = {0};
    pare_gram expert;
    const pare_gram *refused = NULL;
    *report = (pare_awq_report){.mean_ratio = NAN};
    for (size_t i = 0; i < f->n && st == PARE_OK; i++) {
        search s = {.m = m, .settings = settings, .pair = &f->pairs[i], .gram = gram_of(&f->pairs[i], settings)};
        if (settings->each != NULL)
            settings->each((uint32_t)i, (uint32_t)f->n, f->pairs[i].reader[0]->name, settings->user);
        if (s.gram != NULL && f->pairs[i].n_experts > 1)
            st = expert_gram(&own, &refused, &expert, &s.gram, &f->pairs[i], settings->imatrix, err);
        if (st == PARE_OK && s.gram != NULL)
            st = search_pair(&s, report, &log_ratio, err);
    }
    pare_expert_grams_close(&own);
    if (st == PARE_OK && settings->each != NULL && f->n > 0)
        settings->each((uint32_t)f->n, (uint32_t)f->n, "", settings->user);
    if (report->n_pairs > 0)
        report->mean_ratio = exp(log_ratio / report->n_pairs);
    return st;
}
