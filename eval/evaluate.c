#include "eval/evaluate.h"

#include "core/checked.h"
#include "core/clock.h"
#include "core/threads.h"
#include "eval/cpu_kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum {
    TILE_BYTES = 64 * 1024 * 1024, /* of logits at once */
    TILE_MIN = 16                  /* positions of a tile, however large the vocabulary is */
};

/* One distribution a position: a tile of logits, and what is taken from each row. */
typedef struct side {
    pare_source *source;
    float *logits;   /* [tile, n_vocab] */
    pare_peak *peak; /* [tile] the most likely token */
    double *lse;     /* [tile] ln sum e^logits, where somebody asks for it */
} side;

/* The scores of one window by one model: [n_scored] each. */
typedef struct columns {
    double *nll, *ref_nll, *kld, *kld_reverse;
    uint8_t *same_top1;
} columns;

typedef struct evaluation {
    const pare_eval_job *job;
    uint32_t n_vocab, tile;
    side model, reference; /* model: each of the job's in turn; reference.source NULL: none */
    columns *columns;      /* [n_models] */
    double start;
} evaluation;

static uint32_t tile_of(const pare_windows *w, uint32_t n_vocab)
{
    uint64_t row_bytes = (uint64_t)n_vocab * sizeof(float), tile = TILE_BYTES / (row_bytes > 0 ? row_bytes : 1);
    tile = tile < TILE_MIN ? TILE_MIN : tile;
    return tile < w->n_scored ? (uint32_t)tile : w->n_scored;
}

uint64_t pare_evaluate_bytes(const pare_windows *w, uint32_t n_vocab, bool has_reference)
{
    return (uint64_t)tile_of(w, n_vocab) * n_vocab * sizeof(float) * (has_reference ? 2 : 1);
}

static pare_status check(const pare_eval_job *job, pare_error *err)
{
    pare_status st = pare_windows_check_text(job->windows, err);
    if (st != PARE_OK)
        return st;
    const pare_source *first = job->reference != NULL ? job->reference : job->models[0];
    for (size_t k = 0; k < job->n_models; k++)
        if (job->models[k]->n_vocab != first->n_vocab)
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s has a vocabulary of %" PRIu32 " and the reference %s one of %" PRIu32
                             ": they cannot be compared",
                             job->models[k]->path, job->models[k]->n_vocab, first->path, first->n_vocab);
    return PARE_OK;
}

static bool open_side(side *s, uint32_t tile, uint32_t n_vocab)
{
    size_t bytes;
    if (!pare_mul_size(tile, (size_t)n_vocab * sizeof *s->logits, &bytes))
        return false;
    s->logits = malloc(bytes);
    s->lse = malloc(tile * sizeof *s->lse);
    s->peak = malloc(tile * sizeof *s->peak);
    return s->logits != NULL && s->lse != NULL && s->peak != NULL;
}

static void close_side(side *s)
{
    free(s->logits);
    free(s->lse);
    free(s->peak);
}

/* One allocation a model: four columns of doubles, and one of bytes. */
static bool open_columns(columns *c, size_t n)
{
    double *at = malloc(n * (4 * sizeof *at + 1));
    if (at == NULL)
        return false;
    *c = (columns){at, at + n, at + 2 * n, at + 3 * n, (uint8_t *)(at + 4 * n)};
    return true;
}

static pare_status open_evaluation(evaluation *e, const pare_eval_job *job, pare_error *err)
{
    const pare_windows *w = job->windows;
    *e = (evaluation){.job = job, .n_vocab = job->models[0]->n_vocab, .reference.source = job->reference};
    e->tile = tile_of(w, e->n_vocab);
    e->columns = calloc(job->n_models, sizeof *e->columns);
    bool ok = e->columns != NULL && open_side(&e->model, e->tile, e->n_vocab);
    ok = ok && (job->reference == NULL || open_side(&e->reference, e->tile, e->n_vocab));
    for (size_t k = 0; ok && k < job->n_models; k++)
        ok = open_columns(&e->columns[k], w->n_scored);
    if (ok)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " rows of %" PRIu32 " logits", e->tile, e->n_vocab);
}

