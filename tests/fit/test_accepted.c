/* Choices that a rule accepts: found by asking, never more than was asked about. */
#include "check.h"

#include "fit/accepted.h"

enum { N = 5, K = 8 };

typedef struct rule {
    uint64_t most[2]; /* bytes of even items, of odd ones */
    const pare_choices *items;
    size_t n_asked, last[N]; /* the last one accepted */
    bool fails;
} rule;

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static bool holds(const rule *r, const size_t *chosen)
{
    uint64_t sum[2] = {0};
    for (size_t i = 0; i < N; i++)
        sum[i % 2] += r->items[i].list[chosen[i]].bytes;
    return sum[0] <= r->most[0] && sum[1] <= r->most[1];
}

static pare_status accept(const size_t *chosen, bool *yes, void *user, pare_error *err)
{
    rule *r = user;
    r->n_asked++;
    *yes = holds(r, chosen);
    for (size_t i = 0; i < N && *yes; i++)
        r->last[i] = chosen[i];
    return r->fails ? pare_fail(err, PARE_ERR_RANGE, "refused") : PARE_OK;
}

/* Bytes double from choice to choice and costs fall, so items grow in turn. */
static void make(pare_choice list[N][K], pare_choices items[N], uint64_t *state)
{
    for (size_t i = 0; i < N; i++) {
        items[i] = (pare_choices){list[i], K};
        for (size_t k = 0; k < K; k++)
            list[i][k] = (pare_choice){(uint64_t)(1 + next(state) % 4) << k, 1000.0 / (double)(1 << k)};
    }
}

static void the_largest_that_was_accepted(void **state)
{
    pare_choice list[N][K];
    pare_choices items[N];
    uint64_t seed = 1;
    size_t n_found = 0, n_none = 0;
    (void)state;
    for (int round = 0; round < 500; round++) {
        size_t chosen[N] = {9, 9, 9, 9, 9}, other[N];
        uint64_t least = 0, most = 0;
        bool found;
        pare_allocation got = {0}, more;
        pare_error err = {0};
        make(list, items, &seed);
        for (size_t i = 0; i < N; i++) {
            uint64_t low = UINT64_MAX, high = 0;
            for (size_t k = 0; k < K; k++) {
                low = list[i][k].bytes < low ? list[i][k].bytes : low;
                high = list[i][k].bytes > high ? list[i][k].bytes : high;
            }
            least += low;
            most += high;
        }
        rule r = {.most = {next(&seed) % 1500, next(&seed) % (round % 4 == 0 ? 5 : 1500)}, .items = items};
        CHECK_OK(pare_allocate_accepted(items, N, least, most, accept, &r, chosen, &got, &found, &err), &err);
        CHECK(r.n_asked <= PARE_ACCEPTED_STEPS + 1);
        n_found += found;
        n_none += !found;
        if (!found) { /* what was passed stays, and the smallest budget that was asked about is not accepted */
            CHECK(chosen[0] == 9 && got.bytes == 0);
            CHECK_OK(pare_allocate(items, N, least + 1, other, &more, &err), &err);
            CHECK(!holds(&r, other) || more.bytes == least);
            continue;
        }
        CHECK(holds(&r, chosen) && got.bytes <= most);
        assert_memory_equal(chosen, r.last, sizeof chosen);
        /* Some budget a little above is not: there is no reason to stop where there is room. */
        bool stops = got.bytes == most;
        for (uint64_t budget = got.bytes + 1; budget <= most && !stops; budget++) {
            CHECK_OK(pare_allocate(items, N, budget, other, &more, &err), &err);
            if (more.bytes > got.bytes) {
                stops = !holds(&r, other);
                break;
            }
            stops = budget == most; /* no larger plan */
        }
        CHECK(stops);
    }
    CHECK(n_found > 100 && n_none > 20);
}

static void errors_end_it(void **state)
{
    pare_choice list[N][K];
    pare_choices items[N];
    uint64_t seed = 7;
    size_t chosen[N];
    bool found;
    pare_allocation got;
    pare_error err = {0};
    (void)state;
    make(list, items, &seed);
    rule r = {.most = {UINT64_MAX, UINT64_MAX}, .items = items, .fails = true};
    CHECK(pare_allocate_accepted(items, N, 0, 5000, accept, &r, chosen, &got, &found, &err) == PARE_ERR_RANGE);
    CHECK(r.n_asked == 1 && !found);
    r.fails = false;
    CHECK(pare_allocate_accepted(items, N, 0, 1, accept, &r, chosen, &got, &found, &err) == PARE_ERR_DIFFERENCE);
    CHECK(!found);
    list[2][3].cost = 1.0 / 0.0;
    CHECK(pare_allocate_accepted(items, N, 0, 5000, accept, &r, chosen, &got, &found, &err) == PARE_ERR_NUMBER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_largest_that_was_accepted),
                                       cmocka_unit_test(errors_end_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
