/* eval/router.h - which experts each token goes to, and with which weights */
#ifndef PARE_EVAL_ROUTER_H
#define PARE_EVAL_ROUTER_H

#include "model/hparams.h"

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
    struct pare_score *order, *groups; /* [n_expert] scratch, each */
    double *share_of;                  /* [n_expert] p of one token: scratch */
} pare_routing;

/* Room for so many tokens. Errors: PARE_ERR_RANGE (n_used), PARE_ERR_MEMORY. */
pare_status pare_routing_open(pare_routing *r, uint32_t n_expert, uint32_t n_used, uint32_t max_tokens,
                              pare_error *err);
void pare_routing_close(pare_routing *r);

/* How scores become a choice and weights:
 *
 *   p_e = softmax(s)_e over all experts, or 1 / (1 + e^-s_e)
 *   c_e = p_e + bias_e                                        what decides
 *   a group's worth = sum of its group_best largest c_e       with n_group > 1: n_group runs of equal length, of which
 *                                                             the n_group_used worthiest stay
 *   the n_used largest c_e among them are chosen
 *   w_e = scale * p_e, or scale * p_e / (sum of the chosen p) with norm; times expert_scale_e
 *
 * Of equals the first one wins. Without a bias and groups the scores themselves decide. */
typedef struct pare_route_rule {
    pare_expert_score score;
    bool norm;
    float scale;                                /* 0 counts as 1 */
    uint32_t n_group, n_group_used, group_best; /* n_group 0 and 1: no groups */
    const float *bias, *expert_scale;           /* [n_expert] or NULL */
} pare_route_rule;

/* Choose experts and their weights for each token. scores: [n_tokens, n_expert]. name: whose scores they are, for
 * messages.
 * Errors: PARE_ERR_NUMBER (a score is not finite: token and expert), PARE_ERR_RANGE (groups that do not divide the
 * experts, or hold too few of them). */
pare_status pare_route(pare_routing *r, const pare_route_rule *rule, const float *scores, uint32_t n_tokens,
                       const char *name, pare_error *err);

#endif