static void close_evaluation(evaluation *e)
{
    close_side(&e->model);
    close_side(&e->reference);
    for (size_t k = 0; e->columns != NULL && k < e->job->n_models; k++)
        free(e->columns[k].nll);
    free(e->columns);
}

/* A tile of positions of one window: positions [pos, pos + n) of window i, at place seq of the batch. */
typedef struct tile {
    evaluation *e;
    side *side;
    columns *out;
    const int32_t *ids; /* of the window */
    uint32_t i, seq, pos, n;
    bool wants_lse;
} tile;

static pare_status not_finite(const tile *t, size_t row, pare_error *err)
{
    const float *x = t->side->logits + row * t->e->n_vocab;
    uint32_t v = 0;
    while (v + 1 < t->e->n_vocab && isfinite(x[v]))
        v++;
    return pare_fail(
        err, PARE_ERR_NUMBER,
        "%s: window %" PRIu32 " position %zu: the logit of token %" PRIu32 " is %s; finite numbers are needed",
        t->side->source->path, t->e->job->windows->number[t->i], t->pos + row, v, isnan(x[v]) ? "NaN" : "infinite");
}

static pare_status peak_of_row(size_t row, int thread, void *ctx, pare_error *err)
{
    const tile *t = ctx;
    side *s = t->side;
    const float *x = s->logits + row * t->e->n_vocab;
    (void)thread;
    if (!pare_cpu_peak(x, t->e->n_vocab, &s->peak[row]))
        return not_finite(t, row, err);
    if (t->wants_lse)
        s->lse[row] = pare_cpu_log_sum_exp(x, t->e->n_vocab, s->peak[row].value);
    return PARE_OK;
}

/* wants_lse: not when the comparison with the other side gives it, in the same pass as the divergence */
static pare_status fill_side(tile *t, side *s, bool wants_lse, pare_error *err)
{
    t->side = s;
    t->wants_lse = wants_lse;
    pare_status st = s->source->rows(s->source, t->seq, t->pos, t->n, s->logits, err);
    if (st == PARE_OK && (st = pare_parallel(t->n, peak_of_row, t, err)) == PARE_ERR_NUMBER && s->source->trace != NULL)
        s->source->trace(s->source, t->ids, t->e->job->windows->n_ctx, err);
    return st;
}

static pare_status score_row(size_t row, int thread, void *ctx, pare_error *err)
{
    const tile *t = ctx;
    const evaluation *e = t->e;
    const side *model = &e->model, *reference = &e->reference;
    size_t at = t->pos - e->job->windows->first + row, n_vocab = e->n_vocab;
    size_t target = (size_t)t->ids[t->pos + row + 1];
    const float *x = model->logits + row * n_vocab;
    (void)thread;
    if (target >= n_vocab)
        return pare_fail(err, PARE_ERR_RANGE, "token %zu of window %" PRIu32 " is outside of the vocabulary of %zu",
                         target, e->job->windows->number[t->i], n_vocab);
    if (reference->source == NULL) {
        t->out->nll[at] = model->lse[row] - (double)x[target];
        return PARE_OK;
    }
    const float *r = reference->logits + row * n_vocab;
    pare_divergence d = pare_cpu_divergence(r, reference->peak[row].value, x, model->peak[row].value, n_vocab);
    t->out->nll[at] = d.y_lse - (double)x[target];
    t->out->ref_nll[at] = d.x_lse - (double)r[target];
    t->out->kld[at] = d.xy;
    t->out->kld_reverse[at] = d.yx;
    t->out->same_top1[at] = model->peak[row].at == reference->peak[row].at;
    return PARE_OK;
}

static pare_status tell_logits(const tile *t, const side *s, pare_error *err)
{
    const pare_eval_job *job = t->e->job;
    const pare_logit_rows rows = {job->windows, t->i, t->pos, t->n, t->ids, s->logits, s->lse};
    return job->logits != NULL ? job->logits(&rows, job->user, err) : PARE_OK;
}

