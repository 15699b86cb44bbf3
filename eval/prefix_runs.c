#include "eval/prefix_runs.h"

#include "core/checked.h"
#include "core/scratch.h"
#include "core/spool.h"
#include "core/threads.h"
#include "eval/cpu.h"
#include "eval/forward.h"
#include "eval/windows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_WINDOWS = 32, SAMPLE_SEED = 1 };

/* One of the two models. */
typedef struct stream {
    pare_forward *f;
    float *x;      /* [tokens, n_embd] the states before layer `layer` */
    float *inputs; /* [batch, width] of the wanted matrix */
    float *before; /* [batch, n_embd] the states that its product is added to */
    size_t n;      /* rows of both */
} stream;

typedef struct runs {
    pare_prefix base;
    const pare_model *m;
    pare_model copy; /* borrows all from m but its list of tensors */
    pare_backend *b;
    pare_windows w;
    stream of[2];   /* m, copy */
    uint32_t layer; /* that both are before */
    bool embedded;
    float *batch;       /* [batch, n_embd] */
    pare_spool spool;   /* of both streams' x, when they lie on disk */
    pare_index by_name; /* of what a pass meets: its position */
    size_t n_met;
    const pare_tensor *want; /* in m */
    stream *now;
    bool adds; /* the product of what is wanted is added to the stream */
    pare_prefix_sums sums;
    size_t square, stream_size; /* doubles of sums.own and cross, of sums.stream; 0: not there */
} runs;

static void replace(pare_prefix *p, const char *matrix, pare_type type, const float *factor, const void *bytes)
{
    runs *r = (runs *)p;
    const pare_tensor *found = pare_model_find(&r->copy, matrix);
    pare_error err = {0};
    if (found == NULL)
        return;
    /* One of a type that does not fit stays. */
    (void)pare_tensor_replace(&r->copy.tensors[found - r->copy.tensors], type, factor, bytes, r->m->path, &err);
}

static bool position(const pare_prefix *p, const char *matrix, size_t *out)
{
    const runs *r = (const runs *)p;
    int64_t at = pare_index_find(&r->by_name, (pare_str){matrix, strlen(matrix)});
    *out = (size_t)at;
    return at != PARE_INDEX_NONE;
}

/* Meet a matrix for the first time. */
static pare_status meet(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user, pare_error *err)
{
    runs *r = user;
    pare_str name = {w->name, strlen(w->name)};
    (void)matrix;
    (void)x;
    (void)n;
    if (pare_index_find(&r->by_name, name) != PARE_INDEX_NONE)
        return PARE_OK;
    return pare_index_add(&r->by_name, name, (int64_t)r->n_met++, NULL, err);
}

/* Take the inputs of what is wanted, and leave the slice: nothing behind it is needed. */
static pare_status take(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user, pare_error *err)
{
    runs *r = user;
    stream *s = r->now;
    size_t width = (size_t)w->row_len, n_embd = r->m->hp.n_embd;
    (void)matrix;
    (void)err;
    if (r->want == NULL || strcmp(w->name, r->want->name) != 0)
        return PARE_OK;
    memcpy(s->inputs + s->n * width, x, n * width * sizeof *x);
    if (r->adds)
        memcpy(s->before + s->n * n_embd, pare_forward_stream(s->f), n * n_embd * sizeof *x);
    s->n += n;
    return pare_forward_end_slice(s->f);
}

/* Batch `first` of windows: how many there are, and the row of its first token. */
static uint32_t batch_at(const runs *r, uint32_t first, size_t *row)
{
    *row = (size_t)first * r->w.n_ctx;
    return r->w.n_windows - first < r->w.n_seq ? r->w.n_windows - first : r->w.n_seq;
}

static pare_status embed(runs *r, pare_error *err)
{
    pare_status st = PARE_OK;
    size_t row;
    for (uint32_t first = 0, n; first < r->w.n_windows && st == PARE_OK; first += n) {
        n = pare_windows_fill(&r->w, first);
        batch_at(r, first, &row);
        for (int i = 0; i < 2 && st == PARE_OK; i++)
            st = pare_forward_embed(r->of[i].f, r->w.batch, n, r->w.n_ctx, r->of[i].x + row * r->m->hp.n_embd, err);
    }
    r->embedded = st == PARE_OK;
    return st;
}

