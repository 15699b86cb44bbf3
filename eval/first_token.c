#include "eval/first_token.h"

#include "core/checked.h"
#include "eval/cpu_kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 2048 };

typedef struct passes {
    const pare_first_token_job *job;
    const pare_prompt *prompts;
    size_t n_prompts;
    pare_forward *reference, **models;
    size_t *order; /* [n_prompts] the longest first */
    int32_t *batch;
    float *row, *reference_row; /* [n_vocab] */
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
    const size_t row = (size_t)job->reference->hp.n_vocab * sizeof(float);
    p->models = calloc(job->n_models, sizeof *p->models);
    p->batch = malloc((size_t)tokens * sizeof *p->batch);
    p->row = malloc(row);
    p->reference_row = malloc(row);
    if (p->models == NULL || p->batch == NULL || p->row == NULL || p->reference_row == NULL)
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
    free(p->batch);
    free(p->row);
    free(p->reference_row);
}

/* Logits behind the last token of the prompt at place seq of the batch, and their peak. */
static pare_status last_row(const pare_model *m, pare_forward *f, uint32_t seq, const pare_prompt *prompt, float *row,
                            pare_peak *peak, pare_error *err)
{
    pare_status st = pare_forward_logits(f, seq, prompt->n - 1, 1, row, err);
    if (st == PARE_OK && !pare_cpu_peak(row, m->hp.n_vocab, peak))
        return pare_fail(err, PARE_ERR_NUMBER,
                         "%s: a logit behind a prompt of %" PRIu32 " tokens is not finite; finite numbers are needed",
                         m->path, prompt->n);
    return st;
}

/* Prompts order[at .. at + n), padded to the length of the first: a token does not see those behind it. */
static pare_status run_batch(passes *p, size_t at, uint32_t n, double *kld, pare_error *err)
{
    const pare_first_token_job *job = p->job;
    const uint32_t len = p->prompts[p->order[at]].n, n_vocab = job->reference->hp.n_vocab;
    for (uint32_t s = 0; s < n; s++) {
        const pare_prompt *prompt = &p->prompts[p->order[at + s]];
        int32_t *to = p->batch + (size_t)s * len;
        memcpy(to, prompt->ids, prompt->n * sizeof *to);
        for (uint32_t i = prompt->n; i < len; i++)
            to[i] = prompt->ids[0];
    }
    pare_status st = pare_forward_run(p->reference, p->batch, n, len, err);
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++)
        st = pare_forward_run(p->models[k], p->batch, n, len, err);
    for (uint32_t s = 0; s < n && st == PARE_OK; s++) {
        const size_t i = p->order[at + s];
        pare_peak reference, model;
        st = last_row(job->reference, p->reference, s, &p->prompts[i], p->reference_row, &reference, err);
        for (size_t k = 0; k < job->n_models && st == PARE_OK; k++) {
            st = last_row(job->models[k], p->models[k], s, &p->prompts[i], p->row, &model, err);
            if (st == PARE_OK)
                kld[k * p->n_prompts + i] =
                    pare_cpu_divergence(p->reference_row, reference.value, p->row, model.value, n_vocab).xy;
        }
    }
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
    for (size_t at = 0; at < n_prompts && st == PARE_OK;) {
        const uint32_t len = prompts[p.order[at]].n;
        size_t n = len < BATCH_TOKENS ? BATCH_TOKENS / len : 1;
        if (n > n_prompts - at)
            n = n_prompts - at;
        st = run_batch(&p, at, (uint32_t)n, kld, err);
        at += n;
        if (st == PARE_OK && job->each != NULL)
            job->each(at, n_prompts, job->user);
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

/* White space at its end belongs to the answer: tasks are scored so too (docs/methods/TASKS.md). */
static pare_str prompt_of(const pare_task *task, const pare_item *item)
{
    pare_str text = task->kind == PARE_TASK_GENERATE ? item->prompt : item->choices[0].context;
    while (task->kind != PARE_TASK_GENERATE && text.len > 0 && strchr(" \t\r\n\v\f", text.data[text.len - 1]) != NULL)
        text.len--;
    return text;
}

static pare_status make_prompts(task_prompts *out, const pare_task *task, const pare_tokenizer *tokenizer,
                                uint32_t n_most, pare_error *err)
{
    pare_status st = PARE_OK;
    out->prompts = calloc(task->n_items + 1, sizeof *out->prompts);
    size_t *start = calloc(task->n_items + 1, sizeof *start);
    if (out->prompts == NULL || start == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu prompts", task->n_items);
    for (size_t i = 0; i < task->n_items && st == PARE_OK; i++) {
        const pare_str text = prompt_of(task, &task->items[i]);
        const size_t before = out->ids.n;
        st = pare_tokenize(tokenizer, text.data, text.len, PARE_TOKENIZE_BOS, &out->ids, err);
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
    pare_status st = make_prompts(&t, task, tokenizer, shortest_context(job), err);
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
