#include "eval/written.h"

#include "core/checked.h"
#include "core/clock.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "eval/cpu_kernels.h"
#include "eval/item_tokens.h"
#include "tasks/python_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TILE_BYTES = 64 * 1024 * 1024, /* of logits at once */
    TILE_MIN = 16,                 /* rows of a tile, however large the vocabulary is, */
    TILE_MAX = 2048,               /* and however small */
    DEFAULT_CTX = 2048             /* of a model that does not say what it was trained for; lm-eval's too */
};

/* An input of an item. */
typedef struct sequence {
    size_t item;
    uint32_t input, n;
} sequence;

/* One token to be scored: what the row of logits says of it. */
typedef struct target {
    int32_t row, token; /* row: token of the batch that it follows */
    double ln_p;
    bool best;
} target;

typedef struct scoring {
    const pare_task *task;
    const pare_scorer *with;
    pare_task_scores *out;
    pare_text_rule rule;
    pare_item_tokens *tokens; /* [n_items] */
    uint32_t *n_waiting;      /* [n_items] inputs that have not been run */
    size_t n_done;            /* items */
    sequence *list;           /* [n_list], longest first */
    size_t n_list;

    pare_forward *f;
    uint32_t batch_tokens; /* that go through the layers together, where one sequence is not longer */
    uint32_t tile;         /* rows of logits at once; 0: the backend scores positions itself */
    float *logits;         /* [tile, n_vocab] */
    int32_t *ids;          /* [batch_tokens] */
    uint32_t *lengths;     /* [batch_tokens] of the sequences */
    target *targets; /* [n_targets] of the batch: sequence by sequence, choice by choice, in the order of tokens */
    size_t n_targets, cap_targets;
    target **by_row; /* [n_targets] */
    int32_t *rows;   /* [n_rows] ascending, all different */
    size_t n_rows;
    int32_t *wanted;             /* [2, n_targets] rows and tokens of the targets, for the backend */
    pare_position_score *scores; /* [n_targets] */
} scoring;

static pare_status tokenize_item(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    scoring *s = ctx;
    pare_status st = pare_item_tokenize(&s->tokens[i], &s->task->items[i], &s->rule, s->out->n_ctx, err);
    return st == PARE_OK ? st : pare_fail_in(err, st, s->task->path);
}

static int longest_first(const void *a, const void *b)
{
    const sequence *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->input < y->input ? -1 : 1;
}

static pare_status no_memory(const scoring *s, size_t n, const char *what, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu %s", s->task->path, n, what);
}

/* What goes through the model, but for items that do not fit. */
static pare_status list_sequences(scoring *s, pare_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < s->task->n_items; i++)
        n += s->tokens[i].n_inputs;
    if ((s->list = malloc((n > 0 ? n : 1) * sizeof *s->list)) == NULL)
        return no_memory(s, n, "sequences", err);
    for (size_t i = 0; i < s->task->n_items; i++) {
        const pare_item_tokens *t = &s->tokens[i];
        s->out->items[i].too_long = t->too_long;
        s->out->n_too_long += t->too_long;
        s->n_waiting[i] = t->n_inputs;
        for (uint32_t k = 0; k < t->n_inputs; k++)
            s->list[s->n_list++] = (sequence){i, k, t->inputs[k].n};
    }
    s->n_done = s->out->n_too_long;
    qsort(s->list, s->n_list, sizeof *s->list, longest_first);
    return PARE_OK;
}

static pare_status open_pass(scoring *s, pare_error *err)
{
    const pare_model *m = s->with->m;
    uint32_t longest = s->list[0].n;
    size_t row_bytes = m->hp.n_vocab * sizeof *s->logits, bytes;
    s->batch_tokens = longest > s->with->b->batch_tokens ? longest : s->with->b->batch_tokens;
    size_t fit = row_bytes > 0 ? TILE_BYTES / row_bytes : TILE_MIN;
    bool here = s->with->b->score == NULL;
    if (here)
        s->tile = (uint32_t)(fit < TILE_MIN ? TILE_MIN : fit > TILE_MAX ? TILE_MAX : fit);
    if (here && pare_mul_size(row_bytes, s->tile, &bytes))
        s->logits = pare_scratch_alloc(bytes);
    s->ids = malloc(s->batch_tokens * sizeof *s->ids);
    s->lengths = malloc(s->batch_tokens * sizeof *s->lengths);
    s->rows = malloc(s->batch_tokens * sizeof *s->rows);
    if ((here && s->logits == NULL) || s->ids == NULL || s->lengths == NULL || s->rows == NULL)
        return no_memory(s, s->tile, "rows of logits", err);
    pare_status st = pare_forward_open_tokens(&s->f, m, s->with->b, longest, s->batch_tokens, err);
    return st == PARE_OK && s->with->form != NULL ? pare_forward_keep(s->f, s->with->form, err) : st;
}