/* Both streams through their layer. */
static pare_status advance(runs *r, pare_error *err)
{
    pare_status st = PARE_OK;
    size_t row;
    for (uint32_t first = 0, n; first < r->w.n_windows && st == PARE_OK; first += n) {
        n = batch_at(r, first, &row);
        for (int i = 0; i < 2 && st == PARE_OK; i++)
            st = pare_forward_layer(r->of[i].f, r->layer, n, r->w.n_ctx, r->of[i].x + row * r->m->hp.n_embd, err);
    }
    r->layer++;
    return st;
}

/* A batch of one stream up to what is wanted; the states stay as they are. */
static pare_status look(runs *r, stream *s, uint32_t first, pare_error *err)
{
    size_t row, n_embd = r->m->hp.n_embd;
    uint32_t n = batch_at(r, first, &row), n_rows = 0;
    pare_score_side side;
    s->n = 0;
    r->now = s;
    memcpy(r->batch, s->x + row * n_embd, (size_t)n * r->w.n_ctx * n_embd * sizeof *s->x);
    pare_forward_observe(s->f, take, r);
    pare_status st = pare_forward_layer(s->f, r->layer, n, r->w.n_ctx, r->batch, err);
    pare_forward_observe(s->f, NULL, NULL);
    if (st != PARE_OK || r->layer < r->m->hp.n_layer)
        return st;
    if ((st = pare_forward_score_side(s->f, &side, &n_rows, err)) == PARE_OK)
        memcpy(s->inputs, side.x, n_rows * n_embd * sizeof *s->x);
    s->n = n_rows;
    return st;
}

static pare_status look_at_all(runs *r, pare_error *err)
{
    const size_t width = (size_t)r->want->row_len, n_embd = r->m->hp.n_embd;
    pare_status st = PARE_OK;
    for (uint32_t first = 0; first < r->w.n_windows && st == PARE_OK; first += r->w.n_seq) {
        for (int i = 0; i < 2 && st == PARE_OK; i++)
            st = look(r, &r->of[i], first, err);
        if (st != PARE_OK)
            return st;
        stream *a = &r->of[0], *c = &r->of[1];
        if (a->n != c->n || a->n == 0)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s': is not met where it was before", r->m->path,
                             r->want->name);
        for (size_t i = 0; i < a->n * width; i++)
            a->inputs[i] -= c->inputs[i];
        for (size_t i = 0; r->adds && i < a->n * n_embd; i++)
            a->before[i] -= c->before[i];
        const pare_cpu_cross own = {c->inputs, c->inputs, a->n, width, width, true, r->sums.own};
        const pare_cpu_cross cross = {a->inputs, c->inputs, a->n, width, width, false, r->sums.cross};
        const pare_cpu_cross back = {a->before, c->inputs, a->n, n_embd, width, false, r->sums.stream};
        if ((st = pare_cpu_add_cross(&own, err)) == PARE_OK)
            st = pare_cpu_add_cross(&cross, err);
        if (st == PARE_OK && r->adds)
            st = pare_cpu_add_cross(&back, err);
        r->sums.count += (double)a->n;
    }
    return st;
}

/* Whether w's product goes into the residual stream as it is. */
static bool adds_to_stream(const runs *r, const pare_tensor *w, uint32_t layer)
{
    static const pare_weight between[] = {PARE_W_ATTN_POST_NORM, PARE_W_FFN_POST_NORM, PARE_W_FFN_POST_NORM_1};
    const pare_hparams *hp = &r->m->hp;
    if (layer >= hp->n_layer || w->n_rows != hp->n_embd || (hp->residual_scale != 0 && hp->residual_scale != 1))
        return false;
    for (size_t i = 0; i < sizeof between / sizeof between[0]; i++)
        if (pare_model_weight(r->m, between[i], layer, "weight") != NULL)
            return false;
    return w == pare_model_weight(r->m, PARE_W_ATTN_OUT, layer, "weight") ||
           w == pare_model_weight(r->m, PARE_W_FFN_DOWN, layer, "weight");
}

