#include "fit/trial.h"

#include "core/checked.h"
#include "eval/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_WINDOWS = 32, SAMPLE_SEED = 1 };

struct pare_trial {
    const pare_model *m;
    pare_model copy; /* borrows all from m but its list of tensors */
    pare_backend *b;
    pare_windows w;
    pare_forward *own, *other; /* of m, of the copy */
    bool layered;
    float *last;       /* [tokens, n_embd] m's states behind the last layer */
    bool *ready;       /* [n_windows] they are there */
    float *states;     /* [waiting windows' tokens, n_embd] the copy's at the stage; NULL: nothing has moved yet */
    uint32_t n_states; /* windows that there is room for */
    float *batch;      /* [n_seq * n_ctx, n_embd] */
    float *logits;     /* [n_kept, n_ctx, n_vocab] m's, of the first windows */
    uint32_t n_kept;
    bool *known; /* [n_windows] they are there */
    uint32_t stage, n_waiting;
    uint32_t first; /* window of the batch in hand */

    double sum, sum_second; /* of the run in hand */
    uint64_t n, n_second;
    double window_sum, window_squares; /* of the windows' means of second halves */
    uint32_t n_done;
    double *per_window;
};

static size_t width_of(const pare_trial *t)
{
    return (size_t)t->w.n_ctx * t->m->hp.n_embd;
}

/* ---- sources: the model, from its last states, and the copy, from its stage ---- */

/* The model's states of these windows behind its last layer, unless they are there. */
static pare_status make_last(pare_trial *t, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    float *x = t->last + i * width_of(t);
    bool ready = true;
    for (uint32_t k = 0; k < n_seq; k++)
        ready = ready && t->ready[i + k];
    if (ready)
        return PARE_OK;
    pare_status st = pare_forward_embed(t->own, w->batch, n_seq, w->n_ctx, x, err);
    for (uint32_t layer = 0; layer < t->m->hp.n_layer && st == PARE_OK; layer++)
        st = pare_forward_layer(t->own, layer, n_seq, w->n_ctx, x, err);
    for (uint32_t k = 0; k < n_seq; k++)
        t->ready[i + k] = st == PARE_OK;
    return st;
}

static pare_status run_own(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    pare_trial *t = s->state;
    t->first = i;
    if (!t->layered)
        return pare_forward_run(t->own, w->batch, n_seq, w->n_ctx, err);
    pare_status st = make_last(t, w, i, n_seq, err);
    if (st != PARE_OK)
        return st;
    memcpy(t->batch, t->last + i * width_of(t), n_seq * width_of(t) * sizeof *t->batch);
    return pare_forward_layer(t->own, t->m->hp.n_layer, n_seq, w->n_ctx, t->batch, err);
}

static pare_status rows_own(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    pare_trial *t = s->state;
    const size_t n_vocab = t->m->hp.n_vocab, window = t->first + seq;
    float *kept = window < t->n_kept ? t->logits + (window * t->w.n_ctx + pos) * n_vocab : NULL;
    if (kept != NULL && t->known[window]) {
        memcpy(out, kept, n * n_vocab * sizeof *out);
        return PARE_OK;
    }
    pare_status st = pare_forward_logits(t->own, seq, pos, n, out, err);
    if (st == PARE_OK && kept != NULL) {
        memcpy(kept, out, n * n_vocab * sizeof *out);
        t->known[window] = pos + n == t->w.n_ctx - 1; /* positions come in order */
    }
    return st;
}

static pare_status side_own(pare_source *s, pare_score_side *out, uint32_t *n, pare_error *err)
{
    return pare_forward_score_side(((pare_trial *)s->state)->own, out, n, err);
}

