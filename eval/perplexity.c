#include "eval/perplexity.h"

#include "core/checked.h"
#include "core/threads.h"
#include "eval/cpu_kernels.h"
#include "eval/windows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TILE_BYTES = 64 * 1024 * 1024, /* of logits at once */
    TILE_MIN = 16                  /* positions of a tile, however large the vocabulary is */
};

/* What one scored position contributes. */
typedef struct position {
    double nll, ref_nll; /* of the true token, nats */
    double kld;
    double delta_p;
    bool same_top1;
} position;

/* One model of the comparison. */
typedef struct side {
    const pare_model *m;
    pare_forward *f;
    float *logits; /* [tile, n_vocab] */
} side;

typedef struct evaluation {
    side model, reference; /* reference.m NULL: none */
    pare_windows windows;
    uint32_t first, n_scored, tile;
    position *positions; /* [n_scored] of one window */
    double *klds;        /* [n_chunks * n_scored], NULL without reference */
    pare_moments nll, ref_nll, ln_ratio, kld, top1, delta_p, delta_p_squares;
    double seconds;
} evaluation;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static pare_status check_input(const pare_model *model, const pare_model *reference, size_t n, uint32_t n_ctx,
                               pare_error *err)
{
    if (n / 2 < n_ctx)
        return pare_fail(err, PARE_ERR_USAGE,
                         "the text has %zu tokens; two windows of %" PRIu32 " need at least %" PRIu64, n, n_ctx,
                         (uint64_t)n_ctx * 2);
    if (reference != NULL && reference->hp.n_vocab != model->hp.n_vocab)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s has a vocabulary of %" PRIu32 " and the reference %s one of %" PRIu32
                         ": they cannot be compared",
                         model->path, model->hp.n_vocab, reference->path, reference->hp.n_vocab);
    return PARE_OK;
}

static pare_status open_side(side *s, const pare_model *m, pare_backend *b, const evaluation *e, pare_error *err)
{
    size_t bytes;
    s->m = m;
    pare_status st = pare_forward_open(&s->f, m, b, e->windows.n_ctx, e->windows.n_seq, err);
    if (st != PARE_OK)
        return st;
    if (!pare_mul_size(e->tile, (size_t)m->hp.n_vocab * sizeof(float), &bytes) || (s->logits = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " rows of %" PRIu32 " logits", m->path,
                         e->tile, m->hp.n_vocab);
    return PARE_OK;
}

static pare_status open_evaluation(evaluation *e, const pare_model *model, const pare_model *reference, pare_backend *b,
                                   pare_error *err)
{
    uint64_t row_bytes = (uint64_t)model->hp.n_vocab * sizeof(float),
             tile = TILE_BYTES / (row_bytes > 0 ? row_bytes : 1);
    e->first = e->windows.n_ctx / 2;
    e->n_scored = e->windows.n_ctx - 1 - e->first;
    tile = tile < TILE_MIN ? TILE_MIN : tile;
    e->tile = tile < e->n_scored ? (uint32_t)tile : e->n_scored;
    e->positions = malloc((size_t)e->n_scored * sizeof *e->positions);
    if (reference != NULL)
        e->klds = malloc((size_t)e->windows.n_windows * e->n_scored * sizeof *e->klds);
    if (e->positions == NULL || (reference != NULL && e->klds == NULL))
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " windows of %" PRIu32 " tokens",
                         e->windows.n_windows, e->windows.n_ctx);
    pare_status st = open_side(&e->model, model, b, e, err);
    if (st == PARE_OK && reference != NULL)
        st = open_side(&e->reference, reference, b, e, err);
    return st;
}

static void close_evaluation(evaluation *e)
{
    pare_forward_close(e->model.f);
    pare_forward_close(e->reference.f);
    free(e->model.logits);
    free(e->reference.logits);
    pare_windows_close(&e->windows);
    free(e->positions);
    free(e->klds);
}

