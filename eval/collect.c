#include "eval/collect.h"

#include "core/checked.h"
#include "eval/collect_gram.h"
#include "eval/windows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a matrix saw so far. */
typedef struct sums {
    const pare_tensor *w;
    double *sum2, *sum; /* [n_matrices, w->row_len], device memory, one behind the other */
    uint64_t *count;    /* [n_matrices] */
    uint64_t n_matrices;
} sums;

typedef struct collector {
    const pare_model *m;
    pare_backend *b;
    const pare_tensor *output;  /* the output matrix, where it is wanted */
    pare_gram_collector *grams; /* NULL: no second-order statistics */
    bool grams_only;            /* of the run in hand only grams are of interest */
    sums *list; /* [n] of room for each tensor of the model, in the order in which the pass meets them */
    size_t n;
    pare_index by_name;
    double *pool; /* the sums of every matrix that there may be, device memory */
    size_t n_pool, n_used;
    double *host; /* room for the largest part of it, where that is not the host's memory */
} collector;

static bool wanted(const collector *c, const pare_tensor *w)
{
    return strncmp(w->name, "blk.", 4) == 0 || w == c->output;
}

/* The matrix that makes the logits. An embedding that does so, too, has second-order statistics only. */
static const pare_tensor *output_of(const pare_model *m, const pare_collect_options *options)
{
    const pare_tensor *w = pare_model_find(m, "output.weight");
    if (w == NULL && options->full)
        w = pare_model_find(m, "token_embd.weight");
    return options->output_weight ? w : NULL;
}

/* Sums of w: two numbers a column of each matrix, no more than twice what the tensor has weights. */
static size_t values_of(const pare_tensor *w)
{
    return 2 * (size_t)(pare_tensor_matrices(w) * w->row_len);
}

