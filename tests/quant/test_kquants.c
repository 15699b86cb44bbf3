#include "check.h"

#include "core/hash.h"
#include "quant/registry.h"

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
    const char *digest[2];
} kinds[] = {
    {PARE_TYPE_Q2_K,
     {"81ff73e6fc497aa019150d68c68ff0efc3bde0827f458290f87ef03d1e7edab7",
      "aa78faaf491fb97cdeb1d76001dd3e69e6bf6829f12538a757278d9ca4144cb5"}},
    {PARE_TYPE_Q3_K,
     {"fbaf2eb45be34e1475bca5915a61fbace1d3dce672d11141407e7f59a5bbe2ee",
      "b6cd46f2e72ac3ffca9bb84762937b6844f5f91bca95c4854252b6c3e1e77fa5"}},
    {PARE_TYPE_Q4_K,
     {"fe4c37972d28b3b7b22ab1067bfc572c74636c8b00fb9180182b5cc6a2a1f5d6",
      "217487a70a2f1b148949915a0894ec5e68c20a29014583f8b7fb135990a0f933"}},
    {PARE_TYPE_Q5_K,
     {"0e3f3f74446ace30baaacd391db404410c89227fc5605ee55a910c04a5738a4e",
      "9de1f29016b63ec44d2e6537f5cf899950d2f5cccb04e4ec76ccc8597a705d06"}},
    {PARE_TYPE_Q6_K,
     {"b5bb76640c7d2d8a9162e7b576921be7dc4b075cd0c0f68a4b086d8f956ba0c5",
      "441a75460b5c27e09a04d421720ad06d6c9f0cb7bd78e4866bb3ec18ee51010b"}},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static float *load_floats(const char *path, size_t count)
{
    size_t n = 0;
    float *data = (float *)check_read_file(shared_path(path), &n);
    CHECK(n == count * sizeof(float));
    return data;
}

/* Encode n_rows rows, decode them again; the encoded bytes are the caller's to free. */
static uint8_t *round_trip(pare_type type, const float *src, size_t n_rows, size_t row_len, const float *weight,
                           float *out, size_t *n_bytes)
{
    uint64_t row_bytes = 0;
    pare_error err = {0};
    CHECK(pare_row_bytes(type, row_len, &row_bytes));
    uint8_t *bytes = check_malloc((size_t)row_bytes * n_rows);
    CHECK_OK(pare_encode_rows(type, src, n_rows, row_len, weight, bytes, &err), &err);
    CHECK_OK(pare_decode_rows(type, bytes, n_rows, row_len, out, &err), &err);
    *n_bytes = (size_t)row_bytes * n_rows;
    return bytes;
}

static double error_of_row(const float *x, const float *y, const float *weight, size_t n)
{
    double e = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double w = weight != NULL ? weight[i] : 1, diff = (double)x[i] - y[i];
        e += w * diff * diff;
        sum += w;
    }
    return e / sum;
}

/* Stock's mean error for the type: mse without importances, wmse with. */
static double bar_of(const char *text, const char *type, bool weighted)
{
    char name[32], yes[8];
    unsigned bytes;
    double mse, wmse;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%31s %u %7s %lf %lf", name, &bytes, yes, &mse, &wmse) == 5 && strcasecmp(name, type) == 0 &&
            (strcmp(yes, "yes") == 0) == weighted)
            return weighted ? wmse : mse;
    }
    fail_msg("no bar for %s", type);
    return 0;
}

static char *load_text(const char *path)
{
    size_t n = 0;
    char *text = (char *)check_read_file(shared_path(path), &n);
    text = realloc(text, n + 1);
    CHECK(text != NULL);
    text[n] = '\0';
    return text;
}

