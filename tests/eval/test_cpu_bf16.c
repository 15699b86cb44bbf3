/* Products in BF16 against sums in double of the rounded factors. Skipped where the build or the CPU has none. */
#include "check.h"
#include "toy.h"

#include "core/half.h"
#include "core/threads.h"
#include "eval/backend.h"
#include "eval/cpu_kernels.h"
#include "quant/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_backend *open_bf16(void)
{
    pare_backend *b = NULL;
    pare_error err = {0};
    pare_status st = pare_backend_cpu_bf16(&b, &err);
    if (st == PARE_ERR_UNSUPPORTED) {
        CHECK(b == NULL && strstr(err.text, "BF16") != NULL);
        printf("SKIP bf16: %s\n", err.text);
        skip();
    }
    CHECK_OK(st, &err);
    CHECK(strcmp(b->compute, "bf16") == 0 && strcmp(b->name, "cpu") == 0);
    return b;
}

static double rounded(float x)
{
    return (double)pare_bf16_to_f32(pare_f32_to_bf16(x));
}

/* Rows [row, row + n_rows) of w, whose values are `decoded`, times n rows. The float sum of k products errs by no more
 * than k roundings of its parts; what is not rounded to BF16 first differs by 2^-9 a factor and is found. */
static void check_product(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, uint32_t n,
                          const float *decoded)
{
    pare_error err = {0};
    uint64_t seed = 5;
    size_t k = w->row_len;
    float *x = toy_array(&seed, n * k, 1), *y = check_malloc((n * n_rows + 1) * sizeof *y);
    y[n * n_rows] = 42;
    CHECK_OK(b->matmul(b, w, row, n_rows, x, n, y, &err), &err);
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t r = 0; r < n_rows; r++) {
            double sum = 0, size = 0;
            for (size_t j = 0; j < k; j++) {
                double product = rounded(x[i * k + j]) * rounded(decoded[(row + r) * k + j]);
                sum += product;
                size += fabs(product);
            }
            CHECK(fabs((double)y[i * n_rows + r] - sum) <= 1e-6 * size);
        }
    CHECK(y[n * n_rows] == 42);
    free(x);
    free(y);
}

static void multiplies_float_weights(void **state)
{
    (void)state;
    static const uint32_t tokens[] = {1, 2, 3, 33, 64, 65, 1024, 1025, 1100};
    pare_backend *b = open_bf16();
    uint64_t seed = 1;
    float *values = toy_array(&seed, 300 * 40, 1);
    pare_tensor w = toy_tensor("w", values, 300, 40);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        check_product(b, &w, 0, 300, tokens[i], values);
        check_product(b, &w, 7, 130, tokens[i], values);
    }
    pare_tensor column = toy_tensor("column", values, 300, 1), row = toy_tensor("row", values, 1, 300);
    check_product(b, &column, 0, 300, 5, values);
    check_product(b, &row, 0, 1, 5, values);
    free(values);
    b->close(b);
}

static void multiplies_weights_of_every_kind(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_F16, PARE_TYPE_BF16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_0, PARE_TYPE_Q4_K};
    enum { ROWS = 141, WIDTH = 256 };
    pare_backend *b = open_bf16();
    uint64_t seed = 2;
    float *values = toy_array(&seed, ROWS * WIDTH, 1), *decoded = check_malloc(ROWS * WIDTH * sizeof *decoded);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (size_t shift = 0; shift < 2; shift++) { /* 1: where no number can be read in place */
            pare_error err = {0};
            pare_tensor w = toy_tensor("w", values, ROWS, WIDTH);
            w.type = types[i];
            CHECK_OK(pare_tensor_set_shape(&w, "toy", &err), &err);
            uint8_t *bytes = check_malloc(w.n_bytes + shift);
            CHECK_OK(pare_encode_rows(w.type, values, ROWS, WIDTH, NULL, PARE_EFFORT_DEFAULT, bytes + shift, &err),
                     &err);
            CHECK_OK(pare_decode_rows(w.type, bytes + shift, ROWS, WIDTH, decoded, &err), &err);
            w.data = bytes + shift;
            check_product(b, &w, 0, ROWS, 9, decoded);
            check_product(b, &w, 3, 129, 2, decoded);
            free(bytes);
        }
    free(values);
    free(decoded);
    b->close(b);
}