/* A tile of positions of one window, scored on all threads. */
typedef struct tile_job {
    const evaluation *e;
    const int32_t *ids; /* of the window */
    uint32_t chunk, pos;
} tile_job;

static pare_status log_sum(const side *s, const tile_job *t, size_t i, double *out, pare_error *err)
{
    const float *row = s->logits + i * s->m->hp.n_vocab;
    if (pare_cpu_log_sum_exp(row, s->m->hp.n_vocab, out))
        return PARE_OK;
    uint32_t v = 0;
    while (v + 1 < s->m->hp.n_vocab && isfinite(row[v]))
        v++;
    return pare_fail(err, PARE_ERR_NUMBER,
                     "%s: window %" PRIu32 " position %zu: the logit of token %" PRIu32
                     " is %s; finite numbers are needed",
                     s->m->path, t->chunk, t->pos + i, v, isnan(row[v]) ? "NaN" : "infinite");
}

static pare_status score_position(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    const tile_job *t = ctx;
    const evaluation *e = t->e;
    position *p = &e->positions[t->pos - e->first + i];
    uint32_t n_vocab = e->model.m->hp.n_vocab, target = (uint32_t)t->ids[t->pos + i + 1];
    const float *x = e->model.logits + i * n_vocab, *r;
    double lse, ref_lse;
    pare_status st = log_sum(&e->model, t, i, &lse, err);
    *p = (position){0};
    if (st != PARE_OK)
        return st;
    p->nll = lse - (double)x[target];
    if (e->reference.m == NULL)
        return PARE_OK;
    if ((st = log_sum(&e->reference, t, i, &ref_lse, err)) != PARE_OK)
        return st;
    r = e->reference.logits + i * n_vocab;
    p->ref_nll = ref_lse - (double)r[target];
    p->kld = pare_cpu_divergence(r, ref_lse, x, lse, n_vocab);
    p->delta_p = exp(-p->nll) - exp(-p->ref_nll);
    p->same_top1 = pare_cpu_argmax(x, n_vocab) == pare_cpu_argmax(r, n_vocab);
    return PARE_OK;
}

/* Fill e->positions for window number `chunk`, the one at place seq of the batch. */
static pare_status score_window(evaluation *e, uint32_t chunk, uint32_t seq, pare_error *err)
{
    uint32_t end = e->first + e->n_scored;
    for (uint32_t pos = e->first; pos < end; pos += e->tile) {
        uint32_t n = end - pos < e->tile ? end - pos : e->tile;
        double start = now();
        pare_status st = pare_forward_logits(e->model.f, seq, pos, n, e->model.logits, err);
        if (st == PARE_OK && e->reference.m != NULL)
            st = pare_forward_logits(e->reference.f, seq, pos, n, e->reference.logits, err);
        tile_job job = {.e = e, .ids = e->windows.batch + (size_t)seq * e->windows.n_ctx, .chunk = chunk, .pos = pos};
        if (st == PARE_OK)
            st = pare_parallel(n, score_position, &job, err);
        e->seconds += now() - start;
        if (st != PARE_OK)
            return st;
    }
    return PARE_OK;
}

/* Add the window's positions in their order: the sums do not depend on which thread scored what. */
static void add_window(evaluation *e, uint32_t chunk)
{
    for (uint32_t i = 0; i < e->n_scored; i++) {
        const position *p = &e->positions[i];
        pare_moments_add(&e->nll, p->nll);
        if (e->reference.m == NULL)
            continue;
        e->klds[(size_t)chunk * e->n_scored + i] = p->kld;
        pare_moments_add(&e->ref_nll, p->ref_nll);
        pare_moments_add(&e->ln_ratio, p->nll - p->ref_nll);
        pare_moments_add(&e->kld, p->kld);
        pare_moments_add(&e->top1, p->same_top1);
        pare_moments_add(&e->delta_p, p->delta_p);
        pare_moments_add(&e->delta_p_squares, p->delta_p * p->delta_p);
    }
}

