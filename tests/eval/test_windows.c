#include "check.h"

#include "eval/windows.h"
#include "model/vocab.h"

#include <string.h>

enum { N_IDS = 1007 };

static const int32_t *text(void)
{
    static int32_t ids[N_IDS];
    for (int i = 0; i < N_IDS; i++)
        ids[i] = i;
    return ids;
}

static pare_windows cut(pare_window_plan plan, int64_t bos)
{
    pare_windows w;
    pare_error err = {0};
    CHECK_OK(pare_windows_open(&w, text(), N_IDS, bos, &plan, &err), &err);
    return w;
}

static void without_overlap_the_second_half_is_scored(void **state)
{
    (void)state;
    pare_windows w = cut((pare_window_plan){.n_ctx = 50}, PARE_TOKEN_NONE);
    CHECK(w.n_all == 20 && w.n_windows == 20 && w.first == 25 && w.n_scored == 24 && w.step == 50);
    CHECK(w.n_seq == 20 && pare_windows_fill(&w, 0) == 20);
    for (int i = 0; i < 1000; i++)
        CHECK(w.batch[i] == i);
    pare_windows_close(&w);
}

/* Every token behind the first window's unscored part is predicted exactly once. */
static void a_stride_scores_each_token_once(void **state)
{
    (void)state;
    static const uint32_t strides[] = {1, 7, 25, 49};
    for (size_t k = 0; k < 4; k++) {
        char seen[N_IDS] = {0};
        pare_windows w = cut((pare_window_plan){.n_ctx = 50, .stride = strides[k]}, 5000);
        CHECK(w.n_scored == strides[k] && w.first + w.n_scored == 49);
        for (uint32_t i = 0, n; i < w.n_windows; i += n) {
            n = pare_windows_fill(&w, i);
            for (uint32_t s = 0; s < n; s++) {
                const int32_t *row = w.batch + (size_t)s * 50;
                CHECK(row[0] == 5000);
                for (uint32_t pos = w.first; pos < w.first + w.n_scored; pos++)
                    CHECK(seen[row[pos + 1]]++ == 0);
            }
        }
        size_t last = (size_t)(w.n_all - 1) * strides[k] + 49;
        for (size_t i = 0; i < N_IDS; i++)
            CHECK(seen[i] == (i >= 50 - strides[k] && i <= last));
        CHECK(last + strides[k] >= N_IDS); /* another window would not fit */
        pare_windows_close(&w);
    }
}

static void a_sample_is_spread_and_repeats(void **state)
{
    (void)state;
    pare_windows a = cut((pare_window_plan){.n_ctx = 4, .n_sample = 25, .seed = 7}, PARE_TOKEN_NONE);
    pare_windows b = cut((pare_window_plan){.n_ctx = 4, .n_sample = 25, .seed = 7}, PARE_TOKEN_NONE);
    pare_windows c = cut((pare_window_plan){.n_ctx = 4, .n_sample = 25, .seed = 8}, PARE_TOKEN_NONE);
    CHECK(a.n_all == 251 && a.n_windows == 25);
    CHECK(memcmp(a.number, b.number, 25 * sizeof *a.number) == 0);
    CHECK(memcmp(a.number, c.number, 25 * sizeof *a.number) != 0);
    uint32_t places = 0; /* in their stretches, a bit each */
    for (uint32_t k = 0; k < 25; k++) {
        CHECK(a.number[k] >= 251 * k / 25 && a.number[k] < 251 * (k + 1) / 25);
        places |= 1u << (a.number[k] - 251 * k / 25);
    }
    CHECK(__builtin_popcount(places) > 5); /* each is drawn anew */
    CHECK(pare_windows_fill(&a, 3) == 22 && a.batch[0] == (int32_t)a.number[3] * 4);
    pare_windows_close(&a);
    pare_windows_close(&b);
    pare_windows_close(&c);
    pare_windows all = cut((pare_window_plan){.n_ctx = 4, .n_chunks = 9, .n_sample = 9, .seed = 3}, PARE_TOKEN_NONE);
    for (uint32_t k = 0; k < 9; k++)
        CHECK(all.number[k] == k);
    pare_windows_close(&all);
}

/* Ranges of a sample together are the sample. */
static void ranges_divide(void **state)
{
    (void)state;
    const pare_window_plan whole = {.n_ctx = 8, .n_sample = 31, .seed = 5};
    pare_windows w = cut(whole, PARE_TOKEN_NONE);
    const uint32_t bounds[] = {0, 1, 12, 31};
    for (int k = 0; k < 3; k++) {
        pare_window_plan part = whole;
        part.range_first = bounds[k];
        part.range_end = bounds[k + 1];
        pare_windows p = cut(part, PARE_TOKEN_NONE);
        CHECK(p.n_windows == bounds[k + 1] - bounds[k]);
        CHECK(memcmp(p.number, w.number + bounds[k], p.n_windows * sizeof *p.number) == 0);
        pare_windows_close(&p);
    }
    pare_windows_close(&w);
}

static void refuses_plans_that_make_no_sense(void **state)
{
    (void)state;
    static const pare_window_plan bad[] = {{.n_ctx = 3},
                                           {.n_ctx = 50, .stride = 50},
                                           {.n_ctx = 50, .n_sample = 21},
                                           {.n_ctx = 50, .n_chunks = 4, .n_sample = 5},
                                           {.n_ctx = 50, .range_first = 3, .range_end = 3},
                                           {.n_ctx = 50, .range_first = 4, .range_end = 3},
                                           {.n_ctx = 50, .range_end = 21},
                                           {.n_ctx = 50, .range_first = 20}};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        pare_windows w;
        pare_error err = {0};
        CHECK(pare_windows_open(&w, text(), N_IDS, 0, &bad[k], &err) == PARE_ERR_USAGE && err.text[0] != '\0');
        pare_windows_close(&w);
    }
    pare_windows none = cut((pare_window_plan){.n_ctx = 2000}, 0);
    CHECK(none.n_windows == 0 && none.n_all == 0);
    pare_windows_close(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_overlap_the_second_half_is_scored), cmocka_unit_test(a_stride_scores_each_token_once),
        cmocka_unit_test(a_sample_is_spread_and_repeats), cmocka_unit_test(ranges_divide),
        cmocka_unit_test(refuses_plans_that_make_no_sense)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
