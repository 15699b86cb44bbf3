/* What plans that were run say of others. */
#include "check.h"

#include "fit/whole.h"

#include <math.h>

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void plans_are_predicted_from_those_beside_them(void **state)
{
    pare_whole w = {0};
    (void)state;
    CHECK(pare_whole_predict(&w, 0.25) == 0.25 && pare_whole_second(&w) == 1 && isnan(pare_whole_spread(&w)));
    pare_whole_learn(&w, 0.04, 0.08, 0.06); /* twice the sum */
    CHECK(near(pare_whole_predict(&w, 0.001), 0.002) && near(pare_whole_predict(&w, 1), 2));
    CHECK(near(pare_whole_second(&w), 0.75) && isnan(pare_whole_spread(&w)));
    pare_whole_learn(&w, 0.01, 0.01, 0.01); /* as much as it */
    CHECK(w.n == 2 && w.plan[0].sum == 0.01 && near(pare_whole_second(&w), 0.875));
    CHECK(near(pare_whole_predict(&w, 0.02), 0.03)); /* in the middle: one and a half times */
    CHECK(near(pare_whole_predict(&w, 0.005), 0.005) && near(pare_whole_predict(&w, 0.08), 0.16));
    CHECK(near(pare_whole_predict(&w, 0.04), 0.08) && near(pare_whole_predict(&w, 0.01), 0.01));
    CHECK(pare_whole_predict(&w, 0) == 0);
}

static void what_says_nothing_is_not_learned(void **state)
{
    pare_whole w = {0};
    (void)state;
    pare_whole_learn(&w, 0, 1, 1);
    pare_whole_learn(&w, 1, 0, 0);
    CHECK(w.n == 0);
    pare_whole_learn(&w, 1, 3, 3);
    pare_whole_learn(&w, 1.0005, 5, 5);
    CHECK(w.n == 1 && near(pare_whole_predict(&w, 1), 3));
    for (int i = 1; i < 2 * PARE_MAX_WHOLE; i++)
        pare_whole_learn(&w, 1 + i, 1 + i, 1 + i);
    CHECK(w.n == PARE_MAX_WHOLE);
}

/* Three plans, of ratios 1, 1 and 2: the first is as the second says, the second in the middle of 1 and 2, the third
 * half of what it is. */
static void plans_say_how_far_off_they_are(void **state)
{
    pare_whole w = {0};
    (void)state;
    pare_whole_learn(&w, 4, 8, 8);
    pare_whole_learn(&w, 1, 1, 1);
    pare_whole_learn(&w, 2, 2, 2);
    const double want = sqrt((log(1.5) * log(1.5) + log(0.5) * log(0.5)) / 3);
    CHECK(fabs(pare_whole_spread(&w) - want) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plans_are_predicted_from_those_beside_them),
                                       cmocka_unit_test(what_says_nothing_is_not_learned),
                                       cmocka_unit_test(plans_say_how_far_off_they_are)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
