#include "check.h"

#include "core/threads.h"
#include "eval/stats.h"

#include <math.h>
#include <stdlib.h>

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

/* Quantiles of Student's t for 97.5 %: scipy 1.17.1, scipy.stats.t.ppf(0.975, df). The values 0 .. n - 1 have the
 * variance n (n + 1) / 12. */
static void t_intervals(void **state)
{
    (void)state;
    static const struct {
        size_t df;
        double t;
    } known[] = {{1, 12.706204736174694},   {2, 4.302652729749462},     {3, 3.1824463052837078},
                 {4, 2.7764451051977934},   {5, 2.5705818356363146},    {7, 2.364624251592784},
                 {10, 2.228138851986274},   {29, 2.045229642132703},    {30, 2.0422724563012378},
                 {99, 1.9842169515864174},  {100, 1.9839715185235518},  {101, 1.983731002955606},
                 {159, 1.9749962127674756}, {1000, 1.9623390808264083}, {100000, 1.9599877075346095}};
    double *x = check_malloc(100001 * sizeof *x);
    for (size_t i = 0; i <= 100000; i++)
        x[i] = (double)i;
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        const size_t df = known[k].df;
        const pare_interval i = pare_interval_t(x, df + 1);
        CHECK(fabs(i.hi + i.lo - (double)df) < 1e-9 * (double)df);
        CHECK(fabs((i.hi - i.lo) / 2 / sqrt((double)(df + 2) / 12) - known[k].t) < 1e-9);
    }
    CHECK(isnan(pare_interval_t(x, 1).lo) && isnan(pare_interval_t(x, 0).hi));
    free(x);
}

/* The ends were computed with the published algorithm in Python and numpy.percentile; scipy.stats.bootstrap with
 * another generator and 200000 resamples gives 0.388092, 0.618981 (25 values), 0.454099, 0.543686 (161). */
static void bootstrap(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        double lo, hi;
    } known[] = {{2, 0, 0.3886113886113886},
                 {25, 0.3855774225774226, 0.6191808191808191},
                 {160, 0.45706527847152856, 0.5457484702797204},
                 {161, 0.45481785295449884, 0.5464144551101073}};
    pare_error err = {0};
    double x[161];
    for (int i = 0; i < 161; i++)
        x[i] = ((i * 389) % 1001) / 1001.0;
    for (int threads = 1; threads <= 3; threads++) {
        pare_set_threads(threads);
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            pare_interval i, again, other;
            CHECK_OK(pare_interval_bootstrap(x, known[k].n, 7, &i, &err), &err);
            CHECK(fabs(i.lo - known[k].lo) < 1e-15 && fabs(i.hi - known[k].hi) < 1e-15);
            CHECK_OK(pare_interval_bootstrap(x, known[k].n, 7, &again, &err), &err);
            CHECK(i.lo == again.lo && i.hi == again.hi);
            CHECK_OK(pare_interval_bootstrap(x, known[k].n, 8, &other, &err), &err);
            CHECK(known[k].n == 2 || i.lo != other.lo);
        }
    }
    pare_set_threads(0);
    pare_interval none;
    CHECK_OK(pare_interval_bootstrap(x, 1, 7, &none, &err), &err);
    CHECK(isnan(none.lo) && isnan(none.hi));
}

/* statsmodels 0.15.0: OLS on a constant, cov_type="cluster" without its small-sample correction. */
static void clusters(void **state)
{
    (void)state;
    static const double x[] = {1, 0, 0, -1, 0, 1, 1, 0, 0, 0, -1, 0};
    static const size_t group[] = {0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 0, 5};
    static const size_t own[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, all[12] = {0};
    pare_error err = {0};
    pare_estimate e;
    CHECK_OK(pare_mean_clustered(x, group, 12, &e, &err), &err);
    CHECK(fabs(e.value - 1.0 / 12) < 1e-15 && fabs(e.stderr_ - 0.1423187606383278) < 1e-14);
    pare_moments m = moments_of(x, 12);
    CHECK_OK(pare_mean_clustered(x, own, 12, &e, &err), &err);
    CHECK(fabs(e.stderr_ - pare_mean(&m).stderr_ * sqrt(11.0 / 12)) < 1e-14);
    CHECK_OK(pare_mean_clustered(x, all, 12, &e, &err), &err);
    CHECK(e.stderr_ < 1e-15); /* one group says nothing of the spread between groups */
    CHECK_OK(pare_mean_clustered(x, own, 1, &e, &err), &err);
    CHECK(e.value == 1 && isnan(e.stderr_));
    CHECK_OK(pare_mean_clustered(x, own, 0, &e, &err), &err);
    CHECK(isnan(e.value));
}

/* p: sums of whole numbers in Python (up to 2000 changes), scipy.stats.binomtest (above); statsmodels'
 * mcnemar(exact=True) gives the same for 37 and 81. */
static void mcnemar(void **state)
{
    (void)state;
    static const struct {
        uint64_t lost, gained;
        double p;
    } known[] = {{1, 0, 1},
                 {0, 5, 0.0625},
                 {1, 5, 0.21875},
                 {3, 12, 0.03515625},
                 {10, 10, 1},
                 {10, 11, 1},
                 {40, 60, 0.05688793364098079},
                 {37, 81, 6.291890568832712e-05},
                 {130, 199, 0.00016886172831298872},
                 {500, 650, 1.0843354718040281e-05},
                 {0, 1000, 1.8665272370064378e-301},
                 {49800, 50200, 0.2070389717642225},
                 {49000, 51000, 2.5887160383468943e-10}};
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        CHECK(fabs(pare_mcnemar(known[k].lost, known[k].gained) / known[k].p - 1) < 1e-8);
        CHECK(pare_mcnemar(known[k].lost, known[k].gained) == pare_mcnemar(known[k].gained, known[k].lost));
    }
    CHECK(pare_mcnemar(0, 0) == 1);
    CHECK(pare_mcnemar(0, 1100) == 0 && pare_mcnemar(1, 99999) == 0); /* below the smallest double */
}

/* arXiv 2605.28873: with 10 % changed answers 100 items show 8.9 points, 14042 (MMLU) 0.75. */
static void detectable(void **state)
{
    (void)state;
    CHECK(fabs(pare_detectable(100, 0.1) - 0.0885438) < 1e-6);
    CHECK(fabs(pare_detectable(14042, 0.1) - 0.0074721) < 1e-6);
    CHECK(pare_detectable(100, 0) == 0 && isnan(pare_detectable(0, 0.1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(means),       cmocka_unit_test(quantiles),
                                       cmocka_unit_test(t_intervals), cmocka_unit_test(bootstrap),
                                       cmocka_unit_test(clusters),    cmocka_unit_test(mcnemar),
                                       cmocka_unit_test(detectable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
