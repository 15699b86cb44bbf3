/* eval/prefix_runs.h - two streams of a text: through a model, and through a copy that is quantized matrix by matrix
 *
 * Windows of the text go through the layers one layer after the other, batch by batch, in both. For each input of a
 * layer the layer is run up to there once more, so all takes about four passes over the windows. The states of both,
 * 8 bytes a token and element, lie in memory, or in a file where they are too many for that. */
#ifndef PARE_EVAL_PREFIX_RUNS_H
#define PARE_EVAL_PREFIX_RUNS_H

#include "eval/backend.h"
#include "model/prefix.h"

typedef struct pare_prefix_options {
    uint32_t n_ctx;     /* 0: 512, or what the model was trained for if that is less */
    uint32_t n_windows; /* at most so many, spread over the text; 0: of 16,384 tokens */
    uint64_t memory;    /* bytes of states that may lie in memory, where `beside` is given */
    const char *beside; /* a path: more lie in a file in its folder that has no name; NULL: all lie in memory */
} pare_prefix_options;

/* m and b, a backend on the host that keeps no copies of weights, must outlive it. bos as in pare_evaluate.
 * Errors: PARE_ERR_USAGE (less than one window), PARE_ERR_IO (no room for the states in that folder),
 * PARE_ERR_UNSUPPORTED (more than the residual stream goes from layer to layer; an encoder), PARE_ERR_MEMORY, those of
 * pare_forward_open and of a pass */
pare_status pare_prefix_runs_open(pare_prefix **out, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                                  int64_t bos, const pare_prefix_options *options, pare_error *err);
void pare_prefix_runs_close(pare_prefix *p); /* NULL is allowed */

#endif
