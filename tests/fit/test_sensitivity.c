/* What errors cost, from some that were measured. */
#include "check.h"

#include "fit/sensitivity.h"

#include <math.h>

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static void one_swap_is_a_proportion(void **state)
{
    const pare_swap swap = {0.2, 0.003};
    (void)state;
    CHECK(near(pare_sensitivity_cost(&swap, 1, 0.2), 0.003));
    CHECK(near(pare_sensitivity_cost(&swap, 1, 0.02), 0.0003));
    CHECK(near(pare_sensitivity_cost(&swap, 1, 1), 0.015));
    CHECK(pare_sensitivity_cost(&swap, 1, 0) < 1e-300);
}

/* Points of 0.3 e^1.2, out of order: between them the curve, outside of them proportions. */
static void between_swaps_is_a_power(void **state)
{
    const double e[] = {0.08, 0.01, 0.4};
    pare_swap swaps[3];
    (void)state;
    for (int i = 0; i < 3; i++)
        swaps[i] = (pare_swap){e[i], 0.3 * pow(e[i], 1.2)};
    for (double x = 0.011; x < 0.4; x *= 1.3)
        CHECK(near(pare_sensitivity_cost(swaps, 3, x), 0.3 * pow(x, 1.2)));
    CHECK(near(pare_sensitivity_cost(swaps, 3, 0.8), 2 * swaps[2].kld));
    CHECK(near(pare_sensitivity_cost(swaps, 3, 0.005), swaps[1].kld / 2));
}

/* Measurements that fall as the error grows, agree, or are not above rounding: costs rise all the same. */
static void costs_never_fall(void **state)
{
    const pare_swap odd[] = {{0.1, 0.004}, {0.2, 0.003}, {0.2, 0.0035}, {0.3, -1e-12}, {0.9, 0.02}};
    const pare_swap nothing[] = {{0.1, -1e-10}};
    double last = 0;
    (void)state;
    for (double x = 0.001; x < 5; x *= 1.1) {
        const double cost = pare_sensitivity_cost(odd, 5, x);
        CHECK(isfinite(cost) && cost >= last);
        last = cost;
    }
    CHECK(near(pare_sensitivity_cost(odd, 5, 0.2), 0.004));
    CHECK(pare_sensitivity_cost(nothing, 1, 0.1) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_swap_is_a_proportion),
                                       cmocka_unit_test(between_swaps_is_a_power), cmocka_unit_test(costs_never_fall)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
