#include "eval/stats.h"

#include "core/random.h"
#include "core/threads.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

static const double PI = 3.14159265358979323846, LN2 = 0.69314718055994530942;

void pare_moments_add(pare_moments *m, double x)
{
    m->n++;
    m->sum += x;
    m->sum_squares += x * x;
}

pare_estimate pare_mean(const pare_moments *m)
{
    if (m->n == 0)
        return (pare_estimate){NAN, NAN};
    double n = (double)m->n, mean = m->sum / n, variance = m->sum_squares / n - mean * mean;
    if (m->n < 2)
        return (pare_estimate){mean, NAN};
    return (pare_estimate){mean, variance > 0 ? sqrt(variance / (n - 1)) : 0};
}

pare_estimate pare_root_mean(const pare_moments *squares)
{
    pare_estimate mean = pare_mean(squares);
    double root = sqrt(mean.value);
    return (pare_estimate){root, root > 0 ? 0.5 / root * mean.stderr_ : mean.stderr_};
}

pare_estimate pare_exp_estimate(pare_estimate x)
{
    double e = exp(x.value);
    return (pare_estimate){e, e * x.stderr_};
}

/* The value at a fractional rank in [0, n - 1]. */
static double at_rank(const double *ascending, size_t n, double rank)
{
    size_t below = (size_t)rank;
    if (below + 1 >= n)
        return ascending[n - 1];
    return ascending[below] + (rank - (double)below) * (ascending[below + 1] - ascending[below]);
}

pare_estimate pare_quantile(const double *ascending, size_t n, double f)
{
    if (n == 0)
        return (pare_estimate){NAN, NAN};
    double last = (double)(n - 1), rank = f * last, deviation = sqrt((double)n * f * (1 - f));
    pare_estimate q = {at_rank(ascending, n, rank), NAN};
    if (rank - deviation >= 0 && rank + deviation <= last)
        q.stderr_ = (at_rank(ascending, n, rank + deviation) - at_rank(ascending, n, rank - deviation)) / 2;
    return q;
}

static int ascending_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void pare_sort(double *x, size_t n)
{
    qsort(x, n, sizeof *x, ascending_order);
}

/* P(|T| < sqrt(df) tan(angle)) for Student's T with df degrees of freedom: the finite sums of Abramowitz and Stegun,
 * "Handbook of Mathematical Functions", 1964, 26.7.3 (odd df) and 26.7.4 (even df). */
static double t_probability(double angle, size_t df)
{
    const double square = cos(angle) * cos(angle);
    const bool odd = df % 2 == 1;
    double term = odd ? cos(angle) : 1, sum = 0;
    for (size_t power = odd ? 1 : 0; power + 2 <= df; power += 2) { /* of the cosine */
        sum += term;
        term *= square * (double)(power + 1) / (double)(power + 2);
    }
    return odd ? 2 / PI * (angle + sin(angle) * sum) : sin(angle) * sum;
}

/* Up to EXACT degrees of freedom by bisection of the exact probability, above by Fisher and Cornish's expansion in 1 /
 * df (Abramowitz and Stegun, 26.7.5), whose next term is below 1e-9 there. */
double pare_t_quantile(size_t df)
{
    enum { EXACT = 100, HALVINGS = 60 };
    if (df > EXACT) {
        const double x = 1.959963984540054, x2 = x * x, v = (double)df;
        const double g1 = (x2 + 1) * x / 4;
        const double g2 = ((5 * x2 + 16) * x2 + 3) * x / 96;
        const double g3 = (((3 * x2 + 19) * x2 + 17) * x2 - 15) * x / 384;
        const double g4 = ((((79 * x2 + 776) * x2 + 1482) * x2 - 1920) * x2 - 945) * x / 92160;
        return x + (g1 + (g2 + (g3 + g4 / v) / v) / v) / v;
    }
    double lo = 0, hi = PI / 2;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (lo + hi) / 2;
        if (t_probability(middle, df) < 0.95)
            lo = middle;
        else
            hi = middle;
    }
    return sqrt((double)df) * tan(lo);
}

