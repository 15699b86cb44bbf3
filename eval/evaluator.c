#include "eval/evaluator.h"

#include "core/checked.h"
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

struct pare_evaluator {
    pare_eval_job job;
    uint32_t n_vocab;

    uint32_t tile;
    side model, reference; /* model: each of the job's in turn; reference.source NULL: none */

    pare_backend *scores;         /* scores positions itself; NULL: rows of logits, above, are scored here */
    pare_score_side *sides;       /* [n_models], then the reference's */
    pare_position_score *results; /* [n_models, n_seq, kept] */
    int32_t *targets;             /* [n_seq, kept] */
};

/* Positions of a window that a pass keeps: those that are scored, and the last one. */
static uint32_t n_kept(const pare_windows *w)
{
    return w->n_ctx - w->first;
}

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

/* ---- batches ---- */

/* One allocation a model: four columns of doubles, and one of bytes. */
static bool open_columns(pare_columns *c, size_t n)
{
    double *at = malloc((n + 1) * (4 * sizeof *at + 1));
    if (at == NULL)
        return false;
    *c = (pare_columns){at, at + n, at + 2 * n, at + 3 * n, (uint8_t *)(at + 4 * n)};
    return true;
}

pare_status pare_batch_open(pare_batch *b, pare_windows *w, size_t n_models, pare_error *err)
{
    *b = (pare_batch){.w = w, .columns = calloc(n_models, sizeof *b->columns), .n_models = n_models};
    bool ok = b->columns != NULL;
    for (size_t k = 0; ok && k < n_models; k++)
        ok = open_columns(&b->columns[k], (size_t)w->n_seq * w->n_scored);
    if (ok)
        return PARE_OK;
    pare_batch_close(b);
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for the scores of %" PRIu32 " windows", w->n_seq);
}

void pare_batch_close(pare_batch *b)
{
    for (size_t k = 0; b->columns != NULL && k < b->n_models; k++)
        free(b->columns[k].nll);
    free(b->columns);
    *b = (pare_batch){0};
}

void pare_batch_fill(pare_batch *b, uint32_t i)
{
    b->i = i;
    b->n_seq = pare_windows_fill(b->w, i);
}

static const int32_t *ids_of(const pare_batch *b, uint32_t seq)
{
    return b->w->batch + (size_t)seq * b->w->n_ctx;
}

/* The columns of the window at place seq. */
static pare_columns columns_of(const pare_batch *b, uint32_t seq, size_t model)
{
    size_t at = (size_t)seq * b->w->n_scored;
    const pare_columns *c = &b->columns[model];
    return (pare_columns){c->nll + at, c->ref_nll + at, c->kld + at, c->kld_reverse + at, c->same_top1 + at};
}

pare_scores pare_batch_scores(const pare_batch *b, uint32_t seq, size_t model, bool has_reference)
{
    const pare_columns c = columns_of(b, seq, model);
    return (pare_scores){.window = b->w->number[b->i + seq],
                         .first = b->w->first,
                         .n = b->w->n_scored,
                         .ids = ids_of(b, seq),
                         .nll = c.nll,
                         .has_reference = has_reference,
                         .ref_nll = has_reference ? c.ref_nll : NULL,
                         .kld = has_reference ? c.kld : NULL,
                         .kld_reverse = has_reference ? c.kld_reverse : NULL,
                         .same_top1 = has_reference ? c.same_top1 : NULL};
}

/* ---- what both ways say of a window that cannot be scored ---- */

/* value: the logit of that token at position pos of the window at place seq. */
static pare_status not_finite(const pare_source *s, const pare_batch *b, uint32_t seq, size_t pos, uint32_t token,
                              double value, pare_error *err)
{
    return pare_fail(err, PARE_ERR_NUMBER,
                     "%s: window %" PRIu32 " position %zu: the logit of token %" PRIu32
                     " is %s; finite numbers are needed",
                     s->path, b->w->number[b->i + seq], pos, token, isnan(value) ? "NaN" : "infinite");
}

