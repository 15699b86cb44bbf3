/* eval/scores.h - what the scored positions of a window say: the one thing that passes from the passes over a model to
 * sums (eval/tally.h), records (report/record.h) and tables
 *
 * p is the reference's distribution, q the model's, t the token that follows the position. Units: nats. */
#ifndef PARE_EVAL_SCORES_H
#define PARE_EVAL_SCORES_H

#include "core/error.h"

#include <stdint.h>

typedef struct pare_scores {
    uint32_t window;   /* its number in the text */
    uint32_t first, n; /* positions [first, first + n) of the window */
    const int32_t
        *ids; /* [first + n + 1] the window's tokens as the model saw them, BOS in place; NULL when not known */
    const double *nll;         /* [n] -ln q(t) */
    bool has_reference;        /* the rest is NULL without one */
    const double *ref_nll;     /* [n] -ln p(t) */
    const double *kld;         /* [n] KL(p || q) = sum p (ln p - ln q) */
    const double *kld_reverse; /* [n] KL(q || p) */
    const uint8_t *same_top1;  /* [n] 1: argmax p = argmax q, the first index of equals */
} pare_scores;

#endif
