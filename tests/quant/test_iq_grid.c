#include "check.h"

#include "core/half.h"
#include "core/hash.h"
#include "quant/codebooks.h"
#include "quant/grid_search.h"
#include "quant/registry.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Reference data: 64 rows of 1024 weights, importances of the 1024 columns. */
enum { N_ROWS = 64, ROW_LEN = 1024 };

/* The types as their layouts are published, and the bytes of the 64 rows, without and with importances. A change of the
 * bytes moves pins: say so in the change log. */
static const struct {
    pare_type type;
    pare_grid_shape shape;
    const char *digest[2];
} kinds[] = {
    {PARE_TYPE_IQ2_XXS,
     {.n_blocks = 8,
      .entry_len = 8,
      .n_entries = 256,
      .grid = pare_iq2_xxs_grid,
      .level = pare_iq2_level,
      .even = true,
      .unit = 0.125f},
     {"32d376f2ac4dfd675c6a59737bb2c079d8f50f76d74212ddefc1c3afbd8a2c60",
      "caabacd31cca58d6651badc1fd56b9e91f69a7d70c3f688bfeff237b29bdf7d0"}},
    {PARE_TYPE_IQ2_XS,
     {.n_blocks = 16,
      .entry_len = 8,
      .n_entries = 512,
      .grid = pare_iq2_xs_grid,
      .level = pare_iq2_level,
      .even = true,
      .unit = 0.125f},
     {"616f81de954cf76477c5418fa839c2fb1f9534818a961a87044407e200a9672d",
      "6bfad9f952dfe0ccd06fd15ce95aa2e16c04371851b585eb034dd20f227b0654"}},
    {PARE_TYPE_IQ2_S,
     {.n_blocks = 16,
      .entry_len = 8,
      .n_entries = 1024,
      .grid = pare_iq2_s_grid,
      .level = pare_iq2_level,
      .even = false,
      .unit = 0.125f},
     {"e93668944ab3f2f0bf920a9456363c7308a33985e90713e3b27db83ad5e02a15",
      "7e4ec66ce8da5ef73df22b2a79b0bc3de7d737f07c45d01a9a477f91a10243ae"}},
    {PARE_TYPE_IQ3_XXS,
     {.n_blocks = 8,
      .entry_len = 4,
      .n_entries = 256,
      .grid = pare_iq3_xxs_grid,
      .level = pare_iq3_xxs_level,
      .even = true,
      .unit = 0.25f},
     {"65189db147093b8fc76add0621e44480a698a5a504986896d9e5058b0fafc4ed",
      "e68e19b8a058a988f3572ae34f6d571b6248dc03959511d2d605d19b93dc0e34"}},
    {PARE_TYPE_IQ3_S,
     {.n_blocks = 8,
      .entry_len = 4,
      .n_entries = 512,
      .grid = pare_iq3_s_grid,
      .level = pare_iq3_s_level,
      .even = false,
      .unit = 1},
     {"7a2e88724276f12ddc92bddce11da48bdbf425ad998c84031fe7b39a8141fc89",
      "d853ece09c0ec837c3076bf4624aee5f0e937708ea06ebf0d976503976482caa"}},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static float *load_floats(const char *path, size_t count)
{
    size_t n = 0;
    float *data = (float *)check_read_file(shared_path(path), &n);
    CHECK(n == count * sizeof(float));
    return data;
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

/* Encode rows, decode them again; the encoded bytes are the caller's to free. Calls the encoder itself: the library
 * refuses most of these types without importances, the encoders do not. */
static uint8_t *round_trip(size_t kind, const float *src, size_t n_rows, size_t row_len, const float *weight,
                           float *out, size_t *n_bytes)
{
    const pare_type_info *info = pare_type_get(kinds[kind].type);
    size_t row_bytes = row_len / info->block_len * info->block_bytes;
    uint8_t *bytes = check_malloc(n_rows * row_bytes);
    for (size_t r = 0; r < n_rows; r++)
        info->encode(src + r * row_len, row_len, weight, bytes + r * row_bytes);
    info->decode(bytes, out, n_rows * row_len / info->block_len);
    *n_bytes = n_rows * row_bytes;
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

/* Mean error over the rows that count. */
static double aggregate(const char *rows, const float *input, const float *out, const float *weight)
{
    double sum = 0;
    int n = 0;
    for (const char *line = strchr(rows, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
        unsigned row, counts;
        if (sscanf(line, "%u %*s %u", &row, &counts) != 2 || !counts)
            continue;
        CHECK(row < N_ROWS);
        sum += error_of_row(input + row * ROW_LEN, out + row * ROW_LEN, weight, ROW_LEN);
        n++;
    }
    CHECK(n == 57);
    return sum / n;
}

/* The error to stay below: stock's, and 1.06 of what a refit of d alone makes of stock's codes. DBL_MAX where stock
 * needs importances. */
static double bar_of(const char *text, const char *type, bool weighted)
{
    char name[32], yes[8];
    double stock, found;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%31s %7s %*s %*s %lf %lf", name, yes, &stock, &found) == 4 && strcasecmp(name, type) == 0 &&
            (strcmp(yes, "yes") == 0) == weighted) {
            return fmin(stock, 1.06 * found);
        }
    }
    CHECK(!weighted);
    return DBL_MAX;
}

static void errors_are_below_stock(void **state)
{
    (void)state;
    float *input = load_floats("oracle/blocks/encode/input.f32", N_ROWS * ROW_LEN);
    float *weight = load_floats("oracle/blocks/encode/importance.f32", ROW_LEN);
    char *bars = load_text("oracle/blocks/encode/headroom.tsv"), *rows = load_text("oracle/blocks/encode/rows.tsv");
    float *out = check_malloc(N_ROWS * ROW_LEN * sizeof *out);
    for (size_t k = 0; k < N_KINDS; k++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            size_t n_bytes = 0;
            const float *w = weighted ? weight : NULL;
            free(round_trip(k, input, N_ROWS, ROW_LEN, w, out, &n_bytes));
            double error = aggregate(rows, input, out, w);
            double bar = bar_of(bars, pare_type_get(kinds[k].type)->name, weighted);
            if (!(error < bar))
                fail_msg("%s, importances %d: %g, bar %g", pare_type_get(kinds[k].type)->name, weighted, error, bar);
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
            uint8_t *bytes = round_trip(k, input, N_ROWS, ROW_LEN, weighted ? weight : NULL, out, &n_bytes);
            char hex[PARE_SHA256_HEX];
            pare_digest digest = {0};
            pare_error err = {0};
            CHECK_OK(pare_hash_bytes(bytes, n_bytes, PARE_HASH_SHA256, &digest, &err), &err);
            pare_hex(hex, digest.sha256, sizeof digest.sha256);
            if (strcmp(hex, kinds[k].digest[weighted]) != 0)
                fail_msg("%s, importances %d: the bytes have digest %s", pare_type_get(kinds[k].type)->name, weighted,
                         hex);
            free(bytes);
        }
    }
    free(out);
    free(weight);
    free(input);
}

/* Uniform in -1..1, the same everywhere. */
static float next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)(*state >> 8) * (1.0f / 8388608.0f) - 1;
}

