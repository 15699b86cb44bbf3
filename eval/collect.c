#include "eval/collect.h"

#include "core/checked.h"
#include "core/threads.h"
#include "eval/windows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_A_PIECE = 64 };

/* What a matrix saw so far. */
typedef struct sums {
    const pare_tensor *w;
    double *sum2, *sum; /* [n_matrices, w->row_len] */
    uint64_t *count;    /* [n_matrices] */
    uint64_t n_matrices;
} sums;

typedef struct collector {
    const pare_model *m;
    pare_backend *b;
    bool output_weight;
    sums *list; /* [n], in the order in which the pass meets the matrices */
    size_t n, cap;
    pare_index by_name;
    float *host; /* the inputs, where the backend's memory is not the host's */
    size_t host_bytes;
} collector;

static bool wanted(const collector *c, const pare_tensor *w)
{
    return strncmp(w->name, "blk.", 4) == 0 || (c->output_weight && strcmp(w->name, "output.weight") == 0);
}

/* The sums of w, made when it is met for the first time. */
static sums *sums_of(collector *c, const pare_tensor *w, pare_error *err)
{
    int64_t at = PARE_INDEX_NONE;
    pare_str name = {w->name, strlen(w->name)};
    if ((at = pare_index_find(&c->by_name, name)) != PARE_INDEX_NONE)
        return &c->list[at];
    if (c->n == c->cap) {
        size_t cap = c->cap > 0 ? 2 * c->cap : 64;
        sums *larger = realloc(c->list, cap * sizeof *larger);
        if (larger == NULL)
            goto no_memory;
        c->list = larger;
        c->cap = cap;
    }
    sums *s = &c->list[c->n];
    uint64_t n_matrices = pare_tensor_matrices(w);
    size_t n_values = (size_t)(n_matrices * w->row_len); /* no more than the tensor has weights */
    *s = (sums){.w = w, .n_matrices = n_matrices, .sum2 = calloc(n_values, sizeof *s->sum2)};
    s->sum = calloc(n_values, sizeof *s->sum);
    s->count = calloc((size_t)n_matrices, sizeof *s->count);
    c->n++;
    if (s->sum2 == NULL || s->sum == NULL || s->count == NULL)
        goto no_memory;
    return pare_index_add(&c->by_name, name, (int64_t)c->n - 1, NULL, err) == PARE_OK ? s : NULL;
no_memory:
    pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for sums over %" PRIu64 " times %" PRIu64 " columns",
              w->name, pare_tensor_matrices(w), w->row_len);
    return NULL;
}

typedef struct add_job {
    const float *x; /* [n, width] */
    uint32_t n;
    uint64_t width;
    double *sum2, *sum; /* [width] */
    const char *name;
} add_job;

/* A piece of the columns, token after token. */
static pare_status add_columns(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    add_job *j = ctx;
    uint64_t first = (uint64_t)piece * COLUMNS_A_PIECE,
             end = j->width - first < COLUMNS_A_PIECE ? j->width : first + COLUMNS_A_PIECE;
    for (uint32_t t = 0; t < j->n; t++) {
        const float *x = j->x + t * j->width;
        for (uint64_t c = first; c < end; c++) {
            double v = (double)x[c];
            j->sum[c] += v;
            j->sum2[c] += v * v;
        }
    }
    for (uint64_t c = first; c < end; c++)
        if (!isfinite(j->sum2[c]))
            return pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': an input of column %" PRIu64 " is not finite", j->name,
                             c);
    return PARE_OK;
}

/* The inputs in host memory. */
static const float *fetch(collector *c, const float *x, size_t n_values, pare_error *err)
{
    size_t bytes = n_values * sizeof *x; /* the pass holds as many: it fits */
    if (c->b->host_memory)
        return x;
    if (bytes > c->host_bytes) {
        free(c->host);
        c->host_bytes = 0;
        if ((c->host = malloc(bytes)) == NULL) {
            pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of activations", bytes);
            return NULL;
        }
        c->host_bytes = bytes;
    }
    return c->b->download(c->b, c->host, x, bytes, err) == PARE_OK ? c->host : NULL;
}