static void drop_sums(runs *r)
{
    pare_scratch_free(r->sums.own, r->square * sizeof(double));
    pare_scratch_free(r->sums.cross, r->square * sizeof(double));
    pare_scratch_free(r->sums.stream, r->stream_size * sizeof(double));
    r->sums = (pare_prefix_sums){0};
    r->square = r->stream_size = 0;
    for (int i = 0; i < 2; i++) {
        free(r->of[i].inputs);
        free(r->of[i].before);
        r->of[i].inputs = r->of[i].before = NULL;
    }
}

/* n doubles that are zero; NULL without memory. */
static double *zeros(size_t n)
{
    double *x = pare_scratch_alloc(n * sizeof *x);
    if (x != NULL)
        memset(x, 0, n * sizeof *x);
    return x;
}

static pare_status open_sums(runs *r, pare_error *err)
{
    const size_t width = (size_t)r->want->row_len, rows = (size_t)r->w.n_seq * r->w.n_ctx, n_embd = r->m->hp.n_embd;
    size_t bytes = 0, inputs = 0;
    drop_sums(r);
    bool fits = pare_mul_size(width, width > n_embd ? width : n_embd, &bytes) && pare_mul_size(bytes, 8, &bytes) &&
                pare_mul_size(rows, width * sizeof(float), &inputs);
    if (fits) {
        r->square = width * width;
        r->stream_size = r->adds ? width * n_embd : 0;
        r->sums.own = zeros(r->square);
        r->sums.cross = zeros(r->square);
        r->sums.stream = r->adds ? zeros(r->stream_size) : NULL;
        fits = r->sums.own != NULL && r->sums.cross != NULL && (!r->adds || r->sums.stream != NULL);
    }
    for (int i = 0; i < 2 && fits; i++) {
        r->of[i].inputs = malloc(inputs);
        r->of[i].before = malloc(rows * n_embd * sizeof(float));
        fits = r->of[i].inputs != NULL && r->of[i].before != NULL;
    }
    return fits ? PARE_OK
                : pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for products of %zu columns", r->want->name,
                            width);
}

static pare_status measure(pare_prefix *p, const char *matrix, pare_prefix_sums *out, bool *found, pare_error *err)
{
    runs *r = (runs *)p;
    uint32_t layer = r->m->hp.n_layer;
    size_t at;
    pare_status st = r->embedded ? PARE_OK : embed(r, err);
    r->want = pare_model_find(r->m, matrix);
    *found = false;
    if (r->want == NULL || !position(p, matrix, &at) || pare_tensor_matrices(r->want) > 1)
        return st;
    if (sscanf(matrix, "blk.%" SCNu32 ".", &layer) == 1 && layer >= r->m->hp.n_layer)
        return st;
    if (layer < r->layer)
        return st;
    while (r->layer < layer && st == PARE_OK)
        st = advance(r, err);
    r->adds = adds_to_stream(r, r->want, layer);
    if (st == PARE_OK)
        st = open_sums(r, err);
    if (st == PARE_OK)
        st = look_at_all(r, err);
    *found = st == PARE_OK;
    *out = r->sums;
    return st;
}

