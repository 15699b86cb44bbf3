/* Error feedback into integer groups: what Q4_0, the block of the same integers, gets; and with zero points against the
 * form in double. */
#include "check.h"

#include "core/bytes.h"
#include "core/half.h"
#include "quant/feedback.h"
#include "quant/group_feedback.h"
#include "quant/int_block.h"
#include "quant/path.h"
#include "quant/path_table.h"
#include "quant/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 128, ROWS = PARE_FEEDBACK_ROWS, BLOCK = 32, BLOCK_BYTES = 18 };

static double h[N * N];
static pare_form form;
static float x[ROWS * N], factor[N];

static int open_all(void **state)
{
    (void)state;
    static uint8_t lower[N * (N + 1) / 2 * 4];
    pare_error err = {0};
    uint32_t seed = 5;
    for (int t = 0; t < 300; t++) {
        double in[N], last = 0;
        for (size_t i = 0; i < N; i++) {
            last = 0.85 * last + (double)unit_random(&seed) - 0.5;
            in[i] = last * (1 + (double)(i * 37 % 23) / 4);
        }
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < N; j++)
                h[i * N + j] += in[i] * in[j];
    }
    uint8_t *at = lower;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, (float)h[i * N + j]);
    const pare_gram g = {.name = "x", .n_columns = N, .count = 300, .lower = lower};
    CHECK_OK(pare_form_open(&form, &g, "test", 1, 0.01, &err), &err);
    fill_row(x, ROWS * N, 21);
    for (size_t i = 0; i < N; i++)
        factor[i] = 0.5f + (float)(i % 7) / 4;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    pare_form_close(&form);
    return 0;
}

typedef struct packed {
    pare_group groups[ROWS * N];
    uint8_t codes[ROWS * N];
    pare_grouped rows;
} packed;

static packed *fit(size_t group, pare_group_shape shape)
{
    packed *p = check_malloc(sizeof *p);
    p->rows = (pare_grouped){.n = N, .group = group, .shape = shape, .x = x, .groups = p->groups, .codes = p->codes};
    for (size_t i = 0; i < ROWS * N; i += group)
        CHECK(pare_path_now()->group_fit(&shape, x + i, NULL, group, &p->groups[i / group], p->codes + i));
    return p;
}

static double feed_back(packed *p, const float *column, int n_sweeps, double *before)
{
    double after = 0;
    void *scratch = check_malloc(pare_group_feedback_scratch(N));
    *before = 0;
    pare_group_feedback(&form, &p->rows, ROWS, column, n_sweeps, scratch, before, &after);
    free(scratch);
    return after;
}

static void groups_are_fed_back_as_blocks_are(void **state)
{
    (void)state;
    packed *p = fit(BLOCK, (pare_group_shape){4, 8, 8});
    uint8_t blocks[ROWS * N / BLOCK * BLOCK_BYTES];
    int16_t codes[BLOCK];
    for (int with = 0; with < 2; with++) {
        double before, blocks_before = 0, blocks_after = 0;
        for (size_t b = 0; b < ROWS * N / BLOCK; b++) {
            for (size_t i = 0; i < BLOCK; i++)
                codes[i] = (int16_t)(p->codes[b * BLOCK + i] - 8);
            pare_int_block_put(PARE_TYPE_Q4_0, codes, p->groups[b].d, blocks + b * BLOCK_BYTES);
        }
        const float *column = with ? factor : NULL;
        void *scratch = check_malloc(pare_feedback_scratch(PARE_TYPE_Q4_0, N));
        pare_feedback_rows(&form, PARE_TYPE_Q4_0, x, ROWS, column, 3, blocks, scratch, &blocks_before, &blocks_after);
        free(scratch);
        double after = feed_back(p, column, 3, &before);
        CHECK(fabs(before - blocks_before) < 1e-5 * before && fabs(after - blocks_after) < 1e-3 * after);
        size_t differ = 0;
        for (size_t b = 0; b < ROWS * N / BLOCK; b++) {
            uint8_t same[BLOCK_BYTES];
            for (size_t i = 0; i < BLOCK; i++)
                codes[i] = (int16_t)(p->codes[b * BLOCK + i] - 8);
            pare_int_block_put(PARE_TYPE_Q4_0, codes, p->groups[b].d, same);
            differ += memcmp(same, blocks + b * BLOCK_BYTES, sizeof same) != 0;
        }
        CHECK(differ <= 1); /* steps of blocks are found by decoding: their last bits are their own */
    }
    free(p);
}

/* The form of all errors, with the damping of the form. */
static double form_of(const packed *p)
{
    double sum = 0, more = 0;
    for (size_t i = 0; i < N; i++)
        more += 0.01 * h[i * N + i] / N;
    for (size_t row = 0; row < ROWS; row++) {
        float y[N];
        double e[N];
        pare_group_decode(&p->rows, row, y);
        for (size_t i = 0; i < N; i++)
            e[i] = (double)x[row * N + i] - (double)y[i];
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < N; j++)
                sum += e[i] * (h[i * N + j] + (i == j ? more : 0)) * e[j];
    }
    return sum;
}

static void the_form_is_that_of_the_codes(void **state)
{
    (void)state;
    static const pare_group_shape shapes[] = {{4, 0, 15}, {3, 1, 7}, {8, 0, 255}, {2, 2, 2}};
    for (size_t k = 0; k < 4; k++) {
        packed *p = fit(64, shapes[k]), *was = fit(64, shapes[k]);
        double before, was_form = form_of(p), after = feed_back(p, NULL, 4, &before), is_form = form_of(p);
        CHECK(after < 0.6 * before);
        CHECK(fabs(is_form / was_form - after / before) < 2e-3 * after / before);
        for (size_t i = 0; i < ROWS * (N / 64); i++) /* scales stay */
            CHECK(p->groups[i].d == was->groups[i].d && p->groups[i].zero == was->groups[i].zero);
        for (size_t i = 0; i < ROWS * N; i++)
            CHECK(p->codes[i] < 1 << shapes[k].bits);
        free(p);
        free(was);
    }
}

/* Rows that are exact, and those that could only get worse, keep their codes. */
static void exact_rows_stay(void **state)
{
    (void)state;
    static float kept[ROWS * N];
    packed *p = fit(64, (pare_group_shape){4, 0, 15});
    memcpy(kept, x, sizeof x);
    for (size_t row = 0; row < ROWS; row += 2)
        pare_group_decode(&p->rows, row, x + row * N);
    packed *was = check_malloc(sizeof *was);
    memcpy(was->codes, p->codes, sizeof was->codes);
    double before;
    feed_back(p, NULL, 4, &before);
    for (size_t row = 0; row < ROWS; row++)
        CHECK((memcmp(p->codes + row * N, was->codes + row * N, N) == 0) == (row % 2 == 0));
    memcpy(x, kept, sizeof x);
    free(p);
    free(was);
}

static void paths_agree(void **state)
{
    (void)state;
    packed *first = NULL;
    for (pare_path path = PARE_PATH_PORTABLE; path < PARE_PATH_COUNT; path++) {
        if (!pare_path_available(path))
            continue;
        pare_path_use(path);
        double before;
        packed *p = fit(64, (pare_group_shape){4, 0, 15});
        feed_back(p, factor, 4, &before);
        CHECK(first == NULL || memcmp(first->codes, p->codes, sizeof p->codes) == 0);
        free(first);
        first = p;
    }
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(groups_are_fed_back_as_blocks_are),
                                       cmocka_unit_test(the_form_is_that_of_the_codes),
                                       cmocka_unit_test(exact_rows_stay), cmocka_unit_test(paths_agree)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