static void trace(pare_source *s, const pare_batch *b, uint32_t seq, pare_error *err)
{
    if (s->trace != NULL)
        s->trace(s, ids_of(b, seq), b->w->n_ctx, err);
}

static pare_status check_target(const pare_evaluator *e, const pare_batch *b, uint32_t seq, int32_t target,
                                pare_error *err)
{
    if (target >= 0 && (uint32_t)target < e->n_vocab)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "token %" PRId32 " of window %" PRIu32 " is outside of the vocabulary of %" PRIu32, target,
                     b->w->number[b->i + seq], e->n_vocab);
}

/* ---- rows of logits, scored here ---- */

/* A tile of positions of one window: positions [pos, pos + n) of the window at place seq. */
typedef struct tile {
    const pare_evaluator *e;
    const pare_batch *b;
    const side *side;
    pare_columns out; /* of the window */
    const int32_t *ids;
    uint32_t seq, pos, n;
    bool wants_lse;
} tile;

static pare_status peak_of_row(size_t row, int thread, void *ctx, pare_error *err)
{
    const tile *t = ctx;
    const side *s = t->side;
    uint32_t n_vocab = t->e->n_vocab, v = 0;
    const float *x = s->logits + row * n_vocab;
    (void)thread;
    if (!pare_cpu_peak(x, n_vocab, &s->peak[row])) {
        while (v + 1 < n_vocab && isfinite(x[v]))
            v++;
        return not_finite(s->source, t->b, t->seq, t->pos + row, v, (double)x[v], err);
    }
    if (t->wants_lse)
        s->lse[row] = pare_cpu_log_sum_exp(x, n_vocab, s->peak[row].value);
    return PARE_OK;
}

/* wants_lse: not when the comparison with the other side gives it, in the same pass as the divergence */
static pare_status fill_side(tile *t, const side *s, bool wants_lse, pare_error *err)
{
    t->side = s;
    t->wants_lse = wants_lse;
    pare_status st = s->source->rows(s->source, t->seq, t->pos, t->n, s->logits, err);
    if (st == PARE_OK && (st = pare_parallel(t->n, peak_of_row, t, err)) == PARE_ERR_NUMBER)
        trace(s->source, t->b, t->seq, err);
    return st;
}

static pare_status score_row(size_t row, int thread, void *ctx, pare_error *err)
{
    const tile *t = ctx;
    const pare_evaluator *e = t->e;
    const side *model = &e->model, *reference = &e->reference;
    size_t at = t->pos - t->b->w->first + row, n_vocab = e->n_vocab;
    int32_t target = t->ids[t->pos + row + 1];
    const float *x = model->logits + row * n_vocab;
    (void)thread;
    pare_status st = check_target(e, t->b, t->seq, target, err);
    if (st != PARE_OK)
        return st;
    if (reference->source == NULL) {
        t->out.nll[at] = model->lse[row] - (double)x[target];
        return PARE_OK;
    }
    const float *r = reference->logits + row * n_vocab;
    pare_divergence d = pare_cpu_divergence(r, reference->peak[row].value, x, model->peak[row].value, n_vocab);
    t->out.nll[at] = d.y_lse - (double)x[target];
    t->out.ref_nll[at] = d.x_lse - (double)r[target];
    t->out.kld[at] = d.xy;
    t->out.kld_reverse[at] = d.yx;
    t->out.same_top1[at] = model->peak[row].at == reference->peak[row].at;
    return PARE_OK;
}

static pare_status tell_logits(const tile *t, const side *s, pare_error *err)
{
    const pare_eval_job *job = &t->e->job;
    const pare_logit_rows rows = {t->b->w, t->b->i + t->seq, t->pos, t->n, t->ids, s->logits, s->lse};
    return job->logits != NULL ? job->logits(&rows, job->user, err) : PARE_OK;
}

