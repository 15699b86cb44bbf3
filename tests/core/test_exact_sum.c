#include "check.h"

#include "core/exact_sum.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

static uint64_t state = 1;

static double next_value(int exponents)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ldexp((double)(state >> 11), (int)(state >> 3 & 0xffff) % exponents - exponents / 2 - 53);
}

/* Numbers whose sum is known: each is a power of two. */
static void adds_exactly(void **state_)
{
    (void)state_;
    pare_exact_sum sum = {0};
    for (int e = -1074; e <= 900; e++)
        pare_exact_sum_add(&sum, ldexp(1, e));
    CHECK(pare_exact_sum_value(&sum) == ldexp(1, 901)); /* one unit of 2^-1074 less */
    pare_exact_sum_add(&sum, DBL_TRUE_MIN);
    CHECK(pare_exact_sum_value(&sum) == ldexp(1, 901));
    pare_exact_sum small = {0};
    for (int i = 0; i < 1 << 20; i++)
        pare_exact_sum_add(&small, 1.0 + DBL_EPSILON);
    CHECK(pare_exact_sum_value(&small) == (1 << 20) * (1.0 + DBL_EPSILON));
    CHECK(pare_exact_sum_value(&(pare_exact_sum){0}) == 0);
}

static void is_independent_of_order(void **state_)
{
    (void)state_;
    enum { N = 5000 };
    static double values[N];
    double plain = 0;
    pare_exact_sum up = {0}, down = {0}, odd = {0};
    for (int i = 0; i < N; i++) {
        values[i] = next_value(400);
        plain += values[i];
    }
    for (int i = 0; i < N; i++) {
        pare_exact_sum_add(&up, values[i]);
        pare_exact_sum_add(&down, values[N - 1 - i]);
        pare_exact_sum_add(&odd, values[i * 7 % N]);
    }
    double sum = pare_exact_sum_value(&up);
    CHECK(sum == pare_exact_sum_value(&down) && sum == pare_exact_sum_value(&odd));
    CHECK(fabs(sum - plain) <= 1e-12 * plain);
}

static void holds_the_largest(void **state_)
{
    (void)state_;
    pare_exact_sum sum = {0};
    pare_exact_sum_add(&sum, DBL_MAX / 2);
    pare_exact_sum_add(&sum, DBL_MAX / 2);
    CHECK(pare_exact_sum_value(&sum) == DBL_MAX);
    pare_exact_sum_add(&sum, DBL_MAX);
    CHECK(isinf(pare_exact_sum_value(&sum)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_exactly),
        cmocka_unit_test(is_independent_of_order),
        cmocka_unit_test(holds_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