/* First token that is scored of a choice by any of the rules. */
static uint32_t first_scored(const pare_choice_tokens *c)
{
    return c->own < c->n_context ? c->own : c->n_context;
}

static pare_status reserve_targets(scoring *s, size_t n, pare_error *err)
{
    size_t cap = s->cap_targets > 0 ? s->cap_targets : 1024;
    if (n <= s->cap_targets - s->n_targets)
        return PARE_OK;
    while (cap - s->n_targets < n)
        cap *= 2;
    target *targets = realloc(s->targets, cap * sizeof *targets);
    s->targets = targets != NULL ? targets : s->targets;
    target **by_row = realloc(s->by_row, cap * sizeof *by_row);
    s->by_row = by_row != NULL ? by_row : s->by_row;
    int32_t *wanted = realloc(s->wanted, cap * 2 * sizeof *wanted);
    s->wanted = wanted != NULL ? wanted : s->wanted;
    pare_position_score *scores = realloc(s->scores, cap * sizeof *scores);
    s->scores = scores != NULL ? scores : s->scores;
    if (targets == NULL || by_row == NULL || wanted == NULL || scores == NULL)
        return no_memory(s, cap, "scored tokens", err);
    s->cap_targets = cap;
    return PARE_OK;
}

/* Put down the tokens to be scored of a sequence whose first token is number `start` of the batch. */
static pare_status add_targets(scoring *s, const sequence *q, uint32_t start, pare_error *err)
{
    const pare_item_tokens *t = &s->tokens[q->item];
    const int32_t *ids = t->ids + t->inputs[q->input].first;
    for (size_t i = 0; i < s->task->items[q->item].n_choices; i++) {
        const pare_choice_tokens *c = &t->choices[i];
        if (c->input != q->input)
            continue;
        uint32_t from = first_scored(c);
        pare_status st = reserve_targets(s, c->n - from, err);
        if (st != PARE_OK)
            return st;
        for (uint32_t j = from; j < c->n; j++)
            s->targets[s->n_targets++] =
                (target){.row = (int32_t)(start + j - 1), .token = j == c->n - 1 ? c->last : ids[j]};
    }
    return PARE_OK;
}

static int ascending_row(const void *a, const void *b)
{
    const target *x = *(target *const *)a, *y = *(target *const *)b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x < y ? -1 : 1;
}

static void list_rows(scoring *s)
{
    s->n_rows = 0;
    for (size_t i = 0; i < s->n_targets; i++)
        s->by_row[i] = &s->targets[i];
    qsort(s->by_row, s->n_targets, sizeof(target *), ascending_row);
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->n_rows == 0 || s->rows[s->n_rows - 1] != s->by_row[i]->row)
            s->rows[s->n_rows++] = s->by_row[i]->row;
}

/* Sequences that have been run together. */
typedef struct batch {
    const sequence *list;
    size_t n;
} batch;

/* Name the item, the position in it and the token of a logit that is not finite, behind token `row` of the batch. */
static pare_status not_finite(const scoring *s, const batch *b, int32_t row, uint32_t token, double logit,
                              pare_error *err)
{
    uint32_t position = (uint32_t)row;
    size_t q = 0;
    for (; q + 1 < b->n && position >= b->list[q].n; q++)
        position -= b->list[q].n;
    const pare_str id = s->task->items[b->list[q].item].id;
    return pare_fail(err, PARE_ERR_NUMBER,
                     "%s: item '%.*s' of %s: behind token %" PRIu32 " the logit of token id %" PRIu32
                     " is %s; finite numbers are needed",
                     s->with->m->path, (int)id.len, id.data, s->task->path, position, token,
                     isnan(logit) ? "NaN" : "infinite");
}

/* Rows [first, first + n) of s->rows, whose logits are there. */
typedef struct tile {
    scoring *s;
    size_t first;
    const batch *batch;
} tile;

