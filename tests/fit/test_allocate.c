/* Choices within a budget, against all combinations that there are. */
#include "check.h"

#include "fit/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ITEMS = 7, MAX_CHOICES = 6 };

typedef struct instance {
    pare_choice choice[MAX_ITEMS][MAX_CHOICES];
    pare_choices items[MAX_ITEMS];
    size_t n;
} instance;

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* unit: what all bytes are multiples of; levels: costs are one of so many values. Bytes and costs do not go together,
 * so dominated choices, ones above the hull and equal ones come up. */
static void make(instance *m, uint64_t *state, uint32_t unit, uint32_t max_units, uint32_t levels)
{
    m->n = 1 + next(state) % MAX_ITEMS;
    for (size_t i = 0; i < m->n; i++) {
        m->items[i] = (pare_choices){m->choice[i], 1 + next(state) % MAX_CHOICES};
        for (size_t k = 0; k < m->items[i].n; k++)
            m->choice[i][k] = (pare_choice){(uint64_t)unit * (1 + next(state) % max_units), next(state) % levels};
    }
}

/* The least cost over all combinations; INFINITY: none fits. */
static double least_cost(const instance *m, uint64_t budget)
{
    size_t at[MAX_ITEMS] = {0}, i = 0;
    double best = INFINITY;
    while (i < m->n) {
        uint64_t bytes = 0;
        double cost = 0;
        for (i = 0; i < m->n; i++) {
            bytes += m->choice[i][at[i]].bytes;
            cost += m->choice[i][at[i]].cost;
        }
        if (bytes <= budget && cost < best)
            best = cost;
        for (i = 0; i < m->n && ++at[i] == m->items[i].n; i++)
            at[i] = 0;
    }
    return best;
}

static uint64_t least_bytes(const instance *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n; i++) {
        uint64_t least = UINT64_MAX;
        for (size_t k = 0; k < m->items[i].n; k++)
            least = m->choice[i][k].bytes < least ? m->choice[i][k].bytes : least;
        sum += least;
    }
    return sum;
}

static void check_sums(const instance *m, uint64_t budget, const size_t *chosen, const pare_allocation *got)
{
    uint64_t bytes = 0;
    double cost = 0;
    for (size_t i = 0; i < m->n; i++) {
        assert_true(chosen[i] < m->items[i].n);
        bytes += m->choice[i][chosen[i]].bytes;
        cost += m->choice[i][chosen[i]].cost;
    }
    assert_true(bytes <= budget);
    assert_int_equal(bytes, got->bytes);
    assert_true(fabs(cost - got->cost) < 1e-9);
    assert_true(got->bound <= cost + 1e-9);
}

static void every_small_instance_is_solved(void **state)
{
    uint64_t seed = 11;
    int n_refused = 0;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        instance m;
        size_t chosen[MAX_ITEMS];
        pare_allocation got;
        pare_error err = {0};
        const uint32_t unit = round % 3 == 0 ? 1 : 96;
        make(&m, &seed, unit, 40, round % 2 == 0 ? 7 : 1000);
        const uint64_t least = least_bytes(&m),
                       budget = least + next(&seed) % (unit * 60) - (round % 5 == 0 ? unit : 0);
        const double best = least_cost(&m, budget);
        pare_status st = pare_allocate(m.items, m.n, budget, chosen, &got, &err);
        if (budget < least) {
            n_refused++;
            assert_int_equal(st, PARE_ERR_DIFFERENCE);
            assert_int_equal(got.bytes, least);
            continue;
        }
        assert_int_equal(st, PARE_OK);
        assert_true(got.exact);
        check_sums(&m, budget, chosen, &got);
        assert_true(fabs(got.cost - best) < 1e-9);
    }
    assert_true(n_refused > 3);
}

