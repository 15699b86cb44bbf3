#include "eval/first_token.h"

#include "core/checked.h"
#include "core/threads.h"
#include "eval/cpu_kernels.h"
#include "eval/generate.h"
#include "eval/item_tokens.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_TOKENS = 2048,           /* in a pass, unless a prompt alone has more */
    TILE_BYTES = 64 * 1024 * 1024, /* of a model's logits at once */
    TILE_MIN = 16                  /* prompts of a tile, however large the vocabulary is */
};

typedef struct passes {
    const pare_first_token_job *job;
    const pare_prompt *prompts;
    size_t n_prompts;
    pare_forward *reference, **models;
    size_t *order;       /* [n_prompts] the longest first */
    int32_t *ids, *last; /* of a batch: the tokens of its prompts, and where each one's last token stands */
    uint32_t *lengths;
    uint32_t tile;                /* prompts whose logits are held at once */
    float *rows, *reference_rows; /* [tile, n_vocab] */
} passes;

static int longest_first(const void *a, const void *b)
{
    const pare_prompt *const *x = a, *const *y = b;
    if ((*x)->n != (*y)->n)
        return (*x)->n < (*y)->n ? 1 : -1;
    return (*x > *y) - (*x < *y);
}

/* Prompts in the order in which they run. */
static pare_status sort_prompts(passes *p, pare_error *err)
{
    const pare_prompt **sorted = malloc((p->n_prompts + 1) * sizeof *sorted);
    p->order = malloc((p->n_prompts + 1) * sizeof *p->order);
    if (sorted == NULL || p->order == NULL) {
        free(sorted);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu prompts", p->n_prompts);
    }
    for (size_t i = 0; i < p->n_prompts; i++)
        sorted[i] = &p->prompts[i];
    qsort(sorted, p->n_prompts, sizeof *sorted, longest_first);
    for (size_t i = 0; i < p->n_prompts; i++)
        p->order[i] = (size_t)(sorted[i] - p->prompts);
    free(sorted);
    return PARE_OK;
}

static pare_status check_job(const passes *p, pare_error *err)
{
    const pare_model *reference = p->job->reference;
    for (size_t i = 0; i < p->n_prompts; i++)
        if (p->prompts[i].n == 0)
            return pare_fail(err, PARE_ERR_USAGE, "prompt %zu is empty: no token follows it", i);
    for (size_t k = 0; k < p->job->n_models; k++)
        if (p->job->models[k]->hp.n_vocab != reference->hp.n_vocab)
            return pare_fail(
                err, PARE_ERR_USAGE,
                "%s has a vocabulary of %" PRIu32 " and the reference %s one of %" PRIu32 ": they cannot be compared",
                p->job->models[k]->path, p->job->models[k]->hp.n_vocab, reference->path, reference->hp.n_vocab);
    return PARE_OK;
}

static pare_status open_passes(passes *p, pare_error *err)
{
    const pare_first_token_job *job = p->job;
    const uint32_t longest = p->prompts[p->order[0]].n, tokens = longest > BATCH_TOKENS ? longest : BATCH_TOKENS;
    const size_t row = (size_t)job->reference->hp.n_vocab * sizeof(float), fit = row > 0 ? TILE_BYTES / row : TILE_MIN;
    p->tile = fit < TILE_MIN ? TILE_MIN : fit < tokens ? (uint32_t)fit : tokens;
    p->models = calloc(job->n_models, sizeof *p->models);
    p->ids = malloc((size_t)tokens * sizeof *p->ids);
    p->last = malloc((size_t)tokens * sizeof *p->last);
    p->lengths = malloc((size_t)tokens * sizeof *p->lengths);
    p->rows = malloc(p->tile * row);
    p->reference_rows = malloc(p->tile * row);
    if (p->models == NULL || p->ids == NULL || p->last == NULL || p->lengths == NULL || p->rows == NULL ||
        p->reference_rows == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for prompts of %" PRIu32 " tokens", longest);
    pare_status st = pare_forward_open_tokens(&p->reference, job->reference, job->b, longest, tokens, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++)
        st = pare_forward_open_tokens(&p->models[k], job->models[k], job->b, longest, tokens, err);
    return st;
}

static void close_passes(passes *p)
{
    pare_forward_close(p->reference);
    for (size_t k = 0; p->models != NULL && k < p->job->n_models; k++)
        pare_forward_close(p->models[k]);
    free(p->models);
    free(p->order);
    free(p->ids);
    free(p->last);
    free(p->lengths);
    free(p->rows);
    free(p->reference_rows);
}

/* Rows of the prompts at places [first, first + n) of the batch whose first prompt is order[at]. */
typedef struct tile {
    const passes *p;
    size_t at, k; /* k: the model */
    uint32_t first;
    double *kld;
} tile;

static pare_status find_peak(const tile *t, const pare_model *m, size_t i, const float *row, pare_peak *peak,
                             pare_error *err)
{
    if (pare_cpu_peak(row, m->hp.n_vocab, peak))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_NUMBER,
                     "%s: prompt %zu: a logit behind its %" PRIu32 " tokens is not finite; finite numbers are needed",
                     m->path, i, t->p->prompts[i].n);
}

