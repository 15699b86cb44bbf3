#include "eval/kv_sweep.h"

#include "eval/evaluate.h"
#include "eval/kv_pass.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct sweep {
    const pare_kv_sweep_job *job;
    pare_windows windows;
    pare_source **models, *reference;
    pare_tally **tallies;
    uint32_t n_done;
} sweep;

static pare_status take(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    sweep *s = user;
    pare_status st = pare_tally_add(s->tallies[model], scores, err);
    if (model + 1 == s->job->n_forms && s->job->each != NULL)
        s->job->each(++s->n_done, s->windows.n_windows, s->job->user);
    return st;
}

static pare_status open_all(sweep *s, pare_error *err)
{
    const pare_kv_sweep_job *job = s->job;
    pare_window_plan plan = job->windows;
    if (plan.batch_tokens == 0)
        plan.batch_tokens = job->b->batch_tokens;
    pare_status st = pare_windows_open(&s->windows, job->ids, job->n, job->bos, &plan, err);
    s->models = calloc(job->n_forms, sizeof(*s->models));
    s->tallies = calloc(job->n_forms, sizeof(*s->tallies));
    if (st == PARE_OK && (s->models == NULL || s->tallies == NULL))
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu forms of keys and values", job->n_forms);
    if (st == PARE_OK)
        st = pare_source_of_model(&s->reference, job->m, job->b, &s->windows, NULL, err);
    for (size_t i = 0; i < job->n_forms && st == PARE_OK; i++) {
        st = pare_tally_open(&s->tallies[i], s->windows.n_ctx, true, err);
        if (st == PARE_OK)
            st = pare_source_of_model(&s->models[i], job->m, job->b, &s->windows, &job->forms[i], err);
    }
    return st;
}

static void close_all(sweep *s)
{
    for (size_t i = 0; i < s->job->n_forms; i++) {
        if (s->models != NULL)
            pare_source_close(s->models[i]);
        if (s->tallies != NULL)
            pare_tally_close(s->tallies[i]);
    }
    pare_source_close(s->reference);
    free((void *)s->models);
    free((void *)s->tallies);
    pare_windows_close(&s->windows);
}

pare_status pare_kv_sweep(const pare_kv_sweep_job *job, pare_eval_result *out, pare_error *err)
{
    sweep s = {.job = job};
    if (job->n_forms == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: no form of keys and values to measure", job->m->path);
    pare_status st = open_all(&s, err);
    const pare_eval_job evaluation = {.models = s.models,
                                      .n_models = job->n_forms,
                                      .reference = s.reference,
                                      .windows = &s.windows,
                                      .scores = take,
                                      .user = &s};
    if (st == PARE_OK)
        st = pare_evaluate(&evaluation, err);
    for (size_t i = 0; i < job->n_forms && st == PARE_OK; i++)
        st = pare_tally_finish(s.tallies[i], job->seed, &out[i], err);
    close_all(&s);
    return st;
}

typedef struct means {
    pare_backend *b;
    double *sum; /* [n_layer, width] */
    float *rows; /* of a slice, in host memory */
    size_t width, room;
} means;

static pare_status add_keys(uint32_t layer, uint32_t n, uint32_t width, const float *keys, void *user, pare_error *err)
{
    means *s = user;
    const size_t count = (size_t)n * width;
    if (count > s->room) {
        free(s->rows);
        s->room = (s->rows = malloc(count * sizeof *s->rows)) != NULL ? count : 0;
    }
    if (count > s->room)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the keys of %" PRIu32 " tokens", n);
    pare_status st = s->b->download(s->b, s->rows, keys, count * sizeof *keys, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        for (size_t c = 0; c < width; c++)
            s->sum[layer * s->width + c] += (double)s->rows[i * width + c];
    return st;
}

static pare_status observe(pare_forward *f, void *user, pare_error *err)
{
    (void)err;
    pare_forward_observe_keys(f, add_keys, user);
    return PARE_OK;
}

pare_status pare_kv_means(const pare_model *m, pare_backend *b, const int32_t *ids, size_t n, int64_t bos,
                          const pare_window_plan *plan, float *out, pare_error *err)
{
    const size_t count = (size_t)m->hp.n_layer * pare_kv_mean_width(m);
    const pare_kv_text text = {m, b, ids, n, bos, *plan};
    means s = {.b = b, .width = pare_kv_mean_width(m), .sum = calloc(count + 1, sizeof *s.sum)};
    uint64_t tokens = 0;
    pare_status st = s.sum != NULL ? pare_kv_pass(&text, observe, &s, &tokens, err)
                                   : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for means of keys", m->path);
    for (size_t i = 0; i < count && st == PARE_OK; i++)
        out[i] = (float)(s.sum[i] / (double)tokens);
    free(s.sum);
    free(s.rows);
    return st;
}