/* More sums of bytes than cells: the whole of the budget counts to the byte all the same. */
static void many_items_come_near_the_bound(void **state)
{
    enum { N = 300, CHOICES = 12 };
    pare_choice *list = check_malloc(N * CHOICES * sizeof *list);
    pare_choices items[N];
    size_t chosen[N], again[N];
    pare_allocation got, other;
    pare_error err = {0};
    uint64_t seed = 5, least = 0, most = 0;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        const double beta = 1e-6 * exp((double)(next(&seed) % 1000) / 150);
        const uint64_t weights = 1000003 + next(&seed) % 60000000;
        items[i] = (pare_choices){list + i * CHOICES, CHOICES};
        for (size_t k = 0; k < CHOICES; k++) {
            const double bits = 1.5 + (double)k * 0.55 + (double)(next(&seed) % 100) / 500;
            list[i * CHOICES + k] = (pare_choice){(uint64_t)((double)weights * bits / 8), beta * exp2(-2 * bits)};
        }
        least += list[i * CHOICES].bytes;
        most += list[i * CHOICES + CHOICES - 1].bytes;
    }
    for (uint64_t part = 0; part <= 10; part += 5) {
        const uint64_t budget = least + (most - least) / 10 * part;
        assert_int_equal(pare_allocate(items, N, budget, chosen, &got, &err), PARE_OK);
        if (part == 5) {
            assert_int_equal(pare_allocate(items, N, budget, again, &other, &err), PARE_OK);
            assert_memory_equal(chosen, again, sizeof chosen);
        }
        assert_true(got.bytes <= budget);
        assert_true(got.bytes + budget / 1000 >= budget);
        assert_true(got.cost >= got.bound - 1e-12);
        assert_true(got.cost <= got.bound * 1.001);
    }
    free(list);
}

/* What a hull alone would never take: the middle choice lies above the line between its neighbours, and fits exactly.
 */
static void choices_above_the_hull_are_taken(void **state)
{
    const pare_choice a[] = {{100, 10}, {150, 8}, {200, 1}}, b[] = {{100, 4}, {130, 4}, {170, 3}};
    const pare_choices items[] = {{a, 3}, {b, 3}};
    size_t chosen[2];
    pare_allocation got;
    pare_error err = {0};
    (void)state;
    assert_int_equal(pare_allocate(items, 2, 250, chosen, &got, &err), PARE_OK);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 0);
    assert_true(got.cost > 11.99 && got.cost < 12.01);
    assert_true(got.bound < got.cost);
}

static void bad_input_is_told(void **state)
{
    const pare_choice good[] = {{100, 1}}, nan_cost[] = {{100, NAN}}, large[] = {{UINT64_MAX, 1}};
    const pare_choices lacking[] = {{good, 1}, {good, 0}}, number[] = {{nan_cost, 1}}, over[] = {{large, 1}, {good, 1}};
    const pare_choices one[] = {{good, 1}};
    size_t chosen[2];
    pare_allocation got;
    pare_error err = {0};
    (void)state;
    assert_int_equal(pare_allocate(lacking, 2, 1000, chosen, &got, &err), PARE_ERR_RANGE);
    assert_int_equal(pare_allocate(number, 1, 1000, chosen, &got, &err), PARE_ERR_NUMBER);
    assert_int_equal(pare_allocate(over, 2, 1000, chosen, &got, &err), PARE_ERR_RANGE);
    assert_int_equal(pare_allocate(one, 1, 99, chosen, &got, &err), PARE_ERR_DIFFERENCE);
    assert_non_null(strstr(err.text, "100"));
    assert_non_null(strstr(err.text, "99"));
    assert_int_equal(pare_allocate(one, 1, 100, chosen, &got, &err), PARE_OK);
    assert_int_equal(pare_allocate(one, 0, 0, chosen, &got, &err), PARE_OK);
    assert_int_equal(got.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_instance_is_solved), cmocka_unit_test(many_items_come_near_the_bound),
        cmocka_unit_test(choices_above_the_hull_are_taken), cmocka_unit_test(bad_input_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
