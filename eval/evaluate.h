/* eval/evaluate.h - run models over the windows of a text and score every position, beside a reference or alone
 *
 * Models and reference run side by side and are compared position by position: nothing of a distribution is kept. The
 * same input gives the same scores with any number of threads. Formulas: docs/methods/EVALUATION.md. */
#ifndef PARE_EVAL_EVALUATE_H
#define PARE_EVAL_EVALUATE_H

#include "eval/scores.h"
#include "eval/source.h"

/* The scores of a window by model number `model`; valid during the call. Windows come in order, and within a window the
 * models. */
typedef pare_status (*pare_scores_fn)(const pare_scores *scores, size_t model, void *user, pare_error *err);

/* Logits of scored positions [pos, pos + n) of window i of w (number[i] of the text), whose tokens are ids [n_ctx]:
 * rows [n, n_vocab], and lse [n] = ln sum e^row. Valid during the call. The positions of a window come in order before
 * those of the next. */
typedef struct pare_logit_rows {
    const pare_windows *w;
    uint32_t i, pos, n;
    const int32_t *ids;
    const float *rows;
    const double *lse;
} pare_logit_rows;
typedef pare_status (*pare_logits_fn)(const pare_logit_rows *rows, void *user, pare_error *err);

typedef struct pare_eval_job {
    pare_source *const *models; /* [n_models], at least one */
    size_t n_models;
    pare_source *reference; /* NULL: none */
    pare_windows *windows;
    pare_scores_fn scores;
    pare_logits_fn logits; /* of the reference, or of models[0] when there is none; may be NULL */
    void *user;
    double *seconds; /* what passes and scoring took is added; may be NULL */
} pare_eval_job;

/* Memory: the sources', and a tile of logits of at most 64 MiB or 16 positions for the reference and for one model.
 * Errors: PARE_ERR_USAGE (a text of less than two windows; vocabularies of different size), PARE_ERR_NUMBER (a logit is
 * not finite: model, window, position, token, and the tensor where such values begin), those of the sources and of the
 * functions. */
pare_status pare_evaluate(const pare_eval_job *job, pare_error *err);

/* Bytes of logits that an evaluation over w with so many tokens in the vocabulary holds. */
uint64_t pare_evaluate_bytes(const pare_windows *w, uint32_t n_vocab, bool has_reference);

#endif
