/* Which experts tokens go to: choice, weights, order, and scores that are no numbers. */
#include "check.h"

#include "eval/router.h"

#include <math.h>
#include <string.h>

enum { EXPERTS = 4, TOKENS = 3 };

static const float scores[TOKENS * EXPERTS] = {
    0, 3,  1, 2, /* 1, 3 */
    5, 5,  5, 5, /* equals: the first two */
    4, -9, 0, 4  /* 0, 3 */
};

static const pare_route_rule over_chosen = {.norm = true}, over_all = {0};

static void sorts_tokens_by_expert(void **state)
{
    (void)state;
    pare_routing r;
    pare_error err = {0};
    CHECK_OK(pare_routing_open(&r, EXPERTS, 2, TOKENS, &err), &err);
    for (int again = 0; again < 2; again++) { /* nothing of the run before stays */
        CHECK_OK(pare_route(&r, &over_chosen, scores, TOKENS, "router", &err), &err);
        static const uint32_t first[] = {0, 2, 4, 4, 6};
        static const int32_t token[] = {1, 2, 0, 1, 0, 2};
        const double near = 1 / (1 + exp(-1.0)); /* of 3 against 2 */
        const double weight[] = {0.5, 0.5, near, 0.5, 1 - near, 0.5};
        CHECK(memcmp(r.first, first, sizeof first) == 0 && memcmp(r.token, token, sizeof token) == 0);
        for (int i = 0; i < 6; i++)
            CHECK(fabs((double)r.weight[i] - weight[i]) < 1e-7);
    }
    pare_routing_close(&r);
    pare_routing_close(&r);
}

static void weights_are_over_all_unless_normalised(void **state)
{
    (void)state;
    pare_routing r;
    pare_error err = {0};
    CHECK_OK(pare_routing_open(&r, EXPERTS, 1, TOKENS, &err), &err);
    CHECK_OK(pare_route(&r, &over_all, scores, TOKENS, "router", &err), &err);
    CHECK(r.first[1] == 2 && r.token[0] == 1 && fabsf(r.weight[0] - 0.25f) < 1e-7f);
    double all = 1 + exp(-1.0) + exp(-2.0) + exp(-3.0);
    CHECK(r.first[2] == 3 && r.token[2] == 0 && fabs((double)r.weight[2] - 1 / all) < 1e-7);
    CHECK_OK(pare_route(&r, &over_chosen, scores, 1, "router", &err), &err);
    CHECK(r.first[EXPERTS] == 1 && r.weight[0] == 1);
    const float large[EXPERTS] = {3e38f, -3e38f, 2e38f, 0};
    CHECK_OK(pare_route(&r, &over_all, large, 1, "router", &err), &err);
    CHECK(r.token[0] == 0 && r.weight[0] == 1 && r.first[1] == 1);
    pare_routing_close(&r);
}

static float sigmoid(float s)
{
    return (float)(1 / (1 + exp(-(double)s)));
}

static void a_bias_decides_but_does_not_weigh(void **state)
{
    (void)state;
    pare_routing r;
    pare_error err = {0};
    static const float bias[EXPERTS] = {0.9f, 0, 0, 0};
    pare_route_rule rule = {.score = PARE_EXPERT_SIGMOID, .scale = 2.5f, .bias = bias};
    CHECK_OK(pare_routing_open(&r, EXPERTS, 2, TOKENS, &err), &err);
    CHECK_OK(pare_route(&r, &rule, scores, 1, "router", &err), &err); /* 0, 3, 1, 2: the first one and the second */
    CHECK(r.chosen[0] == 0 && r.chosen[1] == 1);
    CHECK(fabsf(r.share[0] - 2.5f * 0.5f) < 1e-6f && fabsf(r.share[1] - 2.5f * sigmoid(3)) < 1e-6f);
    rule.norm = true;
    CHECK_OK(pare_route(&r, &rule, scores, 1, "router", &err), &err);
    CHECK(fabsf(r.share[0] - 2.5f * 0.5f / (0.5f + sigmoid(3))) < 1e-6f);
    rule = (pare_route_rule){.bias = bias}; /* added to probabilities, not to scores */
    CHECK_OK(pare_route(&r, &rule, scores, 1, "router", &err), &err);
    double all = 1 + exp(-1.0) + exp(-2.0) + exp(-3.0);
    CHECK(r.chosen[0] == 0 && r.chosen[1] == 1 && fabs((double)r.share[0] - exp(-3.0) / all) < 1e-7);
    pare_routing_close(&r);
}