/* Weights of a few sizes, importances over two decades. */
static void fill_random(uint32_t seed, float *x, float *w)
{
    for (int l = 0; l < PARE_GRID_LEN; l++) {
        float a = next_random(&seed), b = next_random(&seed), c = next_random(&seed);
        x[l] = a * b * (1 + (float)(l / 64)) * 0.02f;
        w[l] = 0.01f + c * c;
    }
}

static double cell_error(const pare_grid_shape *shape, const float *x, const float *w, float scale,
                         const uint16_t *entry, unsigned signs)
{
    double e = 0;
    for (int j = 0; j < PARE_GRID_CELL; j++) {
        int level = shape->level(shape->grid(entry[j / shape->entry_len]), j % shape->entry_len);
        double y = (signs >> j & 1 ? -scale : scale) * (float)level, diff = x[j] - y;
        e += w[j] * diff * diff;
    }
    return e;
}

/* The least error of one entry with an even (0) and with an odd (1) number of minus signs: every entry, every sign. */
static void try_everything(const pare_grid_shape *shape, const float *x, const float *w, float scale, double *least)
{
    least[0] = least[1] = DBL_MAX;
    for (int i = 0; i < shape->n_entries; i++) {
        unsigned entry = shape->grid((unsigned)i);
        double cost[8][2];
        for (int j = 0; j < shape->entry_len; j++) {
            double y = scale * (float)shape->level(entry, j);
            cost[j][0] = w[j] * (x[j] - y) * (x[j] - y);
            cost[j][1] = w[j] * (x[j] + y) * (x[j] + y);
        }
        for (unsigned signs = 0; signs < 1u << shape->entry_len; signs++) {
            double e = 0;
            unsigned odd = 0;
            for (int j = 0; j < shape->entry_len; j++) {
                e += cost[j][signs >> j & 1];
                odd ^= signs >> j & 1;
            }
            least[odd] = e < least[odd] ? e : least[odd];
        }
    }
}

