#include "check.h"

#include "eval/stats.h"

#include <math.h>

static pare_moments moments_of(const double *x, size_t n)
{
    pare_moments m = {0};
    for (size_t i = 0; i < n; i++)
        pare_moments_add(&m, x[i]);
    return m;
}

static void means(void **state)
{
    (void)state;
    static const double x[] = {1, 2, 3, 6}; /* E[x] = 3, E[x^2] = 12.5 */
    pare_moments m = moments_of(x, 4), one = moments_of(x, 1), none = {0};
    pare_estimate e = pare_mean(&m);
    CHECK(e.value == 3 && fabs(e.stderr_ - sqrt(3.5 / 3)) < 1e-15);
    CHECK(pare_mean(&one).value == 1 && isnan(pare_mean(&one).stderr_));
    CHECK(isnan(pare_mean(&none).value));
    pare_estimate rms = pare_root_mean(&m); /* of the square root of x */
    CHECK(fabs(rms.value - sqrt(3)) < 1e-15 && fabs(rms.stderr_ - 0.5 / sqrt(3) * e.stderr_) < 1e-15);
    pare_estimate grown = pare_exp_estimate(e);
    CHECK(fabs(grown.value - exp(3)) < 1e-12 && fabs(grown.stderr_ - exp(3) * e.stderr_) < 1e-12);
    static const double equal[] = {0.1, 0.1, 0.1};
    pare_moments same = moments_of(equal, 3), zero = {.n = 5};
    CHECK(pare_mean(&same).stderr_ < 1e-9);
    CHECK(pare_root_mean(&zero).value == 0 && pare_root_mean(&zero).stderr_ == 0);
}

static void quantiles(void **state)
{
    (void)state;
    double x[1001];
    for (int i = 0; i <= 1000; i++)
        x[i] = (double)((i * 389) % 1001); /* 389 and 1001 have no common factor: a permutation */
    pare_sort(x, 1001);
    for (int i = 0; i <= 1000; i++)
        CHECK(x[i] == i);
    CHECK(pare_quantile(x, 1001, 0.5).value == 500);
    CHECK(fabs(pare_quantile(x, 1001, 0.5).stderr_ - sqrt(1001 * 0.25)) < 1e-9);
    CHECK(fabs(pare_quantile(x, 1001, 0.99).value - 990) < 1e-9);
    CHECK(fabs(pare_quantile(x, 1001, 0.99).stderr_ - sqrt(1001 * 0.99 * 0.01)) < 1e-9);
    CHECK(fabs(pare_quantile(x, 4, 0.5).value - 1.5) < 1e-15); /* interpolated between 1 and 2 */
    CHECK(pare_quantile(x, 1001, 0).value == 0 && pare_quantile(x, 1001, 1).value == 1000);
    CHECK(fabs(pare_quantile(x, 3, 0.999).value - 1.998) < 1e-12);
    CHECK(isnan(pare_quantile(x, 100, 0.999).stderr_)); /* no rank above */
    CHECK(pare_quantile(x, 1, 0.5).value == 0 && isnan(pare_quantile(x, 1, 0.5).stderr_));
    CHECK(isnan(pare_quantile(x, 0, 0.5).value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(means), cmocka_unit_test(quantiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