/* The first target whose row is not below `row`. */
static size_t find_row(const scoring *s, int32_t row)
{
    size_t lo = 0, hi = s->n_targets;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->by_row[mid]->row < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static pare_status score_row(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    const tile *t = ctx;
    const scoring *s = t->s;
    size_t n_vocab = s->with->m->hp.n_vocab;
    const float *x = s->logits + i * n_vocab;
    int32_t row = s->rows[t->first + i];
    pare_peak peak;
    uint32_t bad = 0;
    if (!pare_cpu_peak(x, n_vocab, &peak)) {
        while (bad + 1 < n_vocab && isfinite(x[bad]))
            bad++;
        return not_finite(s, t->batch, row, bad, (double)x[bad], err);
    }
    double lse = pare_cpu_log_sum_exp(x, n_vocab, peak.value);
    for (size_t k = find_row(s, row); k < s->n_targets && s->by_row[k]->row == row; k++) {
        target *g = s->by_row[k];
        g->ln_p = (double)x[g->token] - lse;
        g->best = (size_t)g->token == peak.at;
    }
    return PARE_OK;
}

static pare_status score_rows(scoring *s, const batch *b, pare_error *err)
{
    pare_status st = PARE_OK;
    list_rows(s);
    for (size_t first = 0; first < s->n_rows && st == PARE_OK; first += s->tile) {
        size_t n = s->n_rows - first < s->tile ? s->n_rows - first : s->tile;
        tile t = {.s = s, .first = first, .batch = b};
        st = pare_forward_logits_at(s->f, s->rows + first, (uint32_t)n, s->logits, err);
        if (st == PARE_OK)
            st = pare_parallel(n, score_row, &t, err);
    }
    return st;
}

/* The same by the backend, a row for each target. */
static pare_status score_targets(scoring *s, const batch *b, pare_error *err)
{
    size_t n = s->n_targets, bad = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        s->wanted[i] = s->targets[i].row;
        s->wanted[n + i] = s->targets[i].token;
    }
    pare_status st = pare_forward_score_at(s->f, s->wanted, s->wanted + n, (uint32_t)n, s->scores, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        target *g = &s->targets[i];
        g->ln_p = -s->scores[i].nll;
        g->best = s->scores[i].top == g->token;
        if (s->scores[i].bad >= 0 && (bad == SIZE_MAX || g->row < s->targets[bad].row))
            bad = i;
    }
    if (st != PARE_OK || bad == SIZE_MAX)
        return st;
    return not_finite(s, b, s->targets[bad].row, (uint32_t)s->scores[bad].bad, s->scores[bad].nll, err);
}

/* Add the scored tokens of a sequence up, in their order; at: its first target. Returns where the next one's begin. */
static size_t take_scores(scoring *s, const sequence *q, size_t at)
{
    const pare_item_tokens *t = &s->tokens[q->item];
    const pare_item *item = &s->task->items[q->item];
    for (size_t i = 0; i < item->n_choices; i++) {
        const pare_choice_tokens *c = &t->choices[i];
        if (c->input != q->input)
            continue;
        pare_choice_score *score = &s->out->items[q->item].choices[i];
        *score = (pare_choice_score){.n_tokens = c->n - c->n_context,
                                     .n_own_tokens = c->n - c->own,
                                     .n_chars = (uint32_t)pare_count_chars(item->choices[i].answer),
                                     .n_bytes = (uint32_t)item->choices[i].answer.len,
                                     .greedy = true};
        for (uint32_t j = first_scored(c); j < c->n; j++) {
            const target *g = &s->targets[at++];
            score->loglik += j >= c->n_context ? g->ln_p : 0;
            score->own_loglik += j >= c->own ? g->ln_p : 0;
            score->greedy = score->greedy && (g->best || j < c->n_context);
        }
    }
    return at;
}

static double value_by(const pare_choice_score *c, pare_rule rule)
{
    switch (rule) {
    case PARE_BY_CHARS:
        return c->loglik / c->n_chars;
    case PARE_BY_TOKENS:
        return c->own_loglik / c->n_own_tokens;
    default:
        return c->loglik;
    }
}

void pare_item_decide(pare_item_score *score, const pare_item *item)
{
    for (int rule = 0; rule < PARE_N_RULES; rule++)
        for (size_t k = 1; k < item->n_choices; k++)
            if (value_by(&score->choices[k], rule) > value_by(&score->choices[score->pick[rule]], rule))
                score->pick[rule] = k;
    double largest = score->choices[score->pick[PARE_BY_SUM]].loglik, all = 0, right = 0;
    for (size_t k = 0; k < item->n_choices; k++) {
        double p = exp(score->choices[k].loglik - largest);
        all += p;
        right += item->choices[k].right ? p : 0;
    }
    score->mass = right / all;
}

static void finish_sequences(scoring *s, const sequence *batch, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        at = take_scores(s, &batch[i], at);
        if (--s->n_waiting[batch[i].item] > 0)
            continue;
        pare_item_decide(&s->out->items[batch[i].item], &s->task->items[batch[i].item]);
        s->n_done++;
    }
    if (s->with->each != NULL)
        s->with->each(s->n_done, s->task->n_items, s->with->user);
}

