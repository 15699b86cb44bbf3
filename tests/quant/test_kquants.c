#include "quant/rows.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const pare_type types[] = {PARE_TYPE_Q2_K, PARE_TYPE_Q3_K, PARE_TYPE_Q4_K, PARE_TYPE_Q5_K, PARE_TYPE_Q6_K};
enum { N_TYPES = sizeof types / sizeof *types, LEN = 512 };

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
    for (size_t k = 0; k < N_TYPES; k++) {
        pare_type type = types[k];
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
    for (size_t k = 0; k < N_TYPES; k++) {
        float plain[512], same[512];
        memset(weight, 0, sizeof weight);
        round_trip(types[k], x, 1, 512, NULL, plain);
        round_trip(types[k], x, 1, 512, weight, same);
        CHECK(memcmp(plain, same, sizeof plain) == 0); /* all zero counts as none */
        weight[5] = 1;                                 /* the second super-block and most of the first have none */
        CHECK(relative_error(types[k], x, 512, weight) < ordinary[k]);
    }
}

static void weights_too_large_for_the_scale_are_refused(void **state)
{
    (void)state;
    static const float sizes[] = {1e10f, 1e20f, 3e38f};
    float x[256];
    uint8_t bytes[256 * 4];
    for (size_t k = 0; k < N_TYPES; k++) {
        for (size_t i = 0; i < 3; i++) {
            pare_error err = {0};
            fill_row(x, 256, 12345);
            x[100] = sizes[i];
            CHECK(pare_encode_rows(types[k], x, 1, 256, NULL, PARE_EFFORT_DEFAULT, bytes, &err) == PARE_ERR_NUMBER);
            CHECK(err.text[0] != 0);
        }
    }
}

static bool has_mins(pare_type type)
{
    return type == PARE_TYPE_Q2_K || type == PARE_TYPE_Q4_K || type == PARE_TYPE_Q5_K;
}

/* With the min at zero or below, a row far from zero would leave most of the codes unused: dmin has a sign. */
static void a_mean_costs_nothing_in_types_with_mins(void **state)
{
    (void)state;
    float x[LEN], shifted[LEN], out[LEN];
    fill_row(x, LEN, 99);
    for (size_t k = 0; k < N_TYPES; k++) {
        double error[3];
        for (int i = 0; i < 3; i++) {
            for (size_t j = 0; j < LEN; j++)
                shifted[j] = x[j] + (float)(20 * (i - 1));
            round_trip(types[k], shifted, 1, LEN, NULL, out);
            error[i] = error_of_row(shifted, out, NULL, LEN);
        }
        for (int i = 0; i < 3; i += 2)
            CHECK(has_mins(types[k]) ? error[i] < 2 * error[1] : error[i] > 2 * error[1]);
    }
}

enum { LONG = 8192 }; /* searches have luck: more effort pays over many super-blocks, not in each */

static double error_with(pare_type type, const float *x, const float *weight, const float *judge, pare_effort effort)
{
    size_t n_bytes = 0;
    static float out[LONG];
    uint8_t *bytes = encode_rows(type, x, 1, LONG, weight, effort, &n_bytes);
    pare_type_get(type)->decode(bytes, out, LONG / pare_type_get(type)->block_len);
    free(bytes);
    return error_of_row(x, out, judge, LONG);
}

static void more_effort_gives_less_error(void **state)
{
    (void)state;
    static float x[LONG], weight[LONG];
    fill_row(x, LONG, 7);
    fill_importances(weight, LONG);
    for (size_t i = 0; i < LONG; i++)
        weight[i] += 0.01f;
    for (size_t k = 0; k < N_TYPES; k++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const float *w = weighted ? weight : NULL;
            double rtn = error_with(types[k], x, w, w, PARE_EFFORT_RTN);
            double usual = error_with(types[k], x, w, w, PARE_EFFORT_DEFAULT);
            double best = error_with(types[k], x, w, w, PARE_EFFORT_BEST);
            double fast = error_with(types[k], x, w, w, PARE_EFFORT_FAST);
            CHECK(usual < 0.95 * rtn && fast < 0.97 * rtn && fast > usual);
            CHECK(best < usual);
            if (weighted) { /* the weights are used, and not by plain rounding */
                CHECK(usual < 0.9 * error_with(types[k], x, NULL, w, PARE_EFFORT_DEFAULT));
                CHECK(rtn == error_with(types[k], x, NULL, w, PARE_EFFORT_RTN));
            }
        }
}

/* Of the encoder itself; also where sums with the weights would not fit a float. */
static void a_common_factor_of_the_weights_changes_nothing(void **state)
{
    (void)state;
    static const float factors[] = {0x1p-90f, 0x1p-20f, 0x1p60f, 0x1p110f};
    float x[LEN], weight[LEN], scaled[LEN];
    uint8_t a[2 * LEN], b[2 * LEN];
    fill_row(x, LEN, 7);
    fill_importances(weight, LEN);
    for (size_t i = 0; i < LEN; i++)
        weight[i] += 0.01f;
    for (size_t k = 0; k < N_TYPES; k++)
        for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
            const pare_type_info *type = pare_type_get(types[k]);
            for (size_t i = 0; i < LEN; i++)
                scaled[i] = weight[i] * factors[f];
            pare_encoder(types[k])(x, LEN, weight, PARE_EFFORT_DEFAULT, a);
            pare_encoder(types[k])(x, LEN, scaled, PARE_EFFORT_DEFAULT, b);
            CHECK(memcmp(a, b, LEN / type->block_len * type->block_bytes) == 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(columns_without_importance_keep_their_weights),
        cmocka_unit_test(weights_too_large_for_the_scale_are_refused),
        cmocka_unit_test(a_mean_costs_nothing_in_types_with_mins),
        cmocka_unit_test(more_effort_gives_less_error),
        cmocka_unit_test(a_common_factor_of_the_weights_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
