#include "check.h"
#include "recipe/plan_summary.h"

#include <math.h>
#include <string.h>

#define ROW(n, f, t, e, w)                                                                                             \
    {                                                                                                                  \
        .name = n, .from = PARE_TYPE_##f, .wanted = PARE_TYPE_##t, .to = PARE_TYPE_##t, .error = e,                    \
        .weighted_error = w                                                                                            \
    }

static void the_worst_come_first(void **state)
{
    (void)state;
    pare_plan_row rows[] = {
        ROW("small", F32, Q8_0, 1e-5, NAN),  ROW("kept", F32, F32, 0, NAN),      ROW("light", F32, Q4_K, 9e-3, 1e-4),
        ROW("heavy", F32, Q4_K, 1e-3, 8e-3), ROW("plain", F32, Q4_K, 5e-3, NAN), ROW("exact", F32, Q8_0, 0, NAN),
        ROW("later", F32, Q4_K, NAN, NAN),
    };
    const pare_plan plan = {.rows = rows, .n = sizeof rows / sizeof rows[0]};
    const pare_plan_row *worst[5] = {0};
    CHECK(pare_plan_worst(&plan, worst, 5) == 4);
    CHECK(strcmp(worst[0]->name, "heavy") == 0 && strcmp(worst[1]->name, "plain") == 0);
    CHECK(strcmp(worst[2]->name, "light") == 0 && strcmp(worst[3]->name, "small") == 0);
    CHECK(pare_plan_worst(&plan, worst, 2) == 2 && strcmp(worst[1]->name, "plain") == 0);
    CHECK(pare_plan_worst(&plan, worst, 0) == 0);
}

static void only_grids_of_another_type_are_lossless(void **state)
{
    (void)state;
    pare_plan_row rows[] = {ROW("a", F32, Q8_0, 0, NAN),     ROW("b", BF16, F32, 0, NAN),
                            ROW("c", Q4_0, Q4_0, 0, NAN),    ROW("d", F32, TQ2_0, 0, 0),
                            ROW("e", F8_E4M3, BF16, 0, NAN), ROW("f", F32, Q8_0, 1e-9, NAN),
                            ROW("g", F32, Q8_0, NAN, NAN)};
    const pare_plan plan = {.rows = rows, .n = sizeof rows / sizeof rows[0]};
    CHECK(pare_plan_count_lossless(&plan) == 0);
    for (size_t i = 0; i < 5; i++)
        rows[i].lossless = true;
    CHECK(pare_plan_count_lossless(&plan) == 3);
}

static void requantizing_has_its_price(void **state)
{
    (void)state;
    pare_plan_row rows[] = {ROW("a", Q4_K, Q8_0, 1e-4, NAN), ROW("b", Q8_0, Q4_K, 3e-3, NAN),
                            ROW("c", F32, Q4_K, 9, NAN), ROW("d", Q4_K, Q4_K, 0, NAN)};
    pare_tensor tensors[4] = {{.n_rows = 1, .row_len = 256}, {.n_rows = 3, .row_len = 256}, {0}, {0}};
    const pare_plan plan = {.rows = rows, .n = 4};
    const pare_model out = {.tensors = tensors, .n_tensors = 4};
    pare_requantized sum;
    pare_error err = {0};
    CHECK_OK(pare_plan_requantized(&plan, &out, &sum, &err), &err);
    CHECK(sum.n_tensors == 2 && sum.n_from[PARE_TYPE_Q4_K] == 1 && sum.n_from[PARE_TYPE_Q8_0] == 1);
    CHECK(fabs(sum.added_error - (1e-4 + 3 * 3e-3) / 4) < 1e-15);
    /* about 4e-3 for Q4_K and 3e-5 for Q8_0 on normal weights: one part in four of the weights had Q4_K before, three
     * have it now */
    CHECK(sum.source_error > 5e-4 && sum.source_error < 2e-3);
    CHECK(sum.expected_error > 1.5e-3 && sum.expected_error < 6e-3);
    rows[0].error = NAN;
    CHECK_OK(pare_plan_requantized(&plan, &out, &sum, &err), &err);
    CHECK(isnan(sum.added_error));
    const pare_plan none = {.rows = rows + 2, .n = 2};
    CHECK_OK(pare_plan_requantized(&none, &out, &sum, &err), &err);
    CHECK(sum.n_tensors == 0 && sum.source_error == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worst_come_first),
        cmocka_unit_test(only_grids_of_another_type_are_lossless),
        cmocka_unit_test(requantizing_has_its_price),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