static void errors_are_not_above_stock(void **state)
{
    (void)state;
    float *input = load_floats("oracle/blocks/encode/input.f32", N_ROWS * ROW_LEN);
    float *weight = load_floats("oracle/blocks/encode/importance.f32", ROW_LEN);
    char *bars = load_text("oracle/blocks/encode/ggml.tsv"), *rows = load_text("oracle/blocks/encode/rows.tsv");
    float *out = check_malloc(N_ROWS * ROW_LEN * sizeof *out);
    for (size_t k = 0; k < N_KINDS; k++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            size_t n_bytes = 0, n = 0;
            double sum = 0;
            free(round_trip(kinds[k].type, input, N_ROWS, ROW_LEN, weighted ? weight : NULL, out, &n_bytes));
            const char *line = strchr(rows, '\n');
            for (; line != NULL; line = strchr(line + 1, '\n')) {
                unsigned row, counts;
                if (sscanf(line, "%u %*s %u", &row, &counts) != 2 || !counts)
                    continue;
                CHECK(row < N_ROWS);
                sum += error_of_row(input + row * ROW_LEN, out + row * ROW_LEN, weighted ? weight : NULL, ROW_LEN);
                n++;
            }
            CHECK(n == 57);
            double bar = bar_of(bars, pare_type_get(kinds[k].type)->name, weighted);
            if (sum / (double)n > bar)
                fail_msg("%s %s importances: %g above stock's %g", pare_type_get(kinds[k].type)->name,
                         weighted ? "with" : "without", sum / (double)n, bar);
        }
    }
    free(out);
    free(rows);
    free(bars);
    free(weight);
    free(input);
}

static void bytes_do_not_change(void **state)
{
    (void)state;
    float *input = load_floats("oracle/blocks/encode/input.f32", N_ROWS * ROW_LEN);
    float *weight = load_floats("oracle/blocks/encode/importance.f32", ROW_LEN);
    float *out = check_malloc(N_ROWS * ROW_LEN * sizeof *out);
    for (size_t k = 0; k < N_KINDS; k++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            size_t n_bytes = 0;
            char hex[PARE_SHA256_HEX];
            pare_digest digest = {0};
            pare_error err = {0};
            uint8_t *bytes = round_trip(kinds[k].type, input, N_ROWS, ROW_LEN, weighted ? weight : NULL, out, &n_bytes);
            CHECK_OK(pare_hash_bytes(bytes, n_bytes, PARE_HASH_SHA256, &digest, &err), &err);
            pare_hex(hex, digest.sha256, sizeof digest.sha256);
            if (strcmp(hex, kinds[k].digest[weighted]) != 0)
                fail_msg("%s %s importances: %s", pare_type_get(kinds[k].type)->name, weighted ? "with" : "without",
                         hex);
            free(bytes);
        }
    }
    free(out);
    free(weight);
    free(input);
}

/* A fixed row of a few shapes, about n(0, 1). */
static void fill_row(float *x, size_t n)
{
    uint32_t seed = 12345;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 12; k++) {
            seed = seed * 1664525u + 1013904223u;
            sum += (float)(seed >> 8) * 0x1p-24f;
        }
        x[i] = sum - 6;
    }
}

static double relative_error(pare_type type, const float *x, size_t n, const float *weight)
{
    double xx = 0;
    size_t n_bytes = 0;
    float *out = check_malloc(n * sizeof *out);
    free(round_trip(type, x, 1, n, weight, out, &n_bytes));
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

        fill_row(x, 512);
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
    fill_row(x, 512);
    for (size_t k = 0; k < N_KINDS; k++) {
        size_t n_bytes = 0;
        float plain[512], same[512];
        memset(weight, 0, sizeof weight);
        free(round_trip(kinds[k].type, x, 1, 512, NULL, plain, &n_bytes));
        free(round_trip(kinds[k].type, x, 1, 512, weight, same, &n_bytes));
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
            fill_row(x, 256);
            x[100] = sizes[i];
            CHECK(pare_encode_rows(kinds[k].type, x, 1, 256, NULL, bytes, &err) == PARE_ERR_NUMBER);
            CHECK(err.text[0] != 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_not_above_stock),
        cmocka_unit_test(bytes_do_not_change),
        cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(columns_without_importance_keep_their_weights),
        cmocka_unit_test(weights_too_large_for_the_scale_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
