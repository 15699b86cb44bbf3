/* model/prefix.h - the inputs of a model's matrices while the matrices before them are quantized one by one
 *
 * Two streams of states of the same tokens: those of the model as it is, and those of a copy whose matrices are
 * replaced as soon as they are encoded. Whoever can run models implements this (eval/prefix_runs.h). */
#ifndef PARE_MODEL_PREFIX_H
#define PARE_MODEL_PREFIX_H

#include "model/model.h"

/* Over all tokens, with x the inputs of a matrix [n_rows, n] and x^ those of the copy, s and s^ the residual streams
 * that its product is added to. */
typedef struct pare_prefix_sums {
    double count;   /* tokens */
    double *own;    /* [n, n] sum of x^_i x^_j, the lower triangle */
    double *cross;  /* [n, n] sum of (x - x^)_i x^_j */
    double *stream; /* [n_rows, n] sum of (s - s^)_i x^_j; NULL: the product goes elsewhere */
} pare_prefix_sums;

typedef struct pare_prefix pare_prefix;
struct pare_prefix {
    /* Where the matrix comes in a pass: an earlier one before a later one. False: it is not met. */
    bool (*position)(const pare_prefix *p, const char *matrix, size_t *out);

    /* Take the sums for the inputs of a matrix, to be called by position. *out lives until the next call. *found: false
     * where nothing can be said (experts; a layer that the streams have left). */
    pare_status (*measure)(pare_prefix *p, const char *matrix, pare_prefix_sums *out, bool *found, pare_error *err);

    /* From now on the copy has these bytes times this factor (pare_tensor), which must outlive it. */
    void (*replace)(pare_prefix *p, const char *matrix, pare_type type, const float *factor, const void *bytes);
};

#endif