/* All memory at once, before weights take what there is on a device. */
static pare_status open_collector(collector *c, pare_error *err)
{
    size_t bytes = 0, largest = 0;
    for (size_t i = 0; i < c->m->n_tensors; i++) {
        const pare_tensor *w = &c->m->tensors[i];
        size_t n = wanted(c, w) && w->n_dims > 1 ? values_of(w) : 0;
        c->n_pool += n;
        largest = n > largest ? n : largest;
    }
    c->list = calloc(c->m->n_tensors + 1, sizeof *c->list);
    if (!c->b->host_memory)
        c->host = malloc((largest + 1) * sizeof *c->host);
    if (c->list == NULL || (c->host == NULL && !c->b->host_memory) ||
        !pare_mul_size(c->n_pool, sizeof *c->pool, &bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for sums over %zu columns", c->m->path, c->n_pool / 2);
    if ((c->pool = c->b->alloc(c->b, bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    return c->b->clear(c->b, (float *)c->pool, 2 * c->n_pool, err); /* zeros are zeros in both types */
}

/* The sums of w, made when it is met for the first time. */
static sums *sums_of(collector *c, const pare_tensor *w, pare_error *err)
{
    pare_str name = {w->name, strlen(w->name)};
    int64_t at = pare_index_find(&c->by_name, name);
    if (at != PARE_INDEX_NONE)
        return &c->list[at];
    sums *s = &c->list[c->n];
    *s = (sums){.w = w, .n_matrices = pare_tensor_matrices(w), .sum2 = c->pool + c->n_used};
    s->sum = s->sum2 + values_of(w) / 2;
    if ((s->count = calloc((size_t)s->n_matrices, sizeof *s->count)) == NULL) {
        pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " counts", w->name, s->n_matrices);
        return NULL;
    }
    c->n_used += values_of(w);
    c->n++;
    return pare_index_add(&c->by_name, name, (int64_t)c->n - 1, NULL, err) == PARE_OK ? s : NULL;
}

/* What is not finite stays so in a sum: here are n of them, host memory, from the first one of a matrix on. */
static pare_status check_finite(const collector *c, const sums *s, const double *sum2, uint64_t n, pare_error *err)
{
    for (uint64_t k = 0; k < n; k++)
        if (!isfinite(sum2[k]))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': an input of column %" PRIu64 " is not finite",
                             c->m->path, s->w->name, k % s->w->row_len);
    return PARE_OK;
}

/* The sums of s in host memory, the squares first. */
static pare_status fetch(const collector *c, const sums *s, const double **out, pare_error *err)
{
    *out = c->b->host_memory ? s->sum2 : c->host;
    if (c->b->host_memory)
        return PARE_OK;
    return c->b->download(c->b, c->host, s->sum2, values_of(s->w) * sizeof *c->host, err);
}

static pare_status observe(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user,
                           pare_error *err)
{
    collector *c = user;
    pare_error inner = {0};
    pare_status st = PARE_OK;
    if (!wanted(c, w))
        return PARE_OK;
    if (c->grams != NULL && (st = pare_gram_collector_observe(c->grams, w, matrix, x, n, &inner)) != PARE_OK)
        return pare_fail(err, st, "%s: %s", c->m->path, inner.text);
    if (c->grams_only)
        return PARE_OK;
    sums *s = sums_of(c, w, &inner);
    if (s == NULL)
        return pare_fail(err, inner.status, "%s: %s", c->m->path, inner.text);
    double *sum2 = s->sum2 + matrix * w->row_len, *sum = s->sum + matrix * w->row_len;
    s->count[matrix] += n;
    st = c->b->add_columns(c->b, x, n, (uint32_t)w->row_len, sum, sum2, err);
    return st == PARE_OK && c->b->host_memory ? check_finite(c, s, sum2, w->row_len, err) : st;
}

/* Where sums are not the host's they are looked at behind a batch. What is not finite goes on to all layers behind, so
 * the last matrix that every token goes through tells whether there is something to look for. */
static pare_status check_batch(const collector *c, pare_error *err)
{
    const double *sum2;
    size_t last = c->n;
    while (last > 0 && c->list[last - 1].n_matrices > 1)
        last--;
    if (c->b->host_memory || last == 0)
        return PARE_OK;
    pare_status st = fetch(c, &c->list[last - 1], &sum2, err);
    if (st != PARE_OK || check_finite(c, &c->list[last - 1], sum2, c->list[last - 1].w->row_len, NULL) == PARE_OK)
        return st;
    for (size_t i = 0; i < last && st == PARE_OK; i++)
        if ((st = fetch(c, &c->list[i], &sum2, err)) == PARE_OK)
            st = check_finite(c, &c->list[i], sum2, values_of(c->list[i].w) / 2, err);
    return st;
}

/* What goes into the output matrix at every position of the last run. */
static pare_status observe_output(collector *c, pare_forward *f, pare_error *err)
{
    pare_score_side side;
    uint32_t n;
    pare_status st = pare_forward_score_side(f, &side, &n, err);
    return st == PARE_OK ? observe(side.w, 0, side.x, n, c, err) : st;
}

/* One batch of windows, from number `first` on; *n of them. */
static pare_status run_batch(collector *c, pare_forward *f, pare_windows *w, uint32_t first, uint32_t *n,
                             pare_error *err)
{
    *n = pare_windows_fill(w, first);
    pare_status st = pare_forward_run(f, w->batch, *n, w->n_ctx, err);
    if (st == PARE_OK && c->output != NULL)
        st = observe_output(c, f, err);
    return st == PARE_OK ? check_batch(c, err) : st;
}

/* Whom to tell how many windows are done, of all runs over the text. */
typedef struct teller {
    pare_collect_fn each;
    void *user;
    uint32_t run, n_runs;
} teller;

static pare_status run(collector *c, pare_forward *f, pare_windows *w, const teller *t, pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t first = 0, n = 0; first < w->n_windows && st == PARE_OK; first += n) {
        st = run_batch(c, f, w, first, &n, err);
        if (st == PARE_OK && t->each != NULL)
            t->each(t->run * w->n_windows + first + n, t->n_runs * w->n_windows, t->user);
    }
    return st;
}

static pare_status next_grams(collector *c, pare_grams *grams, bool *more, pare_error *err)
{
    pare_status st = pare_gram_collector_next(c->grams, grams, more, err);
    return st == PARE_OK ? st : pare_fail_in(err, st, c->m->path);
}

/* A batch to find out which inputs there are, then runs over the whole text until all have been summed. */
static pare_status run_full(collector *c, pare_forward *f, pare_windows *w, teller *t, pare_grams *grams,
                            pare_error *err)
{
    uint32_t n = 0;
    bool more = false;
    c->grams_only = true;
    pare_status st = run_batch(c, f, w, 0, &n, err);
    if (st == PARE_OK)
        st = next_grams(c, grams, &more, err);
    c->grams_only = false;
    t->n_runs = pare_gram_collector_runs(c->grams);
    for (t->run = 0; st == PARE_OK && (more || t->run == 0); t->run++) {
        st = run(c, f, w, t, err);
        if (st == PARE_OK)
            st = next_grams(c, grams, &more, err);
        c->grams_only = true;
    }
    return st;
}

static pare_status finish_one(const collector *c, const sums *s, pare_imatrix *im, pare_error *err)
{
    uint64_t n = s->n_matrices, width = s->w->row_len;
    pare_imatrix_entry *e = NULL;
    const double *sum2;
    pare_status st = pare_imatrix_add(im, s->w->name, n, width, n, true, &e, err);
    if (st == PARE_OK)
        st = fetch(c, s, &sum2, err);
    if (st == PARE_OK)
        st = check_finite(c, s, sum2, n * width, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        e->counts[i] = (double)s->count[i];
    for (uint64_t k = 0; k < n * width && st == PARE_OK; k++) {
        e->sum2[k] = (float)sum2[k];
        e->sum[k] = (float)sum2[n * width + k];
        if (!isfinite(e->sum2[k]))
            st = pare_fail(err, PARE_ERR_NUMBER,
                           "%s: tensor '%s': the squares of the inputs of column %" PRIu64
                           " add up to %.9g, too large for a 32-bit float",
                           c->m->path, e->name, k % width, sum2[k]);
    }
    return st;
}

static pare_status finish(const collector *c, pare_imatrix *im, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < c->n && st == PARE_OK; i++)
        st = finish_one(c, &c->list[i], im, err);
    return st;
}

static void close_collector(collector *c)
{
    pare_gram_collector_close(c->grams);
    for (size_t i = 0; i < c->n; i++)
        free(c->list[i].count);
    free(c->list);
    free(c->host);
    c->b->release(c->b, c->pool);
    pare_index_close(&c->by_name);
}

pare_status pare_collect(pare_imatrix *im, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                         int64_t bos, const pare_collect_options *options, pare_collect_fn each, void *user,
                         pare_error *err)
{
    collector c = {.m = m, .b = b, .output = output_of(m, options)};
    const pare_window_plan plan = {
        .n_ctx = options->n_ctx, .n_chunks = options->n_chunks, .batch_tokens = b->batch_tokens};
    teller t = {.each = each, .user = user, .n_runs = 1};
    pare_windows w;
    pare_forward *f = NULL;
    *im = (pare_imatrix){0};
    pare_status st = pare_windows_open(&w, ids, n, bos, &plan, err);
    if (st == PARE_OK && w.n_windows == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "the text has %zu tokens; one window needs %" PRIu32, n, w.n_ctx);
    if (st == PARE_OK)
        st = pare_forward_open(&f, m, b, w.n_ctx, w.n_seq, err);
    if (st == PARE_OK)
        st = open_collector(&c, err);
    if (st == PARE_OK && options->full)
        st = pare_gram_collector_open(&c.grams, b, options->full_bytes, err);
    if (st == PARE_OK) {
        pare_forward_observe(f, observe, &c);
        st = options->full ? run_full(&c, f, &w, &t, &im->grams, err) : run(&c, f, &w, &t, err);
    }
    if (st == PARE_OK)
        st = finish(&c, im, err);
    im->chunk_count = w.n_windows;
    im->chunk_size = w.n_ctx;
    if (st != PARE_OK)
        pare_imatrix_close(im);
    pare_forward_close(f);
    pare_windows_close(&w);
    close_collector(&c);
    return st;
}
