/* eval/router.h - which experts each token goes to, and with which weights */
#ifndef PARE_EVAL_ROUTER_H
#define PARE_EVAL_ROUTER_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Tokens sorted by expert: those of expert e are token[first[e] .. first[e + 1]), in rising order, with their weights.
 * Zeroed is closed. */
typedef struct pare_routing {
    uint32_t n_expert, n_used; /* a token goes to n_used of them, 1 <= n_used <= n_expert */
    uint32_t max_tokens;
    uint32_t *first; /* [n_expert + 1] */
    int32_t *token;  /* [tokens * n_used] */
    float *weight;
    uint32_t *chosen; /* [tokens, n_used] experts, the best first, and their weights: scratch */
    float *share;
    struct pare_score *order; /* [n_expert] scratch */
} pare_routing;

/* Room for so many tokens. Errors: PARE_ERR_RANGE (n_used), PARE_ERR_MEMORY. */
pare_status pare_routing_open(pare_routing *r, uint32_t n_expert, uint32_t n_used, uint32_t max_tokens,
                              pare_error *err);
void pare_routing_close(pare_routing *r);

/* Choose the n_used experts with the largest scores for each token, of equals the first; its weight is softmax(score),
 * over the chosen ones (normalise: the weights sum to one) or over all. scores: [n_tokens, n_expert]. name: whose
 * scores they are, for messages.
 * Errors: PARE_ERR_NUMBER (a score is not finite: token and expert). */
pare_status pare_route(pare_routing *r, const float *scores, uint32_t n_tokens, bool normalise, const char *name,
                       pare_error *err);

#endif
