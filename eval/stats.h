/* eval/stats.h - means, quantiles and their standard errors */
#ifndef PARE_EVAL_STATS_H
#define PARE_EVAL_STATS_H

#include "core/error.h"

#include <stdint.h>

/* A value and its standard error; NAN where the sample is too small to tell. */
typedef struct pare_estimate {
    double value, stderr_;
} pare_estimate;

/* Sums of a sample, added one by one in the order of the data. Zeroed is empty. */
typedef struct pare_moments {
    size_t n;
    double sum, sum_squares;
} pare_moments;

void pare_moments_add(pare_moments *m, double x);

/* Mean with sqrt((E[x^2] - E[x]^2) / (n - 1)). */
pare_estimate pare_mean(const pare_moments *m);

/* Root of the mean square of x, from the moments of x^2; error: that of the mean square divided by twice the root. */
pare_estimate pare_root_mean(const pare_moments *squares);

/* e^x of an estimate; the error is carried over by the derivative. */
pare_estimate pare_exp_estimate(pare_estimate x);

/* Quantile f (0..1) of n ascending values: linear interpolation at rank f (n - 1). Its error is half the distance
 * between the quantiles at ranks one binomial standard deviation sqrt(n f (1 - f)) below and above, because the number
 * of values under the true quantile is binomial (David and Nagaraja, "Order Statistics", 2003, section 7.1); NAN when
 * one of these ranks lies outside of the sample. */
pare_estimate pare_quantile(const double *ascending, size_t n, double f);

/* Where a figure lies with 95 %; NAN, NAN where the sample is too small to tell. */
typedef struct pare_interval {
    double lo, hi;
} pare_interval;

/* The t with P(|T| < t) = 95 % of Student's T with df >= 1 degrees of freedom, to 1e-9. */
double pare_t_quantile(size_t df);

/* Mean +- Student's t_(n - 1) times the standard error, for n >= 2 independent values. */
pare_interval pare_interval_t(const double *x, size_t n);

/* Percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): the 2.5 % and 97.5
 * % quantiles of the mean over PARE_RESAMPLES samples of n values drawn with replacement. n >= 2. The same seed gives
 * the same interval on every machine and with any number of threads: resample i draws with the numbers of the seed
 * pare_random(seed, i). 0.3 s for 10^5 values. Errors: PARE_ERR_MEMORY, PARE_ERR_UNSUPPORTED (2^32 values or more) */
enum { PARE_RESAMPLES = 2000 };
pare_status pare_interval_bootstrap(const double *x, size_t n, uint64_t seed, pare_interval *out, pare_error *err);

/* Mean whose error allows for values of the same group to go together (Miller, "Adding Error Bars to Evals", arXiv
 * 2411.00640, equation 4): sqrt(sum over groups (sum over the group (x - mean))^2) / n. group: [n] numbers below n.
 * With a group for each value it is the plain error times sqrt((n - 1) / n). Errors: PARE_ERR_MEMORY */
pare_status pare_mean_clustered(const double *x, const size_t *group, size_t n, pare_estimate *out, pare_error *err);

/* Two-sided exact McNemar test of paired yes/no answers: `lost` changed one way and `gained` the other. p of a split at
 * least so uneven when both ways are equally likely: min(1, 2 sum_(i <= min) C(lost + gained, i) / 2^(lost + gained)).
 */
double pare_mcnemar(uint64_t lost, uint64_t gained);

/* The smallest difference of accuracies that n paired items, of which a share flip_rate changes, show with a level of 5
 * % and a power of 80 %: (1.96 + 0.84) sqrt(flip_rate / n) (arXiv 2605.28873). */
double pare_detectable(uint64_t n, double flip_rate);

/* Sort ascending; no NaN. */
void pare_sort(double *x, size_t n);

#endif
