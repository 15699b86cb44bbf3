/* eval/measure.h - perplexity of a model on a text, and divergence from a reference: the whole of it in one call
 *
 * Over eval/evaluate.h and eval/tally.h, which serve several models at once, stores and records. */
#ifndef PARE_EVAL_MEASURE_H
#define PARE_EVAL_MEASURE_H

#include "eval/evaluate.h"
#include "eval/tally.h"

/* Called after each window with the running result. */
typedef void (*pare_measure_fn)(const pare_eval_result *so_far, uint32_t n_windows, void *user);

typedef struct pare_measure_options {
    pare_window_plan windows;
    uint64_t seed;        /* of the bootstrap */
    pare_measure_fn each; /* may be NULL */
    void *user;
} pare_measure_options;

/* Measure model (and reference, may be NULL) on ids [n]. bos: the id that replaces token 0 of each window, or
 * PARE_TOKEN_NONE when the vocabulary adds none. Errors: those of pare_windows_open, pare_source_of_model and
 * pare_evaluate. */
pare_status pare_measure(const pare_model *model, const pare_model *reference, pare_backend *b, const int32_t *ids,
                         size_t n, int64_t bos, const pare_measure_options *options, pare_eval_result *out,
                         pare_error *err);

#endif
