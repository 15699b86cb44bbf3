#include "quant/rows.h"

#include "core/half.h"
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
} kinds[] = {
    {PARE_TYPE_IQ2_XXS,
     {.n_blocks = 8,
      .entry_len = 8,
      .n_entries = 256,
      .grid = pare_iq2_xxs_grid,
      .level = pare_iq2_level,
      .even = true,
      .unit = 0.125f}},
    {PARE_TYPE_IQ2_XS,
     {.n_blocks = 16,
      .entry_len = 8,
      .n_entries = 512,
      .grid = pare_iq2_xs_grid,
      .level = pare_iq2_level,
      .even = true,
      .unit = 0.125f}},
    {PARE_TYPE_IQ2_S,
     {.n_blocks = 16,
      .entry_len = 8,
      .n_entries = 1024,
      .grid = pare_iq2_s_grid,
      .level = pare_iq2_level,
      .even = false,
      .unit = 0.125f}},
    {PARE_TYPE_IQ3_XXS,
     {.n_blocks = 8,
      .entry_len = 4,
      .n_entries = 256,
      .grid = pare_iq3_xxs_grid,
      .level = pare_iq3_xxs_level,
      .even = true,
      .unit = 0.25f}},
    {PARE_TYPE_IQ3_S,
     {.n_blocks = 8,
      .entry_len = 4,
      .n_entries = 512,
      .grid = pare_iq3_s_grid,
      .level = pare_iq3_s_level,
      .even = false,
      .unit = 1}},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

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
        pare_grid_search(shape, &book, x, w, PARE_EFFORT_DEFAULT, &fit);
        int per_block = PARE_GRID_CELLS / shape->n_blocks, block = shape->n_blocks - 1;
        double found = 0, least = DBL_MAX;
        for (int c = 0; c < per_block; c++) {
            int cell = block * per_block + c, at = cell * PARE_GRID_CELL;
            float scale = scale_of(shape, fit.d, fit.scale[block]);
            double e = cell_error(shape, x + at, w + at, scale, fit.entry[cell], fit.signs[cell]);
            CHECK(e <= least_cell_error(shape, x + at, w + at, scale) * (1 + 1e-5));
            found += e;
        }
        for (int code = fit.scale[block] - 2; code <= fit.scale[block] + 2; code++) {
            double e = 0;
            for (int c = 0; code >= 0 && code < 16 && c < per_block; c++) {
                int at = (block * per_block + c) * PARE_GRID_CELL;
                e += least_cell_error(shape, x + at, w + at, scale_of(shape, fit.d, code));
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
            pare_grid_search(shape, &book, x, w, PARE_EFFORT_DEFAULT, &fit);
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
            round_trip(kinds[k].type, x, 1, PARE_GRID_LEN, NULL, out);
            CHECK(error_of_row(x, out, NULL, PARE_GRID_LEN) * PARE_GRID_LEN < 1.5 * e);
        }
    }
}

/* Only what importances are to each other counts. */
static void the_size_of_importances_is_nothing(void **state)
{
    (void)state;
    static const float sizes[] = {0x1p-90f, 0x1p-20f, 0x1p20f, 0x1p90f};
    for (size_t k = 0; k < N_KINDS; k++) {
        float x[PARE_GRID_LEN], w[PARE_GRID_LEN], sized[PARE_GRID_LEN];
        uint8_t block[2][256] = {{0}};
        fill_random(3, x, w);
        pare_encoder(kinds[k].type)(x, PARE_GRID_LEN, w, PARE_EFFORT_DEFAULT, block[0]);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (int l = 0; l < PARE_GRID_LEN; l++)
                sized[l] = w[l] * sizes[s];
            pare_encoder(kinds[k].type)(x, PARE_GRID_LEN, sized, PARE_EFFORT_DEFAULT, block[1]);
            CHECK(memcmp(block[0], block[1], sizeof block[0]) == 0);
        }
    }
}

static void more_effort_leaves_less_error(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        const pare_grid_shape *shape = &kinds[k].shape;
        static pare_grid_book book;
        float x[PARE_GRID_LEN], w[PARE_GRID_LEN];
        static const pare_effort efforts[] = {PARE_EFFORT_FAST, PARE_EFFORT_DEFAULT, PARE_EFFORT_BEST};
        double error[3] = {0, 0, 0};
        pare_grid_book_init(&book, shape->entry_len, shape->n_entries, shape->grid, shape->level);
        for (uint32_t seed = 0; seed < 20; seed++) {
            fill_random(seed, x, w);
            for (int e = 0; e < 3; e++) {
                pare_grid_fit fit = {0};
                pare_grid_search(shape, &book, x, w, efforts[e], &fit);
                error[e] += fit.error;
            }
        }
        CHECK(error[2] < error[1] && error[1] < error[0] && error[0] < 1.1 * error[1]);
    }
}

static double relative_error(size_t kind, const float *x, size_t n, const float *weight)
{
    float out[512];
    double squares = 0;
    round_trip(kinds[kind].type, x, 1, n, weight, out);
    for (size_t i = 0; i < n; i++) {
        CHECK(isfinite(out[i]));
        squares += (double)x[i] * x[i];
    }
    return squares > 0 ? error_of_row(x, out, NULL, n) * (double)n / squares : error_of_row(x, out, NULL, n);
}

static void fill_sized(float *x, size_t n, float size)
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
            fill_sized(x, 512, sizes[s]);
            CHECK(relative_error(k, x, 512, NULL) < ordinary[k]);
        }
        fill_sized(x, 512, 1e-8f); /* below the smallest scale */
        CHECK(relative_error(k, x, 512, NULL) <= 1);
        fill_sized(x, 512, 1e-40f);
        CHECK(relative_error(k, x, 512, NULL) <= 1);

        memset(x, 0, sizeof x);
        x[77] = -5;
        x[300] = 5;
        CHECK(relative_error(k, x, 512, NULL) < 1);
        fill_sized(x, 512, 0.02f);
        x[77] = 5;
        CHECK(relative_error(k, x, 512, NULL) < 1);
    }
}

static void columns_without_importance_keep_their_weights(void **state)
{
    (void)state;
    float x[512], weight[512];
    fill_sized(x, 512, 1);
    for (size_t k = 0; k < N_KINDS; k++) {
        memset(weight, 0, sizeof weight);
        weight[5] = 1; /* the second super-block and most of the first have none */
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
        fill_sized(x, 256, 1);
        x[100] = 5e6f; /* d near the top of what a half holds */
        CHECK_OK(pare_encode_rows(kinds[k].type, x, 1, 256, weight, PARE_EFFORT_DEFAULT, bytes, &err), &err);
        x[100] = 5e8f;
        CHECK(pare_encode_rows(kinds[k].type, x, 1, 256, weight, PARE_EFFORT_DEFAULT, bytes, &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "column 100") != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_better_under_d),
        cmocka_unit_test(the_error_is_accounted_for),
        cmocka_unit_test(the_size_of_importances_is_nothing),
        cmocka_unit_test(more_effort_leaves_less_error),
        cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(columns_without_importance_keep_their_weights),
        cmocka_unit_test(weights_too_large_for_the_scale_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
