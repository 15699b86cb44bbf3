#include "eval/measure.h"

typedef struct measuring {
    const pare_measure_options *options;
    pare_windows windows;
    pare_source *model, *reference;
    pare_tally *tally;
    pare_eval_result *out;
} measuring;

static pare_status take(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    measuring *m = user;
    (void)model;
    pare_status st = pare_tally_add(m->tally, scores, err);
    pare_tally_running(m->tally, m->out);
    if (st == PARE_OK && m->options->each != NULL)
        m->options->each(m->out, m->windows.n_windows, m->options->user);
    return st;
}

pare_status pare_measure(const pare_model *model, const pare_model *reference, pare_backend *b, const int32_t *ids,
                         size_t n, int64_t bos, const pare_measure_options *options, pare_eval_result *out,
                         pare_error *err)
{
    measuring m = {.options = options, .out = out};
    pare_window_plan plan = options->windows;
    if (plan.batch_tokens == 0)
        plan.batch_tokens = b->batch_tokens;
    pare_status st = pare_windows_open(&m.windows, ids, n, bos, &plan, err);
    if (st == PARE_OK)
        st = pare_tally_open(&m.tally, m.windows.n_ctx, reference != NULL, err);
    if (st == PARE_OK)
        st = pare_source_of_model(&m.model, model, b, &m.windows, NULL, err);
    if (st == PARE_OK && reference != NULL)
        st = pare_source_of_model(&m.reference, reference, b, &m.windows, NULL, err);
    const pare_eval_job job = {
        .models = &m.model, .n_models = 1, .reference = m.reference, .windows = &m.windows, .scores = take, .user = &m};
    if (st == PARE_OK)
        st = pare_evaluate(&job, err);
    if (st == PARE_OK)
        st = pare_tally_finish(m.tally, options->seed, out, err);
    pare_source_close(m.model);
    pare_source_close(m.reference);
    pare_tally_close(m.tally);
    pare_windows_close(&m.windows);
    return st;
}