pare_interval pare_interval_t(const double *x, size_t n)
{
    if (n < 2)
        return (pare_interval){NAN, NAN};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    const double half = pare_t_quantile(n - 1) * sqrt(squares / (double)(n - 1) / (double)n);
    return (pare_interval){mean - half, mean + half};
}

typedef struct resampling {
    const double *x;
    uint64_t n, seed;
    double mean[PARE_RESAMPLES];
} resampling;

/* Resample i has a sequence of its own, so that it is the same whatever thread draws it. A number of the sequence gives
 * two draws: floor(half n / 2^32) of each half, each value as likely to within 2^-32. Four sums, so that additions need
 * not wait for one another. */
static pare_status resample(size_t i, int thread, void *ctx, pare_error *err)
{
    resampling *r = ctx;
    const double *x = r->x;
    const uint64_t n = r->n, seed = pare_random(r->seed, i);
    double sum[4] = {0};
    (void)thread;
    (void)err;
    for (uint64_t k = 0; k < n / 2; k++) {
        const uint64_t z = pare_random(seed, k);
        sum[k % 2] += x[(z >> 32) * n >> 32];
        sum[2 + k % 2] += x[(z & UINT32_MAX) * n >> 32];
    }
    if (n % 2 == 1)
        sum[0] += x[pare_random_below(seed, n / 2, n)];
    r->mean[i] = (sum[0] + sum[1] + sum[2] + sum[3]) / (double)n;
    return PARE_OK;
}

pare_status pare_interval_bootstrap(const double *x, size_t n, uint64_t seed, pare_interval *out, pare_error *err)
{
    *out = (pare_interval){NAN, NAN};
    if (n < 2)
        return PARE_OK;
    if (n > UINT32_MAX)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "bootstrap of %zu values; at most %" PRIu32 " are possible", n,
                         UINT32_MAX);
    resampling *r = malloc(sizeof *r);
    if (r == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %d resamples", PARE_RESAMPLES);
    r->x = x;
    r->n = n;
    r->seed = seed;
    pare_status st = pare_parallel(PARE_RESAMPLES, resample, r, err);
    if (st == PARE_OK) {
        pare_sort(r->mean, PARE_RESAMPLES);
        out->lo = pare_quantile(r->mean, PARE_RESAMPLES, 0.025).value;
        out->hi = pare_quantile(r->mean, PARE_RESAMPLES, 0.975).value;
    }
    free(r);
    return st;
}

pare_status pare_mean_clustered(const double *x, const size_t *group, size_t n, pare_estimate *out, pare_error *err)
{
    *out = (pare_estimate){NAN, NAN};
    if (n == 0)
        return PARE_OK;
    double *sums = calloc(n, sizeof *sums), total = 0, squares = 0;
    if (sums == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu groups", n);
    for (size_t i = 0; i < n; i++)
        total += x[i];
    out->value = total / (double)n;
    for (size_t i = 0; i < n; i++)
        sums[group[i]] += x[i] - out->value;
    for (size_t i = 0; i < n; i++)
        squares += sums[i] * sums[i];
    if (n >= 2)
        out->stderr_ = sqrt(squares) / (double)n;
    free(sums);
    return PARE_OK;
}

double pare_mcnemar(uint64_t lost, uint64_t gained)
{
    const uint64_t least = lost < gained ? lost : gained;
    const double n = (double)lost + (double)gained;
    if (lost == gained)
        return 1;
    /* The largest term through logarithms, since 2^n and the coefficient overflow. The others follow from
     * C(n, i - 1) = C(n, i) i / (n - i + 1), each less than its successor. */
    int sign;
    double k = (double)least, term, sum;
    term = exp(lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign) - n * LN2);
    sum = term;
    for (double i = k; i > 0 && term > sum * 1e-17; i--) {
        term *= i / (n - i + 1);
        sum += term;
    }
    return fmin(1, 2 * sum);
}

double pare_detectable(uint64_t n, double flip_rate)
{
    return n == 0 ? NAN : (1.96 + 0.84) * sqrt(flip_rate / (double)n);
}
