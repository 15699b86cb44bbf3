#include "eval/router.h"

#include "core/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct pare_score {
    float score;
    uint32_t expert;
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
        r->token = malloc(bytes);
        r->weight = malloc(n * sizeof *r->weight);
        r->chosen = malloc(n * sizeof *r->chosen);
        r->share = malloc(n * sizeof *r->share);
    }
    if (r->first != NULL && r->order != NULL && r->token != NULL && r->weight != NULL && r->chosen != NULL &&
        r->share != NULL)
        return PARE_OK;
    pare_routing_close(r);
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " tokens that go to %" PRIu32 " experts each",
                     max_tokens, n_used);
}

void pare_routing_close(pare_routing *r)
{
    free(r->first);
    free(r->order);
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

/* The experts of one token and their weights, in double: e^(s - the largest s) over its sum. */
static void choose(pare_routing *r, const float *scores, bool normalise, uint32_t *chosen, float *share)
{
    double sum = 0;
    for (uint32_t e = 0; e < r->n_expert; e++)
        r->order[e] = (struct pare_score){scores[e], e};
    qsort(r->order, r->n_expert, sizeof *r->order, larger_first);
    for (uint32_t i = 0; i < (normalise ? r->n_used : r->n_expert); i++)
        sum += exp((double)r->order[i].score - (double)r->order[0].score);
    for (uint32_t i = 0; i < r->n_used; i++) {
        chosen[i] = r->order[i].expert;
        share[i] = (float)(exp((double)r->order[i].score - (double)r->order[0].score) / sum);
    }
}

pare_status pare_route(pare_routing *r, const float *scores, uint32_t n_tokens, bool normalise, const char *name,
                       pare_error *err)
{
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
        choose(r, scores + (size_t)t * r->n_expert, normalise, r->chosen + (size_t)t * r->n_used,
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
