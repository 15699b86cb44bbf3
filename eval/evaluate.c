#include "eval/evaluator.h"

#include "core/clock.h"

static pare_status deliver(const pare_eval_job *job, const pare_batch *b, uint32_t seq, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t k = 0; k < job->n_models && st == PARE_OK; k++) {
        const pare_scores scores = pare_batch_scores(b, seq, k, job->reference != NULL);
        st = job->scores(&scores, k, job->user, err);
    }
    return st;
}

/* A batch of windows, from i on. seconds: what the functions that take scores need is not counted. */
static pare_status evaluate_batch(const pare_eval_job *job, pare_evaluator *e, pare_batch *b, uint32_t i,
                                  double *seconds, pare_error *err)
{
    double start = pare_clock();
    pare_batch_fill(b, i);
    pare_status st = pare_evaluator_run(e, b, err);
    for (uint32_t seq = 0; seq < b->n_seq && st == PARE_OK; seq++) {
        st = pare_evaluator_score(e, b, seq, err);
        *seconds += pare_clock() - start;
        if (st == PARE_OK)
            st = deliver(job, b, seq, err);
        start = pare_clock();
    }
    return st;
}

pare_status pare_evaluate(const pare_eval_job *job, pare_error *err)
{
    pare_evaluator *e = NULL;
    pare_batch b = {0};
    double seconds = 0;
    pare_status st = pare_evaluator_open(&e, job, err);
    if (st == PARE_OK)
        st = pare_batch_open(&b, job->windows, job->n_models, err);
    for (uint32_t i = 0; st == PARE_OK && i < job->windows->n_windows; i += b.n_seq)
        st = evaluate_batch(job, e, &b, i, &seconds, err);
    if (job->seconds != NULL)
        *job->seconds += seconds;
    pare_batch_close(&b);
    pare_evaluator_close(e);
    return st;
}