static pare_status run_other(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    pare_trial *t = s->state;
    const uint32_t n_layer = t->m->hp.n_layer;
    if (!t->layered)
        return pare_forward_run(t->other, w->batch, n_seq, w->n_ctx, err);
    pare_status st = PARE_OK;
    if (t->stage == 0)
        st = pare_forward_embed(t->other, w->batch, n_seq, w->n_ctx, t->batch, err);
    else
        memcpy(t->batch, t->states + i * width_of(t), n_seq * width_of(t) * sizeof *t->batch);
    for (uint32_t layer = t->stage > 0 ? t->stage - 1 : 0; layer <= n_layer && st == PARE_OK; layer++)
        st = pare_forward_layer(t->other, layer, n_seq, w->n_ctx, t->batch, err);
    return st;
}

static pare_status rows_other(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    return pare_forward_logits(((pare_trial *)s->state)->other, seq, pos, n, out, err);
}

static pare_status side_other(pare_source *s, pare_score_side *out, uint32_t *n, pare_error *err)
{
    return pare_forward_score_side(((pare_trial *)s->state)->other, out, n, err);
}

static uint64_t no_bytes(const pare_source *s)
{
    (void)s;
    return 0;
}

static void close_nothing(pare_source *s)
{
    (void)s;
}

static pare_source source_of(pare_trial *t, bool own)
{
    return (pare_source){.path = t->m->path,
                         .n_vocab = t->m->hp.n_vocab,
                         .state = t,
                         .run = own ? run_own : run_other,
                         .rows = own ? rows_own : rows_other,
                         .side = own ? side_own : side_other,
                         .backend = t->b,
                         .bytes = no_bytes,
                         .close = close_nothing};
}

/* ---- opening ---- */

