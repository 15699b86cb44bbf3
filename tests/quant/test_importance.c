/* From the importances of columns to those of the weights of one row. */
#include "check.h"
#include "quant/importance.h"

#include <math.h>

enum { N = 512 };

static void weights_that_stand_out_count_more(void **state)
{
    (void)state;
    float x[N], column[N], w[N], twice[N];
    for (int i = 0; i < N; i++) {
        x[i] = i < 256 ? 1 : -3; /* rms of the runs: 1 and 3 */
        column[i] = i % 2 ? 3 : 1;
    }
    x[0] = 0;
    pare_importance_of_weights(2, column, x, N, w);
    double row_rms = sqrt((255 + 256 * 9) / 512.0), rms = sqrt(255 / 256.0), floor = 1 / 64.0;
    CHECK(fabs((double)w[1] - (1.5 + floor) * (rms + 2) / row_rms) < 1e-6);
    CHECK(fabs((double)w[2] - (0.5 + floor) * (rms + 2) / row_rms) < 1e-6);
    CHECK(fabs((double)w[0] - (0.5 + floor) * rms / row_rms) < 1e-6);
    CHECK(fabs((double)w[300] - (0.5 + floor) * (3 + 6) / row_rms) < 1e-5);
    for (int i = 0; i < N; i++) {
        x[i] *= 1e-20f; /* neither the scale of the row nor that of the importances matters */
        column[i] *= 1e10f;
    }
    pare_importance_of_weights(2, column, x, N, twice);
    for (int i = 0; i < N; i++)
        CHECK(fabsf(w[i] - twice[i]) <= 1e-5f * w[i]);
}

static void no_weight_is_free(void **state)
{
    (void)state;
    float x[40], column[40] = {0}, w[40];
    for (int i = 0; i < 40; i++)
        x[i] = (float)(i % 3) - 1;
    column[7] = 5;
    pare_importance_of_weights(2, column, x, 40, w); /* a row shorter than a run */
    for (int i = 0; i < 40; i++)
        CHECK(w[i] > 0 && isfinite(w[i]) && (i == 7 || w[i] < w[7]));
    for (int i = 0; i < 40; i++)
        x[i] = 0;
    pare_importance_of_weights(2, column, x, 40, w);
    CHECK(w[7] > w[8] && w[8] > 0);
}

static void weights_too_large_to_square_count_alike(void **state)
{
    (void)state;
    float x[40] = {1, 2, 3e38f}, column[40], w[40];
    for (int i = 0; i < 40; i++)
        column[i] = 2;
    CHECK(!pare_importance_of_weights(2, NULL, x, 40, w));
    CHECK(pare_importance_of_weights(2, column, x, 40, w));
    for (int i = 0; i < 40; i++)
        CHECK(isfinite(w[i]) && w[i] == w[0]);
}

static void slopes_are_the_types(void **state)
{
    (void)state;
    float x[40], w[40];
    for (int i = 0; i < 40; i++)
        x[i] = (float)(i % 3) - 1;
    CHECK(!pare_importance_of_weights(0, NULL, x, 40, w)); /* all alike */
    CHECK(pare_importance_of_weights(1, NULL, x, 40, w) && w[0] > w[1]);
    CHECK(pare_importance_slope(PARE_TYPE_Q8_0, false) == 0); /* so fine that nothing stands out */
    CHECK(pare_importance_slope(PARE_TYPE_Q3_K, false) > pare_importance_slope(PARE_TYPE_Q3_K, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_that_stand_out_count_more),
        cmocka_unit_test(no_weight_is_free),
        cmocka_unit_test(weights_too_large_to_square_count_alike),
        cmocka_unit_test(slopes_are_the_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