/* The reference's rows are computed once for all models. */
static pare_status score_tile(pare_evaluator *e, tile *t, pare_error *err)
{
    bool both = e->reference.source != NULL;
    pare_status st = both ? fill_side(t, &e->reference, e->job.logits != NULL, err) : PARE_OK;
    if (st == PARE_OK && both)
        st = tell_logits(t, &e->reference, err);
    for (size_t k = 0; st == PARE_OK && k < e->job.n_models; k++) {
        e->model.source = e->job.models[k];
        t->out = columns_of(t->b, t->seq, k);
        st = fill_side(t, &e->model, !both, err);
        if (st == PARE_OK && !both && k == 0)
            st = tell_logits(t, &e->model, err);
        if (st == PARE_OK)
            st = pare_parallel(t->n, score_row, t, err);
    }
    return st;
}

static pare_status score_rows(pare_evaluator *e, const pare_batch *b, uint32_t seq, pare_error *err)
{
    uint32_t end = b->w->first + b->w->n_scored;
    pare_status st = PARE_OK;
    for (uint32_t pos = b->w->first; pos < end && st == PARE_OK; pos += e->tile) {
        tile t = {.e = e, .b = b, .ids = ids_of(b, seq), .seq = seq, .pos = pos};
        t.n = end - pos < e->tile ? end - pos : e->tile;
        st = score_tile(e, &t, err);
    }
    return st;
}

/* ---- hidden states, scored by the backend ---- */

/* The backend that scores all sources of the job itself; NULL: there is none, or somebody wants rows of logits. */
static pare_backend *scoring_backend(const pare_eval_job *job)
{
    const pare_source *first = job->models[0];
    pare_backend *b = first->backend != NULL && first->backend->score != NULL ? first->backend : NULL;
    for (size_t k = 0; k < job->n_models; k++)
        b = job->models[k]->backend == b ? b : NULL;
    if (job->logits != NULL || (job->reference != NULL && job->reference->backend != b))
        return NULL;
    return b;
}

static pare_status score_side(const pare_evaluator *e, const pare_batch *b, pare_source *s, pare_score_side *out,
                              pare_error *err)
{
    uint32_t n = 0, expected = b->n_seq * n_kept(b->w);
    pare_status st = s->side(s, out, &n, err);
    if (st == PARE_OK && (n != expected || out->w->n_rows != e->n_vocab))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: %" PRIu32 " positions of %" PRIu64 " tokens where %" PRIu32 " of %" PRIu32 " are scored",
                       s->path, n, out->w->n_rows, expected, e->n_vocab);
    return st;
}

/* What follows each position; nothing does behind the last one of a window, whose score nobody reads. */
static pare_status list_targets(const pare_evaluator *e, const pare_batch *b, pare_error *err)
{
    uint32_t kept = n_kept(b->w);
    pare_status st = PARE_OK;
    for (uint32_t seq = 0; seq < b->n_seq && st == PARE_OK; seq++)
        for (uint32_t t = 0; t < kept && st == PARE_OK; t++) {
            int32_t target = t < b->w->n_scored ? ids_of(b, seq)[b->w->first + t + 1] : 0;
            e->targets[seq * kept + t] = target;
            st = check_target(e, b, seq, target, err);
        }
    return st;
}

/* All windows of a batch at once. */
static pare_status score_batch(const pare_evaluator *e, const pare_batch *b, pare_error *err)
{
    const pare_eval_job *job = &e->job;
    pare_score_side *reference = job->reference != NULL ? &e->sides[job->n_models] : NULL;
    pare_status st = list_targets(e, b, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++)
        st = score_side(e, b, job->models[k], &e->sides[k], err);
    if (st == PARE_OK && reference != NULL)
        st = score_side(e, b, job->reference, reference, err);
    if (st != PARE_OK)
        return st;
    return e->scores->score(e->scores, e->sides, job->n_models, reference, e->targets, b->n_seq * n_kept(b->w),
                            e->results, err);
}

/* The scores of a window by model k, [kept] of the batch's. */
static const pare_position_score *results_of(const pare_evaluator *e, const pare_batch *b, uint32_t seq, size_t k)
{
    return e->results + (k * b->n_seq + seq) * n_kept(b->w);
}