/* More shapes than the backend remembers. */
static void forgets_shapes(void **state)
{
    (void)state;
    pare_backend *b = open_bf16();
    uint64_t seed = 3;
    float *values = toy_array(&seed, 100 * 8, 1);
    pare_tensor w = toy_tensor("w", values, 100, 8);
    for (int turn = 0; turn < 2; turn++)
        for (uint64_t n_rows = 1; n_rows <= 100; n_rows++)
            check_product(b, &w, 0, n_rows, 3, values);
    free(values);
    b->close(b);
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    enum { N = 1300, ROWS = 600, WIDTH = 96 };
    uint64_t seed = 10;
    float *x = toy_array(&seed, N * WIDTH, 1), *values = toy_array(&seed, ROWS * WIDTH, 1);
    float *y[4];
    pare_tensor w = toy_tensor("w", values, ROWS, WIDTH);
    for (int t = 0; t < 4; t++) {
        pare_backend *b = open_bf16(); /* a new one: code is made again */
        pare_error err = {0};
        pare_set_threads(t + 1);
        y[t] = check_malloc(N * ROWS * sizeof(float));
        CHECK_OK(b->matmul(b, &w, 0, ROWS, x, N, y[t], &err), &err);
        CHECK(memcmp(y[0], y[t], N * ROWS * sizeof(float)) == 0);
        b->close(b);
    }
    pare_set_threads(0);
    for (int t = 0; t < 4; t++)
        free(y[t]);
    free(x);
    free(values);
}

static void routers_are_not_rounded(void **state)
{
    (void)state;
    pare_backend *b = open_bf16(), *f32 = NULL;
    pare_error err = {0};
    uint64_t seed = 4;
    float *x = toy_array(&seed, 3 * 40, 1), *values = toy_array(&seed, 8 * 40, 1), y[24], want[24];
    pare_tensor w = toy_tensor("w", values, 8, 40);
    CHECK_OK(pare_backend_cpu(&f32, &err), &err);
    CHECK(strcmp(f32->compute, "f32") == 0);
    CHECK_OK(f32->matmul(f32, &w, 0, 8, x, 3, want, &err), &err);
    CHECK_OK(b->matmul_f32(b, &w, 0, 8, x, 3, y, &err), &err);
    CHECK(memcmp(y, want, sizeof y) == 0);
    CHECK_OK(b->matmul(b, &w, 0, 8, x, 3, y, &err), &err);
    CHECK(memcmp(y, want, sizeof y) != 0);
    free(x);
    free(values);
    b->close(b);
    f32->close(f32);
}

static void rounds_to_nearest_even(void **state)
{
    (void)state;
    static const float x[] = {1, -0.0f, 0x1.01p0f, 0x1.03p0f, 0x1.010002p0f, 3.4e38f, INFINITY, NAN, 1e-45f};
    static const uint16_t want[] = {0x3f80, 0x8000, 0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7f80, 0x7fc0, 0};
    enum { N = sizeof x / sizeof x[0] };
    uint16_t y[N];
    pare_cpu_to_bf16(x, N, y);
    for (int i = 0; i < N; i++)
        CHECK(y[i] == want[i]);
}

/* A NaN must reach the logits, where it ends the run. */
static void grams_of_rounded_columns(void **state)
{
    (void)state;
    enum { N = 9, WIDTH = 20 };
    pare_backend *b = open_bf16();
    pare_error err = {0};
    uint64_t seed = 3;
    float *x = toy_array(&seed, N * WIDTH, 1), *h = toy_array(&seed, WIDTH * WIDTH, 0);
    CHECK_OK(b->add_gram(b, x, N, WIDTH, h, &err), &err);
    for (int r = 0; r < WIDTH; r++)
        for (int c = 0; c < WIDTH; c++) {
            double sum = 0;
            for (int t = 0; t < N; t++)
                sum += rounded(x[t * WIDTH + r]) * rounded(x[t * WIDTH + c]);
            CHECK(fabs((double)h[r * WIDTH + c] - sum) <= 2e-6);
        }
    free(x);
    free(h);
    b->close(b);
}

static void nan_stays_nan(void **state)
{
    (void)state;
    pare_backend *b = open_bf16();
    pare_error err = {0};
    uint64_t seed = 6;
    float *x = toy_array(&seed, 3 * 40, 1), *values = toy_array(&seed, 8 * 40, 1), y[24];
    pare_tensor w = toy_tensor("w", values, 8, 40);
    x[40 + 7] = NAN;
    CHECK_OK(b->matmul(b, &w, 0, 8, x, 3, y, &err), &err);
    for (int i = 0; i < 24; i++)
        CHECK(isnan(y[i]) == (i / 8 == 1));
    free(x);
    free(values);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplies_float_weights), cmocka_unit_test(multiplies_weights_of_every_kind),
        cmocka_unit_test(forgets_shapes),           cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(routers_are_not_rounded),  cmocka_unit_test(rounds_to_nearest_even),
        cmocka_unit_test(grams_of_rounded_columns), cmocka_unit_test(nan_stays_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