/* The same tensors in a list of its own, in the same order. */
static pare_status open_copy(runs *r, pare_error *err)
{
    size_t bytes = 0;
    r->copy = *r->m;
    r->copy.closing = NULL;
    r->copy.tensors = NULL;
    if (!pare_mul_size(r->m->n_tensors + 1, sizeof *r->copy.tensors, &bytes) ||
        (r->copy.tensors = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a list of tensors", r->m->path);
    memcpy(r->copy.tensors, r->m->tensors, r->m->n_tensors * sizeof *r->copy.tensors);
    return PARE_OK;
}

/* What a pass over one window meets, and the output matrix behind it. */
static pare_status learn_order(runs *r, pare_error *err)
{
    pare_forward *f = r->of[0].f;
    pare_score_side side;
    uint32_t n = pare_windows_fill(&r->w, 0);
    (void)n;
    pare_forward_observe(f, meet, r);
    pare_status st = pare_forward_run(f, r->w.batch, 1, r->w.n_ctx, err);
    pare_forward_observe(f, NULL, NULL);
    if (st == PARE_OK)
        st = pare_forward_score_side(f, &side, &n, err);
    return st == PARE_OK ? meet(side.w, 0, NULL, 0, r, err) : st;
}

static pare_status no_memory(const runs *r, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the states of %" PRIu32 " windows of %" PRIu32 " tokens",
                     r->m->path, r->w.n_windows, r->w.n_ctx);
}

static pare_status open_states(runs *r, const pare_prefix_options *options, pare_error *err)
{
    const size_t n_embd = r->m->hp.n_embd;
    size_t bytes = 0, both = 0;
    if (!pare_mul_size((size_t)r->w.n_windows * r->w.n_ctx, n_embd * sizeof(float), &bytes) ||
        !pare_mul_size(bytes, 2, &both) ||
        (r->batch = malloc((size_t)r->w.n_seq * r->w.n_ctx * n_embd * sizeof *r->batch)) == NULL)
        return no_memory(r, err);
    const bool on_disk = options->beside != NULL && both > options->memory;
    pare_status st = on_disk ? pare_spool_open(&r->spool, options->beside, both, err) : PARE_OK;
    for (int i = 0; i < 2 && st == PARE_OK; i++) {
        r->of[i].x = on_disk ? (float *)(void *)(r->spool.data + (size_t)i * bytes) : malloc(bytes);
        st = r->of[i].x != NULL ? PARE_OK : no_memory(r, err);
    }
    return st;
}

static pare_status open_runs(runs *r, const int32_t *ids, size_t n, int64_t bos, const pare_prefix_options *options,
                             pare_error *err)
{
    const uint32_t trained = r->m->hp.n_ctx_train;
    const uint32_t usual = trained > 0 && trained < PARE_DEFAULT_CTX ? trained : PARE_DEFAULT_CTX;
    const uint32_t n_ctx = options->n_ctx != 0 ? options->n_ctx : usual, n_all = (uint32_t)(n / n_ctx);
    const uint32_t most = options->n_windows != 0 ? options->n_windows : DEFAULT_WINDOWS * PARE_DEFAULT_CTX / n_ctx;
    const pare_window_plan plan = {.n_ctx = n_ctx,
                                   .n_sample = most < n_all ? most : n_all,
                                   .seed = SAMPLE_SEED,
                                   .batch_tokens = r->b->batch_tokens};
    if (n_all == 0)
        return pare_fail(err, PARE_ERR_USAGE, "the text has %zu tokens; one window needs %" PRIu32, n, n_ctx);
    pare_status st = pare_windows_open(&r->w, ids, n, bos, &plan, err);
    if (st == PARE_OK)
        st = open_copy(r, err);
    if (st == PARE_OK)
        st = pare_forward_open(&r->of[0].f, r->m, r->b, n_ctx, r->w.n_seq, err);
    if (st == PARE_OK)
        st = pare_forward_open(&r->of[1].f, &r->copy, r->b, n_ctx, r->w.n_seq, err);
    if (st == PARE_OK && !pare_forward_is_layered(r->of[0].f))
        st = pare_fail(
            err, PARE_ERR_UNSUPPORTED,
            "%s: more than the residual stream goes from layer to layer: its matrices cannot be quantized one "
            "after the other",
            r->m->path);
    if (st == PARE_OK)
        st = open_states(r, options, err);
    return st == PARE_OK ? learn_order(r, err) : st;
}

pare_status pare_prefix_runs_open(pare_prefix **out, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                                  int64_t bos, const pare_prefix_options *options, pare_error *err)
{
    runs *r = calloc(1, sizeof *r);
    *out = NULL;
    if (r == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory");
    *r = (runs){.base = {position, measure, replace}, .m = m, .b = b};
    pare_status st = open_runs(r, ids, n, bos, options, err);
    if (st == PARE_OK)
        *out = &r->base;
    else
        pare_prefix_runs_close(&r->base);
    return st;
}

void pare_prefix_runs_close(pare_prefix *p)
{
    runs *r = (runs *)p;
    if (r == NULL)
        return;
    drop_sums(r);
    for (int i = 0; i < 2; i++) {
        pare_forward_close(r->of[i].f);
        if (r->spool.size == 0)
            free(r->of[i].x);
    }
    pare_spool_close(&r->spool);
    free(r->batch);
    free(r->copy.tensors);
    pare_index_close(&r->by_name);
    pare_windows_close(&r->w);
    free(r);
}
