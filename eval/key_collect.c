#include "eval/key_collect.h"

#include "eval/forward.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct collector {
    const pare_model *m;
    pare_backend *b;
    pare_key_sample *out; /* [n_layer] */
    uint64_t *seen;       /* [n_layer] tokens */
    uint64_t step;        /* one of so many is kept */
    float *rows;          /* of a slice, in host memory */
    size_t room;
} collector;

/* A slice's rows in host memory. */
static pare_status fetch(collector *c, const float *x, size_t count, pare_error *err)
{
    if (count > c->room) {
        free(c->rows);
        c->room = (c->rows = malloc(count * sizeof *c->rows)) != NULL ? count : 0;
    }
    if (count > c->room)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu elements of keys or queries", count);
    return c->b->download(c->b, c->rows, x, count * sizeof *x, err);
}

static pare_status take_keys(uint32_t layer, uint32_t n, uint32_t width, const float *keys, void *user, pare_error *err)
{
    collector *c = user;
    pare_key_sample *s = &c->out[layer];
    pare_status st = s->k == NULL ? pare_key_sample_open(s, PARE_KEY_SAMPLE, width, err) : PARE_OK;
    if (st == PARE_OK)
        st = fetch(c, keys, (size_t)n * width, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        if (c->seen[layer]++ % c->step == 0 && s->n < s->room) {
            for (uint32_t e = 0; e < width; e++)
                s->k[(size_t)s->n * width + e] = c->rows[(size_t)i * width + e];
            s->n++;
        }
    return st;
}

static pare_status take_queries(uint32_t layer, uint32_t n, uint32_t width, const float *q, void *user, pare_error *err)
{
    collector *c = user;
    const pare_layer_shape of = pare_layer_shape_of(&c->m->hp, layer);
    pare_key_sample *s = &c->out[pare_layer_of_keys(&c->m->hp, layer)];
    const uint32_t group = width / of.head_dim_k / of.n_head_kv;
    pare_status st = fetch(c, q, (size_t)n * width, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        for (uint32_t e = 0; e < width; e++) {
            const double v = (double)c->rows[i * width + e];
            s->q2[e / of.head_dim_k / group * of.head_dim_k + e % of.head_dim_k] += v * v;
        }
    return st;
}

pare_status pare_key_collect(pare_key_sample *out, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                             int64_t bos, const pare_window_plan *given, pare_error *err)
{
    collector c = {.m = m, .b = b, .out = out, .seen = calloc((size_t)m->hp.n_layer + 1, sizeof *c.seen)};
    pare_window_plan plan = *given;
    pare_windows w = {0};
    pare_forward *f = NULL;
    pare_status st = PARE_OK;
    if (plan.batch_tokens == 0)
        plan.batch_tokens = b->batch_tokens;
    if (c.seen == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " layers", m->path, m->hp.n_layer);
    else if (m->arch->latent)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: latent attention has no keys of heads", m->path);
    if (st == PARE_OK)
        st = pare_windows_open(&w, ids, n, bos, &plan, err);
    if (st == PARE_OK && w.n_windows == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "a text of %zu tokens has no window of %" PRIu32, n, w.n_ctx);
    if (st == PARE_OK)
        st = pare_forward_open(&f, m, b, w.n_ctx, w.n_seq, err);
    if (st == PARE_OK) {
        c.step = ((uint64_t)w.n_windows * w.n_ctx + PARE_KEY_SAMPLE - 1) / PARE_KEY_SAMPLE;
        pare_forward_observe_keys(f, take_keys, &c);
        pare_forward_observe_queries(f, take_queries, &c);
    }
    for (uint32_t i = 0; i < w.n_windows && st == PARE_OK;) {
        const uint32_t n_seq = pare_windows_fill(&w, i);
        st = pare_forward_run(f, w.batch, n_seq, w.n_ctx, err);
        i += n_seq;
    }
    pare_forward_close(f);
    pare_windows_close(&w);
    free(c.seen);
    free(c.rows);
    return st;
}