static pare_status score_row(size_t r, int thread, void *ctx, pare_error *err)
{
    const tile *t = ctx;
    const passes *p = t->p;
    const pare_first_token_job *job = p->job;
    const size_t n_vocab = job->reference->hp.n_vocab, i = p->order[t->at + t->first + r];
    const float *x = p->reference_rows + r * n_vocab, *y = p->rows + r * n_vocab;
    pare_peak reference, model;
    (void)thread;
    pare_status st = find_peak(t, job->reference, i, x, &reference, err);
    if (st == PARE_OK)
        st = find_peak(t, job->models[t->k], i, y, &model, err);
    if (st == PARE_OK)
        t->kld[t->k * p->n_prompts + i] = pare_cpu_divergence(x, reference.value, y, model.value, n_vocab).xy;
    return st;
}

static pare_status score_batch(passes *p, size_t at, uint32_t n, double *kld, pare_error *err)
{
    const pare_first_token_job *job = p->job;
    pare_status st = PARE_OK;
    for (uint32_t first = 0; first < n && st == PARE_OK; first += p->tile) {
        const uint32_t rows = n - first < p->tile ? n - first : p->tile;
        tile t = {.p = p, .at = at, .first = first, .kld = kld};
        st = pare_forward_logits_at(p->reference, p->last + first, rows, p->reference_rows, err);
        for (t.k = 0; t.k < job->n_models && st == PARE_OK; t.k++) {
            st = pare_forward_logits_at(p->models[t.k], p->last + first, rows, p->rows, err);
            if (st == PARE_OK)
                st = pare_parallel(rows, score_row, &t, err);
        }
    }
    return st;
}

/* As many prompts from order[at] on as fit into a pass: *n. */
static pare_status run_batch(passes *p, size_t at, uint32_t *n, pare_error *err)
{
    const pare_first_token_job *job = p->job;
    uint32_t tokens = 0;
    for (*n = 0; at + *n < p->n_prompts; (*n)++) {
        const pare_prompt *prompt = &p->prompts[p->order[at + *n]];
        if (*n > 0 && prompt->n > BATCH_TOKENS - tokens)
            break;
        memcpy(p->ids + tokens, prompt->ids, prompt->n * sizeof *p->ids);
        tokens += prompt->n;
        p->lengths[*n] = prompt->n;
        p->last[*n] = (int32_t)tokens - 1;
        if (tokens >= BATCH_TOKENS) {
            (*n)++;
            break;
        }
    }
    pare_status st = pare_forward_run_each(p->reference, p->ids, p->lengths, *n, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++)
        st = pare_forward_run_each(p->models[k], p->ids, p->lengths, *n, err);
    return st;
}

pare_status pare_first_token_prompts(const pare_first_token_job *job, const pare_prompt *prompts, size_t n_prompts,
                                     double *kld, pare_error *err)
{
    passes p = {.job = job, .prompts = prompts, .n_prompts = n_prompts};
    if (n_prompts == 0)
        return PARE_OK;
    pare_status st = check_job(&p, err);
    if (st == PARE_OK)
        st = sort_prompts(&p, err);
    if (st == PARE_OK)
        st = open_passes(&p, err);
    uint32_t n = 0;
    for (size_t at = 0; at < n_prompts && st == PARE_OK; at += n) {
        st = run_batch(&p, at, &n, err);
        if (st == PARE_OK)
            st = score_batch(&p, at, n, kld, err);
        if (st == PARE_OK && job->each != NULL)
            job->each(at + n, n_prompts, job->user);
    }
    close_passes(&p);
    return st;
}

