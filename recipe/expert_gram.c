#include "recipe/expert_gram.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/threads.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

static const float LEAST_FACTOR = 1.0f / 16;

float pare_expert_factor(float own, float pooled)
{
    float ratio = pooled > 0 ? sqrtf(own / pooled) : 1;
    return fminf(fmaxf(ratio, LEAST_FACTOR), 1 / LEAST_FACTOR);
}

void pare_expert_grams_close(pare_expert_grams *x)
{
    free(x->pooled);
    free(x->mean);
    free(x->column);
    free(x->scale);
    free(x->lower);
    *x = (pare_expert_grams){0};
}

static uint64_t triangle_of(const pare_expert_grams *x)
{
    uint64_t bytes = 0;
    pare_gram_bytes(x->all->n_columns, &bytes); /* it is in memory: it fits */
    return bytes / 4;
}

/* Element `at` of the triangle of expert e. */
static double product(const pare_expert_grams *x, uint64_t e, uint64_t at)
{
    return (double)pare_load_f32le(x->all->lower + 4 * (e * triangle_of(x) + at));
}

typedef struct pooling {
    pare_expert_grams *x;
    atomic_bool finite, unseen; /* unseen: an expert without tokens has products */
} pooling;

/* Row i of P. */
static pare_status pool_row(size_t i, int thread, void *ctx, pare_error *err)
{
    pooling *p = ctx;
    const pare_gram *all = p->x->all;
    uint64_t first = (uint64_t)i * (i + 1) / 2;
    (void)thread;
    (void)err;
    for (uint64_t at = first; at <= first + i; at++) {
        double sum = 0;
        for (uint64_t e = 0; e < all->n_experts; e++) {
            double v = product(p->x, e, at);
            sum += v;
            if (v != 0 && !(p->x->entry->counts[e] > 0))
                atomic_store(&p->unseen, true);
        }
        p->x->pooled[at] = (float)(sum / all->count);
        if (!isfinite(p->x->pooled[at]))
            atomic_store(&p->finite, false);
    }
    return PARE_OK;
}

static pare_status reserve(pare_expert_grams *x, const char *path, pare_error *err)
{
    size_t n = (size_t)x->all->n_columns;
    x->pooled = malloc((size_t)triangle_of(x) * sizeof *x->pooled); /* of bytes that lie in memory */
    x->lower = malloc((size_t)triangle_of(x) * sizeof(float));
    x->mean = malloc(n * sizeof *x->mean);
    x->column = malloc(n * sizeof *x->column);
    x->scale = malloc(n * sizeof *x->scale);
    if (x->pooled != NULL && x->lower != NULL && x->mean != NULL && x->column != NULL && x->scale != NULL)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for products of %zu columns", path, x->all->name,
                     n);
}

pare_status pare_expert_grams_open(pare_expert_grams *x, const pare_gram *all, const pare_imatrix_entry *entry,
                                   const char *path, pare_error *err)
{
    *x = (pare_expert_grams){.all = all, .entry = entry};
    if (entry == NULL || entry->n_columns != all->n_columns || entry->n_experts != all->n_experts ||
        entry->n_counts != all->n_experts)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': products of %" PRIu64 " experts without their tokens",
                         path, all->name, all->n_experts);
    pooling p = {.x = x};
    atomic_store(&p.finite, true);
    atomic_store(&p.unseen, false);
    pare_status st = reserve(x, path, err);
    if (st == PARE_OK)
        st = pare_parallel((size_t)all->n_columns, pool_row, &p, err);
    if (st == PARE_OK && !atomic_load(&p.finite))
        st = pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': a mean product of its inputs is not finite", path,
                       all->name);
    if (st == PARE_OK && atomic_load(&p.unseen))
        st = pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': products of an expert that saw no token are not zero",
                       path, all->name);
    if (st == PARE_OK && !pare_imatrix_pooled(entry, x->mean))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': all products of its inputs are zero", path, all->name);
    if (st != PARE_OK)
        pare_expert_grams_close(x);
    return st;
}

typedef struct making {
    const pare_expert_grams *x;
    uint64_t expert;
    double own, shared; /* what own sums and P are multiplied by */
} making;

static pare_status make_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const making *m = ctx;
    const pare_expert_grams *x = m->x;
    uint64_t first = (uint64_t)i * (i + 1) / 2;
    (void)thread;
    (void)err;
    for (size_t j = 0; j <= i; j++) {
        double v = m->shared * x->scale[i] * x->scale[j] * (double)x->pooled[first + j];
        if (m->own > 0)
            v += m->own * product(x, m->expert, first + j);
        pare_store_f32le(x->lower + 4 * (first + j), (float)v);
    }
    return PARE_OK;
}

pare_status pare_expert_grams_make(pare_expert_grams *x, uint64_t expert, pare_gram *out, pare_error *err)
{
    const double n = (double)x->all->n_columns, tokens = x->entry->counts[expert], own = tokens / (tokens + n);
    making m = {.x = x, .expert = expert, .own = tokens > 0 ? own / tokens : 0, .shared = 1 - own};
    pare_imatrix_importance(x->entry, expert, x->mean, x->column);
    for (uint64_t i = 0; i < x->all->n_columns; i++)
        x->scale[i] = (double)pare_expert_factor(x->column[i], x->mean[i]);
    *out = (pare_gram){
        .name = x->all->name, .n_columns = x->all->n_columns, .count = 1, .n_experts = 1, .lower = x->lower};
    return pare_parallel((size_t)x->all->n_columns, make_row, &m, err);
}