static double least_cell_error(const pare_grid_shape *shape, const float *x, const float *w, float scale)
{
    double one[2], two[2] = {0, DBL_MAX};
    try_everything(shape, x, w, scale, one);
    if (shape->entry_len == 4)
        try_everything(shape, x + 4, w + 4, scale, two);
    double even = fmin(one[0] + two[0], one[1] + two[1]), odd = fmin(one[0] + two[1], one[1] + two[0]);
    return shape->even ? even : fmin(even, odd);
}

static float scale_of(const pare_grid_shape *shape, uint16_t d, int code)
{
    return pare_f16_to_f32(d) * (float)(2 * code + 1) * shape->unit;
}

/* Under the d of the search nothing is better than the scale of a block and its cells' entries and signs. */
static void nothing_is_better_under_d(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        const pare_grid_shape *shape = &kinds[k].shape;
        static pare_grid_book book;
        pare_grid_fit fit = {0};
        float x[PARE_GRID_LEN], w[PARE_GRID_LEN];
        fill_random(1 + (uint32_t)k, x, w);
        pare_grid_book_init(&book, shape->entry_len, shape->n_entries, shape->grid, shape->level);
        pare_grid_search(shape, &book, x, w, &fit);
        int per_block = PARE_GRID_CELLS / shape->n_blocks, block = shape->n_blocks - 1;
        double found = 0, least = DBL_MAX;
        for (int c = 0; c < per_block; c++) {
            int cell = block * per_block + c, at = cell * PARE_GRID_CELL;
            float scale = scale_of(shape, fit.codes_d, fit.scale[block]);
            double e = cell_error(shape, x + at, w + at, scale, fit.entry[cell], fit.signs[cell]);
            CHECK(e <= least_cell_error(shape, x + at, w + at, scale) * (1 + 1e-5));
            found += e;
        }
        for (int code = fit.scale[block] - 2; code <= fit.scale[block] + 2; code++) {
            double e = 0;
            for (int c = 0; code >= 0 && code < 16 && c < per_block; c++) {
                int at = (block * per_block + c) * PARE_GRID_CELL;
                e += least_cell_error(shape, x + at, w + at, scale_of(shape, fit.codes_d, code));
            }
            least = e > 0 && e < least ? e : least;
        }
        CHECK(found <= least * (1 + 1e-5));
    }
}

/* The error that the search reports is that of its codes; the packed block decodes to the same weights. */
static void the_error_is_accounted_for(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        const pare_grid_shape *shape = &kinds[k].shape;
        static pare_grid_book book;
        float x[PARE_GRID_LEN], w[PARE_GRID_LEN], out[PARE_GRID_LEN];
        pare_grid_book_init(&book, shape->entry_len, shape->n_entries, shape->grid, shape->level);
        for (uint32_t seed = 0; seed < 20; seed++) {
            pare_grid_fit fit = {0};
            double e = 0;
            fill_random(seed, x, w);
            for (int l = 0; l < PARE_GRID_LEN; l++)
                w[l] = 1;
            pare_grid_search(shape, &book, x, w, &fit);
            for (int cell = 0; cell < PARE_GRID_CELLS; cell++) {
                int at = cell * PARE_GRID_CELL, block = cell * shape->n_blocks / PARE_GRID_CELLS;
                unsigned odd = 0;
                for (int j = 0; j < PARE_GRID_CELL; j++)
                    odd ^= fit.signs[cell] >> j & 1u;
                CHECK(!shape->even || odd == 0);
                e += cell_error(shape, x + at, w + at, scale_of(shape, fit.d, fit.scale[block]), fit.entry[cell],
                                fit.signs[cell]);
            }
            CHECK(fabs(fit.error - e) <= 1e-4 * e);
            size_t n_bytes = 0;
            free(round_trip(k, x, 1, PARE_GRID_LEN, NULL, out, &n_bytes));
            CHECK(error_of_row(x, out, NULL, PARE_GRID_LEN) * PARE_GRID_LEN < 1.5 * e);
        }
    }
}

