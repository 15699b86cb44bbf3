/* Rows keep their product with the mean of their inputs: less error in every type, the same bytes on every path, and
 * nothing lost where there is nothing to gain. */
#include "quant/importance.h"
#include "quant/path.h"
#include "quant/registry.h"
#include "quant/row_fit.h"
#include "quant/rows.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2048, ROWS = 12 };

static float column[N], mean[N], x[N], y[N], weight[N], target[N];
static uint8_t replaced[4 * N], bytes[4 * N], other[4 * N];
static const pare_row_buffers buffers = {.x = x, .y = y, .weight = weight, .target = target, .replaced = replaced};

/* Means hold 0.3 of the inputs' energy, unevenly. */
static void fill_inputs(void)
{
    uint32_t seed = 5;
    for (int i = 0; i < N; i++) {
        mean[i] = (unit_random(&seed) - 0.5f) * (i % 16 == 3 ? 4 : 1);
        float spread = 0.2f + unit_random(&seed);
        column[i] = mean[i] * mean[i] + 0.9f * spread * spread;
    }
}

static size_t row_bytes(pare_type type)
{
    uint64_t n = 0;
    CHECK(pare_row_bytes(type, N, &n) && n <= sizeof bytes);
    return (size_t)n;
}

static pare_row_sums encode(const pare_row_fit *fit, uint8_t *dst)
{
    pare_row_sums sums;
    pare_error err = {0};
    CHECK_OK(pare_row_fit_encode(fit, &buffers, dst, &sums, &err), &err);
    return sums;
}

static pare_row_fit fit_of(pare_type type, pare_effort effort, const float *means)
{
    pare_row_fit fit;
    pare_row_fit_init(&fit, type, effort, pare_importance_slope(type, false), N, column, means, &buffers);
    return fit;
}

/* E[(e . a)^2] by its definition, and the offset of the mean. */
static double product_error(double *offset)
{
    double spread = 0;
    *offset = 0;
    for (int i = 0; i < N; i++) {
        double e = (double)x[i] - (double)y[i], m = (double)mean[i];
        spread += ((double)column[i] - m * m) * e * e;
        *offset += m * e;
    }
    return spread + *offset * *offset;
}

static bool is_block_type(int type)
{
    return pare_encoder((pare_type)type) != NULL && pare_type_get((pare_type)type)->block_len > 1;
}

static void products_change_less(void **state)
{
    (void)state;
    fill_inputs();
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (int best = 0; best < 2 && is_block_type(t); best++) {
            pare_effort effort = best ? PARE_EFFORT_BEST : PARE_EFFORT_DEFAULT;
            pare_row_fit with = fit_of((pare_type)t, effort, mean), without = fit_of((pare_type)t, effort, NULL);
            double error[2] = {0}, offsets[2] = {0}, size = 0, offset;
            for (int r = 0; r < ROWS; r++) {
                fill_row(x, N, 100 + (uint32_t)r);
                encode(&without, bytes);
                double plain = product_error(&offset);
                error[0] += plain;
                offsets[0] += offset * offset;
                pare_row_sums sums = encode(&with, other);
                double now = product_error(&offset);
                CHECK(now <= plain * (1 + 1e-6)); /* kept only where it helps */
                error[1] += now;
                offsets[1] += offset * offset;
                pare_row_sums again = pare_row_compare(x, y, column, N);
                size = fmax(size, fabs(sums.weighted_product / sums.weighted_energy - 1));
                CHECK(fabs(sums.weighted_error - again.weighted_error) <= 1e-6 * again.weighted_error);
                pare_type_get((pare_type)t)->decode(other, target, N / pare_type_get((pare_type)t)->block_len);
                CHECK(memcmp(target, y, sizeof y) == 0);
            }
            if (with.len == 0) {
                CHECK(t == PARE_TYPE_Q8_0 && !best && error[1] == error[0]);
                continue;
            }
            bool has_scales = t != PARE_TYPE_MXFP4 && t != PARE_TYPE_NVFP4; /* in binary16 */
            CHECK(size < 0.004 || !has_scales); /* rows keep their size, stretches like the rest */
            CHECK(offsets[1] < 0.25 * offsets[0]);
            CHECK(error[1] < 0.95 * error[0]);
        }
}

/* Plain rounding is not touched, nor is anything without means. */
static void same_bytes_where_off(void **state)
{
    (void)state;
    fill_inputs();
    fill_row(x, N, 7);
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        if (!is_block_type(t))
            continue;
        pare_row_fit plain = fit_of((pare_type)t, PARE_EFFORT_RTN, mean);
        pare_error err = {0};
        encode(&plain, bytes);
        pare_importance_of_weights(plain.slope, column, x, N, weight);
        CHECK_OK(pare_encode_rows((pare_type)t, x, 1, N, weight, PARE_EFFORT_RTN, other, &err), &err);
        CHECK(memcmp(bytes, other, row_bytes((pare_type)t)) == 0);
    }
    pare_row_fit fit;
    pare_row_fit_init(&fit, PARE_TYPE_Q4_K, PARE_EFFORT_BEST, 1, N, NULL, mean, &buffers);
    CHECK(fit.len == 0);
}

