#include "quant/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Reference data: 64 rows of 1024 weights, importances of the 1024 columns. */
enum { N_ROWS = 64, ROW_LEN = 1024 };

/* The bytes of the 64 rows, without and with importances. A change here moves pins: say so in the change log. */
static const struct {
    pare_type type;
} kinds[] = {
    {PARE_TYPE_Q2_K}, {PARE_TYPE_Q3_K}, {PARE_TYPE_Q4_K}, {PARE_TYPE_Q5_K}, {PARE_TYPE_Q6_K},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static double relative_error(pare_type type, const float *x, size_t n, const float *weight)
{
    double xx = 0;
    float *out = check_malloc(n * sizeof *out);
    round_trip(type, x, 1, n, weight, out);
    for (size_t i = 0; i < n; i++)
        xx += (double)x[i] * x[i];
    double e = error_of_row(x, out, NULL, n) * (double)n;
    free(out);
    return xx > 0 ? e / xx : e;
}

static void edge_rows_survive(void **state)
{
    (void)state;
    /* relative error of a normal row, with room */
    static const double ordinary[] = {0.12, 0.03, 0.01, 0.002, 0.0008};
    float x[512];
    for (size_t k = 0; k < N_KINDS; k++) {
        pare_type type = kinds[k].type;
        memset(x, 0, sizeof x);
        CHECK(relative_error(type, x, 512, NULL) == 0);
        for (size_t i = 0; i < 512; i++)
            x[i] = 0.37f;
        CHECK(relative_error(type, x, 512, NULL) < 1e-5);
        for (size_t i = 0; i < 512; i++)
            x[i] = -0.37f;
        CHECK(relative_error(type, x, 512, NULL) < 1e-5);

        fill_row(x, 512, 12345);
        CHECK(relative_error(type, x, 512, NULL) < ordinary[k]);
        for (size_t i = 0; i < 512; i++)
            x[i] *= 1e3f;
        CHECK(relative_error(type, x, 512, NULL) < ordinary[k]);
        for (size_t i = 0; i < 512; i++)
            x[i] *= 1e-10f; /* 1e-7: d is below the smallest half, which has to do */
        CHECK(relative_error(type, x, 512, NULL) < 0.5);
        for (size_t i = 0; i < 512; i++)
            x[i] *= 1e-30f;
        CHECK(relative_error(type, x, 512, NULL) <= 1);

        memset(x, 0, sizeof x);
        x[77] = -5;
        CHECK(relative_error(type, x, 512, NULL) < 1e-5);
        x[300] = 5;
        CHECK(relative_error(type, x, 512, NULL) < 1e-5);
    }
}

static void columns_without_importance_keep_their_weights(void **state)
{
    (void)state;
    static const double ordinary[] = {0.4, 0.2, 0.1, 0.05, 0.02};
    float x[512], weight[512] = {0};
    fill_row(x, 512, 12345);
    for (size_t k = 0; k < N_KINDS; k++) {
        float plain[512], same[512];
        memset(weight, 0, sizeof weight);
        round_trip(kinds[k].type, x, 1, 512, NULL, plain);
        round_trip(kinds[k].type, x, 1, 512, weight, same);
        CHECK(memcmp(plain, same, sizeof plain) == 0); /* all zero counts as none */
        weight[5] = 1;                                 /* the second super-block and most of the first have none */
        CHECK(relative_error(kinds[k].type, x, 512, weight) < ordinary[k]);
    }
}

static void weights_too_large_for_the_scale_are_refused(void **state)
{
    (void)state;
    static const float sizes[] = {1e10f, 1e20f, 3e38f};
    float x[256];
    uint8_t bytes[256 * 4];
    for (size_t k = 0; k < N_KINDS; k++) {
        for (size_t i = 0; i < 3; i++) {
            pare_error err = {0};
            fill_row(x, 256, 12345);
            x[100] = sizes[i];
            CHECK(pare_encode_rows(kinds[k].type, x, 1, 256, NULL, PARE_EFFORT_DEFAULT, bytes, &err) ==
                  PARE_ERR_NUMBER);
            CHECK(err.text[0] != 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(columns_without_importance_keep_their_weights),
        cmocka_unit_test(weights_too_large_for_the_scale_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
