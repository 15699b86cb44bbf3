/* eval/evaluator.h - batches of windows through the sources of a job, to scores: the part of an evaluation that one
 * device does
 *
 * Two ways lead to the same figures: rows of logits, taken from any source and scored on the CPU; or the hidden states
 * of passes over one backend that scores positions itself (pare_backend.score), where nobody wants the logits. */
#ifndef PARE_EVAL_EVALUATOR_H
#define PARE_EVAL_EVALUATOR_H

#include "eval/evaluate.h"

/* Scores of up to w->n_seq windows by one model: [n_seq * n_scored] each. */
typedef struct pare_columns {
    double *nll, *ref_nll, *kld, *kld_reverse;
    uint8_t *same_top1;
} pare_columns;

/* Windows [i, i + n_seq) of w, whose tokens are in w->batch, and what has been scored of them. */
typedef struct pare_batch {
    pare_windows *w; /* borrowed */
    uint32_t i, n_seq;
    pare_columns *columns; /* [n_models] */
    size_t n_models;
} pare_batch;

/* Errors: PARE_ERR_MEMORY */
pare_status pare_batch_open(pare_batch *b, pare_windows *w, size_t n_models, pare_error *err);
void pare_batch_close(pare_batch *b); /* zeroed is closed */

/* The next windows, from i on, into b. */
void pare_batch_fill(pare_batch *b, uint32_t i);

/* The scores of the window at place seq by a model: valid until the batch is filled again. */
pare_scores pare_batch_scores(const pare_batch *b, uint32_t seq, size_t model, bool has_reference);

typedef struct pare_evaluator pare_evaluator;

/* For batches of windows like job->windows. The job's scores are not called here; its logits are. Memory and errors:
 * those of pare_evaluate. */
pare_status pare_evaluator_open(pare_evaluator **out, const pare_eval_job *job, pare_error *err);
void pare_evaluator_close(pare_evaluator *e); /* NULL is allowed */

/* The batch through the layers of everything that runs. */
pare_status pare_evaluator_run(pare_evaluator *e, const pare_batch *b, pare_error *err);

/* Score the window at place seq of the batch that was run last, into the batch: place 0 first, then in turn. */
pare_status pare_evaluator_score(pare_evaluator *e, pare_batch *b, uint32_t seq, pare_error *err);

#endif