static pare_status open_copy(pare_trial *t, pare_error *err)
{
    size_t bytes = 0;
    t->copy = *t->m;
    t->copy.closing = NULL;
    t->copy.tensors = NULL;
    if (!pare_mul_size(t->m->n_tensors + 1, sizeof *t->copy.tensors, &bytes) ||
        (t->copy.tensors = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a list of tensors", t->m->path);
    memcpy(t->copy.tensors, t->m->tensors, t->m->n_tensors * sizeof *t->copy.tensors);
    return PARE_OK;
}

/* 0, 1/2, 1/4, 3/4, 1/8, ...: the n-th of van der Corput's sequence, in parts of 2^32. */
static uint32_t corput(uint32_t n)
{
    uint32_t out = 0;
    for (int bit = 0; bit < 32; bit++, n >>= 1)
        out = out << 1 | (n & 1);
    return out;
}

/* In an order in which the first few are spread over the text, too. */
static pare_status spread(pare_windows *w, pare_error *err)
{
    uint32_t *number = malloc(((size_t)w->n_windows + 1) * sizeof *number), n = 0;
    if (number == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the numbers of %" PRIu32 " windows", w->n_windows);
    uint32_t all = 1;
    while (all < w->n_windows)
        all *= 2;
    for (uint32_t i = 0; i < all; i++) { /* all numbers below a power of two, of which those that are windows */
        const uint32_t k = (uint32_t)((uint64_t)corput(i) * all >> 32);
        if (k < w->n_windows)
            number[n++] = w->number[k];
    }
    memcpy(w->number, number, n * sizeof *number);
    free(number);
    return PARE_OK;
}

static pare_status open_windows(pare_trial *t, const pare_trial_options *o, pare_error *err)
{
    const uint32_t n_ctx = o->n_ctx != 0 ? o->n_ctx : PARE_DEFAULT_CTX, n_all = (uint32_t)(o->n_ids / n_ctx);
    const uint32_t most = o->n_windows != 0 ? o->n_windows : DEFAULT_WINDOWS;
    const pare_window_plan plan = {.n_ctx = n_ctx,
                                   .n_sample = most < n_all ? most : n_all,
                                   .seed = SAMPLE_SEED,
                                   .batch_tokens = t->b->batch_tokens};
    if (n_all < 2)
        return pare_fail(err, PARE_ERR_USAGE, "the text has %zu tokens; two windows need %" PRIu64, o->n_ids,
                         2 * (uint64_t)n_ctx);
    pare_status st = pare_windows_open(&t->w, o->ids, o->n_ids, o->bos, &plan, err);
    t->w.first = 0; /* a pass from a stage on keeps all positions: all are compared */
    t->w.n_scored = n_ctx - 1;
    return st == PARE_OK ? spread(&t->w, err) : st;
}

static pare_status open_memory(pare_trial *t, uint64_t cache_bytes, pare_error *err)
{
    size_t bytes = 0, logits = 0;
    bool fits = pare_mul_size(t->w.n_windows, width_of(t) * sizeof(float), &bytes);
    t->known = calloc((size_t)t->w.n_windows + 1, sizeof *t->known);
    t->ready = calloc((size_t)t->w.n_windows + 1, sizeof *t->ready);
    fits = fits && t->known != NULL && t->ready != NULL;
    if (fits && t->layered) {
        t->last = malloc(bytes);
        t->batch = malloc(t->w.n_seq * width_of(t) * sizeof *t->batch);
        fits = t->last != NULL && t->batch != NULL;
    }
    if (!fits)
        return pare_fail(err, PARE_ERR_MEMORY,
                         "%s: no memory for the states of %" PRIu32 " windows of %" PRIu32 " tokens", t->m->path,
                         t->w.n_windows, t->w.n_ctx);
    if (t->b->score != NULL || !pare_mul_size(t->w.n_ctx, (size_t)t->m->hp.n_vocab * sizeof(float), &logits))
        return PARE_OK;
    const uint64_t n = cache_bytes / logits;
    t->n_kept = n < t->w.n_windows ? (uint32_t)n : t->w.n_windows;
    if (t->n_kept > 0 && (t->logits = malloc(t->n_kept * logits)) == NULL)
        t->n_kept = 0; /* they are computed every time */
    return PARE_OK;
}

pare_status pare_trial_open(pare_trial **out, const pare_trial_options *options, pare_error *err)
{
    pare_trial *t = calloc(1, sizeof *t);
    *out = t;
    if (t == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory");
    t->m = options->model;
    t->b = options->backend;
    pare_status st = open_windows(t, options, err);
    if (st == PARE_OK)
        st = open_copy(t, err);
    if (st == PARE_OK)
        st = pare_forward_open(&t->own, t->m, t->b, t->w.n_ctx, t->w.n_seq, err);
    if (st == PARE_OK)
        st = pare_forward_open(&t->other, &t->copy, t->b, t->w.n_ctx, t->w.n_seq, err);
    t->layered = st == PARE_OK && pare_forward_is_layered(t->own);
    if (st == PARE_OK)
        st = open_memory(t, options->cache_bytes, err);
    t->n_waiting = t->w.n_windows;
    if (st != PARE_OK) {
        pare_trial_close(t);
        *out = NULL;
    }
    return st;
}

void pare_trial_close(pare_trial *t)
{
    if (t == NULL)
        return;
    pare_forward_close(t->own);
    pare_forward_close(t->other);
    pare_windows_close(&t->w);
    free(t->copy.tensors);
    free(t->last);
    free(t->ready);
    free(t->states);
    free(t->batch);
    free(t->logits);
    free(t->known);
    free(t);
}

/* ---- stages ---- */

uint32_t pare_trial_windows(const pare_trial *t)
{
    return t->w.n_windows;
}

uint32_t pare_trial_stages(const pare_trial *t)
{
    return t->layered ? t->m->hp.n_layer + 2 : 1;
}

uint32_t pare_trial_stage_of(const pare_trial *t, size_t tensor)
{
    const char *name = t->m->tensors[tensor].name;
    uint32_t layer;
    if (!t->layered)
        return 0;
    if (sscanf(name, "blk.%" SCNu32 ".", &layer) == 1 && layer < t->m->hp.n_layer)
        return layer + 1;
    return strncmp(name, "output", strlen("output")) == 0 ? t->m->hp.n_layer + 1 : 0;
}

pare_status pare_trial_set(pare_trial *t, size_t tensor, pare_type type, const void *bytes, pare_error *err)
{
    const pare_tensor *own = &t->m->tensors[tensor];
    pare_tensor *to = &t->copy.tensors[tensor], made = *own;
    pare_status st = bytes != NULL ? pare_tensor_replace(&made, type, NULL, bytes, t->m->path, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    /* A backend that keeps weights forgets what was here. */
    const pare_tensor *list = to;
    if (t->b->drop != NULL)
        t->b->drop(t->b, &list, 1);
    *to = made;
    return t->b->hold != NULL ? t->b->hold(t->b, &list, 1, err) : PARE_OK;
}

void pare_trial_begin(pare_trial *t, uint32_t n_windows)
{
    t->stage = 0;
    t->n_waiting = n_windows > 0 && n_windows < t->w.n_windows ? n_windows : t->w.n_windows;
}

uint32_t pare_trial_stage(const pare_trial *t)
{
    return t->stage;
}

static pare_status make_room(pare_trial *t, pare_error *err)
{
    if (t->states != NULL && t->n_states >= t->n_waiting)
        return PARE_OK;
    free(t->states);
    t->n_states = t->n_waiting;
    t->states = malloc(t->n_waiting * width_of(t) * sizeof *t->states); /* less than t->last has */
    return t->states != NULL ? PARE_OK
                             : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the states of %" PRIu32 " windows",
                                         t->m->path, t->n_waiting);
}

pare_status pare_trial_advance(pare_trial *t, pare_error *err)
{
    const uint32_t all = t->w.n_windows;
    if (t->stage + 1 >= pare_trial_stages(t))
        return PARE_OK;
    pare_status st = make_room(t, err);
    t->w.n_windows = t->n_waiting;
    for (uint32_t i = 0, n; i < t->n_waiting && st == PARE_OK; i += n) {
        float *x = t->states + i * width_of(t);
        n = pare_windows_fill(&t->w, i);
        if (t->stage == 0)
            st = pare_forward_embed(t->other, t->w.batch, n, t->w.n_ctx, x, err);
        else
            st = pare_forward_layer(t->other, t->stage - 1, n, t->w.n_ctx, x, err);
    }
    t->w.n_windows = all;
    t->stage++;
    return st;
}

/* ---- runs ---- */

static pare_status take(const pare_scores *s, size_t model, void *user, pare_error *err)
{
    pare_trial *t = user;
    const uint32_t half = t->w.n_ctx / 2;
    double sum = 0, second = 0;
    (void)model;
    (void)err;
    for (uint32_t i = 1; i < s->n; i++) {
        sum += s->kld[i];
        second += i >= half ? s->kld[i] : 0;
    }
    if (t->per_window != NULL)
        *t->per_window++ = sum / (s->n - 1);
    t->sum += sum;
    t->sum_second += second;
    t->n += s->n - 1;
    t->n_second += s->n - half;
    t->n_done++;
    t->window_sum += second / (s->n - half);
    t->window_squares += second / (s->n - half) * (second / (s->n - half));
    return PARE_OK;
}

static double error_of(const pare_trial *t)
{
    const double n = t->n_done, mean = t->window_sum / n;
    return t->n_done > 1 ? sqrt(fmax(t->window_squares / n - mean * mean, 0) / (n - 1)) : 0;
}

pare_status pare_trial_run(pare_trial *t, uint32_t n_windows, pare_trial_score *out, double *per_window,
                           pare_error *err)
{
    const uint32_t all = t->w.n_windows;
    pare_source own = source_of(t, true), other = source_of(t, false), *model = &other;
    const pare_eval_job job = {
        .models = &model, .n_models = 1, .reference = &own, .windows = &t->w, .scores = take, .user = t};
    t->sum = t->sum_second = t->window_sum = t->window_squares = 0;
    t->n = t->n_second = t->n_done = 0;
    t->per_window = per_window;
    t->w.n_windows = n_windows > 0 && n_windows < t->n_waiting ? n_windows : t->n_waiting;
    pare_status st = pare_evaluate(&job, err);
    t->w.n_windows = all;
    *out = (pare_trial_score){t->n > 0 ? t->sum / (double)t->n : 0,
                              t->n_second > 0 ? t->sum_second / (double)t->n_second : 0, error_of(t)};
    return st;
}