static pare_status observe(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user,
                           pare_error *err)
{
    collector *c = user;
    if (!wanted(c, w))
        return PARE_OK;
    pare_error inner = {0};
    sums *s = sums_of(c, w, &inner);
    add_job job = {.n = n, .width = w->row_len, .name = w->name};
    if (s != NULL)
        job.x = fetch(c, x, (size_t)(n * w->row_len), &inner);
    if (job.x == NULL)
        return pare_fail(err, inner.status, "%s: %s", c->m->path, inner.text);
    s->count[matrix] += n;
    job.sum2 = s->sum2 + matrix * w->row_len;
    job.sum = s->sum + matrix * w->row_len;
    pare_status st =
        pare_parallel((size_t)((w->row_len + COLUMNS_A_PIECE - 1) / COLUMNS_A_PIECE), add_columns, &job, &inner);
    return st == PARE_OK ? PARE_OK : pare_fail(err, st, "%s: %s", c->m->path, inner.text);
}

/* Have the pass multiply with the output matrix at every position of n_seq windows; the products are not used. */
static pare_status touch_output(pare_forward *f, uint32_t n_seq, uint32_t n_ctx, float *logits, uint32_t tile,
                                pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t s = 0; s < n_seq; s++)
        for (uint32_t pos = 0; pos < n_ctx && st == PARE_OK; pos += tile)
            st = pare_forward_logits(f, s, pos, n_ctx - pos < tile ? n_ctx - pos : tile, logits, err);
    return st;
}

static pare_status run(collector *c, pare_forward *f, pare_windows *w, pare_collect_fn each, void *user,
                       pare_error *err)
{
    enum { TILE = 64 }; /* positions of logits at once */
    pare_status st = PARE_OK;
    size_t bytes = 0;
    float *logits = NULL;
    if (c->output_weight &&
        (!pare_mul_size((size_t)c->m->hp.n_vocab, TILE * sizeof *logits, &bytes) || (logits = malloc(bytes)) == NULL))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %d rows of logits", c->m->path, TILE);
    pare_forward_observe(f, observe, c);
    for (uint32_t first = 0; first < w->n_windows && st == PARE_OK;) {
        uint32_t n = pare_windows_fill(w, first);
        st = pare_forward_run(f, w->batch, n, w->n_ctx, err);
        if (st == PARE_OK && c->output_weight)
            st = touch_output(f, n, w->n_ctx, logits, TILE, err);
        first += n;
        if (st == PARE_OK && each != NULL)
            each(first, w->n_windows, user);
    }
    free(logits);
    return st;
}

static pare_status finish_one(const collector *c, const sums *s, pare_imatrix *im, pare_error *err)
{
    uint64_t n = s->n_matrices, width = s->w->row_len;
    pare_imatrix_entry *e = NULL;
    pare_status st = pare_imatrix_add(im, s->w->name, n, width, n, true, &e, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        e->counts[i] = (double)s->count[i];
    for (uint64_t k = 0; k < n * width && st == PARE_OK; k++) {
        e->sum2[k] = (float)s->sum2[k];
        e->sum[k] = (float)s->sum[k];
        if (!isfinite(e->sum2[k]))
            st = pare_fail(err, PARE_ERR_NUMBER,
                           "%s: tensor '%s': the squares of the inputs of column %" PRIu64
                           " add up to %.9g, too large for a 32-bit float",
                           c->m->path, e->name, k % width, s->sum2[k]);
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
    for (size_t i = 0; i < c->n; i++) {
        free(c->list[i].sum2);
        free(c->list[i].sum);
        free(c->list[i].count);
    }
    free(c->list);
    free(c->host);
    pare_index_close(&c->by_name);
}

pare_status pare_collect(pare_imatrix *im, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                         int64_t bos, const pare_collect_options *options, pare_collect_fn each, void *user,
                         pare_error *err)
{
    collector c = {.m = m, .b = b, .output_weight = options->output_weight};
    const pare_window_plan plan = {.n_ctx = options->n_ctx, .n_chunks = options->n_chunks};
    pare_windows w;
    pare_forward *f = NULL;
    *im = (pare_imatrix){0};
    pare_status st = pare_windows_open(&w, ids, n, bos, &plan, err);
    if (st == PARE_OK && w.n_windows == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "the text has %zu tokens; one window needs %" PRIu32, n, w.n_ctx);
    if (st == PARE_OK)
        st = pare_forward_open(&f, m, b, w.n_ctx, w.n_seq, err);
    if (st == PARE_OK)
        st = run(&c, f, &w, each, user, err);
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