/* FNV-1a, 64 bits */
static uint64_t digest_of(uint64_t digest, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ p[i]) * 0x100000001b3u;
    return digest;
}

/* And whatever compiler built them. */
static void same_bytes_on_every_path(void **state)
{
    (void)state;
    uint64_t digest = 0xcbf29ce484222325u;
    fill_inputs();
    fill_row(x, N, 8);
    pare_path best = pare_path_current();
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (int p = 0; p < PARE_PATH_COUNT && is_block_type(t); p++) {
            if (!pare_path_available((pare_path)p))
                continue;
            pare_path_use((pare_path)p);
            pare_row_fit fit = fit_of((pare_type)t, PARE_EFFORT_DEFAULT, mean);
            encode(&fit, p == PARE_PATH_PORTABLE ? bytes : other);
            CHECK(p == PARE_PATH_PORTABLE || memcmp(bytes, other, row_bytes((pare_type)t)) == 0);
            if (p == PARE_PATH_PORTABLE)
                digest = digest_of(digest, bytes, row_bytes((pare_type)t));
            pare_path_use(best);
        }
    CHECK(digest == 0xad536c323d07b07cu);
}

/* The stretch lies where means are large for their spread, from block to block; a row of one block is all stretch. */
static void the_stretch_has_most_leverage(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        column[i] = 1;
        mean[i] = i >= 1024 && i < 1280 ? 0.5f : 0.1f;
    }
    pare_row_fit fit = fit_of(PARE_TYPE_Q4_K, PARE_EFFORT_DEFAULT, mean);
    CHECK(fit.at == 1024 && fit.len == 256 && fit.passes == 1);
    mean[N - 1] = 1;
    column[N - 1] = 1e-6f;
    fit = fit_of(PARE_TYPE_Q4_K, PARE_EFFORT_BEST, mean);
    CHECK(fit.at == 1024 && fit.len == 1024 && fit.passes > 1);
    pare_row_fit_init(&fit, PARE_TYPE_Q4_K, PARE_EFFORT_DEFAULT, 1, 256, column, mean, &buffers);
    CHECK(fit.at == 0 && fit.len == 256);
    pare_row_fit_init(&fit, PARE_TYPE_Q4_0, PARE_EFFORT_DEFAULT, 1, 32, column, mean, &buffers);
    CHECK(fit.at == 0 && fit.len == 32);
}

/* Statistics that no text has, and rows at the ends of what types hold: finite, and never worse. */
static void odd_statistics_do_no_harm(void **state)
{
    (void)state;
    static const float means[] = {0, 1e-30f, 1e18f, -3e38f}, columns[] = {0, 1e-38f, 1, 3e38f};
    static const float sizes[] = {0, 1e-30f, 1, 3000};
    for (int k = 0; k < 4 * 4 * 4; k++) {
        uint32_t seed = 3;
        fill_row(x, N, 9);
        for (int i = 0; i < N; i++) {
            mean[i] = means[k % 4] * (unit_random(&seed) - 0.25f);
            column[i] = columns[k / 4 % 4] * unit_random(&seed);
            x[i] *= sizes[k / 16];
        }
        static const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_Q4_K, PARE_TYPE_IQ2_S, PARE_TYPE_MXFP4};
        for (size_t t = 0; t < 4; t++) {
            pare_row_fit fit = fit_of(types[t], PARE_EFFORT_DEFAULT, mean);
            encode(&fit, bytes);
            for (int i = 0; i < N; i++)
                CHECK(isfinite(y[i]));
            CHECK(pare_find_nonfinite_block(types[t], bytes, N / pare_type_get(types[t])->block_len) == SIZE_MAX);
        }
    }
}

static void what_fits_exactly_stays(void **state)
{
    (void)state;
    fill_inputs();
    uint32_t seed = 4;
    for (int i = 0; i < N; i++)
        x[i] = i % 32 == 0 ? -8.0f : floorf(unit_random(&seed) * 16) - 8;
    pare_row_fit fit = fit_of(PARE_TYPE_Q4_0, PARE_EFFORT_BEST, mean);
    pare_row_sums sums = encode(&fit, bytes);
    CHECK(sums.error == 0 && memcmp(x, y, sizeof x) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_change_less),      cmocka_unit_test(same_bytes_where_off),
        cmocka_unit_test(same_bytes_on_every_path),  cmocka_unit_test(the_stretch_has_most_leverage),
        cmocka_unit_test(odd_statistics_do_no_harm), cmocka_unit_test(what_fits_exactly_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
