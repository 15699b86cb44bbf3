/* fit/trial.h - what other encodings of some tensors cost: a model run from the first tensor that differs
 *
 * A copy of the model has tensors replaced; the states of the text's windows, as the copy as it was makes them, wait at
 * a stage of it: before the embedding (0), before layer s - 1, or before the output (n_layer + 1). A run goes from
 * there to the end, and every position is compared with the model as it is, whose last states are kept once a run asked
 * for them: 4 bytes a token and element for each of both. docs/methods/ALLOCATION.md */
#ifndef PARE_FIT_TRIAL_H
#define PARE_FIT_TRIAL_H

#include "eval/backend.h"
#include "eval/windows.h"

typedef struct pare_trial pare_trial;

typedef struct pare_trial_options {
    const pare_model *model;
    pare_backend *backend;
    const int32_t *ids; /* [n_ids] */
    size_t n_ids;
    int64_t bos;
    uint32_t n_ctx;       /* 0: 512 */
    uint32_t n_windows;   /* at most so many, spread over the text, and so are the first few of them; 0: 32 */
    uint64_t cache_bytes; /* of the first windows' logits of the model are kept; others are computed for every run */
} pare_trial_options;

/* Mean divergence from the model in nat, over the windows run. */
typedef struct pare_trial_score {
    double all;    /* of every position but the first of each window */
    double second; /* of the second halves, as an evaluation says it */
    double error;  /* standard error of second, windows being independent; 0: of one window */
} pare_trial_score;

/* Errors: PARE_ERR_USAGE (a text of less than two windows), PARE_ERR_MEMORY, those of pare_forward_open and a pass */
pare_status pare_trial_open(pare_trial **out, const pare_trial_options *options, pare_error *err);
void pare_trial_close(pare_trial *t); /* NULL is allowed */

uint32_t pare_trial_windows(const pare_trial *t);

/* Models with more than the residual stream between layers have one stage, 0. */
uint32_t pare_trial_stages(const pare_trial *t);
uint32_t pare_trial_stage_of(const pare_trial *t, size_t tensor);

/* The copy's tensor, by its number in the model, has these bytes from now on, which must outlive this; bytes NULL: the
 * model's own. Errors: PARE_ERR_RANGE (blocks that do not divide the row) */
pare_status pare_trial_set(pare_trial *t, size_t tensor, pare_type type, const void *bytes, pare_error *err);

/* The states of the first n_windows wait at stage 0; 0: of all. Runs are over no more than these. */
void pare_trial_begin(pare_trial *t, uint32_t n_windows);

/* The states go through the stage that they wait at, with the copy's tensors as they are. Errors: PARE_ERR_MEMORY,
 * those of passes */
pare_status pare_trial_advance(pare_trial *t, pare_error *err);
uint32_t pare_trial_stage(const pare_trial *t);

/* The copy as it is, from the stage on; the states stay where they are. per_window: [windows] the same as `all`, or
 * NULL. n_windows: only the first so many; 0: all that wait. Errors: PARE_ERR_NUMBER (a logit that is not finite),
 * those of passes */
pare_status pare_trial_run(pare_trial *t, uint32_t n_windows, pare_trial_score *out, double *per_window,
                           pare_error *err);

#endif