static void groups_are_chosen_first(void **state)
{
    (void)state;
    static const float six[6] = {3, -3, -3, 2, 1.5f, 1};
    pare_routing r;
    pare_error err = {0};
    pare_route_rule rule = {.score = PARE_EXPERT_SIGMOID, .n_group = 2, .n_group_used = 1, .group_best = 2};
    CHECK_OK(pare_routing_open(&r, 6, 2, 1, &err), &err);
    CHECK_OK(pare_route(&r, &rule, six, 1, "router", &err), &err);
    CHECK(r.chosen[0] == 3 && r.chosen[1] == 4); /* 0.95 + 0.05 against 0.88 + 0.82 */
    rule.group_best = 1;
    CHECK_OK(pare_route(&r, &rule, six, 1, "router", &err), &err);
    CHECK(r.chosen[0] == 0 && r.chosen[1] == 1); /* of equals the first */
    rule.n_group_used = 2;
    CHECK_OK(pare_route(&r, &rule, six, 1, "router", &err), &err);
    CHECK(r.chosen[0] == 0 && r.chosen[1] == 3);
    const pare_route_rule bad[] = {{.n_group = 4, .n_group_used = 2, .group_best = 1},
                                   {.n_group = 2, .n_group_used = 3, .group_best = 1},
                                   {.n_group = 2, .n_group_used = 0, .group_best = 1},
                                   {.n_group = 6, .n_group_used = 1, .group_best = 1},
                                   {.n_group = 3, .n_group_used = 1, .group_best = 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(pare_route(&r, &bad[i], six, 1, "router", &err) == PARE_ERR_RANGE && strstr(err.text, "groups") != NULL);
    pare_routing_close(&r);
}

static void refuses_what_makes_no_choice(void **state)
{
    (void)state;
    pare_routing r;
    pare_error err = {0};
    float bad[TOKENS * EXPERTS];
    CHECK(pare_routing_open(&r, 4, 5, 1, &err) == PARE_ERR_RANGE && strstr(err.text, "5 of 4") != NULL);
    CHECK(pare_routing_open(&r, 4, 0, 1, &err) == PARE_ERR_RANGE);
    CHECK(pare_routing_open(&r, 0, 0, 1, &err) == PARE_ERR_RANGE);
    CHECK(pare_routing_open(&r, UINT32_MAX, UINT32_MAX, UINT32_MAX, &err) == PARE_ERR_MEMORY);
    CHECK_OK(pare_routing_open(&r, EXPERTS, 2, TOKENS, &err), &err);
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        memcpy(bad, scores, sizeof bad);
        bad[2 * EXPERTS + 1] = values[i];
        CHECK(pare_route(&r, i == 0 ? &over_chosen : &over_all, bad, TOKENS, "blk.7.ffn_gate_inp.weight", &err) ==
              PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "'blk.7.ffn_gate_inp.weight': the score of expert 1 at token 2") != NULL);
    }
    CHECK(pare_route(&r, &over_chosen, scores, TOKENS + 1, "router", &err) == PARE_ERR_USAGE);
    pare_routing_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_tokens_by_expert),
        cmocka_unit_test(weights_are_over_all_unless_normalised),
        cmocka_unit_test(a_bias_decides_but_does_not_weigh),
        cmocka_unit_test(groups_are_chosen_first),
        cmocka_unit_test(refuses_what_makes_no_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