static double relative_error(size_t kind, const float *x, size_t n, const float *weight)
{
    float out[512];
    size_t n_bytes = 0;
    double squares = 0;
    free(round_trip(kind, x, 1, n, weight, out, &n_bytes));
    for (size_t i = 0; i < n; i++) {
        CHECK(isfinite(out[i]));
        squares += (double)x[i] * x[i];
    }
    return squares > 0 ? error_of_row(x, out, NULL, n) * (double)n / squares : error_of_row(x, out, NULL, n);
}

static void fill_row(float *x, size_t n, float size)
{
    uint32_t seed = 7;
    for (size_t i = 0; i < n; i++)
        x[i] = size * (next_random(&seed) + next_random(&seed));
}

static void edge_rows_survive(void **state)
{
    (void)state;
    static const double ordinary[N_KINDS] = {0.15, 0.11, 0.09, 0.045, 0.03};
    for (size_t k = 0; k < N_KINDS; k++) {
        float x[512] = {0};
        CHECK(relative_error(k, x, 512, NULL) == 0);
        x[0] = -0.0f;
        CHECK(relative_error(k, x, 512, NULL) == 0);

        for (int i = 0; i < 512; i++)
            x[i] = 0.37f;
        CHECK(relative_error(k, x, 512, NULL) < 1e-3);
        x[8] = -0.37f; /* an odd number of signs */
        CHECK(relative_error(k, x, 512, NULL) < 0.02);

        static const float sizes[] = {1, 1e-3f, 1e4f};
        for (size_t s = 0; s < 3; s++) {
            fill_row(x, 512, sizes[s]);
            CHECK(relative_error(k, x, 512, NULL) < ordinary[k]);
        }
        fill_row(x, 512, 1e-8f); /* below the smallest scale */
        CHECK(relative_error(k, x, 512, NULL) <= 1);
        fill_row(x, 512, 1e-40f);
        CHECK(relative_error(k, x, 512, NULL) <= 1);

        memset(x, 0, sizeof x);
        x[77] = -5;
        x[300] = 5;
        CHECK(relative_error(k, x, 512, NULL) < 1);
        fill_row(x, 512, 0.02f);
        x[77] = 5;
        CHECK(relative_error(k, x, 512, NULL) < 1);
    }
}

static void columns_without_importance_keep_their_weights(void **state)
{
    (void)state;
    float x[512], weight[512] = {0}, plain[512], same[512];
    fill_row(x, 512, 1);
    for (size_t k = 0; k < N_KINDS; k++) {
        size_t n_bytes = 0;
        memset(weight, 0, sizeof weight);
        free(round_trip(k, x, 1, 512, NULL, plain, &n_bytes));
        free(round_trip(k, x, 1, 512, weight, same, &n_bytes));
        CHECK(memcmp(plain, same, sizeof plain) == 0); /* all zero counts as none */
        weight[5] = 1;                                 /* the second super-block and most of the first have none */
        CHECK(relative_error(k, x, 512, weight) < 0.2);
        weight[5] = 1e-30f;
        CHECK(relative_error(k, x, 512, weight) < 0.2);
        weight[400] = 3e38f;
        CHECK(relative_error(k, x, 512, weight) < 0.2);
    }
}

static void weights_too_large_for_the_scale_are_refused(void **state)
{
    (void)state;
    float x[256], weight[256];
    uint8_t bytes[256];
    for (int i = 0; i < 256; i++)
        weight[i] = 1;
    for (size_t k = 0; k < N_KINDS; k++) {
        pare_error err = {0};
        fill_row(x, 256, 1);
        x[100] = 5e6f; /* d near the top of what a half holds */
        CHECK_OK(pare_encode_rows(kinds[k].type, x, 1, 256, weight, bytes, &err), &err);
        x[100] = 5e8f;
        CHECK(pare_encode_rows(kinds[k].type, x, 1, 256, weight, bytes, &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "column 100") != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_below_stock),
        cmocka_unit_test(bytes_do_not_change),
        cmocka_unit_test(nothing_is_better_under_d),
        cmocka_unit_test(the_error_is_accounted_for),
        cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(columns_without_importance_keep_their_weights),
        cmocka_unit_test(weights_too_large_for_the_scale_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