/* err says that a logit of the batch is not finite; in which tensor's inputs that begins. */
static void trace_batch(const scoring *s, size_t n, pare_error *err)
{
    const pare_error before = err != NULL ? *err : (pare_error){0};
    const int32_t *ids = s->ids;
    for (size_t i = 0; i < n && err != NULL; ids += s->lengths[i++]) {
        *err = before;
        if (pare_forward_trace(s->f, ids, s->lengths[i], err))
            return;
    }
}

/* Run as many sequences from number `first` on as there is room for; *n: how many. */
static pare_status run_batch(scoring *s, size_t first, size_t *n, pare_error *err)
{
    uint32_t total = 0;
    pare_status st = PARE_OK;
    s->n_targets = 0;
    *n = 0;
    for (size_t i = first; i < s->n_list && s->list[i].n <= s->batch_tokens - total && st == PARE_OK; i++) {
        const sequence *q = &s->list[i];
        const pare_item_tokens *t = &s->tokens[q->item];
        memcpy(s->ids + total, t->ids + t->inputs[q->input].first, q->n * sizeof *s->ids);
        s->lengths[(*n)++] = q->n;
        st = add_targets(s, q, total, err);
        total += q->n;
    }
    if (st == PARE_OK)
        st = pare_forward_run_each(s->f, s->ids, s->lengths, (uint32_t)*n, err);
    const batch b = {s->list + first, *n};
    if (st == PARE_OK && (st = (s->tile > 0 ? score_rows : score_targets)(s, &b, err)) == PARE_ERR_NUMBER)
        trace_batch(s, *n, err);
    if (st != PARE_OK)
        return st;
    s->out->n_tokens += total;
    finish_sequences(s, s->list + first, *n);
    return PARE_OK;
}

static pare_status reserve_scores(scoring *s, pare_error *err)
{
    const pare_task *task = s->task;
    pare_arena *memory = &s->out->memory;
    s->tokens = calloc(task->n_items, sizeof *s->tokens);
    s->n_waiting = calloc(task->n_items, sizeof *s->n_waiting);
    if (s->tokens == NULL || s->n_waiting == NULL)
        return no_memory(s, task->n_items, "items", err);
    if ((s->out->items = pare_arena_alloc(memory, task->n_items * sizeof *s->out->items, err)) == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < task->n_items; i++)
        if ((s->out->items[i].choices =
                 pare_arena_alloc(memory, task->items[i].n_choices * sizeof *s->out->items[i].choices, err)) == NULL)
            return PARE_ERR_MEMORY;
    return PARE_OK;
}

static void close_scoring(scoring *s)
{
    for (size_t i = 0; s->tokens != NULL && i < s->task->n_items; i++)
        pare_item_tokens_close(&s->tokens[i]);
    free(s->tokens);
    free(s->n_waiting);
    free(s->list);
    pare_forward_close(s->f);
    pare_scratch_free(s->logits, (size_t)s->tile * s->with->m->hp.n_vocab * sizeof *s->logits);
    free(s->ids);
    free(s->lengths);
    free(s->rows);
    free(s->targets);
    free(s->by_row);
    free(s->wanted);
    free(s->scores);
}

static pare_status score_choices(pare_task_scores *out, const pare_task *task, const pare_scorer *with, pare_error *err)
{
    scoring s = {.task = task, .with = with, .out = out};
    pare_status st = pare_text_rule_of(&s.rule, with->tokenizer, &with->m->vocab, err);
    if (st == PARE_OK)
        st = reserve_scores(&s, err);
    if (st == PARE_OK)
        st = pare_parallel(task->n_items, tokenize_item, &s, err);
    if (st == PARE_OK)
        st = list_sequences(&s, err);
    if (st == PARE_OK && s.n_list > 0)
        st = open_pass(&s, err);
    for (size_t first = 0, n; first < s.n_list && st == PARE_OK; first += n)
        st = run_batch(&s, first, &n, err);
    close_scoring(&s);
    return st;
}

pare_status pare_score_task(pare_task_scores *out, const pare_task *task, const pare_scorer *with, pare_error *err)
{
    double start = pare_clock();
    uint32_t trained = with->m->hp.n_ctx_train > 0 ? with->m->hp.n_ctx_train : DEFAULT_CTX;
    *out = (pare_task_scores){.task = task, .n_ctx = with->n_ctx > 0 ? with->n_ctx : trained};
    pare_status st = task->kind == PARE_TASK_GENERATE ? pare_score_written(out, task, with, err)
                                                      : score_choices(out, task, with, err);
    out->seconds = pare_clock() - start;
    if (st != PARE_OK)
        pare_task_scores_close(out);
    return st;
}

void pare_task_scores_close(pare_task_scores *s)
{
    pare_arena_close(&s->memory);
    *s = (pare_task_scores){0};
}
