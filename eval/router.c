#include "eval/router.h"

#include "core/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct pare_score {
    double score;
    uint32_t expert; /* or group */
};

pare_status pare_routing_open(pare_routing *r, uint32_t n_expert, uint32_t n_used, uint32_t max_tokens, pare_error *err)
{
    size_t n = 0, bytes = 0;
    *r = (pare_routing){.n_expert = n_expert, .n_used = n_used, .max_tokens = max_tokens};
    if (n_used == 0 || n_used > n_expert)
        return pare_fail(err, PARE_ERR_RANGE, "%" PRIu32 " of %" PRIu32 " experts used", n_used, n_expert);
    if (pare_mul_size(max_tokens, n_used, &n) && n <= INT32_MAX && pare_mul_size(n, sizeof *r->token, &bytes)) {
        r->first = calloc((size_t)n_expert + 1, sizeof *r->first);
        r->order = calloc(n_expert, sizeof *r->order);
        r->groups = calloc(n_expert, sizeof *r->groups);
        r->share_of = calloc(n_expert, sizeof *r->share_of);
        r->token = malloc(bytes);
        r->weight = malloc(n * sizeof *r->weight);
        r->chosen = malloc(n * sizeof *r->chosen);
        r->share = malloc(n * sizeof *r->share);
    }
    if (r->first != NULL && r->order != NULL && r->token != NULL && r->weight != NULL && r->chosen != NULL &&
        r->share != NULL && r->groups != NULL && r->share_of != NULL)
        return PARE_OK;
    pare_routing_close(r);
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " tokens that go to %" PRIu32 " experts each",
                     max_tokens, n_used);
}

void pare_routing_close(pare_routing *r)
{
    free(r->first);
    free(r->order);
    free(r->groups);
    free(r->share_of);
    free(r->token);
    free(r->weight);
    free(r->chosen);
    free(r->share);
    *r = (pare_routing){0};
}

static int larger_first(const void *a, const void *b)
{
    const struct pare_score *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->expert > y->expert) - (x->expert < y->expert);
}

/* p of every expert. */
static void share_out(pare_routing *r, const pare_route_rule *rule, const float *scores)
{
    double most = (double)scores[0], sum = 0, *p = r->share_of;
    bool sigmoid = rule->score == PARE_EXPERT_SIGMOID;
    for (uint32_t e = 1; e < r->n_expert; e++)
        most = (double)scores[e] > most ? (double)scores[e] : most;
    for (uint32_t e = 0; e < r->n_expert; e++)
        sum += p[e] = sigmoid ? 1 / (1 + exp(-(double)scores[e])) : exp((double)scores[e] - most);
    for (uint32_t e = 0; e < r->n_expert && !sigmoid; e++)
        p[e] /= sum;
}

/* Leave only the experts of the worthiest groups in the choice: the others' scores fall below all. */
static void keep_groups(pare_routing *r, const pare_route_rule *rule)
{
    uint32_t len = r->n_expert / rule->n_group;
    for (uint32_t g = 0; g < rule->n_group; g++) {
        struct pare_score *first = r->order + (size_t)g * len;
        double worth = 0;
        qsort(first, len, sizeof *first, larger_first);
        for (uint32_t i = 0; i < rule->group_best; i++)
            worth += first[i].score;
        r->groups[g] = (struct pare_score){worth, g};
    }
    qsort(r->groups, rule->n_group, sizeof *r->groups, larger_first);
    for (uint32_t i = rule->n_group_used; i < rule->n_group; i++)
        for (uint32_t k = 0; k < len; k++)
            r->order[(size_t)r->groups[i].expert * len + k].score = -INFINITY;
}

/* The experts of one token and their weights, in double. */
static void choose(pare_routing *r, const pare_route_rule *rule, const float *scores, uint32_t *chosen, float *share)
{
    bool grouped = rule->n_group > 1, plain = !grouped && rule->bias == NULL;
    double sum = 0, scale = rule->scale != 0 ? (double)rule->scale : 1;
    share_out(r, rule, scores);
    for (uint32_t e = 0; e < r->n_expert; e++)
        r->order[e] = (struct pare_score){
            plain ? (double)scores[e] : r->share_of[e] + (rule->bias != NULL ? (double)rule->bias[e] : 0), e};
    if (grouped)
        keep_groups(r, rule);
    qsort(r->order, r->n_expert, sizeof *r->order, larger_first);
    for (uint32_t i = 0; i < r->n_used; i++)
        sum += r->share_of[r->order[i].expert];
    for (uint32_t i = 0; i < r->n_used; i++) {
        double p = r->share_of[r->order[i].expert];
        chosen[i] = r->order[i].expert;
        double own = rule->expert_scale != NULL ? (double)rule->expert_scale[chosen[i]] : 1;
        share[i] = (float)(own * scale * (!rule->norm ? p : sum > 0 ? p / sum : 0));
    }
}

static pare_status check_groups(const pare_routing *r, const pare_route_rule *rule, const char *name, pare_error *err)
{
    uint32_t n = rule->n_group;
    if (n <= 1 || (r->n_expert % n == 0 && rule->n_group_used >= 1 && rule->n_group_used <= n &&
                   r->n_used <= rule->n_group_used * (r->n_expert / n) && rule->group_best <= r->n_expert / n))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "tensor '%s': %" PRIu32 " of %" PRIu32 " experts cannot be chosen from %" PRIu32 " of %" PRIu32
                     " groups by the best %" PRIu32 " of each",
                     name, r->n_used, r->n_expert, rule->n_group_used, n, rule->group_best);
}

pare_status pare_route(pare_routing *r, const pare_route_rule *rule, const float *scores, uint32_t n_tokens,
                       const char *name, pare_error *err)
{
    pare_status st = check_groups(r, rule, name, err);
    if (st != PARE_OK)
        return st;
    size_t n = (size_t)n_tokens * r->n_used;
    if (n_tokens > r->max_tokens)
        return pare_fail(err, PARE_ERR_USAGE, "%" PRIu32 " tokens to route, prepared for %" PRIu32, n_tokens,
                         r->max_tokens);
    for (size_t i = 0; i < (size_t)n_tokens * r->n_expert; i++)
        if (!isfinite(scores[i]))
            return pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': the score of expert %zu at token %zu is %g", name,
                             i % r->n_expert, i / r->n_expert, (double)scores[i]);
    memset(r->first, 0, ((size_t)r->n_expert + 1) * sizeof *r->first);
    for (uint32_t t = 0; t < n_tokens; t++)
        choose(r, rule, scores + (size_t)t * r->n_expert, r->chosen + (size_t)t * r->n_used,
               r->share + (size_t)t * r->n_used);
    for (size_t i = 0; i < n; i++)
        r->first[r->chosen[i] + 1]++;
    for (uint32_t e = 0; e < r->n_expert; e++)
        r->first[e + 1] += r->first[e];
    for (size_t i = 0; i < n; i++) {
        uint32_t to = r->first[r->chosen[i]]++;
        r->token[to] = (int32_t)(i / r->n_used);
        r->weight[to] = r->share[i];
    }
    memmove(r->first + 1, r->first, r->n_expert * sizeof *r->first); /* each stands where the next one begins */
    r->first[0] = 0;
    return PARE_OK;
}