static pare_status check_finite(const pare_evaluator *e, const pare_batch *b, uint32_t seq, pare_error *err)
{
    for (uint32_t t = 0; t < b->w->n_scored; t++)
        for (size_t k = 0; k < e->job.n_models; k++) {
            const pare_position_score *p = results_of(e, b, seq, k) + t;
            if (p->bad < 0 && p->ref_bad < 0)
                continue;
            bool reference = e->job.reference != NULL && p->ref_bad >= 0;
            pare_source *s = reference ? e->job.reference : e->job.models[k];
            pare_status st = not_finite(s, b, seq, b->w->first + t, (uint32_t)(reference ? p->ref_bad : p->bad),
                                        reference ? p->ref_nll : p->nll, err);
            trace(s, b, seq, err);
            return st;
        }
    return PARE_OK;
}

static pare_status take_results(const pare_evaluator *e, const pare_batch *b, uint32_t seq, pare_error *err)
{
    pare_status st = check_finite(e, b, seq, err);
    for (size_t k = 0; k < e->job.n_models && st == PARE_OK; k++) {
        const pare_columns c = columns_of(b, seq, k);
        const pare_position_score *p = results_of(e, b, seq, k);
        for (uint32_t t = 0; t < b->w->n_scored; t++, p++) {
            c.nll[t] = p->nll;
            c.ref_nll[t] = p->ref_nll;
            c.kld[t] = p->kld;
            c.kld_reverse[t] = p->kld_reverse;
            c.same_top1[t] = p->top == p->ref_top;
        }
    }
    return st;
}

/* ---- the evaluator ---- */

static bool open_rows(pare_evaluator *e)
{
    e->tile = tile_of(e->job.windows, e->n_vocab);
    return open_side(&e->model, e->tile, e->n_vocab) &&
           (e->job.reference == NULL || open_side(&e->reference, e->tile, e->n_vocab));
}

static bool open_scores(pare_evaluator *e)
{
    size_t n = (size_t)e->job.windows->n_seq * n_kept(e->job.windows) + 1, all;
    e->sides = calloc(e->job.n_models + 1, sizeof *e->sides);
    e->targets = malloc(n * sizeof *e->targets);
    if (pare_mul_size(n, e->job.n_models * sizeof *e->results, &all))
        e->results = malloc(all);
    return e->sides != NULL && e->targets != NULL && e->results != NULL;
}

pare_status pare_evaluator_open(pare_evaluator **out, const pare_eval_job *job, pare_error *err)
{
    pare_status st = check(job, err);
    if (st != PARE_OK)
        return st;
    pare_evaluator *e = calloc(1, sizeof *e);
    if (e == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for an evaluation");
    e->job = *job;
    e->n_vocab = job->models[0]->n_vocab;
    e->reference.source = job->reference;
    e->scores = scoring_backend(job);
    if (e->scores != NULL ? open_scores(e) : open_rows(e)) {
        *out = e;
        return PARE_OK;
    }
    st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " rows of %" PRIu32 " logits", e->tile, e->n_vocab);
    pare_evaluator_close(e);
    return st;
}

void pare_evaluator_close(pare_evaluator *e)
{
    if (e == NULL)
        return;
    close_side(&e->model);
    close_side(&e->reference);
    free(e->sides);
    free(e->targets);
    free(e->results);
    free(e);
}

pare_status pare_evaluator_run(pare_evaluator *e, const pare_batch *b, pare_error *err)
{
    const pare_eval_job *job = &e->job;
    pare_status st = PARE_OK;
    if (job->reference != NULL)
        st = job->reference->run(job->reference, b->w, b->i, b->n_seq, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++)
        st = job->models[k]->run(job->models[k], b->w, b->i, b->n_seq, err);
    return st;
}

pare_status pare_evaluator_score(pare_evaluator *e, pare_batch *b, uint32_t seq, pare_error *err)
{
    if (e->scores == NULL)
        return score_rows(e, b, seq, err);
    pare_status st = seq == 0 ? score_batch(e, b, err) : PARE_OK;
    return st == PARE_OK ? take_results(e, b, seq, err) : st;
}