/* The reference's rows are computed once for all models. */
static pare_status score_tile(tile *t, pare_error *err)
{
    evaluation *e = t->e;
    bool both = e->reference.source != NULL;
    pare_status st = both ? fill_side(t, &e->reference, e->job->logits != NULL, err) : PARE_OK;
    if (st == PARE_OK && both)
        st = tell_logits(t, &e->reference, err);
    for (size_t k = 0; st == PARE_OK && k < e->job->n_models; k++) {
        e->model.source = e->job->models[k];
        t->out = &e->columns[k];
        st = fill_side(t, &e->model, !both, err);
        if (st == PARE_OK && !both && k == 0)
            st = tell_logits(t, &e->model, err);
        if (st == PARE_OK)
            st = pare_parallel(t->n, score_row, t, err);
    }
    return st;
}

static pare_status score_window(evaluation *e, uint32_t i, uint32_t seq, pare_error *err)
{
    const pare_windows *w = e->job->windows;
    uint32_t end = w->first + w->n_scored;
    pare_status st = PARE_OK;
    for (uint32_t pos = w->first; pos < end && st == PARE_OK; pos += e->tile) {
        tile t = {.e = e, .ids = w->batch + (size_t)seq * w->n_ctx, .i = i, .seq = seq, .pos = pos};
        t.n = end - pos < e->tile ? end - pos : e->tile;
        st = score_tile(&t, err);
    }
    return st;
}

/* The functions' own time, and that of the pauses between windows, is not counted. */
static void stop_clock(evaluation *e)
{
    if (e->job->seconds != NULL)
        *e->job->seconds += pare_clock() - e->start;
}

static pare_status deliver(evaluation *e, uint32_t i, uint32_t seq, pare_error *err)
{
    const pare_windows *w = e->job->windows;
    bool both = e->reference.source != NULL;
    pare_status st = PARE_OK;
    stop_clock(e);
    for (size_t k = 0; k < e->job->n_models && st == PARE_OK; k++) {
        const columns *c = &e->columns[k];
        const pare_scores scores = {.window = w->number[i],
                                    .first = w->first,
                                    .n = w->n_scored,
                                    .ids = w->batch + (size_t)seq * w->n_ctx,
                                    .nll = c->nll,
                                    .has_reference = both,
                                    .ref_nll = both ? c->ref_nll : NULL,
                                    .kld = both ? c->kld : NULL,
                                    .kld_reverse = both ? c->kld_reverse : NULL,
                                    .same_top1 = both ? c->same_top1 : NULL};
        st = e->job->scores(&scores, k, e->job->user, err);
    }
    e->start = pare_clock();
    return st;
}

/* Windows [i, i + n_seq) through the layers of everything that runs. */
static pare_status run_sources(const evaluation *e, uint32_t i, uint32_t n_seq, pare_error *err)
{
    const pare_eval_job *job = e->job;
    pare_status st = PARE_OK;
    if (job->reference != NULL)
        st = job->reference->run(job->reference, job->windows, i, n_seq, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++)
        st = job->models[k]->run(job->models[k], job->windows, i, n_seq, err);
    return st;
}

pare_status pare_evaluate(const pare_eval_job *job, pare_error *err)
{
    pare_windows *w = job->windows;
    evaluation e = {0};
    pare_status st = check(job, err);
    if (st != PARE_OK)
        return st;
    st = open_evaluation(&e, job, err);
    e.start = pare_clock();
    for (uint32_t i = 0; i < w->n_windows && st == PARE_OK;) {
        uint32_t n_seq = pare_windows_fill(w, i);
        st = run_sources(&e, i, n_seq, err);
        for (uint32_t s = 0; s < n_seq && st == PARE_OK; s++) {
            st = score_window(&e, i + s, s, err);
            if (st == PARE_OK)
                st = deliver(&e, i + s, s, err);
        }
        i += n_seq;
    }
    stop_clock(&e);
    close_evaluation(&e);
    return st;
}