static void summarize(const evaluation *e, uint32_t n_done, pare_eval_result *out)
{
    const pare_estimate unknown = {NAN, NAN};
    bool both = e->reference.m != NULL;
    *out = (pare_eval_result){
        .n_ctx = e->windows.n_ctx, .n_chunks = n_done, .n_tokens_scored = e->nll.n, .has_reference = both};
    out->perplexity = pare_exp_estimate(pare_mean(&e->nll));
    out->seconds = e->seconds;
    out->tokens_per_second = e->seconds > 0 ? (double)n_done * e->windows.n_ctx * (both ? 2 : 1) / e->seconds : 0;
    uint64_t tile_bytes = (uint64_t)e->tile * e->model.m->hp.n_vocab * sizeof(float);
    out->activation_bytes = pare_forward_bytes(e->model.f) + tile_bytes;
    if (!both)
        return;
    out->activation_bytes += pare_forward_bytes(e->reference.f) + tile_bytes;
    out->reference_perplexity = pare_exp_estimate(pare_mean(&e->ref_nll));
    out->ln_ratio = pare_mean(&e->ln_ratio);
    out->kld_mean = pare_mean(&e->kld);
    out->same_top1 = pare_mean(&e->top1);
    out->delta_p_mean = pare_mean(&e->delta_p);
    out->delta_p_rms = pare_root_mean(&e->delta_p_squares);
    out->kld_median = out->kld_p99 = out->kld_p999 = out->kld_max = unknown;
}

static void summarize_quantiles(evaluation *e, pare_eval_result *out)
{
    size_t n = e->kld.n;
    pare_sort(e->klds, n);
    out->kld_median = pare_quantile(e->klds, n, 0.5);
    out->kld_p99 = pare_quantile(e->klds, n, 0.99);
    out->kld_p999 = pare_quantile(e->klds, n, 0.999);
    out->kld_max = (pare_estimate){e->klds[n - 1], NAN};
}

/* The next windows, from `chunk` on, through the layers of both models; *n_seq is how many. */
static pare_status run_batch(evaluation *e, uint32_t chunk, uint32_t *n_seq, pare_error *err)
{
    double start = now();
    *n_seq = pare_windows_fill(&e->windows, chunk);
    pare_status st = pare_forward_run(e->model.f, e->windows.batch, *n_seq, e->windows.n_ctx, err);
    if (st == PARE_OK && e->reference.m != NULL)
        st = pare_forward_run(e->reference.f, e->windows.batch, *n_seq, e->windows.n_ctx, err);
    e->seconds += now() - start;
    return st;
}

pare_status pare_evaluate(const pare_model *model, const pare_model *reference, pare_backend *b, const int32_t *ids,
                          size_t n, int64_t bos, const pare_eval_options *options, pare_eval_fn each, void *user,
                          pare_eval_result *out, pare_error *err)
{
    evaluation e = {0};
    uint32_t n_seq = 0;
    pare_status st = pare_windows_open(&e.windows, ids, n, bos, options->n_ctx, options->n_chunks, err);
    if (st == PARE_OK)
        st = check_input(model, reference, n, e.windows.n_ctx, err);
    if (st == PARE_OK)
        st = open_evaluation(&e, model, reference, b, err);
    for (uint32_t chunk = 0; st == PARE_OK && chunk < e.windows.n_windows; chunk += n_seq) {
        st = run_batch(&e, chunk, &n_seq, err);
        for (uint32_t s = 0; st == PARE_OK && s < n_seq; s++) {
            if ((st = score_window(&e, chunk + s, s, err)) != PARE_OK)
                break;
            add_window(&e, chunk + s);
            summarize(&e, chunk + s + 1, out);
            if (chunk + s + 1 == e.windows.n_windows && reference != NULL)
                summarize_quantiles(&e, out);
            if (each != NULL)
                each(out, chunk + s, e.windows.n_windows, user);
        }
    }
    close_evaluation(&e);
    return st;
}