/* The prompts of a task in one array of ids. Zeroed is closed. */
typedef struct task_prompts {
    pare_ids ids;
    pare_prompt *prompts;
    size_t n, n_too_long;
} task_prompts;

/* Append the tokens in front of the answer to ids: those that the scorer of its likelihood sees there. */
static pare_status prompt_ids(pare_ids *ids, const pare_task *task, const pare_item *item, const pare_text_rule *rule,
                              const pare_vocab *vocab, pare_error *err)
{
    if (task->kind == PARE_TASK_GENERATE)
        return pare_prompt_ids(rule->tokenizer, vocab, item->prompt, 0, ids, err);
    pare_item_tokens t = {0};
    pare_status st = pare_item_tokenize(&t, item, rule, INT32_MAX, err);
    const size_t n = st == PARE_OK ? t.choices[0].n_context : 0, need = ids->n + n;
    if (st == PARE_OK && need > ids->cap) {
        int32_t *grown = reallocarray(ids->ids, 2 * need, sizeof *grown);
        if (grown == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu token ids", 2 * need);
        else {
            ids->ids = grown;
            ids->cap = 2 * need;
        }
    }
    if (st == PARE_OK && n > 0) {
        memcpy(ids->ids + ids->n, t.ids + t.inputs[t.choices[0].input].first, n * sizeof *ids->ids);
        ids->n = need;
    }
    pare_item_tokens_close(&t);
    return st;
}

static pare_status make_prompts(task_prompts *out, const pare_first_token_job *job, const pare_task *task,
                                const pare_tokenizer *tokenizer, uint32_t n_most, pare_error *err)
{
    pare_text_rule rule;
    const pare_vocab *vocab = &job->reference->vocab;
    pare_status st = pare_text_rule_of(&rule, tokenizer, vocab, err);
    out->prompts = calloc(task->n_items + 1, sizeof *out->prompts);
    size_t *start = calloc(task->n_items + 1, sizeof *start);
    if (st == PARE_OK && (out->prompts == NULL || start == NULL))
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu prompts", task->n_items);
    for (size_t i = 0; i < task->n_items && st == PARE_OK; i++) {
        const size_t before = out->ids.n;
        st = prompt_ids(&out->ids, task, &task->items[i], &rule, vocab, err);
        const size_t n = out->ids.n - before;
        if (n == 0 || n > n_most) {
            out->n_too_long += n > n_most;
            out->ids.n = before;
            continue;
        }
        start[out->n] = before;
        out->prompts[out->n++].n = (uint32_t)n;
    }
    for (size_t i = 0; i < out->n; i++)
        out->prompts[i].ids = out->ids.ids + start[i];
    free(start);
    return st;
}

static uint32_t shortest_context(const pare_first_token_job *job)
{
    uint32_t n = job->reference->hp.n_ctx_train;
    for (size_t k = 0; k < job->n_models; k++)
        if (job->models[k]->hp.n_ctx_train < n)
            n = job->models[k]->hp.n_ctx_train;
    return n;
}

static pare_first_token summarize(const double *kld, size_t n)
{
    pare_first_token out = {.n = n, .kld_max = NAN};
    pare_moments moments = {0};
    for (size_t i = 0; i < n; i++) {
        pare_moments_add(&moments, kld[i]);
        out.kld_max = fmax(out.kld_max, kld[i]);
    }
    out.kld = pare_mean(&moments);
    return out;
}

pare_status pare_first_token_task(const pare_first_token_job *job, const pare_task *task,
                                  const pare_tokenizer *tokenizer, pare_first_token *out, pare_error *err)
{
    task_prompts t = {0};
    double *kld = NULL;
    size_t n_klds = 0, bytes = 0;
    pare_status st = make_prompts(&t, job, task, tokenizer, job->n_ctx != 0 ? job->n_ctx : shortest_context(job), err);
    if (st == PARE_OK && (!pare_mul_size(t.n, job->n_models, &n_klds) || !pare_mul_size(n_klds, sizeof *kld, &bytes) ||
                          (kld = malloc(bytes + 1)) == NULL))
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu prompts", t.n);
    if (st == PARE_OK)
        st = pare_first_token_prompts(job, t.prompts, t.n, kld, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++) {
        out[k] = summarize(kld + k * t.n, t.n);
        out[k].n_too_long = t.n_too_long;
    }
    free(kld);
    free(t.prompts);
    free(t.ids.ids);
    return st;
}
